"""Every claim of README and notebooks with its evidence: `python benchmarks/claims.py` (or `make claims`) lists them.

A claim is a sentence as it stands in a text, and a condition on recorded results; the tests fail where the sentence is gone or
the condition no longer holds. Recorded results speak for the code only as long as the code trains what was recorded: for every
row that a study's comparison behind a claim rests on, the first 20 steps of its training are kept (`--record`), and a test
trains them again. That sees a method that has changed, but not its evaluation or what acts later only; claims that rest on
evidence.json or recipes.json have no such check, and say "others" below. What the notebooks find in their own runs stands there as
"✓ sentence"; these lines are listed, too.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from evidence import accuracies, against
from studies import SCARCE, STUDIES
from times import total

from layermatch_lite import TrainConfig, train_steps
from layermatch_lite.runs.train import data_of
from layermatch_lite.studies import stats
from layermatch_lite.studies.report import frame, late
from layermatch_lite.studies.stats import Comparison, verdict
from layermatch_lite.studies.study import load
from layermatch_lite.system import write_atomically

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = "README.md"
STEPS = 20  # of a training that are trained again


class Claim(NamedTuple):
    place: str  # the file
    text: str  # a sentence of it, word for word; line breaks do not matter
    holds: Callable[[], bool]
    questions: tuple[tuple[str, str], ...] = ()  # (study, question): the comparisons it rests on
    others: str = ""  # other evidence


# --- reading the evidence ----------------------------------------------------------------------------------------------


@cache
def study(name: str) -> dict:
    return load(RESULTS / f"study_{name}.json")


@cache
def recorded(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@cache
def family(name: str, question: str) -> tuple[Comparison, ...]:
    return tuple(stats.family(study(name), question))


def where(name: str, question: str, sign: int) -> set[str]:
    """The settings in which every comparison of a question has this sign: 1 above 0, -1 below 0, 0 undecided."""
    signs: dict[str, set[int]] = {}
    for c in family(name, question):
        signs.setdefault(c.setting, set()).add(c.sign)
    return {setting for setting, found in signs.items() if found == {sign}}


def rows_where(name: str, question: str, sign: int) -> set[tuple[str, str]]:
    return {(c.setting, c.row) for c in family(name, question) if c.sign == sign}


def every() -> set[str]:
    return set(study("two_by_two")["plan"])


def means(name: str, question: str) -> dict[str, float]:
    return {c.setting: c.mean for c in family(name, question)}


def across_layers(quantity: str) -> dict[str, int]:
    """Setting -> is `quantity` late in FixMatch above (1) or below (-1) in the classifier, compared with conv 1?"""
    return _across()[quantity]


@cache
def _across() -> dict[str, dict[str, int]]:
    end = lambda s, layer, q: stats.values(study("two_by_two"), s, "fixmatch", f"late_benefit/{layer}/{q}")
    ends = {q: {s: (end(s, "classifier", q), end(s, "conv 1", q)) for s in every()} for q in ("alignment", "benefit")}
    return stats.decide({q: {s: [a[k] - b[k] for k in a if k in b] for s, (a, b) in of.items()} for q, of in ends.items()})


@cache
def training() -> dict:
    """Setting -> the evidence's table of the layer benefit during FixMatch."""
    return {s: frame(part["benefit"]) for s, part in recorded("evidence")["training"].items()}


def side(values: list[float]) -> str:
    return verdict(values, "+", "-", "0")


def lead(t, quantity: str) -> list[float]:
    """Late in training: classifier minus conv 1, seed by seed."""
    return [b - a for a, b in zip(late(t, "conv 1", quantity), late(t, "classifier", quantity))]


def cuts(setting: str) -> dict[str, list[float]]:
    rows = recorded("evidence")["depth"][setting]
    return {row: against(rows, row, "nothing") for row in rows if row != "nothing"}


def at_half(setting: str, kind: str) -> list[float]:
    """The classifier's benefit at the end, had half of the labels over tau errors of a kind."""
    t = frame(recorded("evidence")["training"][setting]["under_noise"])
    return list(
        t.query("step == 600 and rate == 0.5 and layer == 'classifier' and kind == @kind").sort_values("seed")["benefit"]
    )


