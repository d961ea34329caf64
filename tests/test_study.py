"""Studies: resumed without repeating, kept whole, and refused where plan and file do not belong together."""

import errno
import json
import os
from dataclasses import replace

import pytest
import studies
import torch

from layermatch_lite import InputError, TrainConfig
from layermatch_lite.runs.recording import Recording
from layermatch_lite.studies import files, study
from layermatch_lite.studies.files import load
from layermatch_lite.studies.report import watched
from layermatch_lite.studies.study import Study, carry_out

TINY = TrainConfig(dataset="two_moons", num_labels=4, batch_size=8, mu=2, steps=8, log_every=2, device="cpu")


def tiny(seeds=(0, 1), **changes) -> Study:
    rows = {m: replace(TINY, method=m, **changes) for m in ("supervised", "fixmatch")}
    also = {"supervised": rows["supervised"], "layermatch": replace(TINY, method="layermatch", probe_every=4)}
    return Study("tiny", "?", seeds, {"A": rows, "B": also}, {"which?": [("A", "fixmatch", "supervised")]})


@pytest.fixture
def trained(monkeypatch):
    """Every config that is really trained, and a way to stop after some; in this process, which is quicker."""
    seen, limit = [], [None]

    def run_all(configs, *, each, watch, **_):
        from layermatch_lite.runs.compare import Outcome
        from layermatch_lite.runs.train import data_of, train_steps

        for i, config in enumerate(configs):
            if limit[0] is not None and len(seen) >= limit[0]:
                raise KeyboardInterrupt
            found, data, memory = [], data_of(config), {}
            for run in train_steps(config, data):
                if watch is not None and (part := watch(run, data, memory)) is not None:
                    found.append(part)
            seen.append(config)
            each(i, Outcome(config, run.history, run.seconds, run.environment, found))

    monkeypatch.setattr(study, "run_all", run_all)
    return seen, limit


def test_a_study_trains_its_plan_and_no_run_twice(tmp_path, trained):
    content = carry_out(tiny(), tmp_path / "s.json")
    seen, _ = trained
    assert len(seen) == 6, "the supervised runs of both settings are the same"
    rows = [("A", "supervised"), ("A", "fixmatch"), ("B", "supervised"), ("B", "layermatch")]
    order = [(r["setting"], r["row"], r["seed"]) for r in content["runs"]]
    assert order == [(*row, seed) for seed in (0, 1) for row in rows], "whole seeds, one after the other"
    found = {(r["setting"], r["row"], r["seed"]): r for r in load(tmp_path / "s.json")["runs"]}
    a, b = (dict(found[s, "supervised", 1]) for s in "AB")
    assert a.pop("setting") != b.pop("setting") and a == b
    assert set(found["B", "layermatch", 0]["late_benefit"]) == {"fc 1", "fc 2", "classifier"}
    assert found["A", "fixmatch", 0]["mask_rate"] is not None and "late_benefit" not in found["A", "fixmatch", 0]


def test_a_stopped_study_continues_without_repeating(tmp_path, trained):
    whole = carry_out(tiny(), tmp_path / "whole.json")["runs"]
    seen, limit = trained
    seen.clear()
    limit[0] = 2
    with pytest.raises(KeyboardInterrupt):
        carry_out(tiny(), tmp_path / "s.json")
    assert len(load(tmp_path / "s.json")["runs"]) == 3, "two runs, one of them in two settings"
    limit[0] = None
    resumed = carry_out(tiny(), tmp_path / "s.json")["runs"]
    assert len(seen) == 6 == len(set(map(str, seen)))
    strip = lambda runs: [{k: v for k, v in r.items() if k != "seconds"} for r in json.loads(json.dumps(runs))]
    rounded = [files.rounded(r) for r in strip(whole)]
    assert [files.rounded(r) for r in strip(resumed)] == rounded
    seen.clear()
    carry_out(tiny(), tmp_path / "s.json")
    assert not seen


def test_runs_of_another_study_are_taken_over(tmp_path, trained):
    carry_out(tiny(), tmp_path / "a.json")
    seen, _ = trained
    seen.clear()
    other = Study("other", "?", (1, 2), {"C": {"m": replace(TINY, method="fixmatch", seed=77)}}, {})
    content = carry_out(other, tmp_path / "b.json", others=[tmp_path / "a.json", tmp_path / "nothing.json"])
    assert [c.seed for c in seen] == [2]
    mine = {r["seed"]: r for r in content["runs"]}
    (theirs,) = [r for r in load(tmp_path / "a.json")["runs"] if (r["row"], r["seed"]) == ("fixmatch", 1)]
    assert mine[1]["accuracy"] == theirs["accuracy"] and mine[1]["setting"] == "C"


