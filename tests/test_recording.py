"""Recorded runs: what they hold, that recording changes nothing, and that a file is read safely."""

import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

from layermatch_lite import InputError, TrainConfig, load_data, train, train_steps
from layermatch_lite.runs import recording as recording_module
from layermatch_lite.runs.recording import SHIPPED, Recording, list_recorded, load_recorded, record, reduce

SMALL = dict(dataset="blobs", num_labels=4, steps=10, batch_size=8, device="cpu")


@pytest.fixture(scope="module")
def recording():
    return record(TrainConfig(method="layermatch", **SMALL), snapshots=5, sample=50, components=8)


def test_what_it_holds(recording):
    assert recording.steps.tolist() == [0, 2, 4, 6, 8, 10]
    S, N, C = 6, 50, 4
    assert recording.labels.shape == recording.confidence.shape == (S, N)
    assert recording.features.shape == (S, N, 8) and recording.features.dtype == np.float16
    assert recording.W.shape == recording.W_bar.shape == (S, C, 64)
    assert recording.confusion.shape == (S, C, C) and (recording.confusion.sum((1, 2)) == 1000).all()
    data = load_data("blobs", 4, seed=0)
    assert (recording.y_true == data.y_unlabelled[recording.sample].numpy()).all()
    assert recording.accuracy == recording.history[-1]["accuracy"]
    assert {r["step"] for r in recording.layer_benefit} == set(recording.steps.tolist())
    assert np.array_equal(recording.W[0], recording.W_bar[0]) and not np.array_equal(
        recording.W[-1], recording.W_bar[-1]
    )
    assert (recording.mask == (recording.confidence >= 0.8))[np.abs(recording.confidence - 0.8) > 1e-3].all()


def test_recording_does_not_change_the_run():
    config = TrainConfig(method="layermatch", **SMALL)
    assert record(config, snapshots=3, sample=20).history == train(config).history


def test_ctrl_c_keeps_the_snapshots_so_far(monkeypatch, tmp_path):
    def interrupted(config, data, **_):
        for run in train_steps(config, data):
            yield run
            if run.step == 7:
                raise KeyboardInterrupt

    monkeypatch.setattr(recording_module, "train_steps", interrupted)
    r = record(TrainConfig(method="fixmatch", **SMALL), snapshots=5, sample=20)
    assert r.steps.tolist() == [0, 2, 4, 6]
    r.save(tmp_path / "part.npz")
    assert np.array_equal(Recording.load(tmp_path / "part.npz").labels, r.labels)


def test_labels_are_those_of_the_model_at_that_step():
    config = TrainConfig(method="fixmatch", **SMALL)
    r, data = record(config, snapshots=1), load_data("blobs", 4, seed=0)
    model = train(config).model.eval()
    x = (data.x_unlabelled[r.sample] - data.mean) / data.std
    p = model(x).softmax(1)
    assert (p.argmax(1).numpy() == r.labels[-1]).all()
    np.testing.assert_allclose(p.amax(1).detach().numpy(), r.confidence[-1], atol=1e-3)
    assert np.array_equal(model.classifier.weight.detach().numpy(), r.W[-1]) and np.array_equal(r.W, r.W_bar)


def test_the_reduction_keeps_distances_within_its_share():
    g = np.random.default_rng(0)
    z = [g.normal(size=(30, 4)) @ g.normal(size=(4, 20)) for _ in range(2)]  # rank 4 each, 8 together
    reduced, explained = reduce(z, 8)
    assert explained.sum() == pytest.approx(1) and reduced.dtype == np.float16
    a, b = np.concatenate(z), reduced.reshape(60, 8).astype(float)
    distances = lambda v: np.linalg.norm(v[:, None] - v[None], axis=-1)
    np.testing.assert_allclose(distances(b), distances(a), atol=0.05)


def test_a_file_comes_back_whole(recording, tmp_path):
    path = tmp_path / "run.npz"
    recording.save(path)
    again = Recording.load(path)
    for name, value in vars(recording).items():
        other = getattr(again, name)
        assert (
            np.array_equal(value, other) and value.dtype == other.dtype
            if isinstance(value, np.ndarray)
            else value == other
        ), name
    with zipfile.ZipFile(path) as f:
        assert not any(b"pickle" in f.read(n)[:200] for n in f.namelist())


