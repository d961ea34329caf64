"""Time machine, without its widgets: scrub through a recorded run, and follow one sample to where it went wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError, check_range
from ..figures.embedding import embed, is_cached
from ..figures.maps import confusion_counts
from ..figures.style import class_styles
from ..runs.recording import Recording, list_recorded, load_recorded
from ..system import read_npz, write_atomically
from . import recorded
from .drawing import Canvas, Look, Squares
from .state import LabState, choice, number, seed

NEIGHBORS = 10
MAPS = Path(__file__).with_name("umap_maps.npz")  # `make recordings`


@dataclass(frozen=True)
class TimeMachineState(LabState):
    """Which run, which moment, which sample, and how the features are mapped."""

    lab = "time"

    run: str = choice("digits_fixmatch", "run", recorded.RUNS, open=True)
    seed: int = seed()
    snapshot: int = number(6, "snapshot", 0, 999, 1)
    sample: int = number(0, "sample", 0, 99_999, 1)
    map: str = choice("pca", "map", ("pca", "umap"))


class History(NamedTuple):
    """One sample through a run of S snapshots."""

    y: int  # its true class
    labels: np.ndarray  # (S,) pseudo-labels
    confidence: np.ndarray  # (S,)
    mask: np.ndarray  # (S,) over tau?
    company: np.ndarray  # (S,) share of its ten nearest neighbours in feature space (of all, if fewer) that carry its label
    fell: int | None  # first snapshot from which on it is wrong over tau up to the end; None if it is not at the end


def history(r: Recording, i: int) -> History:
    """Sample i (its place in the recording) through time."""
    labels, mask = r.labels[:, i].astype(int), r.mask[:, i]
    z = r.features.astype(np.float32)
    distance = ((z - z[:, i : i + 1]) ** 2).sum(axis=2)
    distance[:, i] = np.inf
    k = min(NEIGHBORS, len(r.y_true) - 1)
    near = np.argsort(distance, axis=1)[:, :k]
    company = (np.take_along_axis(r.labels, near, axis=1) == labels[:, None]).sum(axis=1) / max(1, k)
    lost = mask & (labels != r.y_true[i])
    fell = None
    for s in range(len(lost) - 1, -1, -1):
        if not lost[s]:
            break
        fell = s
    return History(int(r.y_true[i]), labels, recorded.confidences(r)[:, i], mask, company, fell)


def next_wrong(r: Recording, s: int, i: int) -> int:
    """The next sample after i (and around again) whose pseudo-label is over tau and wrong at snapshot s."""
    wrong = np.flatnonzero(r.mask[s] & ~r.right[s])
    if not len(wrong):
        raise InputError(
            f"no pseudo-label over τ is wrong at snapshot {s} (step {r.steps[s]}); choose another snapshot."
        )
    later = wrong[wrong > i]
    return int(later[0] if len(later) else wrong[0])


def maps(r: Recording, method: str) -> list[np.ndarray]:
    """All snapshots in one plane, (N, 2) each. A recording holds principal components; a UMAP map is shipped or cached."""
    if method == "pca":
        return list(r.features[:, :, :2].astype(np.float32))
    shipped = shipped_maps().get(_features_key(r))
    return embed(list(r.features), method) if shipped is None else list(shipped.astype(np.float32))


def is_mapped(r: Recording) -> bool:
    """Can `maps` give the UMAP map at once?"""
    return _features_key(r) in shipped_maps() or is_cached(list(r.features))


@lru_cache(maxsize=1)
def shipped_maps() -> dict[str, np.ndarray]:
    """{hash of a recording's features: (S, N, 2) float16}. Other recordings are mapped when they are first looked at."""
    return read_npz(MAPS)


def record_maps() -> None:
    """Write the UMAP maps of all runs that come with the package to `MAPS`; those that exist already are kept."""
    runs = [load_recorded(name) for name in list_recorded()]
    found = {_features_key(r): np.stack(maps(r, "umap")).astype(np.float16) for r in runs}
    write_atomically(MAPS, lambda f: np.savez_compressed(f, **found))
    shipped_maps.cache_clear()


def _features_key(r: Recording) -> str:
    return hashlib.sha256(np.ascontiguousarray(r.features).tobytes()).hexdigest()


def with_article(name: str) -> str:
    """A dog, an airplane, an 8."""
    return f"{'an' if name[0] in 'aeiou8' else 'a'} {name}"


def reading(r: Recording, s: int, i: int, h: History) -> str:
    """The reading: what the moment shows, and what became of the sample."""
    over, wrong = int(r.mask[s].sum()), int((r.mask[s] & ~r.right[s]).sum())
    name = lambda c: r.classes[c]
    tau = r.config.threshold
    first = f"Step {r.steps[s]}: {over} of {len(r.y_true)} pseudo-labels are over τ = {tau:g}, {wrong} of them wrong."
    state = "over τ" if h.mask[s] else "below τ"
    truth, label, sure = with_article(name(h.y)), name(h.labels[s]), f"{h.confidence[s]:.2f}"
    now = f"Sample {i} is {truth}, now called {label} with confidence {sure} ({state})"
    if h.fell is not None:
        f = h.fell
        wrong, near = with_article(name(h.labels[f])), min(NEIGHBORS, len(r.y_true) - 1)
        return (
            f"{first} {now}; it went wrong for good at step {r.steps[f]} as {wrong}, when {h.company[f]:.0%} of its {near} "
            "nearest neighbours were called so, too."
        )
    if h.labels[-1] != h.y:
        return f"{first} {now}; it ends as {with_article(name(h.labels[-1]))}, wrong but below τ."
    changes = int((np.diff(h.labels) != 0).sum())
    return f"{first} {now}; it ends right, after {changes} change{'s' * (changes != 1)} of mind."


class TimeMachineBench:
    """See `frame` for what a bench is."""

    title, question = "Time machine", "When did it go wrong, and why?"
    State = TimeMachineState

    def __init__(self):
        self._picture = self._of = self._mapped = self._pictured = None

    def missing(self, state: TimeMachineState) -> tuple | None:
        if (run := recorded.missing(state.run, state.seed)) is not None:
            return run
        r = recorded.load_run(state.run, state.seed)
        if state.map == "umap" and self._mapped is not r:  # asked once for a run: the answer hashes all its features
            if not is_mapped(r):
                return ("map", state.run, state.seed)
            self._mapped = r
        if recorded.of_cifar10(r) and self._pictured is not r:
            return ("images", state.run, state.seed)
        return None

    def prepare(self, state: TimeMachineState) -> Iterator[tuple[float, str]]:
        if recorded.missing(state.run, state.seed) is not None:
            yield from recorded.record(state.run, state.seed)
        if state.map == "umap" and self.missing(state) is not None:
            yield from fit_umap(state.run, state.seed)
        if (wanted := self.missing(state)) is not None and wanted[0] == "images":
            yield 0.5, "finding the images in your CIFAR-10"
            r = recorded.load_run(state.run, state.seed)
            recorded.images(r)
            self._pictured = r

    def within(self, state: TimeMachineState) -> TimeMachineState:
        """The state on what its recording has."""
        r = recorded.load_run(state.run, state.seed)
        return state.but(snapshot=min(state.snapshot, len(r.steps) - 1), sample=min(state.sample, len(r.y_true) - 1))

    def look(self, state: TimeMachineState) -> Look:
        r = recorded.load_run(state.run, state.seed)
        s, i = state.snapshot, state.sample
        check_range("snapshot", s, 0, len(r.steps) - 1, whole=True)
        check_range("sample", i, 0, len(r.y_true) - 1, whole=True)
        points, h = _maps(r, state.map), history(r, i)
        if self._of is not r:
            self._picture, self._of = TimePicture(r), r
        text = reading(r, s, i, h)
        counts = confusion_counts(r.y_true[r.mask[s]], r.labels[s][r.mask[s]], len(r.classes))
        when = f"{r.data_name}, {r.config.method}, seed {r.config.seed}"
        png = self._picture.png(r, s, i, h, points, counts, f"{when}, step {r.steps[s]} ({state.map.upper()} map)")
        path = ", ".join(f"{r.classes[c]} at step {t}" for t, c in _changes(r, h))
        return Look(png, f"{when}, {state.map.upper()} map. {text} Its pseudo-labels: {path}.", text)


def _changes(r: Recording, h: History) -> list[tuple[int, int]]:
    """(step, label) of the first label and of every change."""
    return [(int(r.steps[s]), int(c)) for s, c in enumerate(h.labels) if s == 0 or c != h.labels[s - 1]]


@lru_cache(maxsize=4)
def _maps(r: Recording, method: str) -> list[np.ndarray]:
    return maps(r, method)


def map_of(run: str, seed: int) -> None:
    """Fit the UMAP map of a whole run, into the cache."""
    maps(recorded.load_run(run, seed), "umap")


def fit_umap(run: str, seed: int) -> Iterator[tuple[float, str]]:
    """Fit the UMAP map of a whole run in a process of its own, which leaves the notebook free and writes the map to the cache."""
    code = "import sys; from layermatch_lite.labs import timemachine as t; t.map_of(sys.argv[1], int(sys.argv[2]))"
    with tempfile.TemporaryFile() as log:  # a pipe that nobody empties would block a process that writes much
        process = subprocess.Popen([sys.executable, "-c", code, run, str(seed)], stdout=subprocess.DEVNULL, stderr=log)
        started = time.monotonic()
        try:
            while process.poll() is None:
                passed = time.monotonic() - started
                yield 1 - 2 ** (-passed / 30), f"fitting UMAP, {passed:.0f} s so far, about a minute in all"
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            message = log.read().decode(errors="replace").strip()
            raise InputError(f"UMAP failed ({message[-300:]}); use the map 'pca'.")


class TimePicture:
    """Left the map, in the middle the confusion over tau, right the sample: itself, and its confidences over time."""

    def __init__(self, r: Recording):
        self.canvas = Canvas()
        C = len(r.classes)
        figure = self.canvas.figure
        between = 0.4 if max(map(len, r.classes)) > 2 else 0.24
        grid = figure.add_gridspec(
            1, 3, left=0.012, right=0.985, bottom=0.14, top=0.85, wspace=between, width_ratios=(1.35, 1.0, 1.3)
        )
        self.map, middle = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        lower = grid[2].subgridspec(2, 1, height_ratios=(0.75, 2), hspace=0.12)
        self.itself, right = figure.add_subplot(lower[0]), figure.add_subplot(lower[1])
        self.dots = [
            self.map.scatter([], [], s=42, color=color, marker=f"${c}$", linewidth=0.3)
            for c, (color, _) in enumerate(class_styles(C))
        ]
        self.rings = self.map.scatter([], [], s=85, facecolor="none", edgecolor="black", linewidth=0.9)
        self.trail = self.map.plot([], [], color="#D55E00", linewidth=1.6, alpha=0.8)[0]
        self.here = self.map.scatter([], [], s=330, facecolor="none", edgecolor="#D55E00", linewidth=3.5)
        self.map.set_xticks([])
        self.map.set_yticks([])
        self.map.set_xlabel("ring: wrong over τ; orange: sample and way", fontsize=12.5, loc="left")
        self.squares = Squares(middle, r.classes, 480)
        self.cell = middle.plot(
            [], [], "s", markersize=21, markerfacecolor="none", markeredgecolor="black", markeredgewidth=2
        )[0]
        middle.set_title("Labels over τ (area: how many)", fontsize=14)
        middle.grid(alpha=0.25)
        tau = right.axhline(r.config.threshold, color="black", linestyle=":", linewidth=2)
        self.line = right.plot([], [], color="0.6", linewidth=1.5)[0]
        self.good = right.scatter([], [], s=150, marker="o", color="#0072B2")
        self.bad = right.scatter([], [], s=150, marker="s", color="#D55E00")
        self.names = [
            right.text(0, 0, "", ha="center", va="center", fontsize=11, color="white", fontweight="bold")
            for _ in r.steps
        ]
        self.now = right.axvline(0, color="black", linewidth=2)
        margin = 0.04 * max(1, int(r.steps[-1]))
        right.set(xlim=(-margin, r.steps[-1] + margin), ylim=(-0.24, 1.08))
        right.set_xlabel("training step", fontsize=14)
        right.set_ylabel("confidence", fontsize=14)
        right.set_yticks([0, 0.25, 0.5, 0.75, 1])
        right.legend(
            [self.good, self.bad, tau], ["right label", "wrong", f"τ = {r.config.threshold:g}"], fontsize=11.5, loc="lower right",
            ncols=3, columnspacing=0.7, handletextpad=0.3, borderaxespad=0.2,
        )  # fmt: skip
        right.grid(alpha=0.25)
        for ax in (middle, right):
            ax.tick_params(labelsize=12.5)
        self.itself.axis("off")
        self.drawn = self.itself.plot([], [], color="black", linewidth=2.5)[0]
        shape = r.about["sample_shape"]
        self.image = self.itself.imshow(np.zeros(shape[1:]), cmap="gray_r") if len(shape) == 3 else None
        self.caption = figure.text(0.985, 0.93, "", fontsize=15, ha="right")
        self.heading = figure.text(0.012, 0.93, "", fontsize=15)
        self.data = recorded.images(r)
        if self.data is None:
            note = "(the image would come from your own\ncopy of the data; it was not found)"
            self.itself.text(0.5, 0.5, note, ha="center", va="center", fontsize=12.5, transform=self.itself.transAxes)
            (self.image or self.drawn).set_visible(False)
        self.marks = [str(c) for c in range(C)] if self.squares.numbered else r.classes
        self.canvas.move(
            self.dots, self.rings, self.trail, self.here, self.squares.artist, self.cell, self.line, self.good, self.bad,
            self.names, self.now, self.image or self.drawn, self.caption, self.heading,
        )  # fmt: skip

    def png(self, r: Recording, s: int, i: int, h: History, points, counts: np.ndarray, heading: str) -> bytes:
        for c, dots in enumerate(self.dots):
            dots.set_offsets(points[s][r.y_true == c])
        self.rings.set_offsets(points[s][r.mask[s] & ~r.right[s]])
        self.trail.set_data(*np.array([p[i] for p in points[: s + 1]]).T)
        self.here.set_offsets(points[s][i])
        every = np.concatenate(points)
        low, high = every.min(axis=0), every.max(axis=0)
        margin = 0.04 * (high - low)
        self.map.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        self.squares.show(counts)
        self.cell.set_data([h.labels[s]], [h.y])
        self.line.set_data(r.steps, h.confidence)
        right = h.labels == h.y
        for marks, which in ((self.good, right), (self.bad, ~right)):
            marks.set_offsets(np.stack([r.steps[which], h.confidence[which]], axis=1))
        for text, step, confidence, label in zip(self.names, r.steps, h.confidence, h.labels):
            text.set_position((step, confidence - 0.005))
            text.set_text(self.marks[label])
        self.now.set_xdata([r.steps[s]] * 2)
        self._draw_sample(r, i)
        self.caption.set_text(f"sample {i}: {with_article(r.classes[h.y])}")
        self.heading.set_text(heading)
        return self.canvas.png()

    def _draw_sample(self, r: Recording, i: int) -> None:
        if self.data is None:
            return
        x = self.data[i]
        if self.image is not None:
            self.image.set_data(x[0] if len(x) == 1 else x.transpose(1, 2, 0))
            self.image.set_clim(x.min(), x.max())
        else:
            x = x[0]
            self.drawn.set_data(np.arange(len(x)), x)
            self.itself.set(xlim=(-1, len(x)), ylim=(x.min() - 0.3, x.max() + 0.3))
