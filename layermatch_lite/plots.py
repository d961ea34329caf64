"""Figures. Each function returns the figure and a one-sentence alt text made from the plotted data."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from os import PathLike

import pandas as pd
import torch
from matplotlib.figure import Figure

from .augment import Views
from .compare import Outcome
from .data import SSLData
from .report import NAMES, by_method, early_and_late, interval, layer_benefits
from .seeding import generator
from .system import write_atomically

# Okabe and Ito's colours, told apart by people who do not see red and green, and a marker of its own for each method.
STYLE = {
    "supervised": ("#555555", "s"),
    "fixmatch": ("#D55E00", "o"),
    "grad_relu": ("#E69F00", "^"),
    "avg_clustering": ("#009E73", "v"),
    "layermatch": ("#0072B2", "D"),
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
        ax.plot(sample[0], color=color, linewidth=2)
    elif data.kind == "points":
        ax.scatter(*sample[:2], color=color)
    else:
        image = (sample * data.std.view(-1, 1, 1) + data.mean.view(-1, 1, 1)) / 255
        ax.imshow(image.permute(1, 2, 0).clamp(0, 1).squeeze(2), cmap="gray", vmin=0, vmax=1)


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
        color, marker = STYLE[method]
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
        color, marker = STYLE[method]
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


def study_figure(results: dict) -> tuple[Figure, str]:
    """The recorded study (benchmarks/study.py): accuracy of every row and seed with 95 % intervals, one panel per setting."""
    settings = results["settings"]
    figure = Figure(figsize=(5.2 * len(settings), 5.6), layout="constrained")
    axes = figure.subplots(1, len(settings), squeeze=False)[0]
    parts = []
    for ax, (name, setting) in zip(axes, settings.items()):
        rows = {r: v["accuracy"] for r, v in setting["rows"].items() if r in STYLE}
        for i, (row, scores) in enumerate(rows.items()):
            color, marker = STYLE[row]
            mean, (low, high) = statistics.fmean(scores), interval(scores)
            ax.scatter([i - 0.14] * len(scores), scores, s=28, color=color, marker=marker, alpha=0.55)
            ax.errorbar(
                i + 0.14,
                mean,
                [[mean - low], [high - mean]],
                color=color,
                marker=marker,
                markersize=10,
                capsize=6,
                linewidth=2.5,
            )
            ax.annotate(
                f"{mean:.3f}", (i + 0.14, high), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=11
            )
        top = statistics.fmean(setting["rows"]["every label"]["accuracy"])
        ax.axhline(top, color="black", linestyle=":", linewidth=1.5)
        ax.annotate(f"every label: {top:.3f}", (-0.4, top), va="bottom", fontsize=11)
        ax.set_xlim(-0.5, len(rows) - 0.3)
        ax.set_xticks(range(len(rows)), [NAMES[r].replace("-", "-\n") for r in rows], fontsize=11, rotation=25)
        ax.set_title(name, fontsize=14)
        ax.grid(axis="y", alpha=0.3)
        parts.append(f"{name}: " + ", ".join(f"{NAMES[r]} {statistics.fmean(v):.3f}" for r, v in rows.items()))
    axes[0].set_ylabel(f"test accuracy ({len(results['seeds'])} seeds, 95 % interval of the mean)", fontsize=12)
    return figure, f"Mean test accuracy over {len(results['seeds'])} seeds. {'; '.join(parts)}."


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG without a date in it: the same data give the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | PathLike) -> None:
    """Write the figure to a PNG file, atomically."""
    png = as_png(figure)
    write_atomically(path, lambda f: f.write(png))
