"""Choosing the recipe for the embedded data, on validation samples only.

    python benchmarks/recipes.py

Every candidate is judged by the validation accuracy of plain FixMatch, the baseline, never by that of our method, and the
test set is not looked at. One recipe serves all embedded sets: the candidate with the best mean over the settings
below. Signal network and strength of the views were settled before, likewise on validation accuracy (MNIST-1D, 20 labels,
seeds 100 to 103); the seeds of the study (benchmarks/study.py) are others.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from layermatch_lite import TrainConfig
from layermatch_lite.compare import paired, run_all, spread
from layermatch_lite.files import write_atomically

SEEDS = range(100, 104)
SETTINGS = {
    "mnist1d, 20 labels": dict(dataset="mnist1d", num_labels=20, num_val=1000),
    "mnist1d, 10 labels": dict(dataset="mnist1d", num_labels=10, num_val=1000),
    "digits, 10 labels": dict(dataset="digits", num_labels=10, num_val=300),
}
CANDIDATES = {
    "tau 0.8": dict(threshold=0.8, strong_labelled=0.5, lr=0.03),
    "tau 0.95": dict(threshold=0.95, strong_labelled=0.5, lr=0.03),
    "tau 0.8, all labelled views strong": dict(threshold=0.8, strong_labelled=1.0, lr=0.03),
    "tau 0.8, lr 0.1": dict(threshold=0.8, strong_labelled=0.5, lr=0.1),
}


def val_accuracy(outcome) -> float:
    return outcome.history[-1]["val_accuracy"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "recipes.json")
    out = arguments.parse_args().out
    rows = []
    for setting, where in SETTINGS.items():
        for candidate, what in CANDIDATES.items():
            base = TrainConfig(**where | what, device="cpu", log_every=150)
            outcomes = run_all(paired(base, ("supervised", "fixmatch"), SEEDS), title=f"{setting}, {candidate}")
            row = {"setting": setting, "candidate": candidate}
            for method in ("supervised", "fixmatch"):
                row[method] = [val_accuracy(o) for o in outcomes if o.config.method == method]
            rows.append(row)
            print(
                f"{setting:20s} {candidate:36s}",
                "  ".join(
                    f"{m} {statistics.fmean(row[m]):.3f} ± {spread(row[m]):.3f}" for m in ("supervised", "fixmatch")
                ),
                flush=True,
            )
    mean = {c: statistics.fmean(v for r in rows if r["candidate"] == c for v in r["fixmatch"]) for c in CANDIDATES}
    chosen = max(mean, key=mean.get)
    print(
        "\nmean validation accuracy of FixMatch:",
        "  ".join(f"{c}: {v:.3f}" for c, v in mean.items()),
        f"\nchosen: {chosen}",
    )

    # For the control at equal mask rate: the threshold at which FixMatch speaks as often as LayerMatch does.
    recipe = TrainConfig(**CANDIDATES[chosen], device="cpu", log_every=15)
    matched = {}
    for setting, where in SETTINGS.items():
        base = replace(recipe, **where)
        target = statistics.fmean(
            o.late("mask_rate") for o in run_all(paired(base, ("layermatch",), SEEDS), title=f"{setting}, LayerMatch")
        )
        grid = sorted({round(recipe.threshold + d, 3) for d in (-0.05, 0.0, 0.05, 0.1)})
        masks = {
            t: statistics.fmean(
                o.late("mask_rate")
                for o in run_all(
                    paired(replace(base, threshold=t), ("fixmatch",), SEEDS), title=f"{setting}, FixMatch at {t}"
                )
            )
            for t in grid
        }
        best = min(grid, key=lambda t: abs(masks[t] - target))
        matched[setting] = {"threshold": best, "layermatch_mask_rate": target, "fixmatch_mask_rates": masks}
        print(
            f"{setting}: LayerMatch's mask rate {target:.3f}; FixMatch's",
            {t: round(m, 3) for t, m in masks.items()},
            f"-> {best}",
            flush=True,
        )
    content = {"seeds": list(SEEDS), "rows": rows, "mean": mean, "chosen": chosen, "matched_threshold": matched}
    write_atomically(out, lambda f: f.write(json.dumps(content, indent=1).encode()))


if __name__ == "__main__":
    main()
