"""Figures. Each function returns the figure and a one-sentence alt text made from the plotted data."""

from __future__ import annotations

import html
import io
import statistics
from collections.abc import Sequence
from os import PathLike

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ..core.losses import pseudo_label
from ..core.seeding import generator
from ..core.theory import split_classifier_gradient, split_feature_gradient
from ..data.augment import Views
from ..data.sets import SSLData
from ..errors import InputError, check_choice, check_range
from ..runs.compare import Outcome
from ..runs.recording import Recording
from ..studies import stats
from ..studies.report import NAMES, by_method, early_and_late, layer_benefits
from ..studies.stats import family, interval
from ..system import write_atomically

# Okabe and Ito's colours, told apart by people who do not see red and green, and a marker and a line of its own for each method.
STYLE = {
    "supervised": ("#555555", "s", ":"),
    "fixmatch": ("#D55E00", "o", "-"),
    "grad_relu": ("#E69F00", "^", "-."),
    "avg_clustering": ("#009E73", "v", (0, (3, 1, 1, 1))),
    "layermatch": ("#0072B2", "D", "--"),
    "freematch": ("#CC79A7", "P", (0, (5, 1))),
}

VIEW_COLORS = ("black", "#0072B2", "#0072B2", "#D55E00", "#D55E00")


def views_figure(data: SSLData, seed: int = 0) -> tuple[Figure, str]:
    """One labelled sample of up to six classes: as it is, in two weak views and in two strong ones."""
    g, views = generator(seed, "figure"), Views(data)
    shown = range(min(6, len(data.classes)))
    x = torch.stack([data.x_labelled[data.y_labelled == c][0] for c in shown])
    columns = {
        "sample": views.plain(x),
        "weak": views.weak(x, g),
        "weak again": views.weak(x, g),
        "strong": views.strong(x, g),
        "strong again": views.strong(x, g),
    }
    figure = Figure(figsize=(12, 1.25 * len(shown) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), len(columns), sharex=data.kind != "points", sharey=True, squeeze=False)
    for j, (title, batch) in enumerate(columns.items()):
        axes[0, j].set_title(title, fontsize=13)
        for i, sample in enumerate(batch):
            _draw_sample(axes[i, j], sample, data, VIEW_COLORS[j])
    for i, c in enumerate(shown):
        axes[i, 0].set_ylabel(data.classes[c], fontsize=13, rotation=0, ha="right", va="center")
    moved = {k: float((columns[k] - columns["sample"]).abs().mean()) for k in ("weak", "strong")}
    return figure, (
        f"One sample of {len(shown)} classes of {data.name} with two weak and two strong views each; a weak view "
        f"differs from its sample by {moved['weak']:.2f} on average, a strong one by {moved['strong']:.2f}."
    )


def _draw_sample(ax, sample: torch.Tensor, data: SSLData, color: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    if data.kind == "signal":
        ax.plot(sample[0].numpy(), color=color, linewidth=2)
    elif data.kind == "points":
        ax.scatter(*sample[:2].numpy(), color=color)
    else:
        image = (sample * data.std.view(-1, 1, 1) + data.mean.view(-1, 1, 1)) / 255
        ax.imshow(image.permute(1, 2, 0).clamp(0, 1).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)


def comparison_figure(outcomes: Sequence[Outcome]) -> tuple[Figure, str]:
    """The demo's picture: test accuracy seed by seed, and what pseudo-labels do to each layer, early and late."""
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    left, early, late = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.15))
    early.sharey(late)
    config = outcomes[0].config
    figure.suptitle(
        f"{config.dataset}, {config.labels} labels, {config.steps} steps, "
        f"{len({o.config.seed for o in outcomes})} seeds",
        fontsize=16,
    )
    benefits = layer_benefits(outcomes)
    alt = _draw_accuracy(left, outcomes)
    for ax, phase in ((early, "early"), (late, "late")):
        alt += " " + _draw_benefit(ax, early_and_late(benefits), phase, list(dict.fromkeys(benefits["layer"])))
    early.set_ylabel("layer benefit of pseudo-labels", fontsize=14)
    late.legend(fontsize=12)
    return figure, alt


def _draw_accuracy(ax, outcomes: Sequence[Outcome]) -> str:
    groups = by_method(outcomes)
    means = {m: statistics.fmean(o.accuracy for o in g) for m, g in groups.items()}
    for seed in {o.config.seed: None for o in outcomes}:
        ax.plot([next(o.accuracy for o in g if o.config.seed == seed) for g in groups.values()], color="0.75", zorder=1)
    for i, (method, group) in enumerate(groups.items()):
        color, marker, _ = STYLE[method]
        ax.scatter([i] * len(group), [o.accuracy for o in group], s=80, color=color, marker=marker, zorder=3)
        ax.hlines(means[method], i - 0.3, i + 0.3, color=color, linewidth=4, zorder=2)
    ax.set_xticks(range(len(groups)), [f"{NAMES[m]}\n{means[m]:.3f}" for m in groups], fontsize=13)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.set_ylabel("test accuracy", fontsize=14)
    ax.set_title("Accuracy (bar: mean; lines: one seed)", fontsize=14)
    ax.grid(axis="y", alpha=0.3)
    return f"Test accuracy, mean over seeds: {', '.join(f'{NAMES[m]} {v:.3f}' for m, v in means.items())}."


