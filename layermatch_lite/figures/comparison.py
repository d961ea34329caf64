"""The demo's picture: methods side by side, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..runs.compare import Outcome
from ..studies.report import NAMES, by_method, early_and_late, layer_benefits
from .style import STYLE, dress, mark_benefit


def comparison_figure(outcomes: Sequence[Outcome]) -> tuple[Figure, str]:
    """Test accuracy seed by seed; where runs measured it, also what pseudo-labels do to each layer early and late in training."""
    measured = [o for o in outcomes if any(r.get("layer_benefit") for r in o.history)]
    figure = Figure(figsize=(14 if measured else 6, 5.2), layout="constrained")
    accuracy, *phases = figure.subplots(1, 3, width_ratios=(1, 1.15, 1.15)) if measured else [figure.subplots()]
    config = outcomes[0].config
    figure.suptitle(
        f"{config.dataset}, {config.labels} labels, {config.steps} steps, "
        f"{len({o.config.seed for o in outcomes})} seeds",
        fontsize=16,
    )
    alt = _draw_accuracy(accuracy, outcomes)
    if not measured:
        return figure, alt + " The layer benefit was not measured (probe_every is not set)."
    benefits = layer_benefits(measured)
    layers = list(dict.fromkeys(benefits["layer"]))
    early, late = phases
    early.sharey(late)
    for ax, phase in ((early, "early"), (late, "late")):
        alt += " " + _draw_benefit(ax, early_and_late(benefits), phase, layers)
    early.set_ylabel("layer benefit of pseudo-labels", fontsize=13)
    if late.get_legend_handles_labels()[0]:  # empty where no pseudo-label passed the threshold
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
    dress(ax, "Accuracy (bar: mean; lines: one seed)", y="test accuracy", grid="y")
    ax.set_xticks(range(len(groups)), [f"{NAMES[m]}\n{means[m]:.3f}" for m in groups], fontsize=13)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    return f"Test accuracy, mean over seeds: {', '.join(f'{NAMES[m]} {v:.3f}' for m, v in means.items())}."


def _draw_benefit(ax, table: pd.DataFrame, phase: str, layers: list[str]) -> str:
    """One line per method over the layers: mean over seeds, every seed as a small marker."""
    table = table[table["phase"] == phase]
    methods = list(dict.fromkeys(table["method"]))
    parts = []
    for k, method in enumerate(methods):
        color, marker, _ = STYLE[method]
        t = table[table["method"] == method]
        mean = t.groupby("layer")["benefit"].mean().reindex(layers)  # without those where nothing could be measured
        x = [i + 0.13 * (k - (len(methods) - 1) / 2) for i in range(len(layers))]
        ax.plot(x, mean, color=color, marker=marker, markersize=11, linewidth=2, label=NAMES[method])
        at = [x[layers.index(layer)] for layer in t["layer"]]
        ax.scatter(at, t["benefit"], s=22, color=color, marker=marker, alpha=0.5)
        parts.append(f"{NAMES[method]} {mean.iloc[0]:+.2f} in {layers[0]} and {mean.iloc[-1]:+.2f} in {layers[-1]}")
    mark_benefit(ax)
    dress(ax, f"{phase.capitalize()} in training", grid="y")
    ax.set_xticks(range(len(layers)), layers, fontsize=13)
    ax.set_xlim(-0.5, len(layers) - 0.4)
    ax.set_ylim(min(-0.1, ax.get_ylim()[0]), max(1.1, ax.get_ylim()[1]))
    for text, y in (("as good as true labels", 1.01), ("below 0: harm", 0.01)):
        ax.annotate(text, (-0.4, y), va="bottom", fontsize=11)
    return f"Layer benefit {phase} in training: {'; '.join(parts) or 'nothing passed the threshold'}."
