"""The demo's picture: who wins, what is lost, and where. Three panels, each seed a point."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..runs.compare import Outcome
from ..studies.report import NAMES, by_method, early_and_late, layer_benefits, readouts
from .readouts import draw_readouts
from .style import STYLE, WIDEST, dress


def comparison_figure(outcomes: Sequence[Outcome]) -> tuple[Figure, str]:
    """Test accuracy seed by seed; where runs measured them, also the readouts and each layer's alignment late in training."""
    rows, benefits = readouts(outcomes), layer_benefits(outcomes)
    drawn = [lambda ax: _draw_accuracy(ax, outcomes)]
    if rows:
        drawn.append(lambda ax: draw_readouts(ax, rows))
    if len(benefits) and benefits["alignment"].notna().any():
        drawn.append(lambda ax: _draw_alignment(ax, benefits))
    widths = (1, 1.3, 1.1)[: len(drawn)]
    figure = Figure(figsize=(WIDEST * sum(widths) / 3.4, 4.8), layout="constrained")
    config, seeds = outcomes[0].config, len({o.config.seed for o in outcomes})
    figure.suptitle(f"{Path(config.dataset).name}, {outcomes[0].labels} labels, {seeds} seed{'s' * (seeds > 1)}", fontsize=15)
    axes = figure.subplots(1, len(drawn), squeeze=False, width_ratios=widths)
    return figure, " ".join(draw(ax) for draw, ax in zip(drawn, axes[0]))


def _draw_accuracy(ax, outcomes: Sequence[Outcome]) -> str:
    groups = by_method(outcomes)
    means = {m: statistics.fmean(o.accuracy for o in g) for m, g in groups.items()}
    for seed in {o.config.seed: None for o in outcomes}:
        ax.plot([next(o.accuracy for o in g if o.config.seed == seed) for g in groups.values()], color="0.75", zorder=1)
    for i, (method, group) in enumerate(groups.items()):
        color, marker, _ = STYLE[method]
        ax.scatter([i] * len(group), [o.accuracy for o in group], s=70, color=color, marker=marker, zorder=3)
        ax.hlines(means[method], i - 0.3, i + 0.3, color=color, linewidth=4, zorder=2)
    dress(ax, "Who wins?", y="test accuracy", grid="y")
    ax.set_xticks(range(len(groups)), [f"{NAMES[m]}\n{means[m]:.0%}" for m in groups])
    ax.set_xlim(-0.5, len(groups) - 0.5)
    return f"Test accuracy, mean over seeds: {', '.join(f'{NAMES[m]} {v:.3f}' for m, v in means.items())}."


def _draw_alignment(ax, benefits) -> str:
    """One line per method over the layers: mean over seeds, every seed as a small marker."""
    layers, late = list(dict.fromkeys(benefits["layer"])), early_and_late(benefits).query("phase == 'late'")
    parts = []
    for method, t in late.groupby("method", sort=False):
        color, marker, line = STYLE[method]
        mean = t.groupby("layer")["alignment"].mean().reindex(layers)  # without those where nothing could be measured
        look = dict(color=color, marker=marker, linestyle=line, markersize=9, linewidth=2.5, label=NAMES[method])
        ax.plot(range(len(layers)), mean, **look)
        ax.scatter([layers.index(layer) for layer in t["layer"]], t["alignment"], s=18, color=color, marker=marker, alpha=0.5)
        parts.append(f"{NAMES[method]} {mean.iloc[0]:+.2f} in {layers[0]} and {mean.iloc[-1]:+.2f} in {layers[-1]}")
    ax.axhline(0, color="black", linewidth=1.4)
    dress(ax, "Which layer is misled?", y="alignment with the true gradient", grid="y")
    ax.set_xticks(range(len(layers)), [layer.replace(" ", "\n") for layer in layers])
    ax.set_xlim(-0.4, len(layers) - 0.6)
    if parts:
        ax.legend(fontsize=12)
    return f"Alignment late in training: {'; '.join(parts) or 'nothing passed the threshold'}."