def centre_gain(row: str, quantity: str) -> list[str]:
    """In every setting: does a row of the evidence differ from FixMatch, in accuracy or in NMI at the end?"""
    found = []
    for rows in recorded("evidence")["centers"].values():
        values = accuracies(rows)
        if quantity == "nmi":
            values = {k: list(frame(r["clusters"]).query("step == 600").sort_values("seed")["nmi"]) for k, r in rows.items()}
        found.append(side(against(values, row, "fixmatch")))
    return found


def noise_undecided() -> bool:
    rows = accuracies(recorded("evidence")["noise"])
    kinds = dict.fromkeys(row.split(", ")[1] for row in rows)
    p = [stats.p_value(against(rows, f"layermatch, {kind}", f"fixmatch, {kind}")) for kind in kinds]
    return len(p) == 5 and min(stats.holm(p)) >= 0.05


def best_cut() -> bool:
    of = {s: [c for c in family("depth", "every cut against FixMatch") if c.setting == s] for s in SCARCE}
    best = [max(cs, key=lambda c: c.mean) for cs in of.values()]
    return all(c.row == "cut classifier" and c.sign == 0 for c in best) and sum(map(len, of.values())) == 18


def worst_momentum() -> bool:
    """Is 0.999 behind every other momentum that was tried for FreeMatch, on validation samples of every setting?"""
    tried = recorded("recipes")["freematch"]["rows"]
    best = lambda setting, slow: max(
        sum(r["accuracy"]) for r in tried if r["setting"] == setting and r["candidate"].startswith("lambda 0.999") == slow
    )
    return all(best(setting, True) < best(setting, False) for setting in {r["setting"] for r in tried})


def shrunk() -> float:
    """The gain on digits with ten labels now, as a share of what the first study saw."""
    first = recorded("first_study")
    rows = first["settings"]["digits, 10 labels"]["rows"]
    before = [a - b for a, b in zip(rows["layermatch"]["accuracy"], rows["fixmatch"]["accuracy"])]
    now = stats.differences(study("two_by_two"), "digits, 10 labels", "layermatch", "fixmatch")
    assert not set(first["seeds"]) & set(study("two_by_two")["seeds"])
    return sum(now) / sum(before)


def grows(what: str) -> float:
    """A step at the largest of the measured sizes, over one at the smallest."""
    times = list(recorded("cifar_cpu")["scaling"][what].values())
    return times[-1] / times[0]


@cache
def coverage(draws: int = 1000) -> float:
    """How often the interval of ten normal values covers their mean."""
    rng = np.random.default_rng(0)
    return sum(low <= 0 <= high for low, high in (stats.interval(rng.normal(size=10)) for _ in range(draws))) / draws


# --- the claims ----------------------------------------------------------------------------------------------------------

MAIN = ("two_by_two", "LayerMatch against FixMatch")
ALONE = tuple(("two_by_two", q) for q in ("Grad-ReLU alone", "Avg-Clustering alone", "Avg-Clustering on top of Grad-ReLU", "the gate"))
PLAIN = ("two_by_two", "plain alternatives")
OVER, UNDER = ("partner", "FreeMatch against FixMatch"), ("partner", "LayerMatch against FreeMatch")
ON_TOP = (("partner", "LayerMatch on top of FreeMatch"), ("partner", "Grad-ReLU on top of FreeMatch"))
OWN = ("low_threshold", "LayerMatch against FixMatch, each at its own tau")
OWN_FREE = ("low_threshold", "LayerMatch at its own tau against FreeMatch")
NOISE = ("noise", "LayerMatch against FixMatch")
CUTS = ("depth", "every cut against FixMatch")
KNOBS = ("sensitivity", "LayerMatch against FixMatch")
MOMENTA = ("sensitivity", "averaged centres against moving ones")
NB03, NB04, NB05, NB08 = (
    f"notebooks/{name}.ipynb"
    for name in ("03_gradient_interference", "04_grad_relu", "05_avg_clustering", "08_ablation_and_claims")
)

