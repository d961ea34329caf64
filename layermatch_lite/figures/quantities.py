"""What is measured during training, over steps, noise rates and layers; means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ..errors import InputError, check_choice
from ..studies.stats import interval
from .style import dress, label_left, layer_styles, legend_beside, mark_benefit, panels, row_styles, sentence

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
# The four alignments, with colour and hatching.
FOUR = {
    "alignment": ("pseudo-labels, over τ", "#D55E00", ""),
    "alignment_true_masked": ("true labels, over τ", "#0072B2", "//"),
    "alignment_pseudo_all": ("pseudo-labels, all samples", "#E69F00", ".."),
    "alignment_true_random": ("true labels, random subset", "#BBBBBB", ""),
}


def mean_and_interval(t: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Per value of x: mean of y over seeds, 95 % interval of that mean (NaN for one seed) and number of seeds."""
    rows = []
    for value, group in t.dropna(subset=y).groupby(x):
        per_seed = group.groupby("seed")[y].mean() if "seed" in group else group[y]
        low, high = interval(list(per_seed)) if len(per_seed) > 1 else (float("nan"), float("nan"))
        rows.append({x: value, "mean": per_seed.mean(), "low": low, "high": high, "seeds": len(per_seed)})
    return pd.DataFrame(rows, columns=[x, "mean", "low", "high", "seeds"])


