"""The longer runs behind notebooks 01, 03, 04 and 05: what happens inside, on ten fresh paired seeds.

    python benchmarks/evidence.py              train everything (about 50 minutes on two cores) and record it
    python benchmarks/evidence.py --only depth one part anew: training, noise, depth or centers
    python benchmarks/evidence.py --show       print the recorded results again

Fixed before the runs: the recipes (benchmarks/recipes.py, validation samples only), the seeds below, the rows and what is
measured. Nothing was tuned on these seeds. Accuracies are those of the EMA model on the test set.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from layermatch_lite import TrainConfig
from layermatch_lite.core.seeding import generator
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.views import Views
from layermatch_lite.figures.clustering import cluster_quality, distance_to_center, drift
from layermatch_lite.runs.compare import Outcome, run_all
from layermatch_lite.runs.run import environment
from layermatch_lite.studies.report import columns, frame, late
from layermatch_lite.studies.stats import effect
from layermatch_lite.system import write_atomically
from layermatch_lite.variants.known_errors import benefit_under_noise
from layermatch_lite.variants.noise import KINDS

RESULTS = Path(__file__).parent / "results" / "evidence.json"
SEEDS = range(2000, 2010)
SETTINGS = {
    "mnist1d, 10 labels": dict(dataset="mnist1d", num_labels=10),
    "mnist1d, 20 labels": dict(dataset="mnist1d", num_labels=20),
    "mnist1d, 40 labels": dict(dataset="mnist1d", num_labels=40),
    "digits, 10 labels": dict(dataset="digits", num_labels=10),
}
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CURVES_AT = (150, 600)


def preset(setting: str, **changes) -> TrainConfig:
    return TrainConfig.preset("demo_cpu", **SETTINGS[setting], log_every=60, **changes)


def train(plan: dict[str, TrainConfig], title: str, watch=None) -> dict[str, list[Outcome]]:
    """{row: one outcome per seed}; runs of one seed share labels, initial weights and batches."""
    jobs = [(row, replace(config, seed=seed)) for seed in SEEDS for row, config in plan.items()]
    outcomes = run_all([config for _, config in jobs], watch=watch, title=title)
    return {row: [o for (r, _), o in zip(jobs, outcomes) if r == row] for row in plan}


def during_training() -> dict:
    """The layer benefit in FixMatch over training, for four numbers of labels, and under injected noise at two moments."""
    plan = {s: preset(s, method="fixmatch", probe_every=30) for s in SETTINGS}
    found = train(plan, "layer benefit", watch=noise_curves)
    keep = ("layer", "benefit", "cosine", "alignment", "alignment_true_masked", "alignment_pseudo_all", "alignment_true_random",
            "interference", "norm_true", "norm_noise", "mask_rate", "wrong_rate", "empty")  # fmt: skip
    return {
        setting: {
            "accuracy": [o.accuracy for o in group],
            "benefit": columns(
                {"seed": o.config.seed, "step": r["step"], **{k: row[k] for k in keep}}
                for o in group
                for r in o.history
                for row in r["layer_benefit"]
            ),
            "under_noise": columns(
                {"seed": o.config.seed, **row} for o in group for part in o.seen for row in part["rows"]
            ),
        }
        for setting, group in found.items()
    }


def noise_curves(run, data, memory) -> dict | None:
    if run.step not in CURVES_AT:
        return None
    g, views = generator(run.config.seed, f"noise curves {run.step}"), Views(data)
    x, y = labelled_batch(data, views, run.config, g)
    weak, strong, i = unlabelled_batch(data, views, 512, g)
    t = benefit_under_noise(
        run.model,
        x,
        y,
        weak,
        strong,
        data.y_unlabelled[i],
        threshold=run.config.threshold,
        rates=RATES,
        kinds=KINDS,
        generator=g,
    )
    return {
        "rows": t.assign(step=run.step)[
            ["step", "kind", "rate", "layer", "benefit", "cosine", "wrong_rate", "empty"]
        ].to_dict("records")
    }


def under_noise() -> dict:
    """FixMatch and LayerMatch trained with the same spoiled pseudo-labels: MNIST-1D, 20 labels."""
    base = preset("mnist1d, 20 labels")
    plan = {f"{m}, none 0.0": replace(base, method=m) for m in ("fixmatch", "layermatch")}
    for kind in ("uniform", "pair"):
        for rate in (0.2, 0.4):
            for m in ("fixmatch", "layermatch"):
                plan[f"{m}, {kind} {rate}"] = replace(base, method=m, noise=kind, noise_rate=rate)
    return {
        row: {"accuracy": [o.accuracy for o in group], "labels_right": [o.late("pseudo_label_accuracy") for o in group]}
        for row, group in train(plan, "injected noise").items()
    }


def depth() -> dict:
    """Where should the pseudo-label gradient be cut? From a layer upwards, and one layer alone."""
    found = {}
    for setting, names in (
        ("mnist1d, 10 labels", ["conv 1", "conv 2", "conv 3", "fc", "classifier"]),
        ("digits, 10 labels", ["conv 1", "conv 2", "conv 3", "classifier"]),
    ):
        base = preset(setting, method="fixmatch")
        plan = {
            "nothing": base,
            "gate": replace(base, grad_relu="gate"),
            "classifier": replace(base, grad_relu="block"),
        }
        for k, name in enumerate(names[:-1]):
            plan[f"from {name}"] = replace(base, blocked=", ".join(names[k:]))
            plan[f"only {name}"] = replace(base, blocked=name)
        found[setting] = {row: [o.accuracy for o in group] for row, group in train(plan, f"depth, {setting}").items()}
    return found


def centers() -> dict:
    """Moving and averaged centres, and labels taken from the averaged ones; the quality of the clusters meanwhile."""
    found = {}
    for setting in ("mnist1d, 10 labels", "digits, 10 labels"):
        base = preset(setting)
        plan = {m: replace(base, method=m) for m in ("supervised", "fixmatch", "avg_clustering", "layermatch")}
        plan["avg_clustering, m = 0.9"] = replace(plan["avg_clustering"], center_momentum=0.9)
        plan["labels from centers"] = replace(plan["avg_clustering"], labels_from="centers")
        found[setting] = {
            row: {
                "accuracy": [o.accuracy for o in group],
                "labels_right": [o.late("pseudo_label_accuracy") for o in group],
                "mask_rate": [o.late("mask_rate") for o in group],
                "training": columns(
                    {"seed": o.config.seed, "step": r["step"], "accuracy": r["accuracy"]}
                    | {k: r.get(k) for k in ("mask_rate", "pseudo_label_accuracy")}
                    for o in group
                    for r in o.history
                ),
                "clusters": columns({"seed": o.config.seed, **s} for o in group for s in o.seen),
            }
            for row, group in train(plan, f"centres, {setting}", watch=clusters).items()
        }
    return found


@torch.no_grad()
def clusters(run, data, memory) -> dict | None:
    """Every 60 steps: the clusters of the test features (live model), and how far the centres moved per step since."""
    W = run.model.classifier.weight.detach().clone()
    W_bar = W if run.centers is None else run.centers.weight.clone()
    if memory:
        memory["moved"].append((drift(memory["W"], W), drift(memory["W_bar"], W_bar)))
    memory.update(W=W, W_bar=W_bar, moved=memory.get("moved", []))
    if run.step % 60 or not run.step:
        return None
    run.model.eval()
    z = run.model.features(Views(data).plain(data.x_test))
    run.model.train()
    live, averaged = zip(*memory["moved"])
    memory["moved"] = []
    return {
        "step": run.step,
        **cluster_quality(z, data.y_test),
        "angle_to_center": float(distance_to_center(z, data.y_test, W).mean()),
        "drift_W": sum(live) / len(live),
        "drift_W_bar": sum(averaged) / len(averaged),
    }


def show(results: dict) -> str:
    """The tables of README, from the recorded results alone."""
    lines = [
        f"Late in FixMatch, {len(results['seeds'])} seeds, mean [95 %]:",
        "",
        "| | layer benefit: conv 1 | classifier | alignment: conv 1 | classifier |",
        "|---|---|---|---|---|",
    ]

    def cell(values: list[float]) -> str:
        told = effect(values).rsplit(",", 1)[0]
        return told if len(values) == len(results["seeds"]) else f"{told} ({len(values)} seeds)"

    for setting, part in results["training"].items():
        t = frame(part["benefit"])
        cells = [cell(late(t, layer, q)) for q in ("benefit", "alignment") for layer in ("conv 1", "classifier")]
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    lines += ["", "| pseudo-label gradient blocked | " + " | ".join(results["depth"]) + " |", "|---|---|---|"]
    rows = dict.fromkeys(row for part in results["depth"].values() for row in part if row != "nothing")
    for row in rows:
        cells = [cell(against(part, row, "nothing")) if row in part else "–" for part in results["depth"].values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "| test accuracy − FixMatch | " + " | ".join(results["centers"]) + " |", "|---|---|---|"]
    for row in next(iter(results["centers"].values())):
        if row != "fixmatch":
            cells = [cell(against(accuracies(part), row, "fixmatch")) for part in results["centers"].values()]
            lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += ["", "| injected noise (mnist1d, 20 labels) | LayerMatch − FixMatch |", "|---|---|"]
    trained = accuracies(results["noise"])
    for kind in dict.fromkeys(row.split(", ")[1] for row in trained):
        lines.append(f"| {kind} | {cell(against(trained, f'layermatch, {kind}', f'fixmatch, {kind}'))} |")
    return "\n".join(lines)


def accuracies(rows: dict[str, dict]) -> dict[str, list[float]]:
    return {name: row["accuracy"] for name, row in rows.items()}


def against(rows: dict[str, list[float]], a: str, b: str) -> list[float]:
    """Paired differences of two rows, seed by seed."""
    return [x - y for x, y in zip(rows[a], rows[b])]


PARTS = {"training": during_training, "noise": under_noise, "depth": depth, "centers": centers}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", choices=PARTS, help="this part alone; the others stay as recorded")
    arguments.add_argument("--show", action="store_true", help="print the recorded results, train nothing")
    arguments.add_argument("--out", type=Path, default=RESULTS)
    args = arguments.parse_args()
    if args.show:
        print(show(json.loads(args.out.read_text())))
        return
    results = json.loads(args.out.read_text()) if args.only and args.out.exists() else {"about": {}}
    results["seeds"] = list(SEEDS)
    for name in [args.only] if args.only else PARTS:
        results[name] = PARTS[name]()
        results["about"][name] = {
            "seeds": list(SEEDS),
            "preset": "demo_cpu",
            **environment(torch.device("cpu")),
            "threads": 1,
        }
        write_atomically(args.out, lambda f: f.write(json.dumps(results, allow_nan=False).encode()))


if __name__ == "__main__":
    main()
