"""One run on two processes (gloo, on the CPU): the gradients of one, the same run after a stop, and clear refusals."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import VARIANTS

from layermatch_lite import InputError, Run, train
from layermatch_lite.runs.parallel import check_shares, mean_over_processes, own, rank, sum_over_processes, world_size

HERE = Path(__file__).parent


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
    found = []
    for n in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes{n}")
        start(HERE / "two_processes.py", folder, processes=n)
        found.append({name: torch.load(folder / f"{name}.pt", weights_only=True) for name in VARIANTS})
    return {name: (found[0][name], found[1][name]) for name in VARIANTS}


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
        name: torch.cat([g.flatten() for g in one["gradients"].values()]) for name, (one, _) in one_and_two.items()
    }
    names = list(first)
    apart = lambda a, b: (first[a] - first[b]).norm() > 1e-3 * first[a].norm()  # far more than roundings
    assert not [(a, b) for i, a in enumerate(names) for b in names[:i] if not apart(a, b)]


TRAIN = ("-m", "layermatch_lite", "train", "--device", "cpu", "--dataset", "digits", "--num-labels", "10", "--steps", "8",
         "--log-every", "4", "--batch-size", "8", "--mu", "2", "--method", "freematch", "--grad-relu", "gate")  # fmt: skip

STOP = """
import sys
from layermatch_lite import TrainConfig, train_steps
from layermatch_lite.runs.parallel import processes, rank
with processes("cpu"):
    for run in train_steps(TrainConfig.preset("demo_cpu", dataset="digits", num_labels=10, steps=8, log_every=4, batch_size=8,
                                              mu=2, method="freematch", grad_relu="gate", device="cpu")):
        if run.step == 4:
            if rank() == 0:
                run.save(sys.argv[1])
            break
"""


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A run of two processes, stopped at step 4 of 8."""
    folder = tmp_path_factory.mktemp("half")
    (folder / "stop.py").write_text(STOP)
    start(folder / "stop.py", folder / "half.pt", processes=2)
    return folder / "half.pt"


@pytest.mark.slow
def test_torchrun_trains_saves_and_goes_on_where_it_was_stopped(tmp_path, half_done):
    told = start(*TRAIN, "--out", tmp_path / "whole.pt", processes=2)
    assert told.count("test accuracy") == 1, "one process reports"
    go_on = tmp_path / "half.pt"
    go_on.write_bytes(half_done.read_bytes())
    start("-m", "layermatch_lite", "train", "--resume", go_on, processes=2)
    whole, resumed = Run.load(tmp_path / "whole.pt"), Run.load(go_on)
    assert whole.environment["processes"] == 2 and resumed.step == 8
    assert resumed.history == whole.history
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values()):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_another_number_of_processes_is_refused(tmp_path, half_done):
    with pytest.raises(
        InputError, match=r"started on 2 processes, here are 1; go on with it torchrun .*nproc_per_node=2"
    ):
        train(resume=half_done)
    start(*TRAIN, "--out", tmp_path / "one.pt")
    told = start("-m", "layermatch_lite", "train", "--resume", tmp_path / "one.pt", processes=2, ok=False)
    assert "started on 1 processes, here are 2; go on with it without torchrun" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong, told",
    [
        (("--batch-size", "9"), "batch_size=9 cannot be shared equally by 2 processes; give batch_size=10, say"),
        (("--device", "cuda:0"), "device='cuda:0' names one GPU"),
        (("--noise", "confusion", "--noise-rate", "0.2"), "noise='confusion' looks at the whole batch"),
    ],
)
def test_settings_that_two_processes_cannot_share(tmp_path, wrong, told):
    assert told in start(*TRAIN, *wrong, "--out", tmp_path / "run.pt", processes=2, ok=False)


def test_alone_nothing_changes(g):
    x = torch.randn(6, generator=g)
    assert world_size() == 1 and rank() == 0 and check_shares(7) is None
    assert own(x).equal(x) and mean_over_processes(x) is x and sum_over_processes(x) is x