def _line(ax, t: pd.DataFrame, x: str, y: str, label: str, style: tuple) -> float:
    """Mean over seeds with its interval as a band; returns the last mean."""
    color, marker, line, width = style if len(style) == 4 else (*style, 2.2)
    m = mean_and_interval(t, x, y)
    ax.plot(
        m[x], m["mean"], color=color, marker=marker, linestyle=line, linewidth=width, markersize=7, label=label,
        markevery=max(1, len(m) // 12),
    )  # fmt: skip
    ax.fill_between(m[x], m["low"], m["high"], color=color, alpha=0.11, linewidth=0)
    return m["mean"].iloc[-1]


def _over_threshold(t: pd.DataFrame) -> pd.DataFrame:
    """Without the measurements in which nothing passed the threshold."""
    return t[~t["empty"].astype(bool)] if "empty" in t else t


def _seeds(tables: dict[str, pd.DataFrame]) -> str:
    """ "10 seeds", or "1 to 10 seeds" where tables differ."""
    counts = sorted({t["seed"].nunique() if "seed" in t else 1 for t in tables.values()})
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seed{'s' if counts[-1] > 1 else ''}"


def benefit_over(
    tables: dict[str, pd.DataFrame], x: str = "step", quantity: str = "benefit", title: str = ""
) -> tuple[Figure, str]:
    """A quantity of the probe in every layer, over training (x="step") or over injected noise (x="rate"): one panel per table.

    tables: {panel: rows of `layer_benefit` with columns seed and x}; rows with an empty mask are left out. Mean over seeds and
    its 95 % interval.
    """
    check_choice("quantity", quantity, QUANTITIES)
    label = QUANTITIES[quantity]
    figure, axes = panels(len(tables), 4.4, 4.9, beside=1.2, title=title, sharey=True)
    parts = []
    for ax, (name, t) in zip(axes, tables.items()):
        t = _over_threshold(t)
        ends = {}
        for layer, style in layer_styles(list(dict.fromkeys(t["layer"]))).items():
            if len(rows := t[t["layer"] == layer]):
                ends[layer] = _line(ax, rows, x, quantity, layer, style)
        mark_benefit(ax) if quantity == "benefit" else ax.axhline(0, color="black", linewidth=1.4)
        dress(ax, name, "training step" if x == "step" else "share of wrong labels over τ", grid="y")
        if ends:
            best, worst = max(ends, key=ends.get), min(ends, key=ends.get)
            parts.append(f"{name}: highest {ends[best]:+.2f} in {best}, lowest {ends[worst]:+.2f} in {worst}")
        else:
            parts.append(f"{name}: nothing passed the threshold")
    label_left(axes, label)
    legend_beside(figure, axes)
    last = max(t[x].max() for t in tables.values())
    where = f"at step {last}" if x == "step" else f"with {last:.0%} of the labels wrong"
    return figure, f"{sentence(label)} per layer, mean of {_seeds(tables)}, {where}. {'; '.join(parts)}."


def two_by_two(t: pd.DataFrame, title: str = "") -> tuple[Figure, str]:
    """The four alignments with g(true, all) in every layer: wrong labels apart from selection by confidence.

    t: rows of `layer_benefit` with a column seed. Bars are means over seeds (each the mean of its rows), with 95 % intervals.
    """
    t = _over_threshold(t)
    if not len(t):
        raise InputError(
            "no measurement in this table had a sample over the threshold; give one that has, or lower tau."
        )
    names = list(dict.fromkeys(t["layer"]))
    figure, (ax,) = panels(1, 11, 4.9)
    parts = []
    for k, (quantity, (label, color, hatch)) in enumerate(FOUR.items()):
        m = mean_and_interval(t, "layer", quantity).set_index("layer").loc[names]
        mean, x = m["mean"], [i + 0.2 * (k - 1.5) for i in range(len(names))]
        ax.bar(x, mean, 0.19, color=color, hatch=hatch, edgecolor="black", linewidth=0.8, label=label)
        ax.errorbar(x, mean, [mean - m["low"], m["high"] - mean], fmt="none", color="black", capsize=3)
        parts.append(f"{label} {mean.iloc[0]:+.2f} in {names[0]} and {mean.iloc[-1]:+.2f} in {names[-1]}")
    ax.axhline(0, color="black", linewidth=1.4)
    dress(ax, title, y="cosine with the gradient of all true labels", grid="y")
    ax.set_xticks(range(len(names)), names, fontsize=13)
    ax.legend(fontsize=12, loc="center left", bbox_to_anchor=(1.01, 0.5), title="labels, samples", title_fontsize=12)
    seeds = t["seed"].nunique()
    return figure, f"Cosine with the gradient of all true labels, mean of {seeds} seeds: {'; '.join(parts)}."


def over_training(
    tables: dict[str, pd.DataFrame], quantities: Sequence[str], title: str = ""
) -> tuple[Figure, str]:
    """QUANTITIES over training, one panel each, one line per table ({name: rows with seed, step and the quantities})."""
    figure, axes = panels(len(quantities), 4.6, 4.7, beside=1.6, title=title)
    styles = row_styles(list(tables))
    parts = []
    for ax, quantity in zip(axes, quantities):
        shown = {name: t for name, t in tables.items() if quantity in t and t[quantity].notna().any()}
        ends = [f"{name} {_line(ax, t, 'step', quantity, name, styles[name]):.3g}" for name, t in shown.items()]
        dress(ax, QUANTITIES[quantity], "training step")
        parts.append(f"{QUANTITIES[quantity]}: {', '.join(ends)}")
    legend_beside(figure, axes)
    return figure, f"At the last step, mean of {_seeds(tables)}. {'; '.join(parts)}."


def seeds_over_training(
    curves: dict[str, dict[str, pd.DataFrame]], quantity: str, title: str = ""
) -> tuple[Figure, str]:
    """One of QUANTITIES over training, every seed a line of its own, for runs too few to average.

    curves: {panel: {row: table with seed, step and the quantity}}; rows without the quantity are left out.
    """
    check_choice("quantity", quantity, QUANTITIES)
    figure, axes = panels(len(curves), 4.6, 4.7, beside=1.6, title=title, sharey=True)
    styles = row_styles(list(dict.fromkeys(name for rows in curves.values() for name in rows)))
    parts = []
    for ax, (panel, rows) in zip(axes, curves.items()):
        ends = []
        for name, t in rows.items():
            if quantity not in t or (t := t.dropna(subset=quantity)).empty:
                continue  # a row without pseudo-labels, or one that has not been trained yet
            color, marker, line = styles[name]
            for n, (_, one) in enumerate(t.groupby("seed")):
                ax.plot(
                    one["step"], one[quantity], color=color, marker=marker, linestyle=line, linewidth=2, markersize=6,
                    markevery=[-1], label=None if n else name,
                )  # fmt: skip
            last = t[t["step"] == t["step"].max()][quantity]
            ends.append(f"{name} {', '.join(f'{v:.3f}' for v in last)}")
        dress(ax, panel, "training step")
        parts.append(f"{panel}: {'; '.join(ends)}")
    label_left(axes, QUANTITIES[quantity])
    legend_beside(figure, axes)
    return figure, f"{sentence(QUANTITIES[quantity])} at the last step, seed by seed. {'. '.join(parts)}."