def test_runs_made_under_another_torch_are_not_taken_over(tmp_path, trained):
    content = carry_out(tiny(), tmp_path / "a.json")
    content["environment"]["torch"] = "1.0"
    (tmp_path / "a.json").write_bytes(files.as_json(content))
    seen, _ = trained
    seen.clear()
    carry_out(replace(tiny(), name="again"), tmp_path / "b.json", others=[tmp_path / "a.json"])
    assert len(seen) == 6
    with pytest.warns(UserWarning, match="torch 1.0, not"):
        carry_out(tiny(), tmp_path / "a.json")


def count_steps(run, data, memory):
    memory["n"] = memory.get("n", 0) + 1
    row = {"step": run.step, "n": memory["n"], "gone": None, "nan": float("nan"), "name": "a" if run.step < 4 else "b"}
    return {"steps": [row]} | ({"end": [{"accuracy": run.history[-1]["accuracy"]}] * 2} if run.finished else {})


def test_what_a_study_watches_is_kept_with_each_run(tmp_path, trained):
    plain = carry_out(tiny(), tmp_path / "plain.json")
    seen, _ = trained
    seen.clear()
    watching = replace(tiny(), name="watching", watch=count_steps)
    carry_out(watching, tmp_path / "s.json", others=[tmp_path / "plain.json"])
    assert len(seen) == 6, "runs that were not watched are not reused"
    found = load(tmp_path / "s.json")
    t = watched(found, "A", "fixmatch", "steps")
    assert list(t["seed"]) == [0] * 9 + [1] * 9 and list(t["step"]) == [*range(9)] * 2 and list(t["n"]) == [*range(1, 10)] * 2
    assert t["gone"].isna().all() and t["nan"].isna().all() and list(t["name"])[3:5] == ["a", "b"]
    end = watched(found, "A", "fixmatch", "end")
    mine = {r["seed"]: r["accuracy"] for r in plain["runs"] if (r["setting"], r["row"]) == ("A", "fixmatch")}
    assert [mine[seed] for seed in end["seed"]] == pytest.approx(list(end["accuracy"]), abs=1e-3)
    for wrong in (("Z", "fixmatch", "steps"), ("A", "layermatch", "steps"), ("A", "fixmatch", "stepz")):
        with pytest.raises(InputError, match="is unknown; choose from"):
            watched(found, *wrong)
    seen.clear()
    carry_out(replace(tiny(), name="third"), tmp_path / "third.json", others=[tmp_path / "s.json"])
    assert not seen and not any("tables" in r for r in load(tmp_path / "third.json")["runs"])


@pytest.mark.parametrize(
    "other, named",
    [
        (tiny(threshold=0.5), r"threshold=0.8 in 'A', 'supervised', not 0.5"),
        (tiny(seeds=(0, 1, 2)), r"seeds \[0, 1\], not \[0, 1, 2\]"),
        (replace(tiny(), name="mine"), "name 'tiny', not 'mine'"),
        (replace(tiny(), families={}), "other comparisons"),
        (Study("tiny", "?", (0, 1), {"A": tiny().plan["A"]}, {}), "another row 'supervised' in 'B'"),
    ],
    ids=["settings", "seeds", "name", "families", "rows"],
)
def test_a_file_of_another_plan_is_refused_and_left_alone(tmp_path, trained, other, named):
    carry_out(tiny(), tmp_path / "s.json")
    before = (tmp_path / "s.json").read_bytes()
    with pytest.raises(InputError, match=f"s.json holds a study with {named}; move it away"):
        carry_out(other, tmp_path / "s.json")
    assert (tmp_path / "s.json").read_bytes() == before


@pytest.mark.parametrize(
    "spoil, named",
    [
        (lambda c: c | {"version": 99}, "format version 99, this package reads 1"),
        (lambda c: c | {"format": "a recipe"}, "is not a study of layermatch_lite"),
        (lambda c: {k: v for k, v in c.items() if k != "plan"}, "has no 'plan'"),
        (lambda c: c | {"runs": [{"setting": "A"}]}, "row"),
        (lambda c: c | {"runs": [3]}, "damaged"),
        (lambda c: [], "is not a study"),
    ],
)
def test_files_that_are_no_such_study(tmp_path, trained, spoil, named):
    content = carry_out(tiny(), tmp_path / "s.json")
    (tmp_path / "bad.json").write_text(json.dumps(spoil(content)))
    with pytest.raises(InputError, match=named):
        load(tmp_path / "bad.json")


