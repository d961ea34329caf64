"""Folders of images, train/<class>/<image> and test/<class>/<image>, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..system import cache_dir, cached_npz

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


def load_folder(folder: Path, progress: bool = False):
    """Decode an image folder once, in parallel, into a cache that is rebuilt when the folder changes.

    Returns x, y, x_test, y_test as arrays (uint8 (N, 3, H, W) and int64) and the class names in alphabetical order.
    """
    parts = {part: _list_images(folder, part) for part in ("train", "test")}
    classes = tuple(parts["train"])
    if classes != tuple(parts["test"]):
        odd = sorted(set(classes) ^ set(parts["test"]))
        raise InputError(
            f"{folder}: class folders differ between train and test ({', '.join(odd)} only in one of them); "
            "give both the same class names."
        )
    if len(classes) < 2:
        raise InputError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two class folders.")

    try:
        stats = [
            (os.path.relpath(e.path, folder), e.stat().st_size, e.stat().st_mtime_ns)
            for part in parts.values()
            for files in part.values()
            for e in files
        ]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); repair or remove it.") from error
    state = hashlib.sha256(repr(stats).encode()).hexdigest()
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]

    def compute() -> dict[str, np.ndarray]:
        arrays = {"state": np.array(state)}
        for part, by_class in parts.items():
            files = [e.path for entries in by_class.values() for e in entries]
            arrays[part] = _decode(files, f"decoding {part}", progress)
        if arrays["train"].shape[1:] != arrays["test"].shape[1:]:
            a, b = (arrays[p].shape[:1:-1] for p in ("train", "test"))
            raise InputError(
                f"{folder}: train images are {a[0]}x{a[1]} pixels, test images {b[0]}x{b[1]}; resize them to one size."
            )
        return arrays

    unchanged = lambda arrays: set(arrays) == {"state", "train", "test"} and str(arrays["state"]) == state
    arrays = cached_npz(cache_dir() / "folders" / f"{key}.npz", unchanged, compute)
    y, y_test = (np.repeat(np.arange(len(classes)), [len(fs) for fs in parts[p].values()]) for p in ("train", "test"))
    return arrays["train"], y, arrays["test"], y_test, classes


def _list_images(folder: Path, part: str) -> dict[str, list[os.DirEntry]]:
    """{class: image files in name order}, classes in alphabetical order."""
    where = folder / part
    if not where.is_dir():
        raise InputError(
            f"{folder} has no folder {part}/; lay it out as train/<class>/<image> and test/<class>/<image>."
        )
    found = {}
    for entry in sorted(os.scandir(where), key=lambda e: e.name):
        if entry.is_dir() and not entry.name.startswith("."):
            files = [e for e in os.scandir(entry.path) if Path(e.name).suffix.lower() in IMAGE_SUFFIXES]
            if not files:
                raise InputError(f"{entry.path} holds no images; allowed endings: {' '.join(sorted(IMAGE_SUFFIXES))}.")
            found[entry.name] = sorted(files, key=lambda e: e.name)
    if not found:
        raise InputError(f"{where} holds no class folders with images; lay it out as {part}/<class>/<image>.")
    return found


def _decode(files: list[str], title: str, progress: bool) -> np.ndarray:
    """uint8 (N, 3, H, W) of image files of one size; Pillow decodes outside the interpreter's lock, so threads help."""
    from PIL import Image
    from tqdm import tqdm

    def read(path: str) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except Exception as error:  # Pillow has no common base class for a broken file
            raise InputError(
                f"{path} is not a readable image ({type(error).__name__}: {error}); replace or remove it."
            ) from error

    shape = read(files[0]).shape
    out = np.empty((len(files), *shape), np.uint8)

    def read_into(i: int) -> None:
        image = read(files[i])
        if image.shape != shape:
            raise InputError(
                f"{files[i]} is {image.shape[2]}x{image.shape[1]} pixels, {files[0]} is {shape[2]}x{shape[1]}; "
                "resize all images to one size."
            )
        out[i] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for _ in tqdm(
                pool.map(read_into, range(len(files))), title, len(files), unit=" images", disable=not progress
            ):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return out