def _draw_benefit(ax, table: pd.DataFrame, phase: str, layers: list[str]) -> str:
    """One line per method over the layers: mean over seeds, every seed as a small marker."""
    table = table[table["phase"] == phase]
    methods = list(dict.fromkeys(table["method"]))
    parts = []
    for k, method in enumerate(methods):
        color, marker, _ = STYLE[method]
        t = table[table["method"] == method]
        mean = t.groupby("layer")["benefit"].mean().loc[layers]  # an empty mask is empty for every layer
        x = [i + 0.13 * (k - (len(methods) - 1) / 2) for i in range(len(layers))]
        ax.plot(x, mean, color=color, marker=marker, markersize=11, linewidth=2, label=NAMES[method])
        ax.scatter(
            [x[layers.index(layer)] for layer in t["layer"]], t["benefit"], s=22, color=color, marker=marker, alpha=0.5
        )
        parts.append(f"{NAMES[method]} {mean.iloc[0]:+.2f} in {layers[0]} and {mean.iloc[-1]:+.2f} in {layers[-1]}")
    ax.axhline(0, color="black", linewidth=1.5)
    ax.axhline(1, color="black", linewidth=1.5, linestyle=":")
    ax.set_ylim(min(-0.1, ax.get_ylim()[0]), max(1.1, ax.get_ylim()[1]))
    ax.set_xticks(range(len(layers)), layers, fontsize=13)
    ax.set_title(f"{phase.capitalize()} in training", fontsize=14)
    ax.annotate("as good as true labels", (-0.4, 1.01), va="bottom", fontsize=11)
    ax.annotate("below 0: harm", (-0.4, 0.01), va="bottom", fontsize=11)
    ax.set_xlim(-0.5, len(layers) - 0.4)
    ax.grid(axis="y", alpha=0.3)
    return f"Layer benefit {phase} in training: {'; '.join(parts) or 'nothing passed the threshold'}."


def _named(row: str) -> str:
    """A row of a study as people write it: "FreeMatch + Grad-ReLU"."""
    return " + ".join(NAMES.get(part, part) for part in row.split(" + "))


