"""The recorded runs that two labs look at: those that come with the package, other seeds of them, and files of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..recording import Recording, list_recorded, load_recorded, record_steps
from ..system import cache_dir

RUNS = tuple(list_recorded())


def is_file(run: str) -> bool:
    """Is this the path of a recording, not the name of one that comes with the package?"""
    return run.endswith(".npz")


def missing(run: str, seed: int) -> tuple | None:
    """(run, seed) where this run has yet to be recorded (or is damaged in the cache), None where it is at hand.

    Raises InputError where it cannot be had: an unknown name, a file that is missing or no recording.
    """
    if is_file(run) or seed == _shipped(run).config.seed:
        load(run, seed)
        return None
    try:
        load(run, seed)
    except InputError:
        return run, seed
    return None


def load(run: str, seed: int) -> Recording:
    """The recording; raises InputError where there is no such run, or its file cannot be read."""
    if not is_file(run):
        shipped = _shipped(run)
        if seed == shipped.config.seed:
            return shipped
    path = Path(run) if is_file(run) else _cached(run, seed)
    return _read(str(path), path.stat().st_mtime_ns if path.exists() else 0)


def record(run: str, seed: int) -> Iterator[tuple[float, str]]:
    """Record another seed of a run that comes with the package, and keep it in the cache; yields (share done, what)."""
    work = record_steps(replace(_shipped(run).config, seed=seed, device="cpu"))
    while True:
        try:
            at = next(work)
        except StopIteration as end:
            try:
                end.value.save(_cached(run, seed))
            except OSError as error:
                raise InputError(
                    f"the recording could not be kept in {cache_dir()} ({error}); set LAYERMATCH_CACHE."
                ) from error
            return
        yield at.step / at.config.steps, f"recording {run} with seed {seed}"


def _cached(run: str, seed: int) -> Path:
    return cache_dir() / "recordings" / f"{run}_{seed}_{__version__}.npz"


@lru_cache(maxsize=len(RUNS))
def _shipped(run: str) -> Recording:
    return load_recorded(run)


@lru_cache(maxsize=4)
def _read(path: str, changed: int) -> Recording:
    """A file is read again only when it has changed."""
    return Recording.load(path)
