"""Choosing every method's own recipe for CIFAR-10 on a CPU (preset cifar_cpu), on validation images only.

    python benchmarks/cifar_recipe.py        continues where it was stopped; delete its file and folder to start over

What all methods share (network, batches, learning rate) was settled before, in a dozen FixMatch trials on validation images that
were not kept. Here every method chooses its own setting from three candidates: its threshold tau, or what it has in place of one.
Each is one run of 600 steps, seed 100, judged by validation accuracy; test accuracy is not looked at, and the study
(benchmarks/studies.py cifar10) has other seeds. Candidates that differ by less than 0.01 are level: between them the choice is
chance.

The choices are written to layermatch_lite/runs/recipes.json, where `TrainConfig` finds them. Needs CIFAR-10 in the cache folder
(`layermatch-lite doctor` says where).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from search import Kept, best, cells, write_chosen

from layermatch_lite import TrainConfig
from layermatch_lite.runs.compare import Outcome, run_all
from layermatch_lite.runs.config import METHODS
from layermatch_lite.runs.run import environment

RESULTS = Path(__file__).parent / "results" / "cifar_recipe.json"
SEED, NUM_VAL, STEPS = 100, 5000, 600
# With few labels a step has more unlabelled samples, and sees half of the labelled ones in strong views.
SHARED = {
    250: dict(batch_size=32, mu=5, strong_labelled=0.5, steps=2400),
    4000: dict(batch_size=64, mu=2, strong_labelled=0.0, steps=4400),
}
TAUS = {f"tau {t}": dict(threshold=t) for t in (0.65, 0.8, 0.95)}
CANDIDATES = {
    "supervised": {f"strong share {s}": dict(strong_labelled=s) for s in (0.0, 0.5, 1.0)},
    "fixmatch": TAUS,
    "grad_relu": TAUS,
    "layermatch": TAUS,
    "freematch": {f"lambda {m}": dict(threshold_momentum=m, fairness=0.001) for m in (0.9, 0.99, 0.999)},
}
ROWS = {250: tuple(CANDIDATES), 4000: ("supervised", "fixmatch", "layermatch")}


def plan() -> dict[tuple[str, str], TrainConfig]:
    """{(setting and method, candidate): config}"""
    size = dict(num_val=NUM_VAL, steps=STEPS, log_every=STEPS, seed=SEED)
    config = lambda n, **own: TrainConfig.preset("cifar_cpu", num_labels=n, **SHARED[n] | own | size)
    return {
        (f"{n} labels, {method}", name): config(n, method=method, **changes)
        for n, methods in ROWS.items()
        for method in methods
        for name, changes in CANDIDATES[method].items()
    }


def chosen(kept: dict) -> dict[str, dict]:
    """{number of labels: {method: its own settings}}; methods without candidates have what all share."""

    def own(n: int, method: str) -> dict:
        rows = kept["rows"].get(f"{n} labels, {method}")
        return SHARED[n] | (CANDIDATES[method][best(rows)] if rows else {})

    return {str(n): {method: own(n, method) for method in METHODS} for n in ROWS}


def show(kept: dict) -> str:
    """What was chosen and from what, from the recorded accuracies alone."""
    lines = ["| setting | candidates, validation accuracy |", "|---|---|"]
    lines += [f"| {part} | {cells(rows)} |" for part, rows in kept["rows"].items()]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    out = arguments.parse_args().out
    kept = Kept(out, num_val=NUM_VAL, steps=STEPS, environment=environment(torch.device("cpu")) | {"threads": 1}, rows={})
    missing = {key: config for key, config in plan().items() if key[1] not in kept["rows"].get(key[0], {})}

    def note(i: int, outcome: Outcome) -> None:
        part, name = list(missing)[i]
        kept["rows"].setdefault(part, {})[name] = {f"seed {SEED}": outcome.history[-1]["val_accuracy"]}
        kept.save()

    if missing:
        run_all([*missing.values()], each=note, keep=out.with_suffix(".runs"), title="candidates")
    print(show(kept))
    write_chosen({"cifar10": chosen(kept)})


if __name__ == "__main__":
    main()