def study_figure(
    study: dict,
    panels: dict[str, dict[float, str]],
    rows: Sequence[str],
    key: str = "accuracy",
    xlabel: str = "labels",
    title: str = "",
) -> tuple[Figure, str]:
    """Rows of a study over its settings: mean with 95 % interval, every seed a point. panels: {title: {x: setting}}.

    key: a quantity of the runs, as for `stats.values`. Of the fully supervised row ("every label") the mean stands as a line.
    """
    figure = Figure(figsize=(6.6 * len(panels), 5.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=key != "accuracy")[0]
    names = {row: _named(row) for row in rows}
    styles = row_styles([*names.values()])
    parts = []
    for ax, (panel, settings) in zip(axes, panels.items()):
        told = []
        for k, (row, name) in enumerate(names.items()):
            color, marker, line = styles[name]
            found = [list(stats.values(study, s, row, key).values()) for s in settings.values()]
            at = np.arange(len(settings)) + 0.45 * ((k + 0.5) / len(rows) - 0.5)
            means = [statistics.fmean(v) for v in found]
            bars = np.abs(np.transpose([interval(v) for v in found]) - means)
            for x, v in zip(at, found):
                ax.scatter([x] * len(v), v, s=12, color=color, alpha=0.35, linewidths=0)
            look = dict(color=color, marker=marker, linestyle=line, markersize=8, capsize=4, linewidth=2)
            ax.errorbar(at, means, bars, label=name, **look)
            told.append(f"{name} {', '.join(f'{m:.3f} at {x}' for x, m in zip(settings, means))}")
        first = next(iter(settings.values()))
        if key == "accuracy" and (every := stats.values(study, first, "every label")):
            top = statistics.fmean(every.values())
            ax.axhline(top, color="black", linestyle=":", linewidth=1.5)
            ax.annotate(f"every label: {top:.3f}", (-0.2, top), va="bottom", fontsize=11)
            ax.set_ylim(top=top + 0.06 * (top - ax.get_ylim()[0]))
        ax.set_xticks(range(len(settings)), map(str, settings), fontsize=12)
        ax.set_xlabel(xlabel, fontsize=12)
        ax.set_title(panel, fontsize=14)
        ax.grid(axis="y", alpha=0.3)
        parts.append(f"{panel}: {'; '.join(told)}")
    label = QUANTITIES[key.split("/")[-1]]
    axes[0].set_ylabel(f"{label}\n(95 % interval of the mean)", fontsize=12)
    axes[0].legend(fontsize=11)
    figure.suptitle(title, fontsize=15)
    seeds = f"{len(study['seeds'])} seeds"
    return figure, f"{label[0].upper()}{label[1:]}, mean of {seeds}, over {xlabel}. {'. '.join(parts)}."


def families_figure(study: dict, questions: Sequence[str], title: str = "", key: str = "accuracy") -> tuple[Figure, str]:
    """Planned comparisons of a study, one panel per question; coloured where they are decided after correction."""
    panels: dict[str, dict[str, list[float]]] = {}
    decided: dict[str, dict[str, int]] = {}
    for question in questions:
        comparisons = family(study, question, key)
        several = len({(c.row, c.other) for c in comparisons}) > 1
        for c in comparisons:
            panel = f"{question}, {c.setting}" if several else question
            row = f"{_named(c.row)} - {_named(c.other)}" if several else c.setting
            panels.setdefault(panel, {})[row] = c.differences
            decided.setdefault(panel, {})[row] = c.sign
    return differences_figure(panels, f"paired difference, {QUANTITIES[key.split('/')[-1]]}", title, decided)


def resampling_figure(
    differences: Sequence[float], means: np.ndarray, widened: Sequence[float], plain: Sequence[float]
) -> tuple[Figure, str]:
    """What a bootstrap interval is: means of resamples of these differences, and two intervals (low, high) read off them."""
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    ax = figure.subplots()
    heights, *_ = ax.hist(means, bins=60, color="#56B4E9")
    top = max(heights)
    ax.scatter(differences, [-0.06 * top] * len(differences), color="black", s=45, marker="|", linewidths=2, label="the seeds")
    for (low, high), height, color, style, name in (
        (plain, 1.08, "#777777", ":", "plain percentiles"),
        (widened, 1.2, "#0072B2", "-", "widened for few seeds"),
    ):
        ax.plot([low, high], [height * top] * 2, color=color, linestyle=style, linewidth=3, marker="|", markersize=16, label=name)
    ax.axvline(0, color="black", linewidth=1.4)
    ax.set_xlabel("mean of the paired differences in test accuracy", fontsize=12)
    ax.set_ylabel("resamples", fontsize=12)
    ax.legend(fontsize=11, loc="upper right")
    told = lambda bounds: f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]"
    return figure, (
        f"{len(means)} means of resamples of {len(differences)} differences, around {np.mean(differences):+.3f}. 95 % interval "
        f"from plain percentiles {told(plain)}, widened for few seeds {told(widened)}."
    )


# --- what happens inside ---------------------------------------------------------------------------------------------

QUANTITIES = {
    "benefit": "layer benefit (1: as good as the truth)",
    "cosine": "cosine with the true gradient, same samples",
    "alignment": "cosine with the true gradient, all samples",
    "interference": "cosine with the labelled gradient",
    "accuracy": "test accuracy",
    "mask_rate": "mask rate (share over τ)",
    "pseudo_label_accuracy": "right among labels over τ",
    "confident_half_accuracy": "right in the confident half",
    "median_of_last_20": "test accuracy, median of the last 20",
    "seconds": "seconds per run",
    "scatter_ratio": "within- / between-class scatter",
    "silhouette": "silhouette (-1 to 1)",
    "nmi": "k-means NMI (0 to 1)",
    "ari": "k-means adjusted Rand index",
    "kmeans_accuracy": "k-means matched accuracy",
    "nearest_mean_accuracy": "nearest-mean accuracy",
    "angle_to_center": "angle to own centre (degrees)",
    "drift_W": "drift of W per step (relative)",
    "drift_W_bar": "drift of averaged W per step (relative)",
}
OTHERS = [
    ("#0072B2", "D", "-"),
    ("#D55E00", "o", "-"),
    ("#009E73", "v", "--"),
    ("#555555", "s", ":"),
    ("#CC79A7", "P", "-."),
]


def row_styles(names: Sequence[str]) -> dict[str, tuple]:
    """Colour, marker and line of each row: a method keeps its own everywhere, other rows take what is left."""
    own = {NAMES[m]: STYLE[m] for m in STYLE}
    taken = {own[n][:2] for n in names if n in own}
    left = [style for style in OTHERS if style[:2] not in taken]
    rest = [n for n in names if n not in own]
    return {n: own[n] for n in names if n in own} | {n: left[i % len(left)] for i, n in enumerate(rest)}


def layer_styles(names: Sequence[str]) -> dict[str, tuple]:
    """Colour, marker, line and width for each layer: features in blues that grow darker, the classifier in orange."""
    blues, markers = ("#56B4E9", "#0072B2", "#004B7A", "#002238", "#777777"), ("^", "s", "v", "P", "X")
    styles = {
        name: (blues[i % 5], markers[i % 5], "-", 2.2) for i, name in enumerate(n for n in names if n != "classifier")
    }
    return styles | {"classifier": ("#D55E00", "o", "--", 3.4)}


