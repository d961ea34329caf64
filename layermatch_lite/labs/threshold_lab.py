"""Threshold lab, without its widgets: what does a threshold let through, and how much of that is right?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..errors import check_choice, check_range
from ..runs.recording import Recording
from . import recorded
from .drawing import Canvas, Look, grow
from .state import LabState, choice, number, seed

# Recordings hold confidences to three digits: thresholds closer to 1 than these would all look alike.
TAUS = np.linspace(0, 0.99, 100)
EVERY = "all"


@dataclass(frozen=True)
class ThresholdState(LabState):
    """Which recorded run, when, and which threshold."""

    lab = "threshold"

    run: str = choice("mnist1d_fixmatch", "run", recorded.RUNS, open=True)
    seed: int = seed()
    snapshot: int = number(20, "snapshot", 0, 999, 1)
    tau: float = number(0.8, "threshold τ", high=0.99)
    label: str = choice(EVERY, "pseudo-label", (EVERY, *"0123456789"), open=True)


class Passed(NamedTuple):
    """What a threshold lets through. Each is a share of the N samples, or NaN where there are none."""

    mask_rate: np.ndarray
    accuracy: np.ndarray  # share of right labels among those that pass; NaN where nothing passes
    product: np.ndarray  # mask rate x accuracy: share of samples that pass with a right label


def passed(confidence: np.ndarray, right: np.ndarray, taus: np.ndarray) -> Passed:
    """For each of the thresholds (T,): confidence (N,) and right (N,) of the samples' pseudo-labels."""
    over = confidence[None] >= np.asarray(taus)[:, None]
    with np.errstate(invalid="ignore"):
        rate = over.sum(axis=1) / np.float64(len(confidence))
        product = (over & right).sum(axis=1) / np.float64(len(confidence))
        return Passed(rate, product / rate, product)


class ThresholdBench:
    """See `frame` for what a bench is."""

    title, question = "Threshold lab", "What does τ let through, and what does it cost?"
    State = ThresholdState

    def __init__(self):
        self._picture = None

    def missing(self, state: ThresholdState) -> tuple | None:
        return recorded.missing(state.run, state.seed)

    def prepare(self, state: ThresholdState) -> Iterator[tuple[float, str]]:
        return recorded.record(state.run, state.seed)

    def within(self, state: ThresholdState) -> ThresholdState:
        """The state on what its recording has."""
        r = recorded.load_run(state.run, state.seed)
        label = state.label if state.label in r.classes else EVERY
        return state.but(snapshot=min(state.snapshot, len(r.steps) - 1), label=label)

    def look(self, state: ThresholdState) -> Look:
        r = recorded.load_run(state.run, state.seed)
        s, label = state.snapshot, state.label
        check_range("snapshot", s, 0, len(r.steps) - 1, whole=True)
        check_choice("label", label, (EVERY, *r.classes))
        confidence, labels, right = recorded.confidences(r)[s], r.labels[s], r.right[s]
        chosen = labels == r.classes.index(label) if label != EVERY else np.ones(len(labels), bool)
        curves = passed(confidence[chosen], right[chosen], TAUS)
        here = Passed(*(float(v[0]) for v in passed(confidence[chosen], right[chosen], [state.tau])))
        over = confidence >= state.tau
        count = lambda part: np.bincount(labels[part], minlength=len(r.classes)).astype(float)
        bars = {"right": count(over & right), "wrong": count(over & ~right), "below τ": count(~over)}
        if self._picture is None or self._picture.classes != r.classes:
            self._picture = ThresholdPicture(r.classes)
        who = "samples" if label == EVERY else f"samples that the network calls {label}"
        when = f"{r.data_name}, {r.config.method}, seed {r.config.seed}, step {r.steps[s]} (snapshot {s})"
        png = self._picture.png(curves, here, state.tau, bars, f"{when}: {who}")
        text = f"{share_sentence(here, state.tau, int(chosen.sum()), who)} {class_sentence(bars, r)}"
        return Look(png, f"{when}. {text}", text)


