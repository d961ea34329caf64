"""Choosing every method's own recipe for the embedded data, on validation samples only.

    python benchmarks/recipes.py        continues where it was stopped; delete results/recipes.json to start over

First, once per data set, what all methods share: the learning rate and the share of labelled samples in strong views, judged by
FixMatch, the baseline. Then, for each number of labels, every method's own setting: five candidates each, the same five
thresholds tau where a method has one, three seeds each, judged by the method's own validation accuracy. The test set is not used,
and the studies (benchmarks/studies.py) use other seeds. Of equal candidates the first is chosen; a choice at their edge might be
surpassed beyond it. What all methods share was chosen by FixMatch, which favours FixMatch if anything.

The choices are written to layermatch_lite/runs/recipes.json, where `TrainConfig` finds them.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from search import Kept, best, cells, write_chosen

from layermatch_lite import TrainConfig
from layermatch_lite.runs.compare import Outcome, run_all

SEEDS = range(100, 104)
HERE = Path(__file__).parent
KEPT = HERE / "results" / "recipes.json"
NUM_VAL = {"mnist1d": 1000, "digits": 300}
LABELS = (10, 20, 40, 100)

# Of FixMatch, for what all methods share.
SHARED = {
    "tau 0.8": dict(threshold=0.8, strong_labelled=0.5, lr=0.03),
    "tau 0.95": dict(threshold=0.95, strong_labelled=0.5, lr=0.03),
    "tau 0.8, all labelled views strong": dict(threshold=0.8, strong_labelled=1.0, lr=0.03),
    "tau 0.8, lr 0.1": dict(threshold=0.8, strong_labelled=0.5, lr=0.1),
}
SHARED_LABELS = {"mnist1d": (20, 10), "digits": (10,)}

TAUS = {f"tau {t}": dict(threshold=t) for t in (0.3, 0.5, 0.65, 0.8, 0.95)}
OWN = {
    "supervised": {f"strong share {s}": dict(strong_labelled=s) for s in (0.0, 0.25, 0.5, 0.75, 1.0)},
    "fixmatch": TAUS,
    "grad_relu": TAUS,
    "avg_clustering": TAUS,
    "layermatch": TAUS,
    # It sets its own tau. The published momentum of 0.999 needs thousands of steps to leave 1/C.
    "freematch": {
        f"lambda {m}, w_f {w}": dict(threshold_momentum=m, fairness=w)
        for m, w in ((0.9, 0.001), (0.9, 0.01), (0.99, 0.0), (0.99, 0.001), (0.99, 0.01))
    },
}


def shared_plan() -> dict[tuple, TrainConfig]:
    """{(data set, candidate, run): config}"""
    return {
        (dataset, name, f"{dataset}, {n} labels, seed {seed}"): TrainConfig(
            dataset=dataset, num_labels=n, num_val=NUM_VAL[dataset], method="fixmatch", device="cpu", log_every=150, seed=seed,
            **changes,
        )
        for dataset in NUM_VAL
        for name, changes in SHARED.items()
        for n in SHARED_LABELS[dataset]
        for seed in SEEDS
    }  # fmt: skip


def own_plan(shared: dict[str, dict]) -> dict[tuple, TrainConfig]:
    """{(setting, method, candidate, run): config}. shared: {data set: what its methods share}"""
    return {
        (f"{dataset}, {n} labels", method, name, f"seed {seed}"): TrainConfig.from_dict(
            dict(dataset=dataset, num_labels=n, num_val=NUM_VAL[dataset], method=method, device="cpu", log_every=150, seed=seed)
            | shared[dataset]
            | changes
        )
        for seed in SEEDS[:3]
        for dataset in NUM_VAL
        for n in LABELS
        for method, candidates in OWN.items()
        for name, changes in candidates.items()
    }


def train(kept: Kept, part: str, plan: dict[tuple, TrainConfig]) -> dict:
    """Train what `kept[part]` lacks of a plan; note each run's validation accuracy there, and its mask rate late in training."""

    def place(key: tuple) -> dict:
        at = kept.setdefault(part, {})
        for name in key[:-1]:
            at = at.setdefault(name, {})
        return at

    missing = [key for key in plan if key[-1] not in place(key)]

    def note(i: int, outcome: Outcome) -> None:
        rate = outcome.late("mask_rate")
        found = {"val_accuracy": outcome.history[-1]["val_accuracy"], "mask_rate": rate and float(f"{rate:.4g}")}
        place(missing[i])[missing[i][-1]] = found
        kept.save()

    if missing:
        run_all([plan[key] for key in missing], each=note, title=f"{part} candidates")
    return kept[part]


def accuracies(rows: dict[str, dict]) -> dict[str, dict[str, float]]:
    return {name: {run: r["val_accuracy"] for run, r in runs.items()} for name, runs in rows.items()}


def matched_threshold(methods: dict[str, dict], tau: str) -> float:
    """The threshold at which FixMatch lets as many pass as LayerMatch does at its own tau, linear between the candidates."""
    rate = lambda method, name: statistics.fmean(r["mask_rate"] for r in methods[method][name].values())
    thresholds = [c["threshold"] for c in TAUS.values()]
    masks, wanted = [rate("fixmatch", name) for name in TAUS], rate("layermatch", tau)
    if masks != sorted(masks, reverse=True) or not masks[-1] <= wanted <= masks[0]:
        raise ValueError(f"FixMatch's mask rates {masks} do not bracket {wanted}: no candidate threshold gives as many")
    return round(float(np.interp(wanted, masks[::-1], thresholds[::-1])), 3)


def shared(kept: dict) -> dict[str, dict]:
    """{data set: what its methods share}"""
    chosen = {dataset: SHARED[best(accuracies(rows))] for dataset, rows in kept["shared"].items()}
    return {dataset: {k: v for k, v in settings.items() if k != "threshold"} for dataset, settings in chosen.items()}


def own(kept: dict) -> dict[str, dict]:
    """{data set: {number of labels: {method: its own settings}}}"""

    def chosen(dataset: str, n: int) -> dict[str, dict]:
        return {m: OWN[m][best(accuracies(rows))] for m, rows in kept["own"][f"{dataset}, {n} labels"].items()}

    return {dataset: {str(n): chosen(dataset, n) for n in LABELS} for dataset in NUM_VAL}


def show(kept: dict) -> str:
    """What was chosen and from what, from the recorded accuracies alone: one line for each setting and method."""
    lines = ["| setting | method | candidates, mean validation accuracy |", "|---|---|---|"]
    lines += [f"| {dataset}, shared | fixmatch | {cells(accuracies(rows))} |" for dataset, rows in kept["shared"].items()]
    lines += [f"| {s} | {m} | {cells(accuracies(rows))} |" for s, methods in kept["own"].items() for m, rows in methods.items()]
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=KEPT)
    kept = Kept(arguments.parse_args().out, seeds=list(SEEDS))
    train(kept, "shared", shared_plan())
    train(kept, "own", own_plan(shared(kept)))
    write_chosen(own(kept))


if __name__ == "__main__":
    main()
