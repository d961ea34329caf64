"""Results: page and README say what is recorded, recipes are those that validation chose, the code trains what was recorded."""

import re
from pathlib import Path

import first_steps
import miniature
import pytest
import recipes
import results
import studies
from search import best

from layermatch_lite import InputError, TrainConfig, load_study
from layermatch_lite.core import methods
from layermatch_lite.labs.noise_lab import NoiseState
from layermatch_lite.studies import stats
from layermatch_lite.variants import gate as gates

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_make_results_writes_stands_there():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == results.page(), "run make results"
    assert results.fill(README) == README, "run make results"
    assert len(re.findall("<!-- number:", README)) <= 10


def test_a_wrong_number_is_corrected_and_an_unknown_one_named():
    text = "In <!-- number: settings_total -->9<!-- end --> settings."
    assert results.fill(text) == "In <!-- number: settings_total -->8<!-- end --> settings." == results.fill(results.fill(text))
    filled = results.fill("<!-- table: layermatch_fixmatch --><!-- end -->")
    assert "| digits, 10 labels |" in filled and results.fill(filled) == filled
    with pytest.raises(KeyError, match="nothing"):
        results.fill("<!-- number: nothing -->1<!-- end -->")


def test_every_number_can_be_made():
    assert all(re.fullmatch(r"[-+]?\d+(\.\d+)?", str(make())) for make in results.NUMBERS.values())


def test_the_noise_labs_picture_has_its_alt_text():
    kept = results.measured("noise_lab")
    assert NoiseState.from_link(kept["link"]).kind in kept["alt"]


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_recipes_are_what_validation_samples_chose_on_seeds_of_their_own():
    found = results.measured("recipes")
    used = {seed for name in results.ORDER for seed in load_study(name)["seeds"]}
    assert not set(found["seeds"]) & used and list(recipes.SEEDS) == found["seeds"]
    for part in ("common", *recipes.OWN):
        for dataset in recipes.DATASETS:
            of, plan = found[part][dataset], recipes.plan(part, dataset)
            assert {name: set(runs) for name, runs in of["rows"].items()} == {name: set(runs) for name, runs in plan.items()}
            assert of["chosen"] == best(of["rows"])
            if part in ("common", "freematch"):
                preset = TrainConfig.preset("demo_cpu", dataset=dataset, method="freematch")
                chosen = recipes.CANDIDATES if part == "common" else recipes.OWN[part]
                settings = {k: v for k, v in chosen[of["chosen"]].items() if k != "method"}
                assert preset == TrainConfig.preset("demo_cpu", dataset=dataset, method="freematch", **settings)
    assert found["matched_threshold"] == {s: recipes.matched_threshold(r) for s, r in found["mask_rates"].items()}


def test_the_miniatures_recipe_is_the_best_of_those_that_can_be_watched():
    found = results.measured("miniature")
    assert found["chosen"] == best(found["rows"], miniature.WATCHABLE)
    settings = miniature.SIZE | miniature.CANDIDATES[found["chosen"]]
    assert TrainConfig.preset("cifar_cpu") == TrainConfig.preset("cifar_cpu", **settings)


def test_a_search_continues_and_chooses(tmp_path):
    from search import Kept, search

    plan = {name: {f"seed {k}": (name, k) for k in range(2)} for name in ("a", "b", "c")}
    trained = []

    def train(configs, each, stop_after=99):
        for i, config in enumerate(configs):
            if i == stop_after:
                raise KeyboardInterrupt
            trained.append(config)
            each(i, type("Run", (), {"history": [{"val_accuracy": "abc".index(config[0]) + config[1] / 10}]}))

    kept = Kept(tmp_path / "found.json")
    with pytest.raises(KeyboardInterrupt):
        search(kept, kept, plan, train=lambda configs, each: train(configs, each, stop_after=3))
    kept = Kept(tmp_path / "found.json", ignored=True)
    search(kept, kept, plan, train=train)
    assert trained == [config for runs in plan.values() for config in runs.values()], "each once"
    assert kept["chosen"] == "c" and Kept(tmp_path / "found.json") == kept
    search(kept, kept, plan, among=("a", "b"), train=train)
    assert kept["chosen"] == "b" and len(trained) == 6


