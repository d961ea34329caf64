"""The recorded runs that two labs look at: those that come with the package, other seeds of them, and your own files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..data.sets import cifar10_at_hand, cifar10_root, load_data
from ..errors import InputError
from ..runs.config import TrainConfig
from ..runs.recording import Recording, find_images, list_recorded, load_recorded, record_steps
from ..runs.train import data_of
from .cache import cache_file, writing

RUNS = tuple(name for name in list_recorded() if not name.endswith("freematch"))  # whose tau is not one number


def is_file(run: str) -> bool:
    """Is this the path of a recording, not the name of one that comes with the package?"""
    return run.endswith(".npz")


def missing(run: str, seed: int) -> tuple | None:
    """(run, seed) where this run has yet to be recorded (or is damaged in the cache), None where it is available.

    Raises InputError where it never will be: an unknown name, a file that is missing or not a recording.
    """
    try:
        load_run(run, seed)
    except InputError:
        if is_file(run) or seed == _shipped(run).config.seed:
            raise
        return run, seed
    return None


def load_run(run: str, seed: int) -> Recording:
    """The recording; raises InputError where there is no such run, or its file cannot be read."""
    if not is_file(run) and seed == _shipped(run).config.seed:
        found = _shipped(run)
    else:
        path = Path(run) if is_file(run) else _cached(run, seed)
        found = _read(str(path), path.stat().st_mtime_ns if path.exists() else 0)
    if found.config.switches.freematch:
        raise InputError(f"{run} records FreeMatch, which has a tau for each class, and the labs draw one; give another.")
    return found


def confidences(r: Recording) -> np.ndarray:
    """(S, N) float64 confidences for comparison with any threshold: at the recorded τ they give exactly the recorded mask.

    A recording holds them as float16, which rounds some to the other side of τ; the mask was made before that.
    """
    tau, c = r.config.threshold, r.confidence.astype(np.float64)
    return np.where(r.mask, np.maximum(c, tau), np.minimum(c, np.nextafter(tau, -1)))


def record(run: str, seed: int) -> Iterator[tuple[float, str]]:
    """Record another seed of a run that comes with the package, and cache it; yields (share done, what)."""
    shipped = _shipped(run).config
    if shipped.device == "cuda":
        raise InputError(f"{run} was recorded on a GPU, with seed {shipped.seed} alone; a lab records on the CPU.")
    config = _another_seed(run, seed)
    if config.dataset == "cifar10" and not cifar10_at_hand():
        raise InputError(
            f"another seed of {run} trains on CIFAR-10, which is not in {cifar10_root()}; load_data('cifar10') downloads it."
        )
    work = record_steps(config)
    while True:
        try:
            at = next(work)
        except StopIteration as end:
            with writing():
                end.value.save(_cached(run, seed))
            return
        yield at.step / at.config.steps, f"recording {run} with seed {seed}"


def of_cifar10(r: Recording) -> bool:
    """Is this a run on CIFAR-10, whose images may be looked up in the reader's own copy?"""
    return r.about["name"] == "cifar10" and r.prints is not None and cifar10_at_hand()


@lru_cache(maxsize=8)
def images(r: Recording) -> np.ndarray | None:
    """The sample as its data set stores it, (N, C, H, W) or (N, C, L), or None where there is none.

    The embedded sets always are; CIFAR-10 takes seconds, from the reader's own copy.
    """
    if of_cifar10(r):
        try:
            return find_images(r, load_data("cifar10", None)).numpy()
        except InputError:
            return None  # an incomplete copy
    if r.about["name"] not in ("mnist1d", "digits"):
        return None
    return data_of(r.config).x_unlabelled[r.sample.astype(int)].numpy()


def _another_seed(run: str, seed: int) -> TrainConfig:
    return replace(_shipped(run).config, seed=seed, device="cpu")


def _cached(run: str, seed: int) -> Path:
    return cache_file("recordings", f"{run}_{seed}", _another_seed(run, seed))


@lru_cache(maxsize=len(RUNS))
def _shipped(run: str) -> Recording:
    return load_recorded(run)


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> Recording:
    """A file is read again only when it has changed."""
    return Recording.load(path)
