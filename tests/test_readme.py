"""The README tells the truth: its numbers are those of the recorded results, its map and commands are real."""

import importlib.util
import json
import re
from pathlib import Path

from layermatch_lite import plots

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_studys_tables_and_picture():
    study, results = benchmark("study")
    assert study.show(results).strip() in README
    assert plots.study_figure(results)[1] in README, "the picture's alt text"
    assert len(results["seeds"]) >= 10


def test_the_speed_table():
    speed, results = benchmark("speed")
    assert speed.show(results) in README


def test_recipes_were_chosen_on_seeds_that_the_study_does_not_use():
    recipes, chosen = benchmark("recipes")
    _, study = benchmark("study")
    assert not set(chosen["seeds"]) & set(study["seeds"])
    from layermatch_lite import TrainConfig

    best = recipes.CANDIDATES[chosen["chosen"]]
    assert all(getattr(TrainConfig(), name) == value for name, value in best.items()), (
        "the defaults are the chosen recipe"
    )


def test_the_map_names_every_module():
    modules = {p.name for p in (ROOT / "layermatch_lite").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert modules <= set(re.findall(r"`(\w+\.py)`", README))


def test_every_make_target_and_file_it_names_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`?make (\w[\w-]*)", README)) - {"and", "it"} <= set(targets)
    for path in re.findall(r"\]\(((?:figures|notebooks|layermatch_lite)/[^)]+)\)", README):
        assert (ROOT / path).exists(), path
