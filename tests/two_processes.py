"""Not a test: what `test_parallel.py` starts on one process and, with torchrun, on two. Writes gradients, weights and history."""

import sys
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from layermatch_lite import TrainConfig, train, train_steps
from layermatch_lite.runs.parallel import processes, rank

BASE = dict(
    seed=2,
    dataset="digits",
    num_labels=10,
    steps=6,
    log_every=3,
    batch_size=8,
    mu=2,
    threshold=0.105,
    strong_labelled=1.0,
    lr=0.03,
    device="cpu",
    probe_every=6,
)
VARIANTS = {
    "supervised": dict(method="supervised"),
    "fixmatch": dict(method="fixmatch"),
    "layermatch": dict(method="layermatch"),
    "gate": dict(
        method="fixmatch", grad_relu="gate", noise="pair", noise_rate=0.9
    ),  # at seed 2 they have something to remove
    "a smaller weight": dict(method="fixmatch", classifier_weight=0.3),
    "blocked": dict(method="fixmatch", blocked="conv 3"),
    "freematch": dict(method="freematch", fairness=0.5),
    "freematch, gate, two passes": dict(method="freematch", fairness=0.5, grad_relu="gate", joint_forward=False),
    "noise": dict(method="fixmatch", noise="pair", noise_rate=0.9),
}


def watched(config: TrainConfig) -> dict:
    """A run with frozen BatchNorm: its gradients at the first step, and what it ends with."""
    for run in train_steps(config):
        if run.step == 0:
            for module in run.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        if run.step == 1:
            gradients = {name: p.grad.clone() for name, p in run.model.named_parameters()}
    return {
        "gradients": gradients,
        "weights": run.model.state_dict(),
        "ema": run.ema.state_dict(),
        "history": run.history,
    }


def whole_and_half(folder: Path) -> None:
    """One run to its end, and one that is stopped at step 3 of 6."""
    config = TrainConfig.from_dict(BASE | dict(method="freematch", grad_relu="gate"))
    train(config, save=folder / "whole.run")
    for run in train_steps(config):
        if run.step == 3:
            if rank() == 0:
                run.save(folder / "half.run")
            break


def main() -> None:
    torch.set_num_threads(1)
    with processes("cpu"):
        whole_and_half(Path(sys.argv[1]))
        for name, variant in VARIANTS.items():
            found = watched(TrainConfig.from_dict(BASE | variant))
            if rank() == 0:
                torch.save(found, Path(sys.argv[1]) / f"{name}.pt")


if __name__ == "__main__":
    main()
