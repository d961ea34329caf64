"""Recorded runs: maps of their features, and whose pseudo-labels go where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ..data.arrays import real_array
from ..errors import InputError, check_choice, check_range
from ..runs.recording import Recording
from .letters import drawn_names, in_words
from .style import WIDEST, class_styles, dress, label_left, panels


def maps_figure(
    maps: dict[str, Sequence], recordings: dict[str, Recording], snapshots: Sequence[int], title: str = ""
) -> tuple[Figure, str]:
    """Feature maps of recorded runs, one row per run, one column per snapshot; wrong pseudo-labels over the threshold are ringed.

    maps: {name: one (N, 2) array per snapshot, from `embedding.embed`}, recordings: {the same name: its run}. With one snapshot
    the maps stand side by side. A sample has the colour of its true class, whose name stands in the middle of its points.
    """
    for name, points in maps.items():
        check_choice("map", name, recordings)
        N = len(recordings[name].y_true)
        for p in points:
            real_array(f"map {name!r}", p, (N, 2))
    if not maps or any(len(points) != len(snapshots) for points in maps.values()):
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
        rates = []
        for ax, s, p in zip(row, snapshots, points):
            p = np.clip(p, start, end)
            wrong, over = r.mask[s] & ~r.right[s], r.mask[s].sum()
            rates.append(f"{wrong.sum() / max(1, over):.0%} of {over} at step {r.steps[s]}")
            draw_points(ax, p, r.y_true, r)
            ax.scatter(*p[wrong].T, s=60, facecolor="none", edgecolor="black", linewidth=0.6, alpha=0.35, zorder=3)
            ax.set(xlim=(start[0], end[0]), ylim=(start[1], end[1]), xticks=[], yticks=[])
            _name_classes(ax, p, r.y_true, r)
            ax.set_title(f"step {r.steps[s]}: {wrong.sum()} wrong of {over} over τ", fontsize=13)
        row[0].set_ylabel(name, fontsize=15)  # beside its row, or beside its map where there is only one row
        parts.append(f"{name} {', '.join(rates)}")
    figure.suptitle(title, fontsize=15)
    alt = f"Feature maps; wrong among the pseudo-labels over the threshold: {'; '.join(parts)}."
    return figure, alt + in_words(r.classes)


def truth_and_label_figure(points, r: Recording, snapshot: int, title: str = "") -> tuple[Figure, str]:
    """One (N, 2) map of a recorded run twice: coloured and named by the true classes, and by the network's pseudo-labels."""
    check_range("snapshot", snapshot, 0, len(r.steps) - 1, whole=True)
    points, labels = real_array("points", points, (len(r.y_true), 2)), r.labels[snapshot]
    figure, axes = panels(2, 5.2, 4.6, title=title, sharex=True, sharey=True)
    for ax, called, name in zip(axes, (r.y_true, labels), ("by true class", "by what the network calls it")):
        draw_points(ax, points, called, r)
        ax.set(xticks=[], yticks=[])
        dress(ax, name, grid=None)
    for ax, called in zip(axes, (r.y_true, labels)):
        _name_classes(ax, points, called, r)
    lost = [name for c, name in enumerate(r.classes) if (r.y_true == c).any() and not (labels == c).any()]
    gone = f"no sample is called {', '.join(lost)}" if lost else "every class is still called"
    alt = f"The same {len(points)} samples, by true class and by pseudo-label, step {r.steps[snapshot]}: {gone}."
    return figure, alt + in_words(r.classes)


def clouds_figure(clouds: dict[str, np.ndarray], title: str = "") -> tuple[Figure, str]:
    """Maps {title: (N, 2)} of samples without classes, side by side."""
    figure, axes = panels(len(clouds), 4.4, 4.0, title=title)
    for ax, (name, points) in zip(axes, clouds.items()):
        ax.scatter(*real_array(f"map {name!r}", points, (None, 2)).T, s=10, color="#004B7A")
        ax.set(xticks=[], yticks=[])
        dress(ax, name, grid=None)
    sizes = ", ".join(f"{name}: {len(points)} points" for name, points in clouds.items())
    return figure, f"{title or 'Maps'}. Maps of samples without classes; {sizes}."


def draw_points(ax, points: np.ndarray, called: np.ndarray, r: Recording) -> None:
    """A dot for each sample, in the colour of the class it is called."""
    for c, (color, _) in enumerate(class_styles(len(r.classes))):
        ax.scatter(*points[called == c].T, s=18, color=color, linewidth=0, zorder=2)


def _name_classes(ax, points: np.ndarray, called: np.ndarray, r: Recording) -> None:
    """Each class's name in the middle of its points, moved up where it would cover another."""
    there, names = np.unique(called[called >= 0]), drawn_names(r.classes)
    middles = ax.transLimits.transform([np.median(points[called == c], axis=0) for c in there])
    placed: list[tuple[float, float]] = []
    for k in middles[:, 1].argsort():
        x, y = np.clip(middles[k], (0.14, 0.03), (0.86, 0.97))
        wide = 0.03 * max(map(len, names))
        while any(abs(x - other_x) < wide and abs(y - other_y) < 0.06 for other_x, other_y in placed):
            y += 0.01
        placed.append((x, y))
        color = 0.7 * np.array(to_rgb(class_styles(len(r.classes))[there[k]][0]))
        ax.text(
            x, y, names[there[k]], transform=ax.transAxes, fontsize=12.5, weight="bold", color=color, ha="center",
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
    names, C = drawn_names(classes), len(classes)
    figure, axes = panels(len(snapshots), 4.6, 4.9, beside=0.8, title=title)
    parts = []
    for ax, s in zip(axes, snapshots):
        check_range("snapshot", s, 0, len(recording.steps) - 1, whole=True)
        over, step = recording.mask[s] & (recording.y_true >= 0), recording.steps[s]
        counts = confusion_counts(recording.y_true[over], recording.labels[s][over], C)
        seaborn.heatmap(
            counts, ax=ax, annot=counts, fmt="d", cmap="Blues", cbar=False, square=True, mask=counts == 0,
            xticklabels=False, yticklabels=False, linewidths=0.5, linecolor="0.9", annot_kws={"fontsize": 12},
        )  # fmt: skip
        long = max(map(len, names)) > 2  # seaborn would measure names, and take a $ in them for a formula
        ax.set_xticks(np.arange(C) + 0.5, names, rotation=90 * long)
        ax.set_yticks(np.arange(C) + 0.5, names, rotation=90 * (not long), va="center")
        dress(ax, f"step {step}", "pseudo-label", grid=None)
        wrong = counts * (1 - np.eye(C, dtype=int))
        y, q = np.unravel_index(wrong.argmax(), wrong.shape)
        most = f", most often {classes[y]} taken for {classes[q]} ({wrong[y, q]})" if wrong.any() else ""
        parts.append(f"step {step}: {counts.sum()} labels over the threshold, {wrong.sum()} wrong{most}")
    label_left(axes, "true class")
    return figure, f"True class against pseudo-label. {'; '.join(parts)}." + in_words(classes)
