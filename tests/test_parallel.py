"""One run on two processes (gloo, on the CPU): the gradients of one, the same run after a stop, and clear refusals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import VARIANTS

from layermatch_lite import InputError, Run, TrainConfig, train, train_steps
from layermatch_lite.runs import parallel
from layermatch_lite.runs import train as train_module
from layermatch_lite.runs.parallel import check_shares, mean_over_processes, own, rank, sum_over_processes, world_size

HERE = Path(__file__).parent
SMALL = TrainConfig(num_labels=10, batch_size=8, mu=2, steps=4, log_every=4, method="fixmatch", device="cpu")


def start(*arguments, processes=1, ok=True) -> str:
    """Run a Python script or module, with torchrun where it takes two processes; returns all it printed."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)},
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    """{variant: (result on one process, result on two)}"""
    found, folders = [], [tmp_path_factory.mktemp(f"processes{n}") for n in (1, 2)]
    for n, folder in enumerate(folders, 1):
        start(HERE / "two_processes.py", folder, processes=n)
        found.append({name: torch.load(folder / f"{name}.pt", weights_only=True) for name in VARIANTS})
    return {name: (found[0][name], found[1][name]) for name in VARIANTS} | {"folders": folders}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_give_the_gradients_of_one(one_and_two, name):
    one, two = one_and_two[name]
    for key, g in one["gradients"].items():
        assert g.any() and (two["gradients"][key] - g).norm() <= 1e-5 * g.norm(), key


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_give_the_run_of_one(one_and_two, name):
    """Weights, EMA and what is recorded, the layer benefit included; only the confident half is taken share by share."""
    one, two = one_and_two[name]
    for part in ("weights", "ema"):
        for key, value in one[part].items():
            torch.testing.assert_close(two[part][key], value, rtol=1e-4, atol=1e-5)
    assert len(one["history"]) == len(two["history"]) == 2
    for a, b in zip(one["history"], two["history"]):
        assert a.keys() == b.keys()
        for key in a.keys() - {"confident_half_accuracy", "layer_benefit", "pseudo_label_counts", "thresholds"}:
            assert b[key] == pytest.approx(a[key], rel=1e-5), key
        assert a.get("pseudo_label_counts") == b.get("pseudo_label_counts")
        assert a.get("thresholds") == (b.get("thresholds") and pytest.approx(b["thresholds"], rel=1e-5))
    for a, b in zip(one["history"][-1]["layer_benefit"], two["history"][-1]["layer_benefit"]):
        assert b["benefit"] == pytest.approx(a["benefit"], rel=1e-2, abs=1e-3)


@pytest.mark.slow
def test_the_variants_differ(one_and_two):
    """Else the comparison would show little: each variant's first step is its own; so the gate has something to remove."""
    first = {
        name: torch.cat([g.flatten() for g in one_and_two[name][0]["gradients"].values()]) for name in VARIANTS
    }
    names = list(first)
    apart = lambda a, b: (first[a] - first[b]).norm() > 1e-3 * first[a].norm()  # far more than roundings
    assert not [(a, b) for i, a in enumerate(names) for b in names[:i] if not apart(a, b)]


@pytest.mark.slow
def test_torchrun_resumes_a_stopped_run(one_and_two, tmp_path):
    folder = one_and_two["folders"][1]
    path = tmp_path / "half.run"
    path.write_bytes((folder / "half.run").read_bytes())
    assert Run.load(path).step == 3
    out = start("-m", "layermatch_lite", "train", "--resume", path, processes=2)
    assert out.count("test accuracy") == 1, "one process reports"
    whole, resumed = Run.load(folder / "whole.run"), Run.load(path)
    assert whole.environment["processes"] == 2 and resumed.step == 6
    assert resumed.history == whole.history
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values()):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match="started on 2 processes, here are 1.*nproc_per_node=2"):
        train(resume=path)


@pytest.fixture
def one_of_two(monkeypatch):
    """This process takes itself for one of two."""
    for module in (parallel, train_module):
        monkeypatch.setattr(module, "world_size", lambda: 2)


def test_a_run_of_one_process_is_refused_by_two(tmp_path, request):
    train(SMALL, save=tmp_path / "one.pt")
    request.getfixturevalue("one_of_two")
    with pytest.raises(InputError, match="started on 1 processes, here are 2.*without torchrun"):
        next(train_steps(resume=tmp_path / "one.pt"))


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(batch_size=9), "batch_size=9 cannot be shared equally by 2 processes; give batch_size=10"),
        (dict(noise="confusion", noise_rate=0.2), "noise='confusion' looks at the whole batch"),
        (dict(compile=True, cuda_graphs=True), "cuda_graphs=True is for one process"),
    ],
)
def test_settings_that_two_processes_cannot_share(one_of_two, wrong, words):
    with pytest.raises(InputError, match=words):
        next(train_steps(SMALL.changed(**wrong)))


def test_one_named_gpu_for_two_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    with pytest.raises(InputError, match="device='cuda:0' names one GPU"), parallel.processes("cuda:0"):
        pass


def test_alone_nothing_changes(g):
    x = torch.randn(6, generator=g)
    assert world_size() == 1 and rank() == 0 and check_shares(7) is None
    assert own(x).equal(x) and mean_over_processes(x) is x and sum_over_processes(x) is x
