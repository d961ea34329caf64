"""Figures. Each function returns the figure and a one-sentence alt text made from the plotted data."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from os import PathLike

import torch
from matplotlib.figure import Figure

from .augment import Views
from .compare import NAMES, Outcome, by_method, early_and_late, interval, layer_benefits
from .data import SSLData
from .files import write_atomically
from .seeding import generator

# Okabe and Ito's colours, told apart by people who do not see red and green, and a marker of its own for each method.
STYLE = {
    "supervised": ("#555555", "s"),
    "fixmatch": ("#D55E00", "o"),
    "grad_relu": ("#E69F00", "^"),
    "avg_clustering": ("#009E73", "v"),
    "layermatch": ("#0072B2", "D"),
}


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
            _draw_sample(axes[i, j], sample, data, PHASES[j])
    for i, c in enumerate(shown):
        axes[i, 0].set_ylabel(data.classes[c], fontsize=13, rotation=0, ha="right", va="center")
    moved = {k: float((columns[k] - columns["sample"]).abs().mean()) for k in ("weak", "strong")}
    return figure, (
        f"One sample of {len(shown)} classes of {data.name} with two weak and two strong views each; a weak view "
        f"differs from its sample by {moved['weak']:.2f} on average, a strong one by {moved['strong']:.2f}."
    )


PHASES = ("black", "#0072B2", "#0072B2", "#D55E00", "#D55E00")


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
    figure = Figure(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    config = outcomes[0].config
    figure.suptitle(
        f"{config.dataset}, {config.num_labels} labels, {config.steps} steps, "
        f"{len({o.config.seed for o in outcomes})} seeds",
        fontsize=15,
    )
    alt = f"{_draw_accuracy(left, outcomes)} {_draw_benefit(right, outcomes)}"
    return figure, alt


def _draw_accuracy(ax, outcomes: Sequence[Outcome]) -> str:
    groups = by_method(outcomes)
    for seed in {o.config.seed: None for o in outcomes}:
        ax.plot([next(o.accuracy for o in g if o.config.seed == seed) for g in groups.values()], color="0.8", zorder=1)
    for i, (method, group) in enumerate(groups.items()):
        color, marker = STYLE[method]
        scores = [o.accuracy for o in group]
        mean = statistics.fmean(scores)
        ax.scatter([i] * len(scores), scores, s=70, color=color, marker=marker, zorder=3, edgecolor="white")
        ax.hlines(mean, i - 0.28, i + 0.28, color=color, linewidth=3, zorder=2)
        ax.annotate(f"{mean:.3f}", (i + 0.3, mean), va="center", fontsize=13, color=color)
    ax.set_xticks(range(len(groups)), [NAMES[m] for m in groups], fontsize=12)
    ax.set_xlim(-0.5, len(groups) - 0.3)
    ax.set_ylabel("test accuracy", fontsize=13)
    ax.set_title("Accuracy: bar = mean, grey lines join a seed", fontsize=13)
    ax.grid(axis="y", alpha=0.3)
    means = ", ".join(f"{NAMES[m]} {statistics.fmean(o.accuracy for o in g):.3f}" for m, g in groups.items())
    return f"Test accuracy, mean over seeds: {means}."


def _draw_benefit(ax, outcomes: Sequence[Outcome]) -> str:
    benefits = layer_benefits(outcomes)
    table = early_and_late(benefits)
    names = list(dict.fromkeys(benefits["layer"]))
    bars = [
        (m, p)
        for m in by_method(outcomes)
        for p in ("early", "late")
        if ((table["method"] == m) & (table["phase"] == p)).any()
    ]
    width = 0.8 / max(1, len(bars))
    parts = []
    for k, (method, phase) in enumerate(bars):
        t = table[(table["method"] == method) & (table["phase"] == phase)]
        color, marker = STYLE[method]
        for i, layer in enumerate(names):
            values = t.loc[t["layer"] == layer, "benefit"]
            x = i + (k - (len(bars) - 1) / 2) * width
            ax.bar(
                x,
                values.mean(),
                width * 0.92,
                color=color if phase == "late" else "white",
                edgecolor=color,
                hatch="" if phase == "late" else "////",
                linewidth=1.5,
                label=f"{NAMES[method]}, {phase}" if i == 0 else None,
            )
            ax.scatter([x] * len(values), values, s=16, color="black", marker=marker, zorder=3)
        last = t[t["layer"] == names[-1]]["benefit"].mean()
        first = t[t["layer"] == names[0]]["benefit"].mean()
        parts.append(f"{NAMES[method]} {phase} {first:+.2f} in {names[0]} and {last:+.2f} in {names[-1]}")
    ax.axhline(0, color="black", linewidth=1)
    ax.axhline(1, color="black", linewidth=1, linestyle=":")
    ax.annotate("as good as true labels", (len(names) - 0.45, 1), va="bottom", ha="right", fontsize=11)
    ax.set_xticks(range(len(names)), names, fontsize=12)
    ax.set_ylabel("layer benefit", fontsize=13)
    ax.set_title("What pseudo-labels do to each layer (below 0: harm)", fontsize=13)
    ax.legend(fontsize=11, ncols=2)
    ax.grid(axis="y", alpha=0.3)
    return f"Mean layer benefit of pseudo-labels: {'; '.join(parts)}."


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
        ax.annotate(f"every label: {top:.3f}", (len(rows) - 0.5, top), va="bottom", ha="right", fontsize=11)
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
