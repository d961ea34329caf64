"""Recorded studies: their rows over settings, their paired differences, and what an interval is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..studies import stats
from ..studies.stats import family, interval
from .quantities import QUANTITIES
from .style import dress, label_left, legend_beside, panels, row_name, row_styles, sentence


def study_figure(
    study: dict,
    settings: dict[str, dict[float, str]],
    rows: Sequence[str],
    key: str = "accuracy",
    xlabel: str = "labels",
    title: str = "",
) -> tuple[Figure, str]:
    """Rows of a study over its settings: mean with 95 % interval, every seed a point. settings: {panel: {x: setting}}.

    key: a quantity of the runs, as for `stats.values`. Of the fully supervised row ("every label") the mean stands as a line.
    """
    figure, axes = panels(len(settings), 6.6, 5.2, title=title, sharey=key != "accuracy")
    names = {row: row_name(row) for row in rows}
    styles = row_styles([*names.values()])
    label = QUANTITIES[key.split("/")[-1]]
    parts = []
    for ax, (panel, at) in zip(axes, settings.items()):
        text = []
        for k, (row, name) in enumerate(names.items()):
            color, marker, line = styles[name]
            found = [list(stats.values(study, s, row, key).values()) for s in at.values()]
            places = np.arange(len(at)) + 0.45 * ((k + 0.5) / len(rows) - 0.5)
            means = [statistics.fmean(v) for v in found]
            bars = np.abs(np.transpose([interval(v) for v in found]) - means)
            for x, v in zip(places, found):
                ax.scatter([x] * len(v), v, s=12, color=color, alpha=0.35, linewidths=0)
            look = dict(color=color, marker=marker, linestyle=line, markersize=8, capsize=4, linewidth=2)
            ax.errorbar(places, means, bars, label=name, **look)
            text.append(f"{name} {', '.join(f'{m:.3f} at {x}' for x, m in zip(at, means))}")
        first = next(iter(at.values()))
        if key == "accuracy" and (every := stats.values(study, first, "every label")):
            top = statistics.fmean(every.values())
            ax.axhline(top, color="black", linestyle=":", linewidth=1.5)
            ax.annotate(f"every label: {top:.3f}", (-0.2, top), va="bottom", fontsize=12)
            ax.set_ylim(top=top + 0.06 * (top - ax.get_ylim()[0]))
        dress(ax, panel, xlabel, grid="y")
        ax.set_xticks(range(len(at)), map(str, at), fontsize=12)
        parts.append(f"{panel}: {'; '.join(text)}")
    label_left(axes, f"{label}\n(95 % interval of the mean)")
    axes[0].legend(fontsize=12)
    return figure, f"{sentence(label)}, mean of {len(study['seeds'])} seeds, over {xlabel}. {'. '.join(parts)}."


def families_figure(study: dict, questions: Sequence[str], title: str = "", key: str = "accuracy") -> tuple[Figure, str]:
    """Planned comparisons of a study, one panel per question; coloured where they are decided after correction."""
    differences: dict[str, dict[str, list[float]]] = {}
    decided: dict[str, dict[str, int]] = {}
    for question in questions:
        comparisons = family(study, question, key)
        several = len({(c.row, c.other) for c in comparisons}) > 1
        for c in comparisons:
            panel = f"{question}, {c.setting}" if several else question
            row = f"{row_name(c.row)} - {row_name(c.other)}" if several else c.setting
            differences.setdefault(panel, {})[row] = c.differences
            decided.setdefault(panel, {})[row] = c.sign
    return differences_figure(differences, f"paired difference, {QUANTITIES[key.split('/')[-1]]}", title, decided)


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
    longest = 0.09 * max(len(row) for rows in differences.values() for row in rows)
    alike = len({tuple(rows) for rows in differences.values()}) == 1  # then the rows are named once
    width, beside = (5.6, longest) if alike else (5.6 + longest, 0)
    figure, axes = panels(len(differences), width, 0.5 * tallest + 1.9, beside, title, sharex=True)
    parts = []
    for n, (ax, (panel, rows)) in enumerate(zip(axes, differences.items())):
        text = []
        for i, (row, values) in enumerate(rows.items()):
            mean, (low, high) = statistics.fmean(values), interval(values)
            sign = (low > 0) - (high < 0) if decided is None else decided[panel][row]
            color, marker = {1: ("#0072B2", "D"), -1: ("#D55E00", "v"), 0: ("#555555", "o")}[sign]
            ax.scatter(values, [i + 0.22] * len(values), s=16, color=color, alpha=0.5)
            look = dict(color=color, marker=marker, markersize=9, capsize=5, linewidth=2.4)
            ax.errorbar(mean, i, xerr=[[mean - low], [high - mean]], **look)
            text.append(f"{row} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        ax.axvline(0, color="black", linewidth=1.4)
        ax.set_yticks(range(len(rows)), list(rows) if n % 2 == 0 or not alike else [], fontsize=12)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        dress(ax, panel, label, grid="x")
        parts.append(f"{panel}: {', '.join(text)}")
    return figure, f"{sentence(label)} with 95 % intervals. {'; '.join(parts)}."


def resampling_figure(
    differences: Sequence[float], means: np.ndarray, widened: Sequence[float], plain: Sequence[float]
) -> tuple[Figure, str]:
    """What a bootstrap interval is: means of resamples of these differences, and two intervals (low, high) read off them."""
    figure, (ax,) = panels(1, 9.5, 4.4)
    heights, *_ = ax.hist(means, bins=60, color="#56B4E9")
    top = max(heights)
    ax.scatter(differences, [-0.06 * top] * len(differences), color="black", s=45, marker="|", linewidths=2, label="the seeds")
    text = []
    for bounds, height, color, line, name in (
        (plain, 1.08, "#777777", ":", "plain percentiles"),
        (widened, 1.2, "#0072B2", "-", "widened for few seeds"),
    ):
        look = dict(color=color, linestyle=line, linewidth=3, marker="|", markersize=16, label=name)
        ax.plot(bounds, [height * top] * 2, **look)
        text.append(f"{name} [{bounds[0]:+.3f}, {bounds[1]:+.3f}]")
    ax.axvline(0, color="black", linewidth=1.4)
    dress(ax, x="mean of the paired differences in test accuracy", y="resamples", grid=None)
    legend_beside(figure, [ax])
    return figure, (
        f"{len(means)} means of resamples of {len(differences)} differences, around {np.mean(differences):+.3f}. "
        f"95 % intervals: {', '.join(text)}."
    )


def flips_figure(differences: Sequence[float]) -> tuple[Figure, str]:
    """What a sign-flip p-value is: the means for every choice of signs, and those at least as far from 0 as the one seen.

    Raises InputError for fewer than 2 or more than 16 differences.
    """
    n, p = len(differences), stats.p_value(differences)
    means = stats.all_signs(n) @ np.asarray(differences, float) / n
    seen = abs(statistics.fmean(differences))
    figure, (ax,) = panels(1, 9.5, 3.6)
    ax.hist(means, bins=61, color="0.7", label="mean, signs flipped")
    for k, at in enumerate((-seen, seen)):
        ax.axvline(at, color="#882255", linewidth=3, label=None if k else "as far from 0 as the mean seen")
    dress(ax, x="mean of the paired differences in test accuracy", y="ways to choose signs", grid=None)
    legend_beside(figure, [ax])
    far = f"{p * 2**n:.0f} give a mean at least {seen:.3f} from 0"
    return figure, f"Of {2**n} ways to choose the signs of {n} differences, {far}."
