"""The README tells the truth: its numbers are those of the recorded results, its map and commands are real."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from layermatch_lite import TrainConfig, stats
from layermatch_lite.labs.noise import NoiseState
from layermatch_lite.report import frame, late
from layermatch_lite.stats import verdict
from layermatch_lite.study import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def benchmark(name, results=""):
    """The module and, unless it has none, its recorded results."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if results is None:
        return module, None
    return module, json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


STUDIES = ("two_by_two", "partner", "low_threshold", "noise", "depth", "sensitivity")


def study(name):
    return load(ROOT / "benchmarks" / "results" / f"study_{name}.json")


@pytest.mark.parametrize("name", STUDIES)
def test_the_studies_tables(name):
    found = study(name)
    assert stats.comparison_tables(found) in README
    assert len(found["seeds"]) >= 10


def test_the_studies_pictures():
    figures, _ = benchmark("figures", None)
    for name, picture in (("study", figures.strategies), ("partner", figures.partner)):
        assert f"![{picture()[1]}](figures/{name}.png)" in README


def test_what_the_readme_concludes_follows_from_the_corrected_comparisons():
    def signs(name, question):
        return {(c.setting, c.other): c.sign for c in stats.family(study(name), question)}

    def where(name, question, sign):
        return {setting for (setting, _), found in signs(name, question).items() if found == sign}

    every = set(study("two_by_two")["plan"])
    assert where("two_by_two", "pseudo-labels at all", 1) == every - {"mnist1d, 100 labels"}
    assert where("two_by_two", "LayerMatch against FixMatch", 1) == {"digits, 10 labels"}
    for question in ("Grad-ReLU alone", "Avg-Clustering alone", "Avg-Clustering on top of Grad-ReLU", "the gate"):
        assert where("two_by_two", question, 0) == every, f"{question}: decided nowhere"
    assert where("two_by_two", "LayerMatch against FixMatch", -1) == set()
    plain = signs("two_by_two", "plain alternatives")
    assert {at for at, sign in plain.items() if sign} == {("digits, 10 labels", "fixmatch at layermatch's mask rate")}
    for question, sign in (("FreeMatch against FixMatch", 1), ("LayerMatch against FreeMatch", -1)):
        assert where("partner", question, sign) == every - {"digits, 40 labels", "digits, 100 labels"}
    for question in ("LayerMatch on top of FreeMatch", "Grad-ReLU on top of FreeMatch"):
        assert where("partner", question, 0) == every
    cuts = {(c.setting, c.row): c for c in stats.family(study("depth"), "every cut against FixMatch")}
    assert {at for at, c in cuts.items() if c.sign == -1} == {
        *(("mnist1d, 10 labels", f"cut from conv {k}") for k in (1, 2, 3)),
        ("digits, 10 labels", "cut only conv 2"),
    }
    for setting in ("mnist1d, 10 labels", "digits, 10 labels"):
        assert max((c for at, c in cuts.items() if at[0] == setting), key=lambda c: c.mean).row == "cut classifier"
        assert cuts[setting, "cut classifier"].sign == 0
    under_noise = stats.family(study("noise"), "LayerMatch against FixMatch")
    noisy = {c.setting.removeprefix("digits, 10 labels, "): c for c in under_noise}
    assert {at for at, c in noisy.items() if c.sign} == {"no noise", "pair 0.3", "pair 0.6"}
    assert max(noisy.values(), key=lambda c: c.mean) is noisy["no noise"]
    strategies = study("two_by_two")
    end = lambda s, layer, q: stats.values(strategies, s, "fixmatch", f"late_benefit/{layer}/{q}")
    ends = {q: {s: (end(s, "classifier", q), end(s, "conv 1", q)) for s in every} for q in ("alignment", "benefit")}
    apart = {q: {s: [a[k] - b[k] for k in a if k in b] for s, (a, b) in of.items()} for q, of in ends.items()}
    lower = {q: {s for s, sign in of.items() if sign == -1} for q, of in stats.decide(apart).items()}
    assert lower["alignment"] == every - {"mnist1d, 10 labels"}
    assert lower["benefit"] == {f"digits, {n} labels" for n in (10, 20, 40)}
    assert not any(sign == 1 for of in stats.decide(apart).values() for sign in of.values())
    knobs = stats.family(study("sensitivity"), "LayerMatch against FixMatch")
    assert all(c.mean > 0 for c in knobs) and sum(c.sign for c in knobs) == 4 and len(knobs) == 7
    by_gain = [c.setting.removeprefix("digits, 10 labels, ") for c in sorted(knobs, key=lambda c: c.mean)]
    assert (by_gain[0], by_gain[-1]) == ("lambda_u = 0.3", "lambda_u = 3.0")
    assert not any(c.sign for c in stats.family(study("sensitivity"), "averaged centres against moving ones"))
    low = {q: stats.family(study("low_threshold"), q) for q in study("low_threshold")["families"]}
    assert all(c.sign == 1 for c in low["FreeMatch against FixMatch at its own tau"])
    assert all(c.sign == -1 for c in low["LayerMatch at its own tau against FreeMatch"])
    won = low["LayerMatch against FixMatch, each at its own tau"]
    assert all(c.sign == 1 and min(c.differences) > 0 for c in won) and len(won) == 2
    _, recipes = benchmark("recipes")
    assert set(recipes["tau of fixmatch"]["chosen"].values()) == {"tau 0.8"}
    assert recipes["tau of layermatch"]["chosen"] == {"mnist1d": "tau 0.3", "digits": "tau 0.65"}