def mean_and_interval(t: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Per value of x: mean of y over seeds, 95 % interval of that mean (NaN for one seed) and number of seeds."""
    rows = []
    for value, group in t.dropna(subset=y).groupby(x):
        per_seed = group.groupby("seed")[y].mean() if "seed" in group else group[y]
        low, high = interval(list(per_seed)) if len(per_seed) > 1 else (float("nan"), float("nan"))
        rows.append({x: value, "mean": per_seed.mean(), "low": low, "high": high, "seeds": len(per_seed)})
    return pd.DataFrame(rows, columns=[x, "mean", "low", "high", "seeds"])


def _line(ax, t: pd.DataFrame, x: str, y: str, label: str, style: tuple) -> pd.DataFrame:
    """Mean over seeds with its interval as a band."""
    color, marker, line, width = style if len(style) == 4 else (*style, 2.2)
    m = mean_and_interval(t, x, y)
    ax.plot(
        m[x], m["mean"], color=color, marker=marker, linestyle=line, linewidth=width, markersize=7, label=label,
        markevery=max(1, len(m) // 12),
    )  # fmt: skip
    ax.fill_between(m[x], m["low"], m["high"], color=color, alpha=0.11, linewidth=0)
    return m


def benefit_over(
    tables: dict[str, pd.DataFrame], x: str = "step", quantity: str = "benefit", title: str = ""
) -> tuple[Figure, str]:
    """A quantity of the probe in every layer, over training (x="step") or over injected noise (x="rate"): one panel per table.

    tables: {panel: rows of `layer_benefit` with columns seed and x}; rows with an empty mask are left out. Mean over seeds and
    its 95 % interval.
    """
    check_choice("quantity", quantity, QUANTITIES)
    figure = Figure(figsize=(4.4 * len(tables) + 1.2, 4.9), layout="constrained")
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    parts = []
    for ax, (name, t) in zip(axes, tables.items()):
        t = t[~t["empty"].astype(bool)] if "empty" in t else t
        ends = {}
        for layer, style in layer_styles(list(dict.fromkeys(t["layer"]))).items():
            if len(rows := t[t["layer"] == layer]):
                ends[layer] = _line(ax, rows, x, quantity, layer, style)["mean"].iloc[-1]
        _reference(ax, quantity)
        ax.set_title(name, fontsize=14)
        ax.set_xlabel("training step" if x == "step" else "share of wrong labels over τ", fontsize=13)
        ax.tick_params(labelsize=12)
        if ends:
            best, worst = max(ends, key=ends.get), min(ends, key=ends.get)
            told = f"highest {ends[best]:+.2f} in {best}, lowest {ends[worst]:+.2f} in {worst}"
        else:
            told = "nothing passed the threshold"
        parts.append(f"{name}: {told}")
    axes[0].set_ylabel(QUANTITIES[quantity], fontsize=13)
    _legend_beside(figure, axes)
    figure.suptitle(title, fontsize=15)
    last = max(t[x].max() for t in tables.values())
    where = f"at step {last}" if x == "step" else f"with {last:.0%} of the labels wrong"
    label = QUANTITIES[quantity]
    return figure, f"{label[0].upper()}{label[1:]} per layer, mean of {_seeds(tables)}, {where}. {'; '.join(parts)}."


def _seeds(tables: dict[str, pd.DataFrame]) -> str:
    """ "10 seeds", or "1 to 10 seeds" where tables differ."""
    counts = sorted({t["seed"].nunique() if "seed" in t else 1 for t in tables.values()})
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seed{'s' if counts[-1] > 1 else ''}"


def _legend_beside(figure: Figure, axes: Sequence) -> None:
    """One legend for all panels, each name once."""
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), fontsize=12, loc="outside right center")


def _reference(ax, quantity: str) -> None:
    ax.axhline(0, color="black", linewidth=1.4)
    if quantity == "benefit":
        ax.axhline(1, color="black", linewidth=1.2, linestyle=":")
    ax.grid(axis="y", alpha=0.3)


FOUR = {
    "alignment": "pseudo-labels, over τ",
    "alignment_true_masked": "true labels, over τ",
    "alignment_pseudo_all": "pseudo-labels, all samples",
    "alignment_true_random": "true labels, random subset",
}


def two_by_two(t: pd.DataFrame, title: str = "") -> tuple[Figure, str]:
    """The four alignments with g(true, all) in every layer: wrong labels and selection by confidence, told apart.

    t: rows of `layer_benefit` with a column seed. Bars are means over seeds (each the mean of its rows), with 95 % intervals.
    """
    t = t[~t["empty"].astype(bool)]
    if not len(t):
        raise InputError(
            "no measurement in this table had a sample over the threshold; give one that has, or lower tau."
        )
    names = list(dict.fromkeys(t["layer"]))
    figure = Figure(figsize=(2.1 * len(names) + 4.5, 4.9), layout="constrained")
    ax = figure.subplots()
    looks = [("#D55E00", ""), ("#0072B2", "//"), ("#E69F00", ".."), ("#BBBBBB", "")]
    told = {}
    for k, (quantity, label) in enumerate(FOUR.items()):
        m = mean_and_interval(t, "layer", quantity).set_index("layer").loc[names]
        x = [i + 0.2 * (k - 1.5) for i in range(len(names))]
        color, hatch = looks[k]
        ax.bar(x, m["mean"], 0.19, color=color, hatch=hatch, edgecolor="black", linewidth=0.8, label=label)
        ax.errorbar(x, m["mean"], [m["mean"] - m["low"], m["high"] - m["mean"]], fmt="none", color="black", capsize=3)
        told[label] = m["mean"]
    ax.set_xticks(range(len(names)), names, fontsize=13)
    ax.set_ylabel("cosine with the gradient of all true labels", fontsize=13)
    _reference(ax, "alignment")
    ax.legend(fontsize=11, loc="center left", bbox_to_anchor=(1.01, 0.5), title="labels, samples")
    ax.set_title(title, fontsize=15)
    parts = [
        f"{label} {v.iloc[0]:+.2f} in {names[0]} and {v.iloc[-1]:+.2f} in {names[-1]}" for label, v in told.items()
    ]
    return (
        figure,
        f"Cosine with the gradient of all true labels, mean of {t['seed'].nunique()} seeds: {'; '.join(parts)}.",
    )


def over_training(
    tables: dict[str, pd.DataFrame], quantities: Sequence[str], title: str = "", log: bool = False
) -> tuple[Figure, str]:
    """QUANTITIES over training, one panel each, one line per table ({name: rows with seed, step and the quantities})."""
    figure = Figure(figsize=(4.6 * len(quantities) + 1.6, 4.7), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    styles = row_styles(list(tables))
    parts = []
    for ax, quantity in zip(axes, quantities):
        ends = []
        for name, t in tables.items():
            if quantity not in t or t[quantity].isna().all():
                continue
            m = _line(ax, t, "step", quantity, name, styles[name])
            ends.append(f"{name} {m['mean'].iloc[-1]:.3g}")
        ax.set_title(QUANTITIES[quantity], fontsize=13)
        ax.set_xlabel("training step", fontsize=13)
        ax.tick_params(labelsize=12)
        ax.grid(alpha=0.3)
        if log:
            ax.set_yscale("log")
        parts.append(f"{QUANTITIES[quantity]}: {', '.join(ends)}")
    _legend_beside(figure, axes)
    figure.suptitle(title, fontsize=15)
    return figure, f"At the last step, mean of {_seeds(tables)}. {'; '.join(parts)}."


def _alike(panels: dict[str, dict]) -> bool:
    """Do all panels have the same rows?"""
    return len({tuple(rows) for rows in panels.values()}) == 1


def differences_figure(
    differences: dict[str, dict[str, Sequence[float]]],
    label: str = "paired difference in test accuracy",
    title: str = "",
    decided: dict[str, dict[str, int]] | None = None,
) -> tuple[Figure, str]:
    """Paired differences with 95 % intervals, every seed a point: {panel: {row: one difference per seed}}.

    Colour and marker tell +1 and -1 in `decided` from 0; by default what lies on one side of 0 with its whole interval.
    """
    tallest = max(len(rows) for rows in differences.values())
    longest = max(len(row) for rows in differences.values() for row in rows)
    width = 5.6 * len(differences) + 0.09 * longest * (1 if _alike(differences) else len(differences))
    figure = Figure(figsize=(width, 0.5 * tallest + 1.9), layout="constrained")
    axes = figure.subplots(1, len(differences), squeeze=False, sharex=True)[0]
    parts = []
    for ax, (panel, rows) in zip(axes, differences.items()):
        told = []
        for i, (row, values) in enumerate(rows.items()):
            mean, (low, high) = statistics.fmean(values), interval(values)
            sign = (low > 0) - (high < 0) if decided is None else decided[panel][row]
            color, marker = {1: ("#0072B2", "D"), -1: ("#D55E00", "v"), 0: ("#555555", "o")}[sign]
            ax.scatter(values, [i + 0.22] * len(values), s=16, color=color, alpha=0.5)
            ax.errorbar(
                mean,
                i,
                xerr=[[mean - low], [high - mean]],
                color=color,
                marker=marker,
                markersize=9,
                capsize=5,
                linewidth=2.4,
            )
            told.append(f"{row} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        ax.axvline(0, color="black", linewidth=1.4)
        ax.set_yticks(range(len(rows)), [] if ax is not axes[0] and _alike(differences) else list(rows), fontsize=12)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel(label, fontsize=12)
        ax.set_title(panel, fontsize=14)
        ax.grid(axis="x", alpha=0.3)
        parts.append(f"{panel}: {', '.join(told)}")
    figure.suptitle(title, fontsize=15)
    return figure, f"{label[0].upper()}{label[1:]} with 95 % intervals. {'; '.join(parts)}."


# --- in the plane ----------------------------------------------------------------------------------------------------

CLASS_STYLE = [("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("#D55E00", "P"),
               ("#F0E442", "X"), ("#999933", "<"), ("#8B4513", ">"), ("#332288", "*")]  # fmt: skip


def class_styles(num_classes: int) -> list[tuple]:
    """(colour, marker) of each class."""
    check_range("num_classes", num_classes, 1, len(CLASS_STYLE), whole=True)
    return CLASS_STYLE[:num_classes]


def gradient_arrows(z, y, labels, W, mask=None) -> tuple[Figure, str]:
    """What pseudo-labels do to centres (left) and to features taken as free vectors (right), in the plane.

    z (N, 2), y and labels (N,), W (C, 2), mask (N,) or None, as tensors. Arrows are descent directions, -dL/dW and -dL/dz, scaled
    so that the longest of each panel has length 1.3: blue what the true labels would do, orange what the wrong ones add.
    """
    p = (z @ W.T).softmax(dim=1)
    splits = split_classifier_gradient(z, p, labels, y, mask), split_feature_gradient(W, p, labels, y, mask)
    longest = [max(float(part.norm(dim=1).max()) for part in split) for split in splits]
    moves = [[(-1.3 / max(top, 1e-12) * part).numpy() for part in split] for split, top in zip(splits, longest)]
    wrong = ((labels != y) if mask is None else (labels != y) & mask).numpy()
    z, y, W = z.numpy(), y.numpy(), W.numpy()
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, starts, (clean, noise), title in zip(
        axes, (W, z), moves, ("Centres: the classification layer", "Features, each on its own")
    ):
        for c, (color, marker) in enumerate(class_styles(len(W))):
            own = y == c
            ax.scatter(
                *z[own].T,
                color=color,
                marker=marker,
                s=55,
                alpha=0.75 if starts is z else 0.3,
                zorder=2,
                label=f"class {c}",
            )
            ax.annotate("", W[c], (0, 0), arrowprops=dict(arrowstyle="-", color=color, linewidth=3))
            ax.scatter(*W[c], color=color, marker=marker, s=260, edgecolor="black", linewidth=2, zorder=3)
        ax.scatter(
            *z[wrong].T, s=210, facecolor="none", edgecolor="black", linewidth=1.8, zorder=3, label="wrong pseudo-label"
        )
        for move, color, label in ((clean, "#004B7A", "clean part"), (noise, "#D55E00", "noise part")):
            far = np.linalg.norm(move, axis=1) > 1e-6
            ax.quiver(*starts[far].T, *move[far].T, angles="xy", scale_units="xy", scale=1, color=color, width=0.005, zorder=4,
                      label=label)  # fmt: skip
        ax.set_title(title, fontsize=15)
        ax.set_xlabel("feature 1", fontsize=13)
        ax.set_aspect("equal")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("feature 2", fontsize=13)
    figure.legend(*axes[1].get_legend_handles_labels(), fontsize=12, loc="outside right center")
    touched = [int((np.linalg.norm(noise, axis=1) > 1e-6).sum()) for _, noise in moves]
    return figure, (
        f"Of {len(z)} features {int(wrong.sum())} carry a wrong pseudo-label (ringed): their noise moves {touched[0]} of the "
        f"{len(W)} centres, which every feature of these classes meets, but only {touched[1]} of the {len(z)} features."
    )


def decision_figure(
    models: dict[str, torch.nn.Module], data: SSLData, threshold: float, shown: int = 400
) -> tuple[Figure, str]:
    """Decision regions of networks on points in the plane, one panel each, with their pseudo-labels right and wrong.

    models: {title: model}, looked at in eval mode. Small marks are pseudo-labels over the threshold (crossed where wrong), dots
    are samples below it, large marks are the labelled samples.
    """
    if data.sample_shape != (2,):
        raise InputError(
            f"{data.name!r} has samples of shape {data.sample_shape}; decision regions are drawn for points (2,)."
        )
    views = Views(data)
    low, high = (data.x_unlabelled.amin(0) - 0.4).tolist(), (data.x_unlabelled.amax(0) + 0.4).tolist()
    xs, ys = (np.linspace(a, b, 160, dtype=np.float32) for a, b in zip(low, high))
    grid = torch.from_numpy(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))
    u, y = data.x_unlabelled[:shown], data.y_unlabelled[:shown].numpy()
    figure = Figure(figsize=(4.6 * len(models) + 1.6, 4.9), layout="constrained")
    axes = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
    styles = class_styles(len(data.classes))
    parts = []
    for ax, (title, model) in zip(axes, models.items()):
        regions, _ = _predictions(model, views.plain(grid), threshold)
        labels, mask = _predictions(model, views.plain(u), threshold)
        ax.contourf(
            xs,
            ys,
            regions.reshape(160, 160),
            levels=[c - 0.5 for c in range(len(styles) + 1)],
            colors=[c for c, _ in styles],
            alpha=0.22,
        )
        ax.scatter(*u.numpy()[~mask].T, s=5, color="0.45", label="below τ")
        for c, (color, marker) in enumerate(styles):
            own = mask & (labels == c)
            ax.scatter(*u.numpy()[own].T, s=20, color=color, marker=marker, label=f"pseudo-label {data.classes[c]}")
            mine = data.x_labelled[data.y_labelled == c]
            ax.scatter(*mine.numpy().T, s=240, color=color, marker=marker, edgecolor="black", linewidth=2.2, zorder=4)
        wrong = mask & (labels != y)
        ax.scatter(*u.numpy()[wrong].T, s=26, color="black", marker="x", linewidth=1.0, zorder=3, label="wrong")
        ax.set_title(title, fontsize=14)
        ax.set_xlabel("x", fontsize=13)
        rate = wrong.sum() / max(1, mask.sum())
        parts.append(f"{title}: {mask.mean():.0%} over the threshold, {rate:.0%} of these wrong")
    axes[0].set_ylabel("y", fontsize=13)
    figure.legend(*axes[-1].get_legend_handles_labels(), fontsize=12, loc="outside right center")
    return figure, f"Decision regions on {data.name} with {data.num_labels} labels. {'; '.join(parts)}."


def _predictions(model: torch.nn.Module, x: torch.Tensor, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mask of a model in eval mode, wherever it lies; its mode is left as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        labels, mask, _ = pseudo_label(model(x.to(next(model.parameters()).device)), threshold)
    for module, mode in modes:
        module.training = mode
    return labels.cpu().numpy(), mask.cpu().numpy()


def threshold_figure(confidence, right, tau: float | None = None, title: str = "") -> tuple[Figure, str]:
    """Is the network as right as it is sure (left), and what does each threshold let through (right)? confidence, right: (N,)."""
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    figure = Figure(figsize=(12.5, 4.8), layout="constrained")
    left, other = figure.subplots(1, 2)
    bins = np.clip((confidence * 10).astype(int), 0, 9)
    full = [b for b in range(10) if (bins == b).sum() >= 5]
    left.plot([0, 1], [0, 1], color="black", linestyle=":", label="calibrated")
    left.plot(
        *([v[bins == b].mean() for b in full] for v in (confidence, right)),
        color="#0072B2", marker="D", linewidth=2.4, markersize=8, label="network (bins of 0.1)",
    )  # fmt: skip
    left.set_xlabel("mean confidence", fontsize=13)
    left.set_ylabel("share of right labels", fontsize=13)
    left.legend(fontsize=12)
    taus = np.linspace(0, 0.99, 100)
    over = confidence[None] >= taus[:, None]
    rates = over.mean(axis=1)
    rightness = np.where(rates > 0, (over * right).sum(axis=1) / np.maximum(1, over.sum(axis=1)), np.nan)
    for values, color, line, label in (
        (rates, "#E69F00", "--", "mask rate"),
        (rightness, "#0072B2", "-", "right among them"),
        (rates * (1 - rightness), "#D55E00", ":", "wrong labels, of all samples"),
    ):
        other.plot(taus, values, color=color, linestyle=line, linewidth=2.8, label=label)
    if tau is not None:
        other.axvline(tau, color="black", linewidth=1.3)
        other.annotate(f"τ = {tau:g}", (tau, 1.03), ha="center", va="bottom", fontsize=12, annotation_clip=False)
    other.set_xlabel("threshold τ", fontsize=13)
    other.set_ylabel("share", fontsize=13)
    other.legend(fontsize=12, loc="lower left")
    for ax in (left, other):
        ax.set_ylim(-0.02, 1.02)
        ax.grid(alpha=0.3)
    figure.suptitle(title, fontsize=15)
    gap, at = confidence.mean() - right.mean(), 0.0 if tau is None else tau
    sure = confidence >= at
    told = f"{right[sure].mean():.2f} of it is right" if sure.any() else "so there is nothing to be right or wrong"
    return figure, (
        f"Mean confidence {confidence.mean():.2f}, {right.mean():.2f} of the labels right, a gap of {gap:+.2f}; at threshold "
        f"{at:g} a share of {sure.mean():.2f} passes, and {told}."
    )


def maps_figure(
    maps: dict[str, Sequence], recordings: dict[str, Recording], snapshots: Sequence[int], title: str = ""
) -> tuple[Figure, str]:
    """Feature maps of recorded runs, one row per run, one column per snapshot; wrong pseudo-labels over the threshold are ringed.

    maps: {name: one (N, 2) array per snapshot, from `embedding.embed`}, recordings: {the same name: its run}. With one snapshot
    the maps stand side by side. A sample is drawn as the number of its true class.
    """
    if any(len(points) != len(snapshots) for points in maps.values()):
        raise InputError(
            f"{len(snapshots)} snapshots need as many maps each, got {[len(points) for points in maps.values()]}."
        )
    shape = (len(maps), len(snapshots)) if len(snapshots) > 1 else (1, len(maps))
    figure = Figure(figsize=(4.3 * shape[1], 4.1 * shape[0] + 0.6), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False).reshape(len(maps), len(snapshots))
    parts = []
    for row, (name, points) in zip(axes, maps.items()):
        r = recordings[name]
        limits = [
            (min(float(p[:, k].min()) for p in points), max(float(p[:, k].max()) for p in points)) for k in (0, 1)
        ]
        rates = []
        for ax, s, p in zip(row, snapshots, points):
            wrong = r.mask[s] & ~r.right[s]
            rates.append(f"{wrong.sum() / max(1, r.mask[s].sum()):.0%} of {r.mask[s].sum()} at step {r.steps[s]}")
            for c, (color, _) in enumerate(class_styles(len(r.classes))):
                own = r.y_true == c
                ax.scatter(*p[own].T, s=46, color=color, marker=f"${c}$", linewidth=0.3, zorder=2)
            ax.scatter(*p[wrong].T, s=80, facecolor="none", edgecolor="black", linewidth=0.6, alpha=0.5, zorder=3)
            for (low, high), put in zip(limits, (ax.set_xlim, ax.set_ylim)):
                margin = 0.04 * (high - low)
                put(low - margin, high + margin)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(f"step {r.steps[s]}: {wrong.sum()} wrong of {r.mask[s].sum()} over τ", fontsize=13)
        row[0].set_ylabel(name, fontsize=15)  # beside its row, or beside its map where there is only one row
        parts.append(f"{name} {', '.join(rates)}")
    figure.suptitle(title, fontsize=15)
    return figure, f"Feature maps; wrong among the pseudo-labels over the threshold: {'; '.join(parts)}."


def confusion_counts(y, labels, num_classes: int) -> np.ndarray:
    """(C, C): how often each true class (row) carries each label (column), for y and labels (N,)."""
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (y, labels), 1)
    return counts


def confusion_figure(recording: Recording, snapshots: Sequence[int], title: str = "") -> tuple[Figure, str]:
    """Whose pseudo-labels go where: true class against pseudo-label, of the recorded sample's labels over the threshold."""
    import seaborn

    classes = recording.classes
    C = len(classes)
    figure = Figure(figsize=(4.6 * len(snapshots) + 0.8, 4.9), layout="constrained")
    axes = figure.subplots(1, len(snapshots), squeeze=False)[0]
    parts = []
    for ax, s in zip(axes, snapshots):
        over = recording.mask[s]
        counts = confusion_counts(recording.y_true[over], recording.labels[s][over], C)
        seaborn.heatmap(
            counts, ax=ax, annot=counts, fmt="d", cmap="Blues", cbar=False, square=True, mask=counts == 0,
            xticklabels=classes, yticklabels=classes, linewidths=0.5, linecolor="0.9", annot_kws={"fontsize": 10},
        )  # fmt: skip
        ax.set_title(f"step {recording.steps[s]}", fontsize=14)
        ax.set_xlabel("pseudo-label", fontsize=13)
        wrong = counts * (1 - np.eye(C, dtype=int))
        y, q = np.unravel_index(wrong.argmax(), wrong.shape)
        most = f", most often {classes[y]} taken for {classes[q]} ({wrong[y, q]})" if wrong.any() else ""
        parts.append(f"step {recording.steps[s]}: {counts.sum()} labels over the threshold, {wrong.sum()} wrong{most}")
    axes[0].set_ylabel("true class", fontsize=13)
    figure.suptitle(title, fontsize=15)
    return figure, f"True class against pseudo-label. {'; '.join(parts)}."


# --- files and notebooks ---------------------------------------------------------------------------------------------


def show(figure_and_alt: tuple[Figure, str]) -> None:
    """Display a figure in a notebook, as a PNG with its alt text; below it the same to open, for JupyterLab drops alt texts."""
    from IPython.display import HTML, Image, display

    figure, alt = figure_and_alt
    display(Image(as_png(figure), alt=alt))
    words = f"<details><summary><small>In words</small></summary>{html.escape(alt)}</details>"
    display(HTML(words), metadata={"in_words": True})


def as_png(figure: Figure, small: bool = True) -> bytes:
    """The figure as a PNG without a date in it: the same data give the same bytes. small: in 256 colours, which takes longer."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return shrink(buffer.getvalue()) if small else buffer.getvalue()


def shrink(png: bytes) -> bytes:
    """The same picture in 256 colours, for files."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()


def save(figure: Figure, path: str | PathLike) -> None:
    """Write the figure to a PNG file, atomically."""
    png = as_png(figure)
    write_atomically(path, lambda f: f.write(png))
