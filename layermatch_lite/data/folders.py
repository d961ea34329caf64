"""Folders of images, decoded once into a cache:

    train/<class>/...   the labelled images
    unlabelled/...      images whose class nobody knows; optional
    test/<class>/...    optional, where a share of the labelled ones is to be the test set

Each of them may have folders inside.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..system import cache_dir, cached_npz, memory, printable, usable_cores
from .images import ALLOWED, files_below, header, named_as_image, of_system, read, some

VERSION = 2  # of what is cached; 1 had every image in three channels
UNLABELLED = ("unlabelled", "unlabeled")
PARTS = {"train": "train", "test": "test"} | dict.fromkeys(UNLABELLED, "unlabelled")
LAYOUT = "lay it out as train/<class>/<image>, test/<class>/<image> and, for images without a class, unlabelled/<image>"


def load_folder(
    folder: Path, *, image_size: int | None = None, skip_broken: bool = False, progress: bool = False
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Decode an image folder once, in parallel, into a cache that is rebuilt when the folder changes.

    image_size, skip_broken: as for `load_data`. One warning says what was left out, and why.

    Returns {part: (x uint8 (N, C, H, W), y int64 (N,), -1 for an unknown class)} of the parts that are there, and the class names
    in alphabetical order. C is 1 where all images are grey, else 3.

    Raises InputError for a folder that is laid out otherwise, images of several sizes, broken ones, or too many for the memory.
    """
    every, classes, aside = _listed(folder)
    cache, state = _cache(folder, every, image_size)

    def compute() -> dict[str, np.ndarray]:
        return {"state": np.array(state)} | _decoded(folder, every, classes, image_size, skip_broken, progress)

    unchanged = lambda arrays: str(arrays["state"]) == state and (skip_broken or not len(arrays["broken"]))
    arrays = cached_npz(cache, unchanged, compute)
    reasons = {"in no class folder": aside, "no image": arrays["left_out"], "broken": arrays["broken"]}
    if said := [f"left out {some(names)} ({why})" for why, names in reasons.items() if len(names)]:
        warnings.warn(f"{printable(folder)}: {', '.join(said)}", stacklevel=3)
    if len(arrays["several"]):
        names = some(arrays["several"])
        warnings.warn(f"{printable(folder)}: of several pictures in a file the first is used ({names})", stacklevel=3)
    return {part: (arrays[part], arrays[f"y_{part}"]) for part in dict.fromkeys(part for *_, part in every)}, classes


def is_decoded(folder: Path) -> bool:
    """Are all images of this folder in the cache, as they are now?"""
    every, *_ = _listed(folder)
    cache, state = _cache(folder, every, None)
    return cached_npz(cache, lambda arrays: str(arrays["state"]) == state) is not None


def _cache(folder: Path, every: list, image_size: int | None) -> tuple[Path, str]:
    """Where the decoded images go, and what must be the same for them to be those of now."""

    def stat(path: str) -> tuple[int, int] | None:
        try:
            return os.stat(path).st_size, os.stat(path).st_mtime_ns
        except OSError:  # a link to nowhere; reading its header says so
            return None

    stats = [(os.path.relpath(p, folder), c, part, stat(p)) for p, c, part in every]
    state = hashlib.sha256(repr((VERSION, image_size, stats)).encode()).hexdigest()
    key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return cache_dir() / "folders" / f"{key}.npz", state