# --- recorded studies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", results.ORDER)
def test_a_recorded_study_is_whole_and_belongs_to_its_plan(name):
    from layermatch_lite.studies.study import _difference

    found = load_study(name)
    assert found["name"] == name and len(found["seeds"]) >= 10
    rows = [(s, row) for s, of in found["plan"].items() for row in of]
    assert [(r["setting"], r["row"], r["seed"]) for r in found["runs"]] == [(*r, k) for k in found["seeds"] for r in rows]
    if name in studies.STUDIES:
        plan = studies.STUDIES[name]()
        assert _difference(found, plan.described()) == ""
        assert all("tables" in r for r in found["runs"]) == (plan.watch is not None)


def test_an_unknown_study_is_named_with_its_neighbour():
    with pytest.raises(InputError, match="study='two_by_tw' is unknown; choose from .*'two_by_two'"):
        load_study("two_by_tw")


def test_fresh_seeds():
    """Studies of the same question share their seeds on purpose; the first study, and the look inside, have others."""
    seeds = {name: set(load_study(name)["seeds"]) for name in results.ORDER}
    assert not seeds["first"] & seeds["two_by_two"] and not seeds["layers"] & (seeds["first"] | seeds["two_by_two"])


# --- does the code still train what was recorded? --------------------------------------------------------------------

MAIN = {f"two_by_two | digits, 10 labels | {row}" for row in ("fixmatch", "layermatch", "supervised", "gate")}


def test_the_first_steps_of_every_compared_row_are_recorded():
    assert set(first_steps.rows()) == set(first_steps.recorded())


def test_the_main_rows_train_as_recorded():
    assert not first_steps.stale(MAIN.__contains__)


@pytest.mark.slow
def test_every_compared_row_trains_as_recorded():
    assert not first_steps.stale(), "carry out the studies again, or repair the code"


@pytest.mark.parametrize("broken, hit", [("block", "layermatch"), ("mean", "fixmatch"), ("gate", "gate")])
def test_a_broken_method_is_noticed(monkeypatch, broken, hit):
    loss = methods.unlabelled_loss

    def other_loss(z_strong, classifier, q, **settings):
        if broken == "block":  # nothing is kept from the classifier
            return loss(z_strong, classifier, q, **settings | {"grad_relu": "off"})
        return loss(z_strong, classifier, q, **settings) / q.mask.float().mean().clamp(min=0.01)  # over the masked samples

    if broken == "gate":
        monkeypatch.setattr(gates, "gate", lambda g_u, g_s: g_u)
    else:
        monkeypatch.setattr(methods, "unlabelled_loss", other_loss)
    lost = first_steps.stale(MAIN.__contains__)
    assert f"two_by_two | digits, 10 labels | {hit}" in lost
    assert "two_by_two | digits, 10 labels | supervised" not in lost


@pytest.mark.slow
def test_a_recorded_run_comes_out_again():
    """Except for a few samples: other processors round differently, and training amplifies it. Its tables come out, too."""
    from layermatch_lite.runs.compare import run_all
    from layermatch_lite.studies.report import watched
    from layermatch_lite.studies.study import summary

    study = studies.centers()
    setting, row, config = next(j for j in study.jobs() if j[:2] == ("digits, 10 labels", "layermatch"))
    (outcome,) = run_all([config], watch=study.watch, progress=False)
    kept, found = summary(outcome), load_study("centers")
    before = stats.values(found, setting, row)[config.seed]
    assert abs(kept["accuracy"] - before) < 0.03
    run = {"setting": setting, "row": row, "seed": config.seed, **kept}
    now = watched(found | {"runs": [run]}, setting, row, "training")
    then = watched(found, setting, row, "training").query("seed == @config.seed")
    assert set(then) <= set(now) and list(now["step"]) == list(then["step"])
    early = now["step"] <= 120
    assert list(now[early]["drift_W"]) == pytest.approx(list(then[early.to_numpy()]["drift_W"]), rel=0.2)