short = lambda settings: {s.removeprefix("digits, 10 labels, ") for s in settings}
plain_signs = lambda: {(c.setting, c.other): c.sign for c in family(*PLAIN)}
undecided = lambda other: [sign for (_, o), sign in plain_signs().items() if o == other] == [0, 0]

# What more than one sentence says.
main_gain = lambda: where(*MAIN, 1) == {"digits, 10 labels"}
largest_with_ten_labels = lambda: set(sorted(m := means(*ALONE[0]), key=m.get)[-2:]) == set(SCARCE)
not_the_threshold = lambda: plain_signs()["digits, 10 labels", "fixmatch at layermatch's mask rate"] == 1
own_tau_pays = lambda: where(*OWN, 1) == set(SCARCE)
behind_freematch = lambda: where(*OWN_FREE, -1) == set(SCARCE)
agreeing_errors = lambda: short(where(*NOISE, 1)) == {"no noise", "pair 0.3", "pair 0.6"}
largest_without_errors = lambda: short({max(m := means(*NOISE), key=m.get)}) == {"no noise"}


def layers_differ() -> bool:
    """Alignment lower in the classifier in seven settings, benefit in three of digits; neither higher anywhere."""
    alignment, benefit = (across_layers(q) for q in ("alignment", "benefit"))
    lower = {s for s, v in benefit.items() if v == -1}
    return (
        list(alignment.values()).count(-1) == 7
        and lower == {f"digits, {n} labels" for n in (10, 20, 40)}
        and 1 not in {*alignment.values(), *benefit.values()}
    )


