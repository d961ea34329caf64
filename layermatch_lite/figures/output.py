"""Figures into notebooks and files."""

from __future__ import annotations

import html
import io
from os import PathLike

from matplotlib.figure import Figure

from ..system import write_atomically
from .letters import in_plain_letters


def show(figure_and_alt: tuple[Figure, str]) -> None:
    """Display a figure in a notebook, as a PNG with its alt text; below it the same words to open: JupyterLab drops alt texts."""
    from IPython.display import HTML, Image, display

    figure, alt = figure_and_alt
    display(Image(as_png(figure), alt=alt))
    words = f"<details><summary><small>In words</small></summary>{html.escape(alt)}</details>"
    display(HTML(words), metadata={"in_words": True})


def as_png(figure: Figure, small: bool = True) -> bytes:
    """The figure as a PNG without a date in it. small: in 256 colours, which takes longer."""
    buffer = io.BytesIO()
    in_plain_letters(figure)
    figure.savefig(buffer, format="png", dpi=100)
    return shrink(buffer.getvalue()) if small else buffer.getvalue()


def shrink(png: bytes) -> bytes:
    """The same picture in 256 colours, for files."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()


def save(figure: Figure, path: str | PathLike) -> None:
    """Write the figure to a PNG file, atomically."""
    png = as_png(figure)
    write_atomically(path, lambda f: f.write(png))
