"""Every seed a dot, the means joined by a line: what notebooks show; intervals stand in `study_figures`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError
from ..studies.report import NAMES
from .style import dress, label_left, legend_beside, panels, row_styles, sentence

Dots = dict[str, dict[str, dict[str, Sequence[float]]]]


def dots_figure(dots: Dots, label: str, xlabel: str = "", zero: bool = False, pairs: bool = False) -> tuple[Figure, str]:
    """Values in a few places, {panel: {series: {place: one value per seed}}}: seeds as dots, means as larger marks.

    zero: draw a line at 0, for differences and cosines. pairs: where places have no order, such as methods, join the values of
    each seed instead of the means. A method has its own colour and marker, as series and as place.

    Raises InputError where there is nothing to draw.
    """
    if not any(values for series in dots.values() for at in series.values() for values in map(len, at.values())):
        raise InputError("dots_figure got no value to draw; give {panel: {series: {place: values}}}.")
    names = list(dict.fromkeys(name for series in dots.values() for name in series))
    several, styles = len(names) > 1, row_styles(names)
    places = max(len(at) for series in dots.values() for at in series.values())
    width = 1.6 + 0.9 * max(places, 3)
    figure, axes = panels(len(dots), width, 4.4, beside=1.9 if several else 0, sharey=True)
    parts = []
    for ax, (panel, series) in zip(axes, dots.items()):
        text = []
        for k, (name, at) in enumerate(series.items()):
            color, marker, line = styles[name]
            own = {place: row_styles([place])[place] if place in NAMES.values() else (color, marker) for place in at}
            x = np.arange(len(at)) + 0.3 * ((k + 0.5) / len(series) - 0.5) * several
            means = [statistics.fmean(values) for values in at.values()]
            if pairs:
                ax.plot(x, list(at.values()), color="0.8", linewidth=1, zorder=1)
            else:
                ax.plot(x, means, color=color, marker=marker, linestyle=line, linewidth=2.4, markersize=10, label=name)
            for place, mean, (own_color, own_marker, *_), values in zip(x, means, own.values(), at.values()):
                look = dict(color=own_color, marker=own_marker, linewidths=0)
                ax.scatter([place] * len(values), values, s=22, alpha=0.5, zorder=2, **look)
                named = {"label": name} if pairs and several and place == x[0] else {}  # elsewhere the line has it
                ax.scatter(place, mean, s=130, zorder=3, edgecolor="white", **look | named | {"linewidths": 1})
            values_text = ", ".join(f"{place} {mean:{'+' if zero else ''}.2f}" for place, mean in zip(at, means))
            text.append(f"{name}: {values_text}" if several else values_text)
        if zero:
            ax.axhline(0, color="black", linewidth=1.4)
        dress(ax, panel, xlabel, grid="y")
        ax.set_xticks(range(len(at)), list(at))
        ax.set_xlim(-0.5, len(at) - 0.5)
        parts.append(f"{panel}: {'; '.join(text)}" if panel else "; ".join(text))
    label_left(axes, label)
    if several:
        legend_beside(figure, axes)
    counts = sorted({len(values) for series in dots.values() for at in series.values() for values in at.values()})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return figure, f"{sentence(label)}, mean of {seeds} seed{'s' * (counts[-1] > 1)}. {'. '.join(parts)}."