CLAIMS = [
    Claim(README, "Here FixMatch and LayerMatch are close. With one label per class of digits LayerMatch is ahead in the study of ten seeds; three may show it or not:",
          lambda: abs(means(*MAIN)["mnist1d, 20 labels"]) < 0.02 and main_gain(), (MAIN,)),
    # What the studies say
    Claim(README, "FixMatch beats the fair supervised row (same labels, same views, same steps) in seven of eight settings; on MNIST-1D with 100 labels it is undecided.",
          lambda: where("two_by_two", "pseudo-labels at all", 1) == every() - {"mnist1d, 100 labels"}
          and where("two_by_two", "pseudo-labels at all", 0) == {"mnist1d, 100 labels"},
          (("two_by_two", "pseudo-labels at all"),)),
    Claim(README, "**At a common recipe LayerMatch beats FixMatch in one of eight settings**: digits with one label per class. The other seven are undecided, and nowhere is a loss decided.",
          lambda: main_gain() and where(*MAIN, 0) == every() - {"digits, 10 labels"}, (MAIN,)),
    Claim(README, "Neither Grad-ReLU nor Avg-Clustering alone, nor the gate, nor Avg-Clustering on top of Grad-ReLU makes a difference that is decided in any setting; the largest means of Grad-ReLU are with ten labels.",
          lambda: all(where(*q, 0) == every() for q in ALONE)
          and largest_with_ten_labels(), ALONE),
    Claim(README, "A stricter threshold does not explain the gain on digits.",
          not_the_threshold, (PLAIN,)),
    Claim(README, "But with ten seeds LayerMatch cannot be told apart from FixMatch whose classifier takes pseudo-labels with a smaller weight, chosen on validation samples.",
          lambda: undecided("smaller weight in the classifier") and len(study("two_by_two")["seeds"]) == 10, (PLAIN,)),
    Claim(README, "Giving the averaged centres the length of the current ones changes nothing that is decided.",
          lambda: undecided("layermatch, rescaled centers"), (PLAIN,)),
    Claim(README, "FreeMatch, with constants chosen on validation samples, beats both FixMatch and LayerMatch in the same six of eight settings, and the two strategies add nothing to it that is decided.",
          lambda: where(*OVER, 1) == where(*UNDER, -1) == every() - {"digits, 40 labels", "digits, 100 labels"}
          and all(where(*q, 0) == every() for q in ON_TOP), (OVER, UNDER, *ON_TOP)),
    Claim(README, "Nor is it a lower τ: chosen anew between 0.3 and 0.8 on validation samples, FixMatch's stays where it was, at 0.8.",
          lambda: set(recorded("recipes")["tau of fixmatch"]["chosen"].values()) == {"tau 0.8"}, others="recipes.json"),
    Claim(README, "Its own τ, chosen on validation samples, is lower than FixMatch's: 0.3 on MNIST-1D, 0.65 on digits.",
          lambda: recorded("recipes")["tau of layermatch"]["chosen"] == {"mnist1d": "tau 0.3", "digits": "tau 0.65"}, others="recipes.json"),
    Claim(README, "Each at its own, LayerMatch beats FixMatch in ten of ten seeds of either; FreeMatch stays ahead of it.",
          lambda: all(c.sign == 1 and min(c.differences) > 0 and len(c.differences) == 10 for c in family(*OWN))
          and own_tau_pays() and behind_freematch(), (OWN, OWN_FREE)),
    Claim(README, "With ten labels of digits and pseudo-labels spoilt on purpose, LayerMatch's gain is decided where the errors of a class all go into the same wrong class (30 and 60 %), and not where they scatter or follow the network's own confusions.",
          lambda: agreeing_errors() and where(*NOISE, -1) == set(), (NOISE,)),
    Claim(README, "Nowhere is its mean as large as without such errors.",
          largest_without_errors, (NOISE,)),
    Claim(README, "With ten labels of MNIST-1D, keeping them out from any convolution upwards costs accuracy; on digits this is decided for conv 2 alone, though the means of the deep cuts are far below 0, too.",
          lambda: rows_where(*CUTS, -1) == {*(("mnist1d, 10 labels", f"cut from conv {k}") for k in (1, 2, 3)), ("digits, 10 labels", "cut only conv 2")}
          and all(c.mean < -0.03 for c in family(*CUTS) if c.row in ("cut from conv 1", "cut from conv 2")), (CUTS,)),
    Claim(README, "The cut at the classifier has the highest mean in both settings, and is undecided after correction for eighteen comparisons.",
          best_cut, (CUTS,)),
    Claim(README, "On digits with ten labels its mean gain is above 0 at every τ, μ and λ_u that was tried, decided in four of seven cases; it is largest where pseudo-labels weigh most (λ_u = 3) and smallest where they weigh least (λ_u = 0.3).",
          lambda: min((m := means(*KNOBS)).values()) > 0 and sum(c.sign for c in family(*KNOBS)) == 4 and len(m) == 7
          and (min(m, key=m.get), max(m, key=m.get)) == ("digits, 10 labels, lambda_u = 0.3", "digits, 10 labels, lambda_u = 3.0"), (KNOBS,)),
    Claim(README, "Averaged centres against moving ones are undecided at every m.", lambda: [c.sign for c in family(*MOMENTA)] == [0] * 4, (MOMENTA,)),
    Claim(README, "Late in FixMatch the classifier's alignment with the gradient one really wants is below that of the first convolution in seven of eight settings, its layer benefit in three, all of them digits; neither is above it anywhere.",
          layers_differ, others="study_two_by_two.json: late_benefit"),
    Claim(README, "A first study, with other seeds (1000 to 1009) and the same recipe, had put LayerMatch's gain on digits with ten labels twice as high.",
          lambda: 0.4 < shrunk() < 0.6 and recorded("first_study")["seeds"] == list(range(1000, 1010)), (MAIN,), "first_study.json"),
    # What the evidence says, inside the network
    Claim(README, "Keeping the pseudo-label gradient out of the classifier alone wins on digits and has the highest mean of all cuts in both settings (on MNIST-1D its interval includes 0, and the dense layer fc may be cut as well).",
          lambda: side(cuts("digits, 10 labels")["classifier"]) == "+" and side(cuts("mnist1d, 10 labels")["classifier"]) == "0"
          and all(max(c := cuts(s), key=lambda row: sum(c[row])) == "classifier" for s in SCARCE)
          and side(cuts("mnist1d, 10 labels")["from fc"]) == "0", others="evidence.json: depth"),
    Claim(README, "Cutting from conv 2 or conv 1 upwards costs accuracy clearly. With the gate no difference can be seen.",
          lambda: all(side(cuts(s)[f"from conv {k}"]) == "-" and side(cuts(s)["gate"]) == "0" for s in SCARCE for k in (1, 2)), others="evidence.json: depth"),
    Claim(README, "In FixMatch the pseudo-label gradient of conv 1 points towards that of all true labels in all four settings; the classifier's alignment is clearly lower in each.",
          lambda: all(side(late(t, "conv 1", "alignment")) == "+" and side(lead(t, "alignment")) == "-" for t in training().values())
          and len(training()) == 4, others="evidence.json: training"),
    Claim(README, "The layer *benefit* is clearly lower in the classifier with one label per class, clearly higher with 40 labels of MNIST-1D, and nowhere clearly negative: the strong form of the paper's claim does not show at this scale.",
          lambda: {s: side(lead(t, "benefit")) for s, t in training().items()}
          == {"mnist1d, 10 labels": "-", "mnist1d, 20 labels": "0", "mnist1d, 40 labels": "+", "digits, 10 labels": "-"}
          and all(side(late(t, "classifier", "benefit")) != "-" for t in training().values()), others="evidence.json: training"),
    Claim(README, "At 50 % errors among confident samples, those drawn from the network's own confusions leave the classifier's benefit clearly lower than uniform ones in all four settings.",
          lambda: all(side([a - b for a, b in zip(at_half(s, "confusion"), at_half(s, "uniform"))]) == "-" for s in training())
          and len(training()) == 4, others="evidence.json: training"),
    Claim(README, "Trained under the same injected errors (uniform or pair flips, 20 and 40 %), no difference between LayerMatch and FixMatch is left after correction for five comparisons.",
          noise_undecided, others="evidence.json: noise"),
    Claim(README, "**Averaged centres are steadier, but alone they change nothing we can see**: neither accuracy nor clusters (NMI) differ from FixMatch's in either setting. Taking the labels from them does no harm that these runs could show;",
          lambda: all((frame(r["layermatch"]["clusters"]).eval("drift_W_bar < drift_W")).all() for r in recorded("evidence")["centers"].values())
          and {*centre_gain("avg_clustering", "accuracy"), *centre_gain("avg_clustering", "nmi"), *centre_gain("labels from centers", "accuracy")} == {"0"},
          others="evidence.json: centers"),
    Claim(README, "in a simulation with ten normal values they cover the mean in about 93 % of cases",
          lambda: 0.92 <= coverage() <= 0.945, others="a simulation, `coverage` in benchmarks/claims.py"),
    # Speed
    Claim(README, "the goal of 2 times on 2 cores is just missed.",
          lambda: 1.8 < min(recorded("cifar_cpu")["baseline"]["times_faster"].values()) < 2, others="cifar_cpu.json"),
    Claim(README, "A step grows with the batch and the width, not with the number of unlabelled images.",
          lambda: grows("batch size") > 3 and grows("width") > 3 and grows("unlabelled images") < 1.1, others="cifar_cpu.json"),
    Claim(README, "Notebooks that you step through, each in a minute or a little more on two cores.",
          lambda: max(map(total, (ROOT / "notebooks").glob("0*.ipynb"))) < 90,
          others="the notebooks' time stamps (benchmarks/times.py)"),
    # Sentences of the notebooks that rest on recorded results
    Claim(NB03, "With one label per class the network's own errors, at their lower rate, leave less benefit than uniform or pair errors at fifty per cent:",
          lambda: all(sum(late(training()[s], "classifier")) < min(sum(at_half(s, "uniform")), sum(at_half(s, "pair"))) for s in SCARCE),
          others="evidence.json: training"),
    Claim(NB05, "in our trainings neither use of it made a difference that one could see",
          lambda: {*centre_gain("avg_clustering", "accuracy"), *centre_gain("labels from centers", "accuracy")} == {"0"}, others="evidence.json: centers"),
    Claim(NB08, "A stricter threshold does not explain the gain on digits. But a smaller weight for pseudo-labels in the classifier, chosen on validation samples, cannot be told apart from LayerMatch with ten seeds, nor from Grad-ReLU:",
          lambda: not_the_threshold() and undecided("smaller weight in the classifier")
          and all(side(stats.differences(study("two_by_two"), s, "grad_relu", "smaller weight in the classifier")) == "0" for s in SCARCE), (PLAIN,)),
    Claim(NB08, "its published momentum of `0.999` is made for a million steps and was no good here",
          worst_momentum, others="recipes.json: freematch"),
    Claim(NB08, "FixMatch's old τ was its best again (so its two rows are the same runs), and FreeMatch stays ahead. But LayerMatch's own τ is lower, and with it LayerMatch wins on *both* data sets:",
          lambda: own_tau_pays() and behind_freematch()
          and all(not any(c.differences) for c in family("low_threshold", "FixMatch at its own tau against the recipe's")), (OWN, OWN_FREE)),
    Claim(NB08, "The gain is decided where the errors of a class all pull into one other class (perhaps because a centre is then pulled to one place; not tested); where they scatter, or follow the network's own confusions, it is not. And it does not grow with the errors: the largest mean is without any.",
          lambda: agreeing_errors() and largest_without_errors(), (NOISE,)),
    Claim(NB08, "Here the gain does not hang on one knob. It is largest where pseudo-labels weigh most: there FixMatch's mean falls (not decided), and that of LayerMatch, whose classifier does not see them, does not.",
          lambda: min((m := means(*KNOBS)).values()) > 0 and max(m, key=m.get).endswith("lambda_u = 3.0")
          and sum(fell("fixmatch")) < 0 < sum(fell("layermatch")) and side(fell("fixmatch")) == "0", (KNOBS,)),
    Claim(NB08, "in the common recipe a gain in one setting: digits, one label per class", main_gain, (MAIN,)),
    Claim(NB08, "layers differ: in direction nearly everywhere, in benefit on digits with few labels",
          layers_differ, others="study_two_by_two.json: late_benefit"),
    Claim(NB08, "nothing decided; the largest means are with ten labels",
          lambda: where(*ALONE[0], 0) == every() and largest_with_ten_labels(), (ALONE[0],)),
    Claim(NB08, "FreeMatch is ahead wherever it is decided", lambda: where(*UNDER, 1) == set() and where(*UNDER, -1) != set(), (UNDER,)),
    Claim(NB08, "FreeMatch stays ahead with ten labels", behind_freematch, (OWN_FREE,)),
    Claim(NB08, "a gain with one label per class, on both data sets", own_tau_pays, (OWN,)),
    Claim(NB08, "nothing that ten seeds show", lambda: where(*ON_TOP[0], 0) == every(), (ON_TOP[0],)),
    Claim(NB08, "a gain where the errors of a class go into one other class; for others nothing is decided",
          agreeing_errors, (NOISE,)),
]  # fmt: skip


