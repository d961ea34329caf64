"""The comparison behind the README: six methods and a control on fresh seeds and the test set.

    python benchmarks/study.py                 train everything (about 15 minutes on two cores) and record it
    python benchmarks/study.py --show          print the recorded results again

Fixed before the runs: the recipe (benchmarks/recipes.py, validation samples only), the seeds below, the settings and the
rows. Runs of one seed share labels, initial weights and labelled batches. Nothing was tuned on these seeds or on the test set.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from layermatch_lite import METHODS, TrainConfig
from layermatch_lite.compare import run_all
from layermatch_lite.report import early_and_late, interval, layer_benefits, spread
from layermatch_lite.system import write_atomically

HERE = Path(__file__).parent
SEEDS = range(1000, 1010)
SETTINGS = {
    "mnist1d, 20 labels": dict(dataset="mnist1d", num_labels=20),
    "mnist1d, 10 labels": dict(dataset="mnist1d", num_labels=10),
    "digits, 10 labels": dict(dataset="digits", num_labels=10),
}
ROWS = (
    "every label",
    "supervised",
    "fixmatch",
    "fixmatch, matched mask rate",
    "grad_relu",
    "avg_clustering",
    "layermatch",
)
COMPARISONS = (
    ("fixmatch", "supervised"),
    ("grad_relu", "fixmatch"),
    ("avg_clustering", "fixmatch"),
    ("layermatch", "fixmatch"),
    ("layermatch", "fixmatch, matched mask rate"),
    ("layermatch", "supervised"),
    ("layermatch", "grad_relu"),  # added after the runs
)


def configs(where: dict, matched_threshold: float) -> list[tuple[str, TrainConfig]]:
    """(row, config) of every run of one setting."""
    base = TrainConfig.preset("demo_cpu", **where, log_every=15)
    plan = {row: replace(base, method=row) for row in ROWS if row in METHODS}
    plan["every label"] = replace(base, method="supervised", num_labels=None)
    plan["fixmatch, matched mask rate"] = replace(base, method="fixmatch", threshold=matched_threshold)
    for row in ("fixmatch", "layermatch"):
        plan[row] = replace(plan[row], probe_every=60)  # a multiple of log_every: the same records in every row
    return [(row, replace(plan[row], seed=seed)) for seed in SEEDS for row in ROWS]


def run_setting(name: str, where: dict, matched_threshold: float) -> dict:
    plan = configs(where, matched_threshold)
    outcomes = run_all([c for _, c in plan], title=name)
    rows = {row: [o for (r, _), o in zip(plan, outcomes) if r == row] for row in ROWS}
    benefit = early_and_late(layer_benefits(rows["fixmatch"] + rows["layermatch"]))
    return {
        "rows": {
            row: {
                "accuracy": [o.accuracy for o in group],
                "median_of_last_20": [statistics.median(r["accuracy"] for r in o.history[-20:]) for o in group],
                **{
                    key: [o.late(key) for o in group]
                    for key in ("pseudo_label_accuracy", "mask_rate", "confident_half_accuracy")
                },
                "seconds": [o.seconds for o in group],
                "threshold": group[0].config.threshold,
            }
            for row, group in rows.items()
        },
        "layer_benefit": benefit.to_dict("records"),
        "steps": outcomes[0].config.steps,
        "environment": outcomes[0].environment,
    }


def show(results: dict) -> str:
    """The tables of README, from the recorded results alone."""
    lines = []
    for name, setting in results["settings"].items():
        rows = setting["rows"]
        lines += [
            f"**{name}** ({setting['steps']} steps, {len(results['seeds'])} seeds)",
            "",
            "| | test accuracy, mean [95 %] | spread | pseudo-labels right | mask rate | right in the confident half |",
            "|---|---|---|---|---|---|",
        ]
        for row, r in rows.items():
            low, high = interval(r["accuracy"])
            rates = [
                f"{statistics.fmean(v):.0%}" if None not in (v := r[key]) else "–"
                for key in ("pseudo_label_accuracy", "mask_rate", "confident_half_accuracy")
            ]
            label = f"{row} (tau {r['threshold']:g})" if "matched" in row else row
            lines.append(
                f"| {label} | {statistics.fmean(r['accuracy']):.3f} [{low:.3f}, {high:.3f}] | {spread(r['accuracy']):.3f} "
                f"| {' | '.join(rates)} |"
            )
        lines += ["", "| paired difference | mean [95 %] | seeds above 0 |", "|---|---|---|"]
        for a, b in COMPARISONS:
            d = differences(rows, a, b)
            low, high = interval(d)
            lines.append(
                f"| {a} − {b} | {statistics.fmean(d):+.3f} [{low:+.3f}, {high:+.3f}] | {sum(v > 0 for v in d)} of {len(d)} |"
            )
        lines += ["", *benefit_lines(setting["layer_benefit"]), ""]
    return "\n".join(lines)


def benefit_lines(records: list[dict]) -> list[str]:
    """Layer benefit of pseudo-labels during plain FixMatch, layer by layer, early and late in training."""
    phases = ("early", "late")
    values = {}
    for r in records:
        if r["method"] == "fixmatch":
            values.setdefault(r["layer"], {p: [] for p in phases})[r["phase"]].append(r["benefit"])
    lines = ["| layer benefit in FixMatch | early, mean [95 %] | late, mean [95 %] |", "|---|---|---|"]
    for layer, of_phase in values.items():
        cells = [
            f"{statistics.fmean(v):+.2f} [{interval(v)[0]:+.2f}, {interval(v)[1]:+.2f}]" for v in of_phase.values()
        ]
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    return lines


def differences(rows: dict, a: str, b: str) -> list[float]:
    return [x - y for x, y in zip(rows[a]["accuracy"], rows[b]["accuracy"])]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--show", action="store_true", help="print the recorded results, train nothing")
    arguments.add_argument("--out", type=Path, default=HERE / "results" / "study.json")
    args = arguments.parse_args()
    if not args.show:
        matched = json.loads((HERE / "results" / "recipes.json").read_text())["matched_threshold"]
        settings = {name: run_setting(name, where, matched[name]) for name, where in SETTINGS.items()}
        results = {"seeds": list(SEEDS), "settings": settings}
        write_atomically(args.out, lambda f: f.write(json.dumps(results, indent=1).encode()))
    print(show(json.loads(args.out.read_text())))


if __name__ == "__main__":
    main()
