"""Pictures that are drawn many times a second: the fixed part once, then only what moves. No pyplot, no open figures."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH, HEIGHT = 1180, 460  # pixels of a lab's picture

# Two labs may draw in two threads; matplotlib's font cache is one for all.
_FONTS = threading.Lock()


class Look(NamedTuple):
    """What a lab shows for one state."""

    png: bytes
    alt: str  # one or two sentences made from the plotted data, for people who do not see the picture
    reading: str  # two sentences: what is to be seen


class Canvas:
    """A figure that is drawn again and again. Labels and legends are drawn once, `moving` artists every time."""

    def __init__(self, width: int = WIDTH, height: int = HEIGHT):
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        self._agg = FigureCanvasAgg(self.figure)
        self._fixed = None
        self.moving: list[Artist] = []

    def move(self, *artists: Artist | Iterable) -> None:
        """These artists are drawn every time, in this order, over everything fixed."""
        for a in artists:
            if isinstance(a, Artist):
                a.set_animated(True)
                self.moving.append(a)
            else:
                self.move(*a)

    def png(self) -> bytes:
        """The figure as it is now."""
        from PIL import Image

        with _FONTS:
            if self._fixed is None:
                self._agg.draw()
                self._fixed = self._agg.copy_from_bbox(self.figure.bbox)
            self._agg.restore_region(self._fixed)
            for artist in self.moving:
                if artist.get_visible():
                    self.figure.draw_artist(artist)
        buffer = io.BytesIO()
        pixels = np.ascontiguousarray(np.asarray(self._agg.buffer_rgba())[..., :3])
        Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
        return buffer.getvalue()


class Squares:
    """Counts of true class against pseudo-label as squares: area says how many, blue the diagonal, orange the errors."""

    def __init__(self, ax, classes: list[str], area: float):
        c = np.arange(len(classes))
        colors = ["#0072B2" if y == q else "#D55E00" for y in c for q in c]
        self.artist, self.area = (
            ax.scatter(*np.meshgrid(c, c), s=0 * c.repeat(len(c)), c=colors, marker="s", linewidth=0),
            area,
        )
        ax.set(xlim=(-0.6, len(c) - 0.4), ylim=(len(c) - 0.4, -0.6), aspect="equal", anchor="N")
        self.numbered = max(map(len, classes)) > 2  # long names stand at one side only, with the numbers of the classes
        ax.set_xticks(c, c if self.numbered else classes)
        ax.set_yticks(c, [f"{name} {k}" for k, name in enumerate(classes)] if self.numbered else classes)
        ax.set_xlabel("pseudo-label", fontsize=14)
        if not self.numbered:
            ax.set_ylabel("true class", fontsize=14)

    def show(self, counts: np.ndarray) -> None:
        """(C, C) counts; the largest gets the full area."""
        self.artist.set_sizes(self.area * counts.ravel() / max(1, counts.max()))


def grow(bars, heights, bottoms=None) -> None:
    """Set the heights of a bar container, and where each bar starts."""
    for i, (bar, height) in enumerate(zip(bars, heights)):
        bar.set_height(height)
        if bottoms is not None:
            bar.set_y(bottoms[i])