def rewrite(path, recording, **changes):
    """The recording with parts of its file replaced; a dict changes the meta record."""
    recording.save(path)
    with np.load(path) as f:
        content = {k: f[k] for k in f.files}
    meta = json.loads(str(content["meta"]))
    for k, v in changes.items():
        if isinstance(v, np.ndarray):
            content[k] = v
        else:
            meta[k] = v
    np.savez(path, **content | {"meta": np.array(json.dumps(meta))})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"format": "something else"}, "not a recording"),
        ({"version": 99}, "format version 99"),
        ({"config": {"dataset": "blobs", "speed": 1}}, "damaged"),
        ({"config": None}, "damaged"),
        ({"labels": np.zeros((2, 3))}, "damaged"),
        ({"labels": np.full((6, 50), 4, np.int16)}, "labels from 4 to 4, of 4 classes"),
        ({"steps": np.arange(3, dtype=np.int32)}, "damaged"),
        ({"W": np.zeros((6, 3, 64), np.float32)}, "damaged"),
        ({"history": 3}, "damaged"),
        ({"about": {}}, "damaged"),
        ({"surprise": np.zeros(2)}, "damaged"),
    ],
)
def test_a_file_that_does_not_fit(recording, tmp_path, changes, words):
    rewrite(tmp_path / "run.npz", recording, **changes)
    with pytest.raises(InputError, match=words):
        Recording.load(tmp_path / "run.npz")


def test_foreign_files_execute_nothing(recording, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was executed"), "w"))

    recording.save(tmp_path / "whole.npz")
    files = {
        "truncated.npz": (tmp_path / "whole.npz").read_bytes()[:2000],
        "empty.npz": b"",
        "text.npz": b"hello",
        "pickle.npz": pickle.dumps(Evil()),
        "torch.npz": None,
        "object.npz": None,
    }
    torch.save({"x": 1}, tmp_path / "torch.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    files["single.npy"] = None
    np.savez(tmp_path / "object.npz", meta=np.array(Evil(), dtype=object), allow_pickle=True)
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="damaged|not a recording"):
            Recording.load(tmp_path / name)
    assert not (tmp_path / "was executed").exists()
    with pytest.raises(InputError, match="does not exist"):
        Recording.load(tmp_path / "nothing.npz")
    with pytest.raises(InputError, match="is a folder"):
        Recording.load(tmp_path)


def test_saving_never_loses_what_was_there(recording, tmp_path, monkeypatch):
    recording.save(tmp_path / "run.npz")
    before = (tmp_path / "run.npz").read_bytes()

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", broken)
    with pytest.raises(InputError, match="disk full"):
        recording.save(tmp_path / "run.npz")
    assert (tmp_path / "run.npz").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "wrong", [dict(snapshots=0), dict(snapshots=11), dict(sample=0), dict(components=0), dict(snapshots=1.5)]
)
def test_numbers_that_make_no_recording(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        record(TrainConfig(**SMALL), **wrong)


def test_freematch_is_recorded(tmp_path):
    config = TrainConfig(dataset="two_moons", num_labels=4, method="freematch", steps=4, device="cpu")
    record(config, snapshots=2, sample=20).save(tmp_path / "run.npz")
    assert Recording.load(tmp_path / "run.npz").mask.shape == (3, 20)


def test_the_shipped_recordings():
    names = list_recorded()
    assert {"mnist1d_fixmatch", "mnist1d_layermatch"} <= set(names)
    assert {f"cifar10_{n}_{m}" for n in (250, 4000) for m in ("supervised", "fixmatch", "layermatch")} <= set(names)
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.npz")) < 10e6
    for name in names:
        r = load_recorded(name)
        if r.config.dataset == "cifar10":
            assert name == f"cifar10_{r.config.num_labels}_{r.config.method}" and "readout" in r.history[-1]
            assert len(r.steps) == 21 and r.steps[-1] == r.config.steps
            assert r.data_name == "cifar10 (JPEG copy)" and r.prints is not None and "/" not in json.dumps(r.about)
            continue
        assert name == f"{r.config.dataset}_{r.config.method}" and len(r.steps) == 21 and r.steps[-1] == r.config.steps
        data = load_data(r.config.dataset, r.config.num_labels, seed=r.config.seed)
        assert data.fingerprint == r.about["fingerprint"], "recorded on the data that the package ships"
        assert (data.y_unlabelled[r.sample].numpy() == r.y_true).all()
        assert r.explained.sum() > 0.8
    with pytest.raises(InputError, match="recording='cifar' is unknown"):
        load_recorded("cifar")


@pytest.mark.slow
def test_a_shipped_recording_is_what_its_config_gives():
    """Recorded by this code. Another processor may round otherwise, which grows while training; the start must agree."""
    shipped = load_recorded("digits_layermatch")
    threads = torch.get_num_threads()
    torch.set_num_threads(shipped.about["environment"]["threads"])
    again = record(shipped.config, snapshots=20)
    torch.set_num_threads(threads)
    assert (again.labels[0] == shipped.labels[0]).mean() > 0.99
    np.testing.assert_allclose(again.W[0], shipped.W[0], rtol=1e-6)
    assert (again.labels[1] == shipped.labels[1]).mean() > 0.9
    assert again.accuracy == pytest.approx(shipped.accuracy, abs=0.1)
