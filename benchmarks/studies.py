"""The studies, one command each. What each trains and compares is fixed below, before its first run.

    python benchmarks/studies.py main           every method with its own recipe: who wins, what is lost, and where
    python benchmarks/studies.py known_noise    networks trained under known noise: kinds, rates, and what the labels teach
    python benchmarks/studies.py known_noise_mnist1d        the same on MNIST-1D
    python benchmarks/studies.py noise          wrong pseudo-labels on purpose, in FixMatch and LayerMatch
    python benchmarks/studies.py depth          where along the depth is the pseudo-label gradient best cut?
    python benchmarks/studies.py sensitivity    tau, mu, lambda_u and m
    python benchmarks/studies.py layers         the layer benefit during FixMatch, and under known errors at its end
    python benchmarks/studies.py centers        clusters and centres during training; labels from averaged centres
    python benchmarks/studies.py cifar10        the preset cifar_cpu with 250 and 4,000 labels: needs CIFAR-10
    python benchmarks/studies.py cifar10_gpu    the preset classroom_gpu_short with 40 and 250 labels: needs a GPU and CIFAR-10

Each uses every core, and the same command continues a stopped one. Within a question p-values are corrected for the number of
comparisons, between questions they are not. On two cores main takes about an hour, cifar10 about four, the others up to
forty minutes each.
`--show` prints the recorded results, `--plan` what would be trained; `make results` writes docs/results.md.

Recipes were chosen on validation samples (benchmarks/recipes.py, seeds 100 to 103); no run with a study's seeds preceded its
plan. main and known_noise were planned last. The studies before them (seeds 2000 to 2009 and 4000 to 4009) give every method
one recipe, FixMatch's. The full protocol, 2^20 steps, is a run of its own:

    layermatch-lite train --preset paper --method layermatch --num-labels 40 --seed 0
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from recipes import KEPT, matched_threshold

from layermatch_lite import TrainConfig
from layermatch_lite.core.seeding import generator
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.views import Views
from layermatch_lite.errors import InputError, check_choice
from layermatch_lite.figures.clustering import cluster_quality, distance_to_center, drift
from layermatch_lite.runs.recording import SHIPPED
from layermatch_lite.studies import known_noise as known
from layermatch_lite.studies import stats
from layermatch_lite.studies.demo import untrained
from layermatch_lite.studies.files import RECORDED, load
from layermatch_lite.studies.study import Study, carry_out
from layermatch_lite.variants.known_errors import benefit_under_noise
from layermatch_lite.variants.noise import KINDS

SEEDS_MAIN, SEEDS, SEEDS_INSIDE = tuple(range(6000, 6020)), tuple(range(4000, 4010)), tuple(range(2000, 2010))
EMBEDDED = {f"{d}, {n} labels": dict(dataset=d, num_labels=n) for d in ("mnist1d", "digits") for n in (10, 20, 40, 100)}
SCARCE = ("mnist1d, 10 labels", "digits, 10 labels")
METHODS = ("supervised", "fixmatch", "grad_relu", "avg_clustering", "layermatch", "freematch")

# The one recipe of the studies before main, and what gave FixMatch LayerMatch's mask rate there, on validation samples.
ONE_RECIPE = {"mnist1d": dict(threshold=0.8, strong_labelled=1.0), "digits": dict(threshold=0.8, strong_labelled=0.5)}
MATCHED_THRESHOLD = {"mnist1d, 10 labels": 0.872, "digits, 10 labels": 0.868}
CLASSIFIER_WEIGHT = {"mnist1d, 10 labels": 0.3, "digits, 10 labels": 0.1}


def everywhere(settings, row: str, other: str) -> list[tuple[str, str, str]]:
    return [(setting, row, other) for setting in settings]


def main_study() -> Study:
    def run(setting: str, method: str, **changes) -> TrainConfig:
        settings = EMBEDDED[setting] | dict(method=method, log_every=50) | changes
        config = TrainConfig.preset("demo_cpu", **settings)
        return config.changed(readout_every=config.steps, probe_every=50 if method in ("fixmatch", "layermatch") else None)

    plan = {
        s: {"every label": run(s, "supervised", num_labels=None)} | {method: run(s, method) for method in METHODS}
        for s in EMBEDDED
    }
    for s, rows in plan.items():
        rows["supervised, FixMatch's views"] = run(s, "supervised", strong_labelled=rows["fixmatch"].strong_labelled)
    for s in SCARCE:
        same = matched_threshold(json.loads(KEPT.read_text())["own"][s], f"tau {plan[s]['layermatch'].threshold}")
        plan[s]["fixmatch at layermatch's mask rate"] = run(s, "fixmatch", threshold=same)
    families = {
        "pseudo-labels at all": everywhere(EMBEDDED, "fixmatch", "supervised"),
        "pseudo-labels at all, in the same views": everywhere(EMBEDDED, "fixmatch", "supervised, FixMatch's views"),
        "LayerMatch against FixMatch": everywhere(EMBEDDED, "layermatch", "fixmatch"),
        "Grad-ReLU alone": everywhere(EMBEDDED, "grad_relu", "fixmatch"),
        "Avg-Clustering alone": everywhere(EMBEDDED, "avg_clustering", "fixmatch"),
        "Avg-Clustering on top of Grad-ReLU": everywhere(EMBEDDED, "layermatch", "grad_relu"),
        "at LayerMatch's mask rate": everywhere(SCARCE, "layermatch", "fixmatch at layermatch's mask rate"),
        "FreeMatch against FixMatch": everywhere(EMBEDDED, "freematch", "fixmatch"),
        "LayerMatch against FreeMatch": everywhere(EMBEDDED, "layermatch", "freematch"),
    }
    question = "Who wins, what is lost, and where, with a recipe of its own for every method?"
    return Study("main", question, SEEDS_MAIN, plan, families, watch=untrained)


def known_noise() -> Study:
    return under_known_noise("digits")


def known_noise_mnist1d() -> Study:
    return under_known_noise("mnist1d")


def under_known_noise(dataset: str) -> Study:
    networks = lambda kind, rate: {taught: known.noise_config(kind, rate, taught, dataset=dataset) for taught in known.TAUGHT}
    plan = {f"{kind} {rate}": networks(kind, rate) for kind in KINDS for rate in known.RATES}
    noisy = [s for s in plan if not s.endswith(" 0.0")]
    families = {
        "the features alone against every layer": everywhere(noisy, "features", "all"),
        "the classifier alone against every layer": everywhere(noisy, "classifier", "all"),
    }
    views = dict(strong_labelled=plan["pair 0.0"]["all"].strong_labelled)
    few = known.noise_config("uniform", 0.0, dataset=dataset, method="supervised", labels_from="classifier", **views)
    plan["no pseudo-labels"] = {"supervised": few}
    question = "Labels known to be wrong: what do they spoil, and does it help to keep them out of the classifier?"
    question += " (MNIST-1D)" * (dataset == "mnist1d")
    return Study(known.study_name(dataset), question, known.SEEDS, plan, families, watch=untrained)


# --- with one recipe for every method --------------------------------------------------------------------------------


def preset(setting: str, **changes) -> TrainConfig:
    probe_every = 120 if changes["method"] in ("fixmatch", "layermatch") else None
    one = ONE_RECIPE[EMBEDDED[setting]["dataset"]]
    config = TrainConfig.preset("demo_cpu", **EMBEDDED[setting], method=changes["method"])
    return config.changed(**one | dict(log_every=20, probe_every=probe_every) | changes)


def references(setting: str) -> dict[str, TrainConfig]:
    """The rows every such study has: the bounds, baseline and method, and, where labels are scarcest, the plain alternatives:
    is it only another mask rate, only less of the loss, only shorter centres?"""
    rows = {
        "every label": replace(preset(setting, method="supervised"), num_labels=None),
        "supervised": preset(setting, method="supervised"),
        "fixmatch": preset(setting, method="fixmatch"),
        "layermatch": preset(setting, method="layermatch"),
    }
    if setting not in SCARCE:
        return rows
    threshold, weight = MATCHED_THRESHOLD[setting], CLASSIFIER_WEIGHT[setting]
    return rows | {
        "fixmatch at layermatch's mask rate": preset(setting, method="fixmatch", threshold=threshold),
        "smaller weight in the classifier": preset(setting, method="fixmatch", classifier_weight=weight),
        "layermatch, rescaled centers": preset(setting, method="layermatch", rescale_centers=True),
    }


def noise() -> Study:
    setting, methods = "digits, 10 labels", ("fixmatch", "layermatch")
    plan = {f"{setting}, no noise": references(setting)}
    for kind in ("uniform", "pair", "confusion"):
        for rate in (0.3, 0.6):
            noisy = dict(noise=kind, noise_rate=rate)
            plan[f"{setting}, {kind} {rate}"] = {m: preset(setting, method=m, **noisy) for m in methods}
    families = {"LayerMatch against FixMatch": everywhere(plan, "layermatch", "fixmatch")}
    return Study("noise", "Does LayerMatch withstand wrong pseudo-labels better?", SEEDS, plan, families)


def depth() -> Study:
    plan, families = {}, {"every cut against FixMatch": []}
    for setting in SCARCE:
        names = ["conv 1", "conv 2", "conv 3", "fc", "classifier"]
        names = names if setting.startswith("mnist1d") else [n for n in names if n != "fc"]
        cuts = {
            "cut classifier": preset(setting, method="grad_relu"),
            "gate": preset(setting, method="fixmatch", grad_relu="gate"),
        }
        for k, name in enumerate(names[:-1]):
            cuts[f"cut from {name}"] = preset(setting, method="fixmatch", blocked=", ".join(names[k:]))
            cuts[f"cut only {name}"] = preset(setting, method="fixmatch", blocked=name)
        plan[setting] = references(setting) | cuts
        families["every cut against FixMatch"] += [(setting, row, "fixmatch") for row in cuts]
    return Study("depth", "Which layers should pseudo-labels not reach?", SEEDS, plan, families)


def sensitivity() -> Study:
    """m acts in so short a run only below 0.985, the end of its warm-up; m = 0 is Grad-ReLU alone."""
    setting, methods = "digits, 10 labels", ("fixmatch", "layermatch")
    plan = {setting: references(setting) | {"grad_relu": preset(setting, method="grad_relu")}}
    for name, values in (("threshold", (0.5, 0.95)), ("mu", (1, 7)), ("lambda_u", (0.3, 3.0))):
        for value in values:
            plan[f"{setting}, {name} = {value}"] = {m: preset(setting, method=m, **{name: value}) for m in methods}
    moments = {
        f"layermatch, m = {m}": preset(setting, method="layermatch", center_momentum=m) for m in (0.5, 0.9, 0.97)
    }
    plan[setting] |= moments
    families = {
        "LayerMatch against FixMatch": everywhere([s for s in plan], "layermatch", "fixmatch"),
        "averaged centres against moving ones": [(setting, row, "grad_relu") for row in ("layermatch", *moments)],
    }
    return Study("sensitivity", "Does the answer depend on tau, mu, lambda_u or m?", SEEDS, plan, families)


# --- inside the network ----------------------------------------------------------------------------------------------


def layers() -> Study:
    """One row a setting: what is compared are its layers (`stats.layer_gaps`)."""
    settings = ("mnist1d, 10 labels", "mnist1d, 20 labels", "mnist1d, 40 labels", "digits, 10 labels")
    plan = {s: {"fixmatch": inside(s, method="fixmatch", probe_every=30)} for s in settings}
    question = "What do pseudo-labels do to each layer during FixMatch?"
    return Study("layers", question, SEEDS_INSIDE, plan, {}, watch=watch_layers)


def centers() -> Study:
    rows = ("supervised", "fixmatch", "avg_clustering", "layermatch")
    plan = {
        s: {m: inside(s, method=m) for m in rows}
        | {"labels from centers": inside(s, method="avg_clustering", labels_from="centers")}
        for s in SCARCE
    }
    families = {"labels from averaged centres": everywhere(plan, "labels from centers", "avg_clustering")}
    question = "What happens to clusters and centres during training?"
    return Study("centers", question, SEEDS_INSIDE, plan, families, watch=watch_centers)


def inside(setting: str, **changes) -> TrainConfig:
    one = ONE_RECIPE[EMBEDDED[setting]["dataset"]]
    return TrainConfig.preset("demo_cpu", **EMBEDDED[setting], method=changes["method"]).changed(**one, log_every=60, **changes)


def watch_layers(run, data, memory) -> dict | None:
    """Every measurement of the layer benefit; at the end also the benefit under known errors of each kind and rate."""
    tables, last = {}, run.history[-1] if run.history else {"step": 0}
    keys = ("layer", "benefit", "alignment", "alignment_true_masked", "alignment_pseudo_all", "alignment_true_random",
            "norm_true", "wrong_rate", "empty")  # fmt: skip
    if last["step"] == run.step and "layer_benefit" in last:
        tables["benefit"] = [{"step": run.step, **{k: row[k] for k in keys}} for row in last["layer_benefit"]]
    if run.finished:
        g, views = generator(run.config.seed, f"noise curves {run.step}"), Views(data)
        x, y = labelled_batch(data, views, run.config, g)
        weak, strong, i = unlabelled_batch(data, views, 512, g)
        settings = dict(threshold=run.config.threshold, rates=[k / 10 for k in range(10)], kinds=KINDS, generator=g)
        t = benefit_under_noise(run.model, x, y, weak, strong, data.y_unlabelled[i], **settings)
        tables["under_noise"] = t[["kind", "rate", "layer", "benefit", "cosine", "empty"]].to_dict("records")
    return tables or None


@torch.no_grad()
def watch_centers(run, data, memory) -> dict | None:
    """With every record: the clusters of the test features (live model), and how far the centres moved per step since."""
    W = run.model.classifier.weight.detach().clone()
    W_bar = W if run.centers is None else run.centers.weight.clone()
    if memory:
        memory["moved"].append((drift(memory["W"], W), drift(memory["W_bar"], W_bar)))
    memory.update(W=W, W_bar=W_bar, moved=memory.get("moved", []))
    if not run.history or run.history[-1]["step"] != run.step:
        return None
    run.model.eval()
    z = run.model.features(Views(data).plain(data.x_test))
    run.model.train()
    live, averaged = zip(*memory["moved"])
    memory["moved"] = []
    row = {
        "step": run.step,
        **{k: run.history[-1].get(k) for k in ("accuracy", "mask_rate", "pseudo_label_accuracy")},
        **cluster_quality(z, data.y_test),
        "angle_to_center": float(distance_to_center(z, data.y_test, W).mean()),
        "drift_W": sum(live) / len(live),
        "drift_W_bar": sum(averaged) / len(averaged),
    }
    return {"training": [row]}


# --- CIFAR-10 --------------------------------------------------------------------------------------------------------


def cifar10() -> Study:
    """Three seeds: enough for intervals, too few for a decision, for their p-value cannot be below 2 / 2^3."""

    def run(n: int, method: str) -> TrainConfig:
        config = TrainConfig.preset("cifar_cpu", num_labels=n, method=method)
        return config.changed(log_every=config.steps // 20, readout_every=config.steps)

    methods = {4000: ("supervised", "fixmatch", "layermatch")}
    methods[250] = (*methods[4000], "freematch", "grad_relu")
    plan = {}
    for n, rows in methods.items():
        few = run(n, "supervised")
        bounds = {"untrained": few.changed(steps=1, lr=1e-9), "every label": few.changed(num_labels=None)}
        plan[f"cifar10, {n} labels"] = bounds | {m: run(n, m) for m in rows}  # the one step changes no weight
    families = {
        "pseudo-labels at all": everywhere(plan, "fixmatch", "supervised"),
        "LayerMatch against FixMatch": everywhere(plan, "layermatch", "fixmatch"),
    }
    curves = ("accuracy", "mask_rate", "pseudo_label_accuracy")
    return Study("cifar10", "CIFAR-10 on two cores", (0, 1, 2), plan, families, curves=curves, recorded=True)


def cifar10_gpu(**changes) -> Study:
    """On a GPU, with as many seeds: 40 labels, too, and FreeMatch and LayerMatch in one."""

    def run(n: int, method: str, **more) -> TrainConfig:
        return TrainConfig.preset("classroom_gpu_short", num_labels=n, method=method, **more | changes)

    plan = {
        f"cifar10, {n} labels": {
            "every label": replace(run(n, "supervised"), num_labels=None),
            **{m: run(n, m) for m in ("supervised", "fixmatch", "layermatch", "freematch")},
            "freematch + layermatch": run(n, "freematch", grad_relu="block", avg_clustering=True),
        }
        for n in (40, 250)
    }
    families = {
        "LayerMatch against FixMatch": everywhere(plan, "layermatch", "fixmatch"),
        "LayerMatch against FreeMatch": everywhere(plan, "layermatch", "freematch"),
    }
    return Study("cifar10_gpu", "CIFAR-10 with a classroom's budget", (3000, 3001, 3002), plan, families, recorded=True)


STUDIES = {"main": main_study} | {
    f.__name__: f for f in (known_noise, known_noise_mnist1d, noise, depth, sensitivity, layers, centers, cifar10, cifar10_gpu)
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help=", ".join(STUDIES))
    parser.add_argument("--out", type=Path, help="file of the results (default: the recorded one)")
    parser.add_argument("--workers", type=int, help="processes (default: one per core, one on a GPU)")
    parser.add_argument("--show", action="store_true", help="print the recorded results, train nothing")
    parser.add_argument("--plan", action="store_true", help="print what would be trained and compared, train nothing")
    args = parser.parse_args(arguments)
    try:
        check_choice("study", args.study, STUDIES)
        study, path = STUDIES[args.study](), args.out or RECORDED / f"{args.study}.json"
        if args.plan:
            print(json.dumps(study.described(), indent=1))
            return 0
        if not args.show:
            recordings = None if args.out else SHIPPED
            carry_out(study, path, others=sorted(RECORDED.glob("*.json")), recordings=recordings, workers=args.workers)
        print(stats.tables(load(path)))
    except (InputError, FloatingPointError, OSError) as error:
        print(f"studies.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; continue with: python benchmarks/studies.py {args.study}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