def _listed(folder: Path) -> tuple[list[tuple[str, int, str]], tuple[str, ...], list[str]]:
    """[(file, class, part)], train/ first; the classes; and what lies where no image is expected."""
    try:
        top = sorted(e.name for e in os.scandir(folder) if not of_system(e.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give a folder of images, and {LAYOUT}.") from error
    files, names, aside = [], {}, []
    for entry in sorted(top, key=lambda e: e != "train"):
        path = os.path.join(folder, entry)
        if os.path.isdir(path) and entry in PARTS:
            part = PARTS[entry]
            if part == "unlabelled":
                if any(part == other for *_, other in files):
                    raise InputError(f"{folder} has both unlabelled/ and unlabeled/; put all images into one of them.")
                files += [(f, -1, part) for f in files_below(path)]
                continue
            inside = sorted(e for e in os.listdir(path) if not of_system(e))
            folders = [e for e in inside if os.path.isdir(os.path.join(path, e))]
            aside += [f"{entry}/{e}" for e in inside if e not in folders]
            names[part] = [_class_name(e) for e in folders]
            files += [(f, name, part) for e, name in zip(folders, names[part]) for f in files_below(os.path.join(path, e))]
        elif os.path.isdir(path) or named_as_image(entry):
            aside.append(entry)
    if not names.get("train"):
        if "train" in names:
            raise InputError(f"{folder / 'train'} holds no class folders; {LAYOUT}.")
        raise InputError(f"{folder} has no folder train/ (it holds {', '.join(top[:5]) or 'nothing'}); {LAYOUT}.")
    classes = tuple(sorted(set(names["train"])))
    if odd := sorted(set(classes) ^ set(names.get("test", classes))):
        raise InputError(
            f"{folder}: class folders differ between train and test ({', '.join(odd)} only in one of them); "
            "give both the same class names."
        )
    if len(classes) < 2:
        raise InputError(f"{folder}: only one class ({classes[0]}); a classifier needs at least two class folders.")
    numbers = {name: c for c, name in enumerate(classes)} | {-1: -1}  # by name: two systems may sort the same names differently
    return [(file, numbers[name], part) for file, name, part in files], classes, aside


def _class_name(folder: str) -> str:
    """As people read it: in Unicode, composed, whichever system wrote the name."""
    return unicodedata.normalize("NFC", printable(folder))


def _decoded(
    folder: Path, every: list, classes: tuple[str, ...], image_size: int | None, skip_broken: bool, progress: bool
) -> dict[str, np.ndarray]:
    """x and y of every part, and the names of the files that are no images, or broken ones."""
    headers = _in_parallel(header, [path for path, *_ in every], f"looking into {folder.name}", progress)
    left_out = [p for (p, *_), h in zip(every, headers) if isinstance(h, InputError) and not named_as_image(p)]
    broken = {p: h for (p, *_), h in zip(every, headers) if isinstance(h, InputError) and named_as_image(p)}
    used = [(*file, h) for file, h in zip(every, headers) if not isinstance(h, InputError)]
    if broken and not skip_broken:
        raise _refused(broken)
    there = {f[1:3] for f in used}
    for part in {part for *_, part in every} | {"train"}:
        for c, name in enumerate(classes) if part != "unlabelled" else ():
            if (c, part) not in there:
                raise InputError(f"{folder / part / name} holds no images; allowed are {ALLOWED}.")
    grey, sizes = all(h.grey for *_, h in used), [(h.width, h.height) for *_, h in used]
    if image_size is None and (odd := [k for k, size in enumerate(sizes) if size != sizes[0]]):
        (a, b), (c, d) = sizes[odd[0]], sizes[0]
        raise InputError(
            f"{used[odd[0]][0]} is {a}x{b} pixels, {used[0][0]} is {c}x{d}; bring all images to one size with --image-size "
            "(image_size=)."
        )
    width, height = sizes[0] if image_size is None else (image_size, image_size)
    needed = len(used) * (1 if grey else 3) * width * height
    if needed > memory() // 2:
        raise InputError(
            f"{folder}: {len(used)} images of {width}x{height} pixels take {needed / 1e9:.3g} GB of memory, and this machine has "
            f"{memory() / 1e9:.3g}; scale them with --image-size (image_size=)."
        )
    decode = lambda path: read(path, grey, image_size)
    arrays = {}
    for part in dict.fromkeys(part for *_, part in every):
        paths = [path for path, _, where, _ in used if where == part]
        images = np.empty((len(paths), 1 if grey else 3, height, width), np.uint8)
        bad = _in_parallel(decode, paths, f"decoding {part}", progress, into=images)
        broken |= {p: error for p, error in zip(paths, bad) if error is not None}
        if broken and not skip_broken:
            raise _refused(broken)
        fine = np.array([error is None for error in bad], bool)
        y = np.array([c for _, c, where, _ in used if where == part], np.int64)
        arrays |= {part: images if fine.all() else images[fine], f"y_{part}": y[fine]}
    relative = lambda paths: np.array([printable(os.path.relpath(p, folder)) for p in paths], np.str_)
    several = [path for path, *_, h in used if h.several]
    return arrays | {"left_out": relative(left_out), "broken": relative(broken), "several": relative(several)}


def _in_parallel(work: Callable, paths: list[str], title: str, progress: bool, into: np.ndarray | None = None) -> list:
    """work(path) of every path, or the InputError that it raised; into: where results go instead (None in the list).

    Pillow decodes outside the interpreter's lock, so threads help.
    """
    from tqdm import tqdm

    def one(i: int):
        try:
            found = work(paths[i])
        except InputError as error:
            return error
        if into is None:
            return found
        into[i] = found
        return None

    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            return list(tqdm(pool.map(one, range(len(paths))), title, len(paths), unit=" images", disable=not progress))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _refused(broken: dict[str, InputError]) -> InputError:
    first = str(next(iter(broken.values()))).removesuffix(".")
    more = f" {len(broken) - 1} more are broken." if len(broken) > 1 else ""
    return InputError(f"{first}, or leave broken images out with --skip-broken (skip_broken=True).{more}")
