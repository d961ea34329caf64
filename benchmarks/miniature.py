"""CIFAR-10 in miniature, for a CPU: its recipe, and the runs recorded with it. Not a CIFAR-10 result: see benchmarks/gpu.py.

    python benchmarks/miniature.py recipe      choose the preset cifar_cpu on validation samples (about 15 minutes on two cores)
    python benchmarks/miniature.py record      record the runs that come with the package (about 30 minutes)
    python benchmarks/miniature.py show        print the table of the recorded runs

The first two need CIFAR-10 in the cache folder (`layermatch-lite doctor` says where), as official files or as images, and
continue where they were stopped. Candidates are judged by plain FixMatch's validation accuracy, never by that of our method; the
test set is not used. The choice is among those with tau = 0.8: the best one with 0.95 is no better than its two seeds differ,
and in so short a run it leaves hardly a label over tau, so nothing to watch. The recorded runs have seed 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from search import Kept, record_missing, search, table

from layermatch_lite import TrainConfig, load_data, load_recorded
from layermatch_lite.runs.recording import SHIPPED
from layermatch_lite.runs.run import environment

RESULTS = Path(__file__).parent / "results" / "miniature.json"
SIZE = dict(dataset="cifar10", model="small_cnn", batch_size=32, mu=4, steps=1000, device="cpu")
CANDIDATES = {
    "tau 0.95, labelled views weak": dict(threshold=0.95, strong_labelled=0.0, lr=0.03),
    "tau 0.95, half strong": dict(threshold=0.95, strong_labelled=0.5, lr=0.03),
    "tau 0.8, half strong": dict(threshold=0.8, strong_labelled=0.5, lr=0.03),
    "tau 0.8, half strong, lr 0.1": dict(threshold=0.8, strong_labelled=0.5, lr=0.1),
    "tau 0.8, all strong": dict(threshold=0.8, strong_labelled=1.0, lr=0.03),
}
WATCHABLE = [name for name, candidate in CANDIDATES.items() if candidate["threshold"] == 0.8]
SEEDS = (100, 101)
METHODS = ("fixmatch", "layermatch", "supervised", "grad_relu", "avg_clustering")
LABELS = (40, 250)
SEED = 0


def recipe(out: Path) -> None:
    found = Kept(out, seeds=list(SEEDS), num_labels=250, num_val=5000)
    found["environment"] = environment(torch.device("cpu")) | {"data": load_data("cifar10", 250).copy or "official files"}
    settings = SIZE | dict(method="fixmatch", num_labels=250, num_val=5000, log_every=1000)
    plan = {
        name: {f"250 labels, seed {seed}": TrainConfig(**settings | candidate, seed=seed) for seed in SEEDS}
        for name, candidate in CANDIDATES.items()
    }
    search(found, found, plan, among=WATCHABLE)
    print(table(found))


def recordings(folder: Path) -> None:
    plan = {
        f"cifar10_mini_{n}_{m}": TrainConfig.preset("cifar_cpu", num_labels=n, method=m, seed=SEED, log_every=100)
        for m in METHODS
        for n in LABELS
    }
    for _ in record_missing(folder, plan):
        pass


def show() -> str:
    """The table of the recorded runs."""
    lines = ["| CIFAR-10 in miniature | " + " | ".join(f"{n} labels" for n in LABELS) + " |", "|---|---|---|"]
    for method in METHODS:
        accuracies = (load_recorded(f"cifar10_mini_{n}_{method}").accuracy for n in LABELS)
        lines.append(f"| {method} | " + " | ".join(f"{a:.3f}" for a in accuracies) + " |")
    r = load_recorded(f"cifar10_mini_{LABELS[0]}_{METHODS[0]}")
    c = r.config
    return "\n".join(lines) + (
        f"\n\nTest accuracy (EMA model) on {r.data_name}, {c.model}, {c.steps} steps of {c.batch_size * (1 + 2 * c.mu)} views on "
        f"{r.about['environment']['threads']} CPU cores, seed {c.seed} alone, torch {r.about['environment']['torch']}."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("recipe", "record", "show"))
    arguments.add_argument("--out", type=Path, help="the results file, or the folder for recordings")
    args = arguments.parse_args()
    if args.what == "recipe":
        recipe(args.out or RESULTS)
    elif args.what == "show":
        print(show())
    else:
        torch.set_num_threads(2)  # sums come out the same only with as many threads
        recordings(args.out or SHIPPED)


if __name__ == "__main__":
    main()
