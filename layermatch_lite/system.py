"""The machine: its cores and threads, the cache folder, and files: written so that nothing saved is lost, read safely."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

__version__ = "0.2.0"


def cache_dir() -> Path:
    """The folder for downloads and decoded images: $LAYERMATCH_CACHE, else the user's usual cache folder."""
    if chosen := os.environ.get("LAYERMATCH_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(base) / "layermatch_lite"


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Call write(file) on a temporary file beside `path`, flush it to the disk, then rename it into place.

    Whatever happens on the way, `path` holds either its old content or the new one, whole.
    Raises OSError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(n: int | None = None) -> Iterator[None]:
    """Inside, torch computes with n threads (None: as many as before); afterwards it has as many as before."""
    import torch

    before = torch.get_num_threads()
    if n is not None and n != before:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of an .npz file. Never executes code from it.

    Raises OSError where the file cannot be opened, and ValueError for any content that is not a complete .npz file.
    """
    with open(path, "rb") as f:
        try:
            with np.load(f, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds for a damaged file
            raise ValueError(f"damaged .npz file ({type(error).__name__}: {error})") from error


def cached_npz(
    path: Path, check: Callable[[dict[str, np.ndarray]], bool], compute: Callable[[], dict[str, np.ndarray]] | None = None
) -> dict[str, np.ndarray] | None:
    """The arrays cached at `path`; where there are none that pass `check`, those of compute(), cached for the next time.

    Without compute: None in that case.
    """
    try:
        if check(arrays := read_npz(path)):
            return arrays
    except (OSError, ValueError, KeyError):  # KeyError: check looked for an array that is missing
        pass
    if compute is None:
        return None
    arrays = compute()
    try:
        write_atomically(path, lambda f: np.savez(f, **arrays))
    except OSError as error:
        print(f"note: {path} could not be written ({error}); next time this is computed again.")
    return arrays
