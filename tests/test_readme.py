"""The README tells the truth: its tables are those of the recorded results, its map and commands are real.

What it concludes from them is in test_claims.
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from layermatch_lite import TrainConfig
from layermatch_lite.labs.noise_lab import NoiseState
from layermatch_lite.studies import stats
from layermatch_lite.studies.study import load

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


def test_the_evidences_tables_and_pictures():
    evidence, results = benchmark("evidence")
    figures, _ = benchmark("figures", None)
    assert evidence.show(results).strip() in README
    assert figures.depth()[1] in README
    assert len(results["seeds"]) >= 10
    recipes, chosen = benchmark("recipes")
    assert not set(results["seeds"]) & (set(study("two_by_two")["seeds"]) | set(chosen["seeds"])), "fresh seeds"


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
