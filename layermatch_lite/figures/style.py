"""What all figures share: colours and markers, panels side by side, axes, legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..errors import check_range
from ..studies.report import NAMES

# Okabe and Ito's colours, which colour-blind readers can tell apart; and a marker and a line style of its own for each method.
# OTHERS belong to no method.
STYLE = {
    "supervised": ("#555555", "s", ":"),
    "fixmatch": ("#D55E00", "o", "-"),
    "grad_relu": ("#E69F00", "^", "-."),
    "avg_clustering": ("#009E73", "v", (0, (3, 1, 1, 1))),
    "layermatch": ("#0072B2", "D", "--"),
    "freematch": ("#CC79A7", "P", (0, (5, 1))),
}
OTHERS = [("#332288", "p", "-"), ("#117733", "h", "--"), ("#882255", "X", "-."), ("#999933", "<", ":"), ("#661100", ">", "-")]
CLASS_STYLE = [("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("#D55E00", "P"),
               ("#F0E442", "X"), ("#999933", "<"), ("#8B4513", ">"), ("#332288", "*")]  # fmt: skip


WIDEST = 11.0  # inches, at 100 dpi: a notebook shrinks wider figures, and their text with them


def row_styles(names: Sequence[str]) -> dict[str, tuple]:
    """Colour, marker and line of each row: a method keeps its own everywhere, other rows take what is left."""
    methods = {NAMES[m]: style for m, style in STYLE.items() if NAMES[m] in names}
    taken = {style[:2] for style in methods.values()}
    left = [style for style in OTHERS if style[:2] not in taken]
    rest = [n for n in names if n not in methods]
    return methods | {n: left[i % len(left)] for i, n in enumerate(rest)}


def layer_styles(names: Sequence[str]) -> dict[str, tuple]:
    """Colour, marker, line and width for each layer: features in blues that grow darker, the classifier in orange."""
    blues, markers = ("#56B4E9", "#0072B2", "#004B7A", "#002238", "#777777"), ("^", "s", "v", "P", "X")
    features = [n for n in names if n != "classifier"]
    styles = {name: (blues[i % 5], markers[i % 5], "-", 2.2) for i, name in enumerate(features)}
    return styles | {"classifier": ("#D55E00", "o", "--", 3.4)}


def class_styles(num_classes: int) -> list[tuple]:
    """(colour, marker) of each class."""
    check_range("num_classes", num_classes, 1, len(CLASS_STYLE), whole=True)
    return CLASS_STYLE[:num_classes]


def row_name(row: str) -> str:
    """A row of a study as people write it: "FreeMatch + Grad-ReLU"."""
    return " + ".join(NAMES.get(part, part) for part in row.split(" + "))


def panels(
    count: int, width: float, height: float, beside: float = 0.0, title: str = "", **options
) -> tuple[Figure, np.ndarray]:
    """A figure of `count` axes, two in a row, each about `width` by `height` inches, with `beside` inches for a legend.

    options: of `subplots`.
    """
    check_range("number of panels", count, 1, whole=True)
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(min(WIDEST, width * columns + beside), height * rows), layout="constrained")
    figure.suptitle(title, fontsize=15)
    axes = figure.subplots(rows, columns, squeeze=False, **options).flatten()
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def label_left(axes: Sequence, text: str) -> None:
    """The label of the vertical axis, once for each row of `panels`."""
    for ax in axes[:: min(len(axes), 2)]:
        ax.set_ylabel(text, fontsize=13)


def dress(ax, title: str = "", x: str = "", y: str = "", grid: str | None = "both") -> None:
    """Title, axis labels and a faint grid (None: without)."""
    ax.set_title(title, fontsize=14)
    ax.set_xlabel(x, fontsize=13)
    ax.set_ylabel(y, fontsize=13)
    ax.tick_params(labelsize=12)
    if grid:
        ax.grid(axis=grid, alpha=0.3)


def mark_benefit(ax) -> None:
    """Lines where pseudo-labels are of no use (0) and as good as the truth (1)."""
    ax.axhline(0, color="black", linewidth=1.4)
    ax.axhline(1, color="black", linewidth=1.4, linestyle=":")


def legend_beside(figure: Figure, axes: Iterable) -> None:
    """One legend for all panels, each name once."""
    handles = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), fontsize=12, loc="outside right center")


def sentence(text: str) -> str:
    """The text with a capital at its start, and nothing else changed."""
    return text[:1].upper() + text[1:]
