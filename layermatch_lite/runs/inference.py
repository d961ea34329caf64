"""Predictions of a trained run for new samples."""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.arrays import samples
from ..data.images import ALLOWED, files_below, named_as_image, read, some
from ..errors import InputError, takes
from ..system import printable, reserved, torch_settings, usable_cores, write_atomically
from .run import Run

BATCH = 500


class Predicted(NamedTuple):
    """What `predict_folder` wrote."""

    files: int
    counts: dict[str, int]  # images per predicted class
    least_sure: tuple[str, float]  # the file with the lowest confidence, and that


@takes(run=Run)
@torch_settings()
@torch.no_grad()
def predict(run: Run, x) -> tuple[Tensor, Tensor]:
    """(N,) int64 classes and (N,) float32 confidences, by the run's EMA model.

    x: N samples in the form of the run's data, a tensor or an array; a number n stands for the class run.data["classes"][n].

    Raises InputError for samples of another shape, and for a run of an earlier version, which kept too little of its data.
    """
    shape, x = tuple(run.data["sample_shape"]), samples("x", x)
    if tuple(x.shape[1:]) != shape:
        raise InputError(f"x holds samples of shape {tuple(x.shape[1:])}, and the run was trained on {shape}; give such samples.")
    if "mean" not in run.data:
        raise InputError("this run comes from an earlier version; resume it once (--resume, resume=) to bring it up to date.")
    model = run.ema.module
    device = next(model.parameters()).device
    mean, std = (torch.tensor(run.data[key], device=device).view(-1, *[1] * (len(shape) - 1)) for key in ("mean", "std"))
    normal = lambda part: (part.to(device) - mean) / std
    p = torch.cat([model(normal(part)).float().softmax(dim=1).cpu() for part in x.split(BATCH)])
    confidence, labels = p.max(dim=1)
    return labels, confidence


@takes(run=Run, folder="path", out="path", skip_broken="flag", progress="flag")
def predict_folder(
    run: Run, folder: str | os.PathLike, out: str | os.PathLike, *, skip_broken: bool = False, progress: bool = False
) -> Predicted:
    """Write a new CSV file with a line for every image below a folder: file, class, confidence.

    Images are read as those that the run was trained on: of its size, or scaled where it was trained with image_size.

    Raises InputError for a file that is there already, a folder without images, and a broken image, unless skip_broken.
    """
    from tqdm import tqdm

    shape, size = tuple(run.data["sample_shape"]), run.data.get("image_size")
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InputError(f"the run was trained on samples of shape {shape}, not on images; see predict() for arrays.")
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is not a folder; give one with images.")
    paths = list(files_below(folder))
    rows, left_out = [], []
    with reserved(out), tqdm(total=len(paths), unit=" images", disable=not progress, desc="predicting") as bar:
        if os.path.lexists(out):
            raise InputError(f"{out} exists already and is kept; choose another file with --out (out=).")
        for part, images, bad in _read(paths, shape, size, skip_broken):
            left_out += bad
            if part:
                labels, confidence = predict(run, np.stack(images))
                rows += zip((os.path.relpath(p, folder).replace(os.sep, "/") for p in part), labels.tolist(), confidence.tolist())
            bar.update(len(part) + len(bad))
        if not rows:
            raise InputError(f"{folder} holds no images; allowed are {ALLOWED}.")
        classes, text = run.data["classes"], io.StringIO(newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("file", "class", "confidence"))
        table.writerows((file, classes[label], f"{c:.4f}") for file, label, c in rows)
        # A file's name that is not UTF-8 comes out as the bytes that it is, and can be found by them.
        write_atomically(out, lambda f: f.write(text.getvalue().encode("utf-8", "surrogateescape")))
    if left_out:
        names = some([os.path.relpath(p, folder) for p in left_out])
        warnings.warn(f"{printable(folder)}: left out {names} (no image, or broken)", stacklevel=2)
    labels = [label for _, label, _ in rows]
    file, _, confidence = min(rows, key=lambda row: row[2])
    return Predicted(len(rows), {name: labels.count(c) for c, name in enumerate(classes)}, (file, confidence))


def _read(
    paths: list[str], shape: tuple[int, ...], size: int | None, skip_broken: bool
) -> Iterator[tuple[list[str], list[np.ndarray], list[str]]]:
    """Batches of (paths, images, paths that were left out)."""

    def one(path: str) -> np.ndarray | None:
        try:
            image = read(path, grey=shape[0] == 1, size=size)
        except InputError as error:
            if not named_as_image(path) or skip_broken:
                return None
            way_out = "or leave broken images out with --skip-broken (skip_broken=True)."
            raise InputError(f"{str(error).removesuffix('.')}, {way_out}") from error
        if image.shape != shape:
            a, b = (f"{s[2]}x{s[1]}" for s in (image.shape, shape))
            raise InputError(f"{path} is {a} pixels, and the run was trained on {b}; bring the images to that size.")
        return image

    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            images = list(pool.map(one, part))
            fine = [(path, image) for path, image in zip(part, images) if image is not None]
            yield [p for p, _ in fine], [i for _, i in fine], [p for p, image in zip(part, images) if image is None]
