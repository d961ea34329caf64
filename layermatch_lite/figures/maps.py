"""Recorded runs: maps of their features, and whose pseudo-labels go where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ..errors import InputError
from ..runs.recording import Recording
from .style import WIDEST, class_styles, dress, label_left, panels


def maps_figure(
    maps: dict[str, Sequence], recordings: dict[str, Recording], snapshots: Sequence[int], title: str = ""
) -> tuple[Figure, str]:
    """Feature maps of recorded runs, one row per run, one column per snapshot; wrong pseudo-labels over the threshold are ringed.

    maps: {name: one (N, 2) array per snapshot, from `embedding.embed`}, recordings: {the same name: its run}. With one snapshot
    the maps stand side by side. A sample is drawn in the colour of its true class: as its digit, or as a point where the class
    has a name, which stands in the middle of its points.
    """
    if any(len(points) != len(snapshots) for points in maps.values()):
        raise InputError(
            f"{len(snapshots)} snapshots need as many maps each, got {[len(points) for points in maps.values()]}."
        )
    shape = (len(maps), len(snapshots)) if len(snapshots) > 1 else (1, len(maps))
    figure = Figure(figsize=(min(WIDEST, 4.3 * shape[1]), 3.7 * shape[0] + 0.6), layout="constrained")
    axes = figure.subplots(*shape, squeeze=False).reshape(len(maps), len(snapshots))
    parts = []
    for row, (name, points) in zip(axes, maps.items()):
        r = recordings[name]
        everywhere = np.concatenate([np.asarray(p) for p in points])
        # A few points far off would leave all others no room; they are drawn at the edge.
        low, high = np.percentile(everywhere, (1, 99), axis=0)
        start, end = low - 0.1 * (high - low), high + 0.1 * (high - low)
        digits, rates = max(map(len, r.classes)) == 1, []
        for ax, s, p in zip(row, snapshots, points):
            p = np.clip(p, start, end)
            wrong, over = r.mask[s] & ~r.right[s], r.mask[s].sum()
            rates.append(f"{wrong.sum() / max(1, over):.0%} of {over} at step {r.steps[s]}")
            for c, (color, _) in enumerate(class_styles(len(r.classes))):
                size, marker = (46, f"${r.classes[c]}$") if digits else (16, "o")
                ax.scatter(*p[r.y_true == c].T, s=size, color=color, marker=marker, linewidth=0.3, zorder=2)
            ax.scatter(*p[wrong].T, s=80, facecolor="none", edgecolor="black", linewidth=0.6, alpha=0.5, zorder=3)
            ax.set(xlim=(start[0], end[0]), ylim=(start[1], end[1]), xticks=[], yticks=[])
            if not digits:
                _name_classes(ax, p, r)
            ax.set_title(f"step {r.steps[s]}: {wrong.sum()} wrong of {over} over τ", fontsize=13)
        row[0].set_ylabel(name, fontsize=15)  # beside its row, or beside its map where there is only one row
        parts.append(f"{name} {', '.join(rates)}")
    figure.suptitle(title, fontsize=15)
    return figure, f"Feature maps; wrong among the pseudo-labels over the threshold: {'; '.join(parts)}."


def _name_classes(ax, points: np.ndarray, r: Recording) -> None:
    """Each class's name in the middle of its points, moved up where it would cover another."""
    there = np.unique(r.y_true)
    middles = ax.transLimits.transform([np.median(points[r.y_true == c], axis=0) for c in there])
    placed: list[tuple[float, float]] = []
    for k in middles[:, 1].argsort():
        x, y = np.clip(middles[k], (0.14, 0.03), (0.86, 0.97))
        while any(abs(x - other_x) < 0.3 and abs(y - other_y) < 0.06 for other_x, other_y in placed):
            y += 0.01
        placed.append((x, y))
        color = 0.7 * np.array(to_rgb(class_styles(len(r.classes))[there[k]][0]))
        ax.text(
            x, y, r.classes[there[k]], transform=ax.transAxes, fontsize=12.5, weight="bold", color=color, ha="center",
            va="center", path_effects=[patheffects.withStroke(linewidth=3, foreground="white")], zorder=4,
        )  # fmt: skip


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
    figure, axes = panels(len(snapshots), 4.6, 4.9, beside=0.8, title=title)
    parts = []
    for ax, s in zip(axes, snapshots):
        over, step = recording.mask[s], recording.steps[s]
        counts = confusion_counts(recording.y_true[over], recording.labels[s][over], C)
        seaborn.heatmap(
            counts, ax=ax, annot=counts, fmt="d", cmap="Blues", cbar=False, square=True, mask=counts == 0,
            xticklabels=classes, yticklabels=classes, linewidths=0.5, linecolor="0.9", annot_kws={"fontsize": 12},
        )  # fmt: skip
        dress(ax, f"step {step}", "pseudo-label", grid=None)
        wrong = counts * (1 - np.eye(C, dtype=int))
        y, q = np.unravel_index(wrong.argmax(), wrong.shape)
        most = f", most often {classes[y]} taken for {classes[q]} ({wrong[y, q]})" if wrong.any() else ""
        parts.append(f"step {step}: {counts.sum()} labels over the threshold, {wrong.sum()} wrong{most}")
    label_left(axes, "true class")
    return figure, f"True class against pseudo-label. {'; '.join(parts)}."
