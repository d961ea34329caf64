"""Saved files that changed on the disk, that nobody could have written, or whose sizes lie: one InputError names the file."""

import io
import json
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from layermatch_lite import InputError, Recording, Run, TrainConfig, record, train
from layermatch_lite.course import predictions
from layermatch_lite.course.questions import Question
from layermatch_lite.studies import files
from layermatch_lite.studies.study import Study, carry_out
from layermatch_lite.system import cached_npz

TINY = dict(dataset="blobs", num_labels=4, steps=8, batch_size=4, mu=1, device="cpu")
FLIPS = 120


def of_run(path):
    run = Run.load(path)
    state = {name: part.state_dict() for name, part in run._stateful().items()}
    generators = {name: g.get_state() for name, g in run.generators.items()}
    return [state, generators, run.history, run.config, run.environment, run.data, run.step, run.seconds]


def of_recording(path):
    return list(vars(Recording.load(path)).values())


LOAD = {"run.pt": of_run, "recording.npz": of_recording, "study.json": files.load, "p.json": lambda p: predictions.load(Path(p))}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one file of each kind."""
    tmp = tmp_path_factory.mktemp("saved")
    train(TrainConfig(**TINY, method="layermatch"), save=tmp / "run.pt")
    record(TrainConfig(**TINY), snapshots=2, sample=20).save(tmp / "recording.npz")
    rows = {m: TrainConfig(**TINY, method=m) for m in ("fixmatch", "layermatch")}
    study = Study("mine", "Does it?", (0, 1), {"A": rows}, {"f": [("A", "layermatch", "fixmatch")]})
    carry_out(study, tmp / "study.json", progress=False, workers=1)
    for question, said, came in (
        (Question("q1", "What?", "value"), 0.5, 0.7),
        (Question("q2", "Which?", "order", items=("a", "b", "c")), ["b", "a", "c"], {"a": 1.0, "b": 2.0, "c": 3.0}),
        (Question("q3", "Where?", "curve", x=("1", "2")), [0.1, 0.2], [0.3, 0.4]),
    ):
        predictions.keep(tmp / "p.json", question, prediction=said)
        predictions.keep(tmp / "p.json", question, result=came)
    return tmp


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return all(map(same, a, b)) and len(a) == len(b) if isinstance(a, list | tuple) else a == b


@pytest.mark.parametrize("name", LOAD)
def test_one_changed_byte_is_noticed_or_changes_nothing(saved, tmp_path, name):
    """Some bytes of a zip file mean nothing to what is in it: dates, for example."""
    whole, content, rng, refused = LOAD[name](saved / name), (saved / name).read_bytes(), random.Random(0), 0
    path = tmp_path / name
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        try:
            assert same(LOAD[name](path), whole)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 0.9 * FLIPS
    for part in (0, 1, 10, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:part])
        with pytest.raises(InputError, match=name):
            LOAD[name](path)


def study_with(**changes):
    return lambda content: content | changes


def run_with(**changes):
    return lambda content: content | {"runs": [content["runs"][0] | changes, *content["runs"][1:]]}


@pytest.mark.parametrize(
    "change",
    [
        run_with(accuracy=7.3), run_with(accuracy=-0.1), run_with(accuracy="0.9"), run_with(accuracy=True),
        run_with(accuracy=None), run_with(seed=3), run_with(seed=0.0), run_with(seed=[0]), run_with(row="unheard of"),
        run_with(mask_rate=-1),
        run_with(seconds=-1), run_with(precision="fp8"), run_with(late_benefit={"conv 1": {"benefit": "much"}}),
        run_with(extra=1),
        run_with(tables={"t": {"a": {"values": [1]}, "b": {"values": [1, 2]}}}),
        run_with(tables={"t": {"a": {"levels": [1], "codes": [1]}}}),
        lambda c: c | {"runs": [*c["runs"], c["runs"][0]]}, study_with(seeds=[0, 0]), study_with(seeds=[]),
        study_with(seeds=[-1]),
        study_with(families={"f": [["A", "layermatch", "layermatch"]]}), study_with(families={"f": [["B", "a", "b"]]}),
        study_with(plan={"A": {"fixmatch": {"lr": -1}}}), study_with(name="two\nlines"), study_with(environment={}),
        study_with(version=True), study_with(surprise=1),
    ],
)  # fmt: skip
def test_a_study_that_nobody_could_have_written(saved, tmp_path, change):
    content = change(files.load(saved / "study.json"))
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="s.json"):
        files.load(tmp_path / "s.json")


def in_entry(name, **changes):
    return lambda p: p | {name: p[name] | changes}


def in_attempt(name, **changes):
    return lambda p: p | {name: p[name] | {"attempts": [p[name]["attempts"][0] | changes]}}


@pytest.mark.parametrize(
    "change",
    [
        in_attempt("q1", prediction=7.0), in_attempt("q1", prediction=float("nan")), in_attempt("q1", prediction="0.5"),
        in_attempt("q1", at="yesterday"), in_attempt("q1", at="2026-13-01T00:00:00+00:00"), in_attempt("q1", blind="yes"),
        in_attempt("q1", note="\x1b[2J"), in_attempt("q2", prediction=["a", "a", "b"]), in_attempt("q3", prediction=[0.1]),
        in_entry("q1", result=10**120), in_entry("q2", result={"a": 1}), in_entry("q1", attempts=3), in_entry("q1", extra=1),
        in_entry("q1", older=[1]), in_entry("q1", question={"name": "q1"}), lambda p: p | {"q4": p["q1"]}, lambda p: [1],
        lambda p: {f"q{k}": p["q1"] for k in range(300)},
    ],
)  # fmt: skip
def test_predictions_that_nobody_could_have_made(saved, tmp_path, change):
    made = change(predictions.load(saved / "p.json"))
    (tmp_path / "p.json").write_text(json.dumps({"format": 1, "predictions": made}))
    with pytest.raises(InputError, match="p.json"):
        predictions.load(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text())["format"] == 1, "left as it is"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(step=99), lambda c: c.update(seconds=float("nan")), lambda c: c["history"].reverse(),
        lambda c: c["history"][-1].update(accuracy=1.5), lambda c: c["history"][-1].update(loss_s=float("inf")),
        lambda c: c["data"].update(sample_shape=[10**9, 2]), lambda c: c["data"].update(classes=[1, 2, 3, 4]),
        lambda c: c["config"].update(model="wrn-604-99"), lambda c: c["config"].update(steps="many"),
        lambda c: c["environment"].update(device="quantum"), lambda c: c["state"]["centers"].update(weight=torch.zeros(1, 64)),
    ],
)  # fmt: skip
def test_a_run_that_nobody_could_have_saved(saved, tmp_path, change):
    content = torch.load(saved / "run.pt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "run.pt")
    with pytest.raises(InputError, match="run.pt"):
        Run.load(tmp_path / "run.pt")


# --- sizes ------------------------------------------------------------------------------------------------------------


def npz(path, name, header, content=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        array = io.BytesIO()
        np.lib.format.write_array_header_1_0(array, header)
        z.writestr(f"{name}.npy", array.getvalue() + content)


def test_sizes_are_read_before_contents(saved, tmp_path, monkeypatch):
    huge = {"descr": "<f4", "fortran_order": False, "shape": (20 * 10**9,)}
    npz(tmp_path / "declared.npz", "meta", huge)
    with pytest.raises(InputError, match="declared.npz.*20000000000"):
        Recording.load(tmp_path / "declared.npz")
    npz(tmp_path / "bomb.npz", "meta", huge | {"shape": (10**8,)}, bytes(4 * 10**8))
    assert (tmp_path / "bomb.npz").stat().st_size < 10**6
    monkeypatch.setattr(np, "load", None)  # to read it would fail
    with pytest.raises(InputError, match="bomb.npz.*unpack to 400000"):
        Recording.load(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("data.pkl", bytes(10**7))
    with pytest.raises(InputError, match="bomb.pt.*unpacks to 10000000"):
        Run.load(tmp_path / "bomb.pt")
    (tmp_path / "long.json").write_bytes(b" " * 6_000_000)
    with pytest.raises(InputError, match="long.json.*6000000 bytes"):
        predictions.load(tmp_path / "long.json")


@pytest.mark.parametrize("name", LOAD)
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is a pipe or a device"):
        LOAD[name](tmp_path / name)
    with pytest.raises(InputError, match="/dev/zero is a pipe or a device"):
        LOAD[name](Path("/dev/zero"))
    with pytest.raises(InputError, match="is a folder"):
        LOAD[name](tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": NaN}', "\ud800", "", "nothing", '{"format": 1e999}'])
@pytest.mark.parametrize("name", ["study.json", "p.json"])
def test_texts_that_are_not_what_they_should_be(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError, match=name):
        LOAD[name](tmp_path / name)


def test_a_file_of_an_earlier_version_has_no_checksum_and_is_read(saved, tmp_path):
    content = json.loads((saved / "study.json").read_text())
    assert content.pop("checksum")
    (tmp_path / "study.json").write_text(json.dumps(content))
    assert files.load(tmp_path / "study.json") == files.load(saved / "study.json")
    run = torch.load(saved / "run.pt", weights_only=True)
    for key in ("checksum", "mean", "std"):
        del run["data"][key]
    for key in ("image_size", "test_share", "skip_broken"):
        del run["config"][key]
    torch.save(run, tmp_path / "run.pt")
    assert train(resume=tmp_path / "run.pt").finished and "checksum" in Run.load(tmp_path / "run.pt").data, "brought up to date"


def test_a_damaged_cache_is_computed_again(tmp_path):
    compute, check = (lambda: {"a": np.arange(500)}), (lambda arrays: len(arrays["a"]) == 500)
    content = cached_npz(tmp_path / "c.npz", check, compute) and (tmp_path / "c.npz").read_bytes()
    rng = random.Random(1)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        (tmp_path / "c.npz").write_bytes(damaged)
        assert np.array_equal(cached_npz(tmp_path / "c.npz", check, compute)["a"], np.arange(500))