def test_a_file_that_is_no_json_and_one_that_is_not_there(tmp_path):
    (tmp_path / "s.json").write_text("not {json")
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "s.json")
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nothing.json")


def test_a_table_of_a_benefit_that_nobody_measured():
    from layermatch_lite.runs.compare import run_all
    from layermatch_lite.studies.report import layer_table

    outcomes = run_all([TINY], workers=1, progress=False)
    with pytest.raises(InputError, match="probe_every"):
        layer_table(outcomes, "late")


def test_a_study_of_nothing():
    with pytest.raises(InputError, match="'x' has no seeds or no rows"):
        Study("x", "?", (), {"s": {"a": TINY}}, {})


def test_a_comparison_of_rows_that_are_not_trained():
    with pytest.raises(InputError, match="'which' compares 'b' in 's', which the plan does not train"):
        Study("x", "?", (0,), {"s": {"a": TINY}}, {"which": [("s", "a", "b")]})


@pytest.mark.slow
def test_a_study_in_worker_processes(tmp_path):
    content = carry_out(tiny(), tmp_path / "s.json", workers=2, progress=False)
    assert len(content["runs"]) == 8 and content == load(tmp_path / "s.json") | {"runs": content["runs"]}


# --- the studies of benchmarks/ --------------------------------------------------------------------------------------


def test_an_unknown_study_is_named(capsys):
    assert studies.main(["nois"]) == 1
    assert "study='nois'" in (message := capsys.readouterr().err) and "'noise'?" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_study_for_a_gpu_wants_one(tmp_path, capsys):
    assert studies.main(["cifar10_gpu", "--out", str(tmp_path / "x.json")]) == 1
    assert "device='cuda' is not available here" in capsys.readouterr().err and not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("study", [studies.cifar10(), studies.cifar10_gpu()])
def test_the_studies_of_cifar10_have_the_rows_and_seeds_they_need(study):
    assert len(study.seeds) >= 3
    for rows in study.plan.values():
        assert {"supervised", "fixmatch", "layermatch"} <= set(rows)
    assert {"freematch"} <= set(study.plan["cifar10, 250 labels"])


@pytest.mark.slow
def test_a_study_keeps_curves_and_records_its_first_seed(tmp_path):
    rows = {m: replace(TINY, method=m, steps=20) for m in ("fixmatch", "layermatch")}
    plan = {"moons": rows | {"again": rows["fixmatch"]}}
    small = Study("small", "?", (0, 1), plan, {}, curves=("accuracy", "mask_rate"), recorded=True)
    found = carry_out(small, tmp_path / "small.json", workers=2, progress=False)
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["two_moons_4_fixmatch.npz", "two_moons_4_layermatch.npz"]
    r = Recording.load(tmp_path / "two_moons_4_layermatch.npz")
    run = next(run for run in found["runs"] if (run["row"], run["seed"]) == ("layermatch", 0))
    assert r.config.seed == 0 and r.accuracy == run["accuracy"]
    curve = watched(found, "moons", "layermatch", "history").query("seed == 0")
    assert curve.accuracy.tolist() == pytest.approx([h["accuracy"] for h in r.history], rel=1e-5)


def test_a_disk_that_fills_up_ends_no_study_and_costs_no_finished_run(trained, monkeypatch, tmp_path):
    seen, _ = trained
    real, left = os.fsync, [3]  # the file at the start, and two runs

    def fills_up(file):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.warns(UserWarning, match="No space left on device.*its file lacks the newest runs"):
        assert len(carry_out(tiny(), tmp_path / "tiny.json", progress=False)["runs"]) == 8, "the tables can be made of them"
    held = load(tmp_path / "tiny.json")["runs"]
    monkeypatch.setattr(os, "fsync", real)
    before = len(seen)
    whole = carry_out(tiny(), tmp_path / "tiny.json", progress=False)
    assert held and all(run in load(tmp_path / "tiny.json")["runs"] for run in held)
    assert len(seen) - before < len({json.dumps(c.as_dict()) for *_, c in tiny().jobs()}) and len(whole["runs"]) == 8
