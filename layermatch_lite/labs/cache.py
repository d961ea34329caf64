"""What labs compute once and keep on disk. A file's name depends on everything its content depends on, so none goes stale."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..errors import InputError
from ..system import cache_dir

PACKAGE = Path(__file__).parents[1]
# What trains and measures; a change in a picture or a page changes no cached number.
COMPUTES = ("core", "data", "models.py", "runs", "variants", "labs/label_costs.py", "labs/noise_lab.py")


def cache_file(folder: str, name: str, *inputs: object) -> Path:
    """The file in the cache for what this package's code computes from `inputs`, whose repr is complete."""
    key = hashlib.sha256(repr((code_key(), *inputs)).encode()).hexdigest()[:16]
    return cache_dir() / folder / f"{name}_{key}.npz"


@contextmanager
def writing() -> Iterator[None]:
    """Where a file of the cache is written; raises InputError where that is impossible: a lab reads its results from there."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the results could not be written to {cache_dir()} ({error}); set LAYERMATCH_CACHE to a folder that can be written."
        ) from error


@lru_cache
def code_key(package: Path = PACKAGE) -> str:
    """A hash of the code that computes. Line ends do not count: a cache may travel between machines."""
    found = hashlib.sha256()
    for part in COMPUTES:
        for path in sorted((package / part).rglob("*.py")) if not part.endswith(".py") else [package / part]:
            if path.exists():
                found.update(f"{path.relative_to(package).as_posix()}\0{path.read_text(encoding='utf-8')}\0".encode())
    return found.hexdigest()


@lru_cache
def file_key(path: Path) -> str:
    """A hash of a file that comes with the package."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