def fell(method: str) -> list[float]:
    """What a method's accuracy gains from lambda_u = 1 to 3, seed by seed."""
    end, start = (stats.values(study("sensitivity"), s, method) for s in ("digits, 10 labels, lambda_u = 3.0", "digits, 10 labels"))
    return [end[seed] - start[seed] for seed in start]


# --- does the code still train what was recorded? ------------------------------------------------------------------------


def rows(claim: Claim) -> set[tuple[str, str, str]]:
    """(study, setting, row) of every row that a claim compares; of settings that differ in the number of labels, the scarcest."""
    found = set()
    for name, question in claim.questions:
        for c in family(name, question):
            if not any(c.setting.endswith(f" {n} labels") for n in (20, 40, 100)):
                found |= {(name, c.setting, c.row), (name, c.setting, c.other)}
    return found


def config_of(name: str, setting: str, row: str) -> TrainConfig:
    return replace(STUDIES[name]().plan[setting][row], seed=STUDIES[name]().seeds[0], log_every=STEPS, probe_every=None)


def first_steps(config: TrainConfig) -> list[float]:
    """What a training does in its first steps: losses, mask rate, and the lengths of the weights of classifier and features.

    In float64: training enlarges rounding so fast that twenty steps in float32 differ by per cents between processors.
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)  # as in the studies
    torch.set_default_dtype(torch.float64)
    try:
        data = data_of(config)
        exact = {k: v.double() for k, v in vars(data).items() if isinstance(v, torch.Tensor) and v.dtype == torch.float32}
        run = next(run for run in train_steps(config, replace(data, **exact)) if run.step == STEPS)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
    length = lambda of: float(torch.cat([w.detach().flatten() for w in of]).double().norm())
    inside = [w for name, w in run.model.named_parameters() if not name.startswith("classifier")]
    seen = run.history[-1]
    told = [seen["loss_s"], seen.get("loss_u") or 0.0, seen.get("mask_rate") or 0.0]
    return [round(v, 9) for v in (*told, length(run.model.classifier.parameters()), length(inside))]


def record() -> dict[str, list[float]]:
    """The first steps of every row that a claim rests on."""
    return {" | ".join(key): first_steps(config_of(*key)) for key in sorted(set().union(*map(rows, CLAIMS)))}


def stale(tolerance: float = 1e-6, only: Callable[[tuple], bool] = lambda key: True) -> set[tuple[str, str, str]]:
    """The rows whose training is no longer what was recorded; claims that rest on them have lost their evidence.

    tolerance: relative; what rounding does in float64 is far smaller. Rows with one config are trained once.
    """
    kept, trained, found = recorded("first_steps"), {}, set()
    for key in sorted(set().union(*map(rows, CLAIMS))):
        if only(key):
            config = config_of(*key)
            if repr(config) not in trained:
                trained[repr(config)] = first_steps(config)
            seen = trained[repr(config)]
            if any(abs(a - b) > tolerance * max(abs(b), 0.01) for a, b in zip(seen, kept[" | ".join(key)])):
                found.add(key)
    return found


# --- the list --------------------------------------------------------------------------------------------------------------


def prose(place: str) -> str:
    """A text as one line: the file, or a notebook's cells."""
    text = (ROOT / place).read_text(encoding="utf-8")
    if place.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return " ".join(text.split())