def test_a_gain_seen_once_shrinks_when_seen_again():
    first = json.loads((ROOT / "benchmarks" / "results" / "first_study.json").read_text(encoding="utf-8"))
    rows = first["settings"]["digits, 10 labels"]["rows"]
    before = [a - b for a, b in zip(rows["layermatch"]["accuracy"], rows["fixmatch"]["accuracy"])]
    now = stats.differences(study("two_by_two"), "digits, 10 labels", "layermatch", "fixmatch")
    assert 0.4 < sum(now) / sum(before) < 0.6, "about half"
    assert not set(first["seeds"]) & set(study("two_by_two")["seeds"])


def test_the_evidences_tables_and_pictures():
    evidence, results = benchmark("evidence")
    figures, _ = benchmark("figures", None)
    assert evidence.show(results).strip() in README
    assert figures.depth()[1] in README
    assert len(results["seeds"]) >= 10
    recipes, chosen = benchmark("recipes")
    assert not set(results["seeds"]) & (set(study("two_by_two")["seeds"]) | set(chosen["seeds"])), "fresh seeds"


def test_what_the_readme_says_of_the_inside_follows_from_the_intervals():
    evidence, results = benchmark("evidence")
    sign = lambda values: verdict(values, "+", "-", "0")
    measured = {s: frame(part["benefit"]) for s, part in results["training"].items()}
    pairs = lambda t, q: [b - a for a, b in zip(late(t, "conv 1", q), late(t, "classifier", q))]
    for t in measured.values():
        assert sign(late(t, "conv 1", "alignment")) == "+" and sign(pairs(t, "alignment")) == "-", (
            "in all four settings"
        )
        assert sign(late(t, "classifier", "benefit")) != "-", "nowhere harmful"
    lower = {s for s, t in measured.items() if sign(pairs(t, "benefit")) == "-"}
    assert lower == {"mnist1d, 10 labels", "digits, 10 labels"}
    for setting, rows in results["depth"].items():
        cut = {row: evidence.against(rows, row, "nothing") for row in rows if row != "nothing"}
        best = max(cut, key=lambda row: sum(cut[row]))
        assert best == "classifier" and sign(cut["gate"]) == "0"
        assert sign(cut["classifier"]) == ("+" if setting.startswith("digits") else "0")
        for row in ("from conv 2", "from conv 1"):
            assert sign(cut[row]) == "-", row
    for part in results["training"].values():
        at = (
            frame(part["under_noise"])
            .query("step == 600 and rate == 0.5 and layer == 'classifier'")
            .sort_values("seed")
        )
        own, alike = (list(at[at["kind"] == kind]["benefit"]) for kind in ("confusion", "uniform"))
        assert sign([a - b for a, b in zip(own, alike)]) == "-"
    for setting in ("mnist1d, 10 labels", "digits, 10 labels"):  # said in notebook 03
        at = frame(results["training"][setting]["under_noise"]).query(
            "step == 600 and rate == 0.5 and layer == 'classifier'"
        )
        assert (
            sum(late(measured[setting], "classifier")) / 10
            < at.groupby("kind")["benefit"].mean()[["uniform", "pair"]].min()
        )
    for rows in results["centers"].values():
        accuracy = evidence.accuracies(rows)
        end = {
            name: frame(row["clusters"]).query("step == 600").sort_values("seed")["nmi"] for name, row in rows.items()
        }
        assert sign(evidence.against(accuracy, "avg_clustering", "fixmatch")) == "0"
        assert sign(evidence.against(accuracy, "labels from centers", "fixmatch")) == "0"
        assert sign(evidence.against(end, "avg_clustering", "fixmatch")) == "0"
        moved = frame(rows["layermatch"]["clusters"])
        assert (moved["drift_W_bar"] < moved["drift_W"]).all(), "steadier"
    trained = evidence.accuracies(results["noise"])
    kinds = dict.fromkeys(row.split(", ")[1] for row in trained)
    p = [stats.p_value(evidence.against(trained, f"layermatch, {kind}", f"fixmatch, {kind}")) for kind in kinds]
    assert min(stats.holm(p)) > 0.05, "nothing decided"


