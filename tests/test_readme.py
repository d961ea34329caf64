"""The README tells the truth: its numbers are those of the recorded results, its map and commands are real."""

import importlib.util
import json
import re
from pathlib import Path

from layermatch_lite import TrainConfig, plots
from layermatch_lite.report import interval

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


def test_what_the_readme_concludes_follows_from_the_intervals():
    study, results = benchmark("study")

    def bounds(setting, a, b):
        return interval(study.differences(results["settings"][setting]["rows"], a, b))

    for setting in ("mnist1d, 20 labels", "mnist1d, 10 labels"):
        assert bounds(setting, "fixmatch", "supervised")[0] > 0, "pseudo-labels pay"
        low, high = bounds(setting, "layermatch", "fixmatch")
        assert low < 0 < high, "no difference to be seen"
    assert bounds("mnist1d, 20 labels", "layermatch", "fixmatch, matched mask rate")[0] > 0
    low, high = bounds("digits, 10 labels", "fixmatch", "supervised")
    assert low < 0 < high, "uncertain"
    for method in ("grad_relu", "layermatch"):
        assert bounds("digits, 10 labels", method, "fixmatch")[0] > 0, "wins clearly"
    assert bounds("digits, 10 labels", "layermatch", "fixmatch, matched mask rate")[0] > 0
    for setting in results["settings"]:
        low, high = bounds(setting, "avg_clustering", "fixmatch")
        assert low < 0 < high, "no gain"


def test_the_speed_table():
    speed, results = benchmark("speed")
    assert speed.show(results) in README


def test_recipes_were_chosen_on_seeds_that_the_study_does_not_use():
    recipes, chosen = benchmark("recipes")
    _, study = benchmark("study")
    assert not set(chosen["seeds"]) & set(study["seeds"])
    for dataset, candidate in chosen["chosen"].items():
        config = TrainConfig.preset("demo_cpu", dataset=dataset)
        for name, value in recipes.CANDIDATES[candidate].items():
            assert getattr(config, name) == value, f"{dataset}: the preset is the chosen recipe"
    assert recipes.choose(chosen["rows"]) == chosen["chosen"]


def test_the_map_names_every_module():
    modules = {p.name for p in (ROOT / "layermatch_lite").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert modules <= set(re.findall(r"`(\w+\.py)`", README))


def test_every_make_target_and_file_it_names_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"(?:`|^)make (\w[\w-]*)", README, re.MULTILINE))
    assert "demo" in named and named <= set(targets)
    for path in re.findall(r"\]\(((?:figures|notebooks|layermatch_lite)/[^)]+)\)", README):
        assert (ROOT / path).exists(), path
