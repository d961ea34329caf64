"""The teachers' pages: links and lesson links lead somewhere, tables and results are those of the notebooks."""

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest

from layermatch_lite.cli import parser
from layermatch_lite.labs.decision_lab import DecisionBench
from layermatch_lite.labs.noise_lab import NoiseBench
from layermatch_lite.labs.threshold_lab import ThresholdBench
from layermatch_lite.labs.timemachine import TimeMachineBench
from layermatch_lite.labs.training_lab import TrainingBench

ROOT = Path(__file__).parents[1]
PAGES = {p.name: p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md"))}
BENCHES = {bench.State.lab: bench for bench in (DecisionBench, NoiseBench, ThresholdBench, TimeMachineBench, TrainingBench)}


def test_every_link_leads_somewhere():
    for name, text in PAGES.items():
        for path in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (ROOT / "docs" / path).exists(), (name, path)


def test_every_lesson_link_opens_its_lab():
    pattern = re.compile(rf"[`=\"]((?:{'|'.join(BENCHES)})\?[^`\"]*)[`\"]")
    found = {link for text in PAGES.values() for link in pattern.findall(text)}
    assert len(found) >= 12
    for link in found:
        assert BENCHES[link.split("?")[0]].State.from_link(link).link().startswith(link.split("?")[0])


def look(link):
    bench = BENCHES[link.split("?")[0]]()
    state = bench.State.from_link(link)
    if bench.missing(state) is not None:
        for _ in bench.prepare(state):
            pass
    return bench.look(state)


def lesson_links():
    """(link, what the guide says of it), row by row."""
    table = PAGES["teaching.md"].split("## Lesson links")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]*)` \| (.*) \|$", table, re.MULTILINE)


@pytest.mark.slow
def test_the_guide_says_of_recorded_labs_what_they_show(warm_cache, monkeypatch):
    """Every number in a row stands in the lab's words for its link, which are the same on every machine."""
    monkeypatch.setenv("LAYERMATCH_CACHE", str(warm_cache))
    rows = [(link, told) for link, told in lesson_links() if link.startswith(("noise", "threshold", "time"))]
    numbers = lambda text: {float(v.replace("−", "-")) for v in re.findall(r"(?<![\w.])[-−+]?\d+(?:\.\d+)?", text)}
    assert len(rows) >= 10
    for link, told in rows:
        told = re.sub(r"conv \d|benefit 1;", "", told)
        assert numbers(told), link
        assert numbers(told) <= numbers(look(link).alt), (link, numbers(told) - numbers(look(link).alt))


@pytest.mark.slow
def test_the_guide_says_of_live_labs_what_they_show_nearly():
    shares = {"about half": 0.5, "about three in five": 0.6, "four in five": 0.8}
    for link, told in lesson_links():
        if link.startswith("decision"):
            said = [share for words, share in shares.items() if words in told]
            seen = re.findall(r"(\d+)% called right", look(link if "step=" in link else f"{link}&step=120").reading)
            assert [int(s) / 100 for s in seen] == pytest.approx(said, abs=0.1), link


def test_every_command_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = parser()._subparsers._group_actions[0].choices
    for name, text in PAGES.items():
        assert set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.MULTILINE)) <= set(targets), name
        assert set(re.findall(r"layermatch-lite ([a-z]+)", text)) <= set(commands), name


def test_the_times_are_those_of_the_notebooks():
    spec = importlib.util.spec_from_file_location("times", ROOT / "benchmarks" / "times.py")
    times = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(times)
    assert f"<!-- times -->\n{times.table()}\n<!-- /times -->" in PAGES["teaching.md"]


def results():
    """Notebook -> the alt text of its prediction's result."""
    for path in sorted((ROOT / "notebooks").glob("0[0-8]*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for output in cell.get("outputs", []):
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
                if " No prediction. Result: " in alt:
                    yield path.stem[:2], alt.split(" No prediction. Result: ")[1]


def test_the_results_of_the_predictions_are_those_of_the_notebooks():
    table = dict(re.findall(r"^\| (0\d) \| [^|]* \| ([^|]*) \|$", PAGES["teaching.md"].split("## Predictions")[1], re.MULTILINE))
    seen = dict(results())
    assert set(table) == set(seen) == {f"0{k}" for k in range(9)}
    number = lambda text: [float(v.replace("−", "-")) for v in re.findall(r"[-−+]?\d+(?:\.\d+)?", text)]
    for name in ("02", "04"):  # curves: the values before "at ..."
        curve = [float(v) for v in re.findall(r"([-\d.e]+) at", seen[name])]
        told = number(re.sub(r"conv \d", "", table[name]))
        assert told == pytest.approx(curve, abs=0.006), name
    for name in ("01", "05", "07", "08"):
        assert any(abs(v - number(seen[name])[0]) < 0.006 for v in number(table[name])), name
    for name in ("00", "03"):
        order = [item.strip(" .") for item in seen[name].split(",")]
        told = table[name].replace("low confidence", "low_confidence")
        assert [told.index(item) for item in order] == sorted(told.index(item) for item in order), name


def test_tables_in_the_exam_are_recorded_ones():
    """A row with an interval in it stands in the README, or was printed by a notebook."""
    texts = [ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")]
    known = "".join(path.read_text(encoding="utf-8") for path in texts)
    intervals = re.findall(r"[+−-]\d\.\d{3} \[[+−-]\d\.\d{3}, [+−-]\d\.\d{3}\]", PAGES["exam.md"])
    assert len(intervals) >= 5
    assert not [i for i in intervals if i not in known and i.replace("−", "-") not in known]


def test_solutions_are_named_rightly():
    assert all((ROOT / path).is_file() for text in PAGES.values() for path in re.findall(r"`(solutions/\d\d_\w+\.py)`", text))
