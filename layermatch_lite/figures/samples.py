"""What a network sees: samples and their views."""

from __future__ import annotations

import csv
import io
import os
from os import PathLike
from pathlib import Path

import torch
from matplotlib.figure import Figure

from ..core.seeding import generator
from ..data.images import header, read
from ..data.sets import SSLData
from ..data.views import Views
from ..errors import InputError, check_range, takes
from ..system import reading
from .letters import drawn_names, in_words

COLORS = {"sample": "black", "weak": "#0072B2", "weak again": "#0072B2", "strong": "#D55E00", "strong again": "#D55E00"}


@takes(data=SSLData)
def views_figure(data: SSLData, seed: int = 0) -> tuple[Figure, str]:
    """One labelled sample of up to three classes: as it is, in two weak views and in two strong ones."""
    check_range("seed", seed, 0, whole=True)
    g, views, names = generator(seed, "figure"), Views(data), drawn_names(data.classes)
    shown = range(min(3, len(data.classes)))
    x = torch.stack([data.x_labelled[data.y_labelled == c][0] for c in shown])
    draw = (views.plain, *[lambda x: views.weak(x, g)] * 2, *[lambda x: views.strong(x, g)] * 2)
    columns = {title: view(x) for title, view in zip(COLORS, draw)}
    figure = Figure(figsize=(11, 1.2 * len(shown) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), len(columns), sharex=data.kind != "points", sharey=True, squeeze=False)
    for column, (title, batch) in zip(axes.T, columns.items()):
        column[0].set_title(title, fontsize=13)
        for ax, sample in zip(column, batch):
            _draw_sample(ax, sample, data, COLORS[title])
    for c in shown:
        axes[c, 0].set_ylabel(names[c], fontsize=13, rotation=0, ha="right", va="center")
    words = ", ".join(data.classes[c] for c in shown)
    alt = f"One sample of each of the classes {words} of {data.name}, with two weak and two strong views."
    return figure, alt + in_words(data.classes)


@takes(table="path", folder="path")
def unsure_figure(table: str | PathLike, folder: str | PathLike, count: int = 10) -> tuple[Figure, str]:
    """The images that a run is least sure of, with what it calls them. table: what `predict_folder` wrote of this folder."""
    check_range("count", count, 1, 50, whole=True)
    with reading(table, "a table of predictions", "predict again"):
        text = Path(table).read_text(encoding="utf-8", errors="surrogateescape")
        rows = sorted((float(r["confidence"]), r["class"], r["file"]) for r in csv.DictReader(io.StringIO(text)))[:count]
        if not rows:
            raise ValueError("it has no line")
    columns = min(5, len(rows))
    figure = Figure(figsize=(2 * columns, 2.3 * -(-len(rows) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(rows) // columns), columns, squeeze=False).flatten()
    names = dict(zip((r[1] for r in rows), drawn_names([r[1] for r in rows])))
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.set_axis_off()
    for ax, (confidence, called, file) in zip(axes, rows):
        path = os.path.join(folder, file)
        if not os.path.exists(path):
            raise InputError(f"{folder} has no {file}; give the folder that {table} tells about.")
        image = read(path, grey=header(path).grey)
        ax.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
        ax.set_title(f"{names[called]}, {confidence:.2f}", fontsize=13)
    words = "; ".join(f"{file}: {called} with confidence {confidence:.2f}" for confidence, called, file in rows)
    return figure, f"The {len(rows)} images of which the run is least sure. {words}."


def _draw_sample(ax, sample: torch.Tensor, data: SSLData, color: str) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    if data.kind == "signal":
        ax.plot(sample[0].numpy(), color=color, linewidth=2)
    elif data.kind == "points":
        ax.scatter(*sample[:2].numpy(), color=color)
    else:
        image = (sample * data.std.view(-1, 1, 1) + data.mean.view(-1, 1, 1)) / 255
        ax.imshow(image.permute(1, 2, 0).clamp(0, 1).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1)
