"""Predictions beside the result, for one student or a class, each with an alt text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .questions import Question, judge, listed, ranked, value_text

SAID, CAME = "#D55E00", "#0072B2"  # each also has its own marker, so they differ without colour


def draw(question: Question, said: Sequence, result=None) -> tuple[Figure, str]:
    """Any number of predictions, and the result if it is known, in one figure; with its alt text."""
    height = {"value": 2.8, "curve": 4.4, "order": 1.4 + 0.6 * len(question.items)}[question.kind]
    figure = Figure(figsize=(9, height), layout="constrained")
    ax = figure.subplots()
    kind = {"value": _value, "curve": _curve, "order": _places if len(said) > 1 else _lines}[question.kind]
    parts = kind(ax, question, said, result)
    if question.kind != "order":
        ax.legend(loc="best", fontsize=12)
    if result is not None:  # a sketch is shown below its question anyway
        figure.suptitle(fill(question.text, 90), fontsize=13)
    ax.tick_params(labelsize=12)
    ax.spines[["top", "right"]].set_visible(False)
    if result is not None and len(said) > 1:
        parts.append(f"Mean score {statistics.fmean(judge(question, p, result)[0] for p in said):.0f} of 100.")
    who = {0: "No prediction", 1: "One prediction"}.get(len(said), f"{len(said)} predictions")
    return figure, " ".join([question.text, f"{who}.", *parts])


def draw_into(figure_and_alt: tuple[Figure, str], panel: int, question: Question, said) -> tuple[Figure, str]:
    """A figure that shows the result, with the prediction in one of its panels; an order has no place on an axis.

    A curve goes where the panel's ticks bear the names of its places, or else to the numbers that they are; a value is a line.
    """
    figure, alt = figure_and_alt
    ax = figure.axes[panel]
    look = dict(color=SAID, linestyle="--", linewidth=2.5, zorder=5)
    if question.kind == "curve":
        named = {tick.get_text(): at for tick, at in zip(ax.get_xticklabels(), ax.get_xticks())}
        places = [named[x] if x in named else float(x) for x in question.x]
        (line,) = ax.plot(places, said, marker="D", markerfacecolor="none", markersize=11, **look)
    else:
        line = ax.axhline(said, **look)
    ax.legend([line], ["your prediction"], fontsize=12)
    return figure, f"{alt} Your prediction: {listed(question, said)}."


def _value(ax, question: Question, said: Sequence[float], result) -> list[str]:
    ends = [question.low, question.high]
    if result is not None and (result > 0 or not question.log):
        ends.append(result)  # it may lie outside
    ax.set(xlim=(min(ends), max(ends)), yticks=[], ylim=(-1, 1), xscale="log" if question.log else "linear")
    ax.set_xlabel(" in ".join(filter(None, (question.label, question.unit))), fontsize=13)
    ax.spines["left"].set_visible(False)
    parts = []
    if said:
        # Equal predictions are stacked.
        stack = lambda i, v: (said[:i].count(v) - (said.count(v) - 1) / 2) / max(1, said.count(v) - 1)
        heights = [1.1 * stack(i, v) for i, v in enumerate(said)]
        ax.plot(said, heights, "D", color=SAID, markersize=11, markerfacecolor="none", markeredgewidth=2.5,
                label="predicted")  # fmt: skip
        span = f", from {min(said):.3g} to {max(said):.3g}" if len(said) > 1 else ""
        parts.append(f"Predicted: {'median ' * (len(said) > 1)}{value_text(question, statistics.median(said))}{span}.")
    if result is not None:
        ax.plot(result, 0, "o", color=CAME, markersize=13, clip_on=False, label="result")
        parts.append(f"Result: {value_text(question, result)}.")
    return parts


def _curve(ax, question: Question, said: Sequence[list[float]], result) -> list[str]:
    ax.set_xlabel(question.xlabel, fontsize=13)
    ax.set_ylabel(question.label, fontsize=13)
    ax.set_ylim(min([question.low, *(result or ())]), max([question.high, *(result or ())]))
    parts, many = [], len(said) > 1
    for k, values in enumerate(said):
        ax.plot(question.x, values, "D--", color=SAID, markerfacecolor="none", markersize=9, linewidth=1 if many else 2.5,
                alpha=0.5 if many else 1, label="predicted" if k == 0 else None)  # fmt: skip
    if said:
        middle = [statistics.median(v) for v in zip(*said)]
        if many:
            ax.plot(question.x, middle, "D--", color=SAID, linewidth=3, markersize=9, label="median of the predictions")
        parts.append(f"Predicted{' (median)' * many}: {listed(question, middle)}.")
    if result is not None:
        ax.plot(question.x, result, "o-", color=CAME, linewidth=3, markersize=10, clip_on=False, label="result")
        parts.append(f"Result: {listed(question, result)}.")
    return parts


def _lines(ax, question: Question, said: Sequence[list[str]], result) -> list[str]:
    """One order on the left, the result on the right, lines between them; or either alone."""
    places, came = said[0] if said else [], ranked(result or {})
    for at, side, title, order, color in ((0, "right", "you", places, SAID), (1, "left", "result", came, CAME)):
        ax.text(at, 0.8, title if order else "", ha=side, fontsize=13, weight="bold", color=color)
        for k, item in enumerate(order):
            value = f"  {value_text(question, result[item])}" if at else ""
            ax.text(at, -k, f"{k + 1}. {item}{value}", ha=side, va="center", fontsize=14, color=color)
    for k, item in enumerate(places if came else ()):
        ax.plot((0.03, 0.97), (-k, -came.index(item)), color="#777777", linewidth=2)
    ax.set(xlim=(-1.2, 2.2), ylim=(0.4 - len(question.items), 1.2))
    ax.axis("off")
    return [f"{name}: {', '.join(order)}." for name, order in (("Predicted", places), ("Result", came)) if order]


def _places(ax, question: Question, said: Sequence[list[str]], result) -> list[str]:
    """How many students gave each item each place."""
    came = ranked(result or {})
    order, n = came or list(question.items), len(question.items)
    counts = [[sum(p[place] == item for p in said) for place in range(n)] for item in order]
    ax.imshow(counts, cmap="Oranges", vmin=0, vmax=max(map(max, counts)) * 1.6, aspect="auto")
    for i, row in enumerate(counts):
        for place, count in enumerate(row):
            ax.text(place, i, str(count), ha="center", va="center", fontsize=15)
        if came:
            ax.add_patch(Rectangle((i - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=CAME, linewidth=4))
    ax.set_xticks(range(n), [f"place {k + 1}" for k in range(n)])
    ax.set_yticks(range(n), order)
    ax.set_title("Students who chose each place" + ("; framed: the result" if came else ""), fontsize=13)
    by_item = {item: ", ".join(f"{k + 1} by {c}" for k, c in enumerate(row) if c) for item, row in zip(order, counts)}
    parts = ["; ".join(f"{item} put at places {places}" for item, places in by_item.items()) + "."]
    return parts + [f"Result: {', '.join(came)}."] * bool(came)