def share_sentence(here: Passed, tau: float, n: int, who: str) -> str:
    """The first sentence of the reading."""
    if not n:
        return f"At this moment there are no {who}: choose another pseudo-label."
    if here.mask_rate == 0:
        return f"Of {n} {who} none passes τ = {tau:.2f}: nothing is learnt from them, neither right nor wrong."
    return (
        f"Of {n} {who}, {here.mask_rate:.0%} pass τ = {tau:.2f} and {here.accuracy:.0%} of these labels are right, so "
        f"{here.product:.0%} teach what is true and {here.mask_rate - here.product:.0%} what is false."
    )


def class_sentence(bars: dict[str, np.ndarray], r: Recording) -> str:
    """The second sentence: one threshold for all classes does not treat them alike."""
    over = bars["right"] + bars["wrong"]
    if not over.any():
        return "No class has a label over τ."
    most = int(over.argmax())
    purity = np.where(over > 0, bars["right"] / np.maximum(1, over), np.nan)
    least = int(np.nanargmin(purity))
    silent = [r.classes[c] for c in np.flatnonzero(over == 0)]
    return (
        f"Most labels over τ say {r.classes[most]} ({over[most]:.0f}), the least trustworthy {r.classes[least]} "
        f"({purity[least]:.0%} right)" + (f"; none says {' or '.join(silent)}." if silent else ".")
    )


class ThresholdPicture:
    """Left the three curves over τ, right the labels of each class."""

    def __init__(self, classes: list[str]):
        self.classes, self.canvas = classes, Canvas()
        figure, long = self.canvas.figure, max(map(len, classes)) > 3
        grid = dict(left=0.07, right=0.985, bottom=0.24 if long else 0.14, top=0.88, wspace=0.18)
        left, right = figure.subplots(1, 2, gridspec_kw=grid)
        self.lines = [
            left.plot([], [], color=color, linestyle=line, linewidth=3.2, label=label)[0]
            for label, color, line in (
                ("mask rate", "#E69F00", "--"),
                ("right among them", "#0072B2", "-"),
                ("product: right and over τ", "#000000", ":"),
            )
        ]
        self.tau = left.axvline(0, color="#D55E00", linewidth=2.5)
        self.dots = left.scatter([0] * 3, [0] * 3, s=110, color=["#E69F00", "#0072B2", "#000000"], zorder=5)
        left.set(xlim=(0, 1), ylim=(-0.02, 1.04))
        left.set_xlabel("threshold τ", fontsize=15)
        left.set_ylabel("share of the samples", fontsize=15)
        left.legend(fontsize=13, loc="lower left")
        left.grid(alpha=0.3)
        x = np.arange(len(classes))
        looks = {"right": ("#0072B2", ""), "wrong": ("#D55E00", "//"), "below τ": ("#DDDDDD", "")}
        self.bars = {
            name: right.bar(x, 0, 0.8, color=color, hatch=hatch, edgecolor="black", linewidth=0.8, label=name)
            for name, (color, hatch) in looks.items()
        }
        right.set_xticks(x, classes, **dict(rotation=30, ha="right", rotation_mode="anchor") if long else {})
        right.set_xlabel("pseudo-label", fontsize=15)
        right.set_ylabel("samples", fontsize=15)
        right.legend(fontsize=13, ncols=3, loc="upper right")
        right.yaxis.set_major_locator(MaxNLocator(5))
        for ax in (left, right):
            ax.tick_params(labelsize=13)
        self.right = right
        self.heading = figure.text(0.07, 0.93, "", fontsize=15)
        self.canvas.move(
            right.yaxis, self.lines, self.tau, self.dots, [list(b) for b in self.bars.values()], self.heading
        )

    def png(self, curves: Passed, here: Passed, tau: float, bars: dict[str, np.ndarray], heading: str) -> bytes:
        for line, values in zip(self.lines, curves):
            line.set_data(TAUS, values)
        self.tau.set_xdata([tau, tau])
        self.dots.set_offsets([[tau, v] for v in here])
        self.heading.set_text(heading)
        bottom = np.zeros(len(self.classes))
        for name, heights in bars.items():
            grow(self.bars[name], heights, bottom)
            bottom = bottom + heights
        self.right.set_ylim(0, 20 * np.ceil(1.25 * bottom.max() / 20))
        return self.canvas.png()