def test_the_speed_table():
    speed, results = benchmark("speed")
    assert speed.show(results) in README


def test_the_labs_speed_table():
    labs, results = benchmark("labs")
    assert labs.show(results) in README
    assert set(results["kernel"]) == set(labs.SLIDERS)


def test_the_tables_at_cifar10s_size_are_the_recorded_ones():
    measured = json.loads((ROOT / "benchmarks" / "results" / "cifar_cpu.json").read_text(encoding="utf-8"))
    assert benchmark("cifar", None)[0].show(measured) in README
    miniature, recipe = benchmark("miniature")
    assert miniature.show() in README
    watchable = [name for name, candidate in miniature.CANDIDATES.items() if candidate["threshold"] == 0.8]
    assert recipe["chosen"] == max(watchable, key=lambda name: sum(recipe["rows"][name]))
    preset = TrainConfig.preset("cifar_cpu")
    assert all(getattr(preset, k) == v for k, v in (miniature.SIZE | miniature.CANDIDATES[recipe["chosen"]]).items())


def test_the_labs_picture_has_the_alt_text_of_its_run():
    told = json.loads((ROOT / "benchmarks" / "results" / "noise_lab.json").read_text(encoding="utf-8"))
    assert f"![{told['alt']}](figures/noise_lab.png)" in README
    assert NoiseState.from_link(told["link"]).kind in told["alt"]


def test_recipes_were_chosen_on_seeds_that_the_study_does_not_use():
    recipes, chosen = benchmark("recipes")
    assert not set(chosen["seeds"]) & set(study("two_by_two")["seeds"])
    for dataset, candidate in chosen["chosen"].items():
        config = TrainConfig.preset("demo_cpu", dataset=dataset)
        for name, value in recipes.CANDIDATES[candidate].items():
            assert getattr(config, name) == value, f"{dataset}: the preset is the chosen recipe"
    assert recipes.choose(chosen["rows"]) == chosen["chosen"]
    for name, candidates in recipes.OWN.items():
        assert recipes.choose_own(chosen[name]["rows"]) == chosen[name]["chosen"]
        for dataset, candidate in chosen[name]["chosen"].items() if name == "freematch" else ():
            config = TrainConfig.preset("demo_cpu", dataset=dataset, method="freematch")
            assert all(getattr(config, k) == v for k, v in candidates[candidate].items())


def test_the_map_names_every_module():
    modules = {p.name for p in (ROOT / "layermatch_lite").rglob("*.py")} - {"__init__.py", "__main__.py", "make_mnist1d.py"}
    assert modules <= set(re.findall(r"`(\w+\.py)`", README))


def test_every_make_target_and_file_it_names_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"(?:`|^)make (\w[\w-]*)", README, re.MULTILINE))
    assert "demo" in named and named <= set(targets)
    for path in re.findall(r"\]\(((?:figures|notebooks|layermatch_lite)/[^)]+)\)", README):
        assert (ROOT / path).exists(), path