def evidence(claim: Claim) -> str:
    told = [f"study_{name}.json, {q}: {stats.outcome(family(name, q))}" for name, q in claim.questions]
    return "; ".join([*told, *[claim.others] * bool(claim.others)])


def found_in_notebooks() -> Iterator[tuple[str, str]]:
    """(notebook, line) of every statement that a notebook makes about its own runs: "✓ ..." or "✗ ..."."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if re.search(r"^claim\(", "".join(cell["source"]), re.MULTILINE):
                for output in cell["outputs"]:
                    yield from ((path.name, line) for line in "".join(output.get("text", "")).splitlines() if line.startswith(("✓", "✗")))


def table() -> str:
    """All claims with their evidence, as Markdown."""
    lines = ["| holds | where | claim | evidence |", "|---|---|---|---|"]
    for c in CLAIMS:
        lines.append(f"| {'yes' if c.holds() else 'NO'} | {c.place.removeprefix('notebooks/')} | {c.text} | {evidence(c)} |")
    for place, line in found_in_notebooks():
        text, _, shown = line[2:].partition(" [")
        lines.append(f"| {'yes' if line[0] == '✓' else 'NO'} | {place} | {text} | the notebook's own run: {shown.rstrip(']')} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the first steps of every row as the code trains them now")
    if parser.parse_args().record:
        kept = json.dumps(record(), indent=1).encode()
        write_atomically(RESULTS / "first_steps.json", lambda f: f.write(kept))
        return 0
    listed = table()
    print(listed)
    wrong = listed.count("\n| NO |")
    print(f"\n{listed.count(chr(10)) - 1} claims, {wrong} without support.", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
