"""Every claim stands in its text and is supported; the code still trains what was recorded; breaking a method is noticed."""

import re

import claims
import pytest
from claims import CLAIMS, README, found_in_notebooks, prose, rows, stale

from layermatch_lite.core import methods
from layermatch_lite.course import claim
from layermatch_lite.studies import stats
from layermatch_lite.variants import gate as gates

WORDS = re.compile(
    r"\b(beats?|wins|ahead|behind|lower|higher|largest|smallest|decided|undecided|steadier|differ|harms?|costs?|pays?|gain\w*"
    r"|more than|less than|nowhere|neither|better|worse|best|most|same)\b|\d %"
)


@pytest.mark.parametrize("c", CLAIMS, ids=lambda c: f"{c.place[-12:]}: {c.text[:50]}")
def test_a_claim_stands_in_its_text_and_holds(c):
    assert " ".join(c.text.split()) in prose(c.place), "the sentence has changed: look at its evidence again"
    assert c.holds(), f"no longer supported by {claims.evidence(c)}"
    assert c.questions or c.others


def test_no_sentence_about_results_is_without_its_claim():
    """In the README's sections on results, every sentence with a comparing word or a percentage belongs to a claim."""
    text = prose(README)
    between = lambda start, end: text[text.index(start) : text.index(end)]
    results = between("- **Pseudo-labels pay.**", "![Test accuracy, mean of 10 seeds")
    inside = between("- **The convolutions need pseudo-labels; the top", "<summary><b>Every table of the evidence")
    for c in CLAIMS:
        results, inside = (part.replace(" ".join(c.text.split()), "§") for part in (results, inside))
    # Headlines in bold are the sentences after them in short; what else is left over may not compare anything.
    left = re.sub(r"- \*\*[^*]*\*\*", "", results + inside)
    explained = {
        "(This study was planned after the others, on the same seeds.)",
        "The common recipe, chosen for FixMatch, was not the best for LayerMatch.",
        "this neither confirms nor refutes the paper's figures.",
    }
    sentences = [s.strip(" §*:") for s in re.split(r"(?<=[.;:]) |§", left)]
    assert not [s for s in sentences if WORDS.search(s) and s not in explained]


def test_headlines_are_claims_in_short():
    """Each bullet on results opens with a headline and rests on at least one claim."""
    section = prose(README).split("## What we measured")[1].split("## Use it")[0]
    bullets = re.findall(r"- \*\*(.*?)\*\*(.*?)(?= - \*\*|!\[|<details>|$)", section)
    assert len(bullets) >= 14
    texts = [" ".join(c.text.split()) for c in CLAIMS if c.place == README]
    assert all(any(t[:60] in f"**{head}**{body}" for t in texts) for head, body in bullets)


def test_every_row_of_a_claim_has_its_first_steps_recorded():
    wanted = {" | ".join(key) for key in set().union(*map(rows, CLAIMS))}
    assert wanted == set(claims.recorded("first_steps"))


@pytest.mark.slow
def test_the_code_still_trains_what_was_recorded():
    lost = stale()
    told = [c.text for c in CLAIMS if rows(c) & lost]
    assert not lost, f"these claims have lost their evidence: {told}; carry out the studies anew, or mend the code"


MAIN_ROWS = {("two_by_two", "digits, 10 labels", row) for row in ("fixmatch", "layermatch", "supervised", "gate")}


def test_the_main_rows_train_as_recorded():
    assert not stale(only=MAIN_ROWS.__contains__)


BROKEN = [("block for off", "layermatch"), ("mean over the mask", "fixmatch"), ("no gate", "gate")]


@pytest.mark.parametrize("broken, hit", BROKEN)
def test_breaking_a_method_takes_the_evidence_from_its_claims(monkeypatch, broken, hit):
    if broken == "no gate":
        monkeypatch.setattr(gates, "gate", lambda g_u, g_s: g_u)
    else:
        whole = methods.unlabelled_loss

        def off(z_strong, classifier, q, **settings):
            if broken == "block for off":
                return whole(z_strong, classifier, q, **settings | {"grad_relu": "off"})
            return whole(z_strong, classifier, q, **settings) / q.mask.float().mean().clamp(min=0.01)

        monkeypatch.setattr(methods, "unlabelled_loss", off)
    lost = stale(only=MAIN_ROWS.__contains__)
    assert ("two_by_two", "digits, 10 labels", hit) in lost
    assert ("two_by_two", "digits, 10 labels", "supervised") not in lost
    words = "Neither Grad-ReLU" if hit == "gate" else "LayerMatch beats FixMatch in one"
    assert any(words in c.text for c in CLAIMS if rows(c) & lost)


def test_a_claim_that_data_contradict_is_noticed(monkeypatch):
    """If every difference had the other sign, most claims fall."""
    claims.family.cache_clear()
    true = stats.differences
    monkeypatch.setattr(stats, "differences", lambda *a, **k: [-d for d in true(*a, **k)])
    try:
        fallen = [c for c in CLAIMS if c.questions and not c.holds()]
        assert len(fallen) >= 22
    finally:
        claims.family.cache_clear()


def test_notebooks_state_what_their_own_runs_show():
    lines = list(found_in_notebooks())
    assert {name[:2] for name, _ in lines} >= {"01", "02", "05", "07"} and len(lines) >= 10
    assert all(line.startswith("✓ ") and line.endswith("]") for _, line in lines), lines


def test_a_claim_says_when_it_does_not_hold(capsys):
    claim("Water is wet", True, "n = 3")
    claim("Water is dry", False, "n = 3")
    assert capsys.readouterr().out == "✓ Water is wet [n = 3]\n✗ Not in this run: Water is dry [n = 3]\n"


def test_the_list_has_every_claim():
    listed = claims.table()
    assert listed.count("\n") + 1 == 2 + len(CLAIMS) + len(list(found_in_notebooks())) and "| NO |" not in listed
    assert "study_two_by_two.json, LayerMatch against FixMatch: above 0 in 1 of 8" in listed
