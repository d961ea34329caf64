"""Results: page and README say what is recorded, recipes are those that validation chose, the code trains what was recorded."""

import json
import re
from pathlib import Path

import cifar_recipe
import first_steps
import pytest
import recipes
import results
import studies
from search import CHOSEN

from layermatch_lite import InputError, TrainConfig, load_study
from layermatch_lite.core import methods
from layermatch_lite.runs.recording import list_recorded, load_recorded
from layermatch_lite.studies import stats
from layermatch_lite.studies.files import RECORDED, load
from layermatch_lite.studies.study import _difference
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


# --- recipes ---------------------------------------------------------------------------------------------------------


def test_recipes_are_what_validation_samples_chose_on_seeds_of_their_own():
    """Every method from as many candidates and runs; a config without settings of its own gets what was chosen."""
    found = results.measured("recipes")
    used = {seed for name in results.ORDER for seed in load_study(name)["seeds"]}
    assert not set(found["seeds"]) & used and list(recipes.SEEDS) == found["seeds"]
    shared = recipes.shared(found)
    for part, plan in (("shared", recipes.shared_plan()), ("own", recipes.own_plan(shared))):
        runs = {key for key in plan if all(found_at(found[part], key))}
        assert runs == set(plan)
    tried = {(s, m): [set(runs) for runs in rows.values()] for s, of in found["own"].items() for m, rows in of.items()}
    assert len(tried) == 8 * 6 and all(runs == [{"seed 100", "seed 101", "seed 102"}] * 5 for runs in tried.values())
    assert recipes.own(found).items() <= json.loads(CHOSEN.read_text()).items()
    for dataset, numbers in recipes.own(found).items():
        for n, chosen in numbers.items():
            for method, own in chosen.items():
                where = dict(dataset=dataset, num_labels=int(n), method=method)
                assert TrainConfig(**where) == TrainConfig.from_dict(where | shared[dataset] | own)


def found_at(at: dict, key: tuple) -> list:
    for name in key:
        at = at[name]
    return [at]


def test_the_recipes_of_cifar10_are_what_validation_images_chose():
    found = results.measured("cifar_recipe")
    assert {(part, name) for part, rows in found["rows"].items() for name in rows} == set(cifar_recipe.plan())
    assert cifar_recipe.SEED not in studies.cifar10().seeds
    chosen = cifar_recipe.chosen(found)
    assert json.loads(CHOSEN.read_text())["cifar10"] == chosen
    for n, of in chosen.items():
        for method, own in of.items():
            where = dict(num_labels=int(n), method=method)
            assert TrainConfig.preset("cifar_cpu", **where) == TrainConfig.preset("cifar_cpu", **where | own)


def test_the_study_of_cifar10_is_the_planned_one_and_its_recordings_are_those_runs():
    found = load(RECORDED / "cifar10.json")
    assert not _difference(found, studies.cifar10().described())
    of = {(r["setting"], r["row"]): r for r in found["runs"] if r["seed"] == found["seeds"][0]}
    recorded = [load_recorded(name) for name in list_recorded() if name.startswith("cifar10")]
    for r in recorded:
        run = of[f"cifar10, {r.config.num_labels} labels", r.config.method]
        assert run["accuracy"] == pytest.approx(r.accuracy, abs=1e-5)
        assert run["readout"] == pytest.approx(r.history[-1]["readout"], abs=1e-5)


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
        search(kept, kept, plan, lambda configs, each: train(configs, each, stop_after=3))
    kept = Kept(tmp_path / "found.json", ignored=True)
    search(kept, kept, plan, train)
    assert trained == [config for runs in plan.values() for config in runs.values()], "each once"
    assert kept["chosen"] == "c" and Kept(tmp_path / "found.json") == kept


# --- recorded studies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", results.ORDER)
def test_a_recorded_study_is_whole_and_belongs_to_its_plan(name):
    found = load_study(name)
    assert found["name"] == name and len(found["seeds"]) >= 10
    rows = [(s, row) for s, of in found["plan"].items() for row in of]
    assert [(r["setting"], r["row"], r["seed"]) for r in found["runs"]] == [(*r, k) for k in found["seeds"] for r in rows]
    if name in studies.STUDIES:
        plan = studies.STUDIES[name]()
        assert _difference(found, plan.described()) == ""
        assert any("tables" in r for r in found["runs"]) == (plan.watch is not None)


def test_an_unknown_study_is_named_with_its_neighbour():
    with pytest.raises(InputError, match="study='sensitivit' is unknown; choose from .*'sensitivity'"):
        load_study("sensitivit")


def test_fresh_seeds():
    """main and known_noise have seeds that no run on their data preceded; those with one recipe share theirs on purpose."""
    seeds = {name: set(load_study(name)["seeds"]) for name in results.ORDER if name != "known_noise_mnist1d"}  # other data
    for name in ("main", "known_noise"):
        assert not seeds[name] & set().union(*(s for other, s in seeds.items() if other != name))


# --- does the code still train what was recorded? --------------------------------------------------------------------

MAIN = {f"main | digits, 10 labels | {row}" for row in ("fixmatch", "layermatch", "supervised")}
MAIN |= {"depth | digits, 10 labels | gate"}


def test_the_first_steps_of_every_compared_row_are_recorded():
    assert set(first_steps.rows()) == set(first_steps.recorded())


def test_the_main_rows_train_as_recorded():
    assert not first_steps.stale(MAIN.__contains__)


@pytest.mark.slow
def test_every_compared_row_trains_as_recorded():
    assert not first_steps.stale(), "carry out the studies again, or repair the code"


@pytest.mark.parametrize(
    "broken, hit", [("block", "main | {} | layermatch"), ("mean", "main | {} | fixmatch"), ("gate", "depth | {} | gate")]
)
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
    assert hit.format("digits, 10 labels") in lost
    assert "main | digits, 10 labels | supervised" not in lost


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
