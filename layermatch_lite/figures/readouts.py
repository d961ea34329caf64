"""What features know and what the classifier says: readouts of methods, and of networks trained under known noise."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..studies import stats
from ..studies.known_noise import ERRORS, RATES, SEEDS, Maps
from ..studies.report import NAMES, READOUTS, study_readouts
from ..studies.stats import interval
from .style import STYLE, class_styles, dress, label_left, legend_beside, panels

# Black: what the classifier says. Indigo: what the features hold, darker the more labels read it.
READOUT_STYLE = {
    "own": ("black", "o", "-"),
    "few": ("#A69BD8", "<", "-."),
    "kmeans": ("#7766CC", ">", ":"),
    "probe": ("#332288", "*", "--"),
}
# By what wrong labels teach; the first two are what FixMatch and Grad-ReLU do.
TAUGHT_STYLE = {
    "all": ("every layer", STYLE["fixmatch"]),
    "features": ("features alone (Grad-ReLU)", STYLE["grad_relu"]),
    "classifier": ("classifier alone", ("#8B4513", "X", ":")),
}


def readout_figure(rows: dict[str, list[dict]], title: str = "") -> tuple[Figure, str]:
    """Readouts side by side, {name: one per seed}, from `report.readouts` or `report.study_readouts`."""
    figure, (ax,) = panels(1, 9, 4.6, title=title)
    return figure, draw_readouts(ax, rows)


def draw_readouts(ax, rows: dict[str, list[dict]]) -> str:
    """Own classifier, k-means and fresh layer of each row, mean over seeds, every seed a small point.

    The fresh layer is fitted to all labels, or to the few there are where the others are unknown.
    """
    fresh = "few" if any(r["probe"] is None for seeds in rows.values() for r in seeds) else "probe"
    parts, shown = [], ("own", "kmeans", fresh)
    for i, (name, seeds) in enumerate(rows.items()):
        mean = {k: statistics.fmean(r[k] for r in seeds) for k in shown}
        ax.plot([i, i], [mean["own"], mean[fresh]], color="0.75", linewidth=5, zorder=1)
        for k in shown:
            color, marker, _ = READOUT_STYLE[k]
            size = 170 if marker == "*" else 90
            ax.scatter(i, mean[k], s=size, color=color, marker=marker, zorder=3, label=READOUTS[k] if i == 0 else None)
            ax.scatter([i] * len(seeds), [r[k] for r in seeds], s=14, color=color, marker=marker, alpha=0.5, zorder=2)
        parts.append(f"{name}: {', '.join(f'{READOUTS[k]} {mean[k]:.3f}' for k in shown)}")
    dress(ax, "What do features know?", grid="y")
    ax.set_xticks(range(len(rows)), ["\n" * (i % 2) + name for i, name in enumerate(rows)])  # in two lines: long names
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.legend(fontsize=12, loc="lower right")
    return f"Readouts, mean over seeds. {'; '.join(parts)}."


def noise_figure(study: dict, kinds: Sequence[str], title: str = "") -> tuple[Figure, str]:
    """The readouts of the study "known_noise" over the rate of wrong labels, one panel for each kind: mean and 95 % interval.

    Thin lines: the network that was trained on the labelled samples alone.
    """
    alone = study_readouts(study, "no pseudo-labels", ("supervised",))[NAMES["supervised"]]
    lines = {
        READOUTS[k]: (READOUT_STYLE[k], lambda s, k=k: stats.values(study, s, "all", f"readout/{k}"))
        for k in ("own", "kmeans", "probe")
    }
    floors = {READOUTS[k]: statistics.fmean(r[k] for r in alone) for k in ("own", "kmeans", "probe")}
    figure, alt = _over_rates(study, kinds, lines, title, floors)
    thin = ", ".join(f"{name} {value:.2f}" for name, value in floors.items())
    return figure, f"{alt} Thin lines, without pseudo-labels: {thin}."


def taught_figure(study: dict, kinds: Sequence[str], title: str = "") -> tuple[Figure, str]:
    """Accuracy of the own classifier, by what the wrong labels teach; and of a layer fitted to the labelled samples afterwards,
    on features taught with every layer: mean and 95 % interval."""
    lines = {
        name: (style, lambda s, t=t: stats.values(study, s, t, "readout/own")) for t, (name, style) in TAUGHT_STYLE.items()
    }
    lines[READOUTS["few"]] = (READOUT_STYLE["few"], lambda s: stats.values(study, s, "all", "readout/few"))
    return _over_rates(study, kinds, lines, title)


def _over_rates(
    study: dict, kinds: Sequence[str], lines: dict[str, tuple[tuple, Callable]], title: str, floors: dict | None = None
) -> tuple[Figure, str]:
    figure, axes = panels(len(kinds), 4.2, 4.6, beside=2.6, title=title, sharey=True)
    parts = []
    for ax, kind in zip(axes, kinds):
        ends = []
        for name, ((color, marker, line), values) in lines.items():
            found = [list(values(f"{kind} {rate}").values()) for rate in RATES]
            means, bounds = [statistics.fmean(v) for v in found], np.transpose([interval(v) for v in found])
            ax.plot(RATES, means, color=color, marker=marker, linestyle=line, linewidth=2.4, markersize=8, label=name)
            ax.fill_between(RATES, *bounds, color=color, alpha=0.12, linewidth=0)
            ends.append(f"{name} {means[0]:.2f} to {means[-1]:.2f}")
            if floors:
                ax.axhline(floors[name], color=color, linewidth=0.8)
        if floors:
            ax.plot([], [], color="0.3", linewidth=0.8, label="no pseudo-labels")
        dress(ax, f"wrong labels: {ERRORS[kind]}", "share of wrong labels", grid="y")
        ax.set_ylim(0, 1.02)
        parts.append(f"{ERRORS[kind]}: {', '.join(ends)}")
    label_left(axes, "test accuracy")
    legend_beside(figure, axes)
    text = f"from {RATES[0]:.0%} to {RATES[-1]:.0%} wrong labels, mean of {len(study['seeds'])} seeds"
    return figure, f"Test accuracy {text}. {'; '.join(parts)}."


def noise_maps_figure(maps: Maps, study: dict, networks: Sequence[tuple]) -> tuple[Figure, str]:
    """Test digits in the plane of the features, one panel per network (kind, rate, taught); dark rims: wrongly classified.

    study: "known_noise", which has the readouts of the same networks.
    """
    figure, axes = panels(len(networks), 5.4, 5.6)
    shown = [maps.of(*network) for network in networks]
    everywhere = np.concatenate([points for points, _ in shown])
    (left, bottom), (right, top) = everywhere.min(axis=0) - 0.8, everywhere.max(axis=0) + 0.8
    parts = []
    for ax, network, (points, predicted) in zip(axes, networks, shown):
        kind, rate, taught = (*network, "all")[:3]
        wrong = predicted != maps.y_true
        for c, (color, _) in enumerate(class_styles(10)):
            own = maps.y_true == c
            ax.scatter(*points[own & ~wrong].T, s=34, color=color, alpha=0.45, linewidth=0)
            ax.scatter(*points[own & wrong].T, s=34, color=color, edgecolor="black", linewidth=1.1, zorder=2)
            halo = [withStroke(linewidth=3, foreground="white")]
            at = np.median(points[own], axis=0)
            ax.annotate(str(c), at, ha="center", va="center", fontsize=17, fontweight="bold", path_effects=halo, zorder=3)
        name = f"{rate:.0%} wrong labels ({ERRORS[kind]})" if rate else "no wrong labels"
        name += f", {TAUGHT_STYLE[taught][0]}" * (taught != "all")
        read = {k: stats.values(study, f"{kind} {rate}", taught, f"readout/{k}")[SEEDS[0]] for k in ("kmeans", "probe")}
        says = f"classifier {1 - wrong.mean():.0%}, k-means {read['kmeans']:.0%}, fresh layer {read['probe']:.0%}"
        dress(ax, f"{name}\n{says}", grid=None)
        ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        parts.append(f"{name}; {says}")
    what = f"Features of {len(maps.y_true)} test digits, by true class, and the share that is classified rightly"
    return figure, f"{what}. {'. '.join(parts)}."
