"""The machine: its cores, threads and memory, the cache folder, and files: written so that nothing saved is lost, read safely."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError

__version__ = "0.2.0"


def cache_dir() -> Path:
    """The folder for downloads and decoded images: $LAYERMATCH_CACHE, else the user's usual cache folder.

    Empty variables count as none, and so does a relative XDG_CACHE_HOME, as its specification asks.
    """
    if chosen := os.environ.get("LAYERMATCH_CACHE"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    try:
        home = Path.home()
        if os.environ.get("HOME") == "":
            raise RuntimeError
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir(), f"layermatch_lite-{getattr(os, 'getuid', lambda: 0)()}")
    usual = {"win32": ("LOCALAPPDATA", Path("AppData", "Local")), "darwin": ("", Path("Library", "Caches"))}
    variable, folder = usual.get(sys.platform, ("XDG_CACHE_HOME", Path(".cache")))
    base = os.environ.get(variable, "")
    return (Path(base) if os.path.isabs(base) else home / folder) / "layermatch_lite"


def printable(text: object) -> str:
    """One line of text without control characters and lone surrogates: what a stranger's file may send to a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text))


# --- writing ---------------------------------------------------------------------------------------------------------


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], None]) -> None:
    """Call write(file) on a temporary file beside `path`, flush it to the disk, then rename it into place.

    Whatever happens on the way, `path` holds either its old content or the new one, whole.
    Raises InputError where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            pass  # its folder cannot be entered
        if isinstance(error, OSError):
            raise InputError(
                f"{path} could not be written ({error.strerror or error}); what was saved there before is unharmed. Free some "
                "space, or choose another place."
            ) from error
        raise


def check_writable(folder: str | os.PathLike, option: str) -> None:
    """Find out before long work, not after it, that a folder cannot be written. option: how to choose another ("--out")."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as f:
            f.write(b"0" * 4096)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder} cannot be written ({reason}); choose another folder with {option}.") from error


@contextmanager
def reserved(path: str | os.PathLike) -> Iterator[None]:
    """Inside, nobody else who asks writes to this path. The reservation ends with its process.

    Raises InputError where somebody does, or where the folder cannot be written.
    """
    import filelock

    path = Path(os.path.abspath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise InputError(
            f"another process, or another cell, is writing {path}; wait for it, stop it, or choose another place."
        ) from error
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}); choose another place.") from error
    try:
        yield
    finally:
        try:
            if int(filelock.__version__.partition(".")[0]) >= 4:  # earlier ones do not notice that their file has been removed
                os.unlink(lock.lock_file)
        except OSError:
            pass  # Windows removes no open file; an empty one stays
        lock.release()


# --- cores and memory ------------------------------------------------------------------------------------------------


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of memory that this machine, or the container this process lives in, has; 8 GB where nobody says."""
    limits = [8 * 10**9]
    if hasattr(os, "sysconf"):
        limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return min(limits)


@contextmanager
def torch_settings(threads: int | None = None) -> Iterator[None]:
    """Inside, torch computes with so many threads (None: as many as before), in float32 and on the CPU unless told otherwise;
    afterwards with what the user had set."""
    import torch

    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if threads is not None and threads != before:
            torch.set_num_threads(threads)
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)
            if torch.get_default_dtype() != dtype:
                torch.set_default_dtype(dtype)


# --- reading ---------------------------------------------------------------------------------------------------------


@contextmanager
def reading(path: str | os.PathLike, what: str, again: str) -> Iterator[None]:
    """Whatever goes wrong inside, where a file is read and checked, ends in one InputError that names it.

    what: "a saved run"; again: how to get another one ("train again").
    """
    try:
        size_of(path)
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the path of {what}.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; give the path of {what}.") from error
    except Exception as error:  # torch, zipfile, numpy and json share no class for what is damaged, foreign or hostile
        reason = printable(" ".join(str(error).split()))[:300]
        if isinstance(error, InputError):
            if str(path) in str(error):
                raise
        elif type(error) is not ValueError:
            reason = f"{type(error).__name__}: {reason}"
        raise InputError(f"{path} is damaged, or is not {what} ({reason.rstrip('.')}); use another copy, or {again}.") from error


def size_of(path: str | os.PathLike) -> int:
    """Bytes of a regular file. OSError where there is none; InputError for what never ends, such as a pipe or a device."""
    info = os.stat(path)
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(f"{path} is a folder")
    if not stat.S_ISREG(info.st_mode):
        raise InputError(f"{path} is a pipe or a device; give a regular file.")
    return info.st_size


def read_json(path: str | os.PathLike, limit: int = 200_000_000) -> object:
    """The content of a JSON file of at most `limit` bytes, in standard JSON: without NaN and infinity."""
    if (size := size_of(path)) > limit:
        raise ValueError(f"{size} bytes, and such a file has fewer than {limit}")

    def refuse(constant: str):
        raise ValueError(f"it holds {constant}")

    return json.loads(Path(path).read_text(encoding="utf-8-sig"), parse_constant=refuse)


def checksum(content: dict) -> str:
    """Of a JSON file's content, whatever its layout: 16 hex digits of the SHA-256 of everything but its own "checksum"."""
    rest = {k: v for k, v in content.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


def check_checksum(content: dict) -> None:
    """Raise ValueError where the content is not what was written; files of earlier versions have no checksum."""
    if "checksum" in content and content["checksum"] != checksum(content):
        raise ValueError("its content has changed since it was written")


def check_zip(path: str | os.PathLike) -> None:
    """Raise an exception unless this is a whole zip file, every part with its checksum, that unpacks to no more than it is."""
    with zipfile.ZipFile(path) as z:
        if (unpacked := sum(i.file_size for i in z.infolist())) > size_of(path):
            raise ValueError(f"it unpacks to {unpacked} bytes, more than the file has")
        if (part := z.testzip()) is not None:
            raise ValueError(f"{part} does not match its checksum")


HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Every array of an .npz file, each with its checksum. Never executes code from it; sizes are read before contents.

    Raises OSError where the file cannot be opened, and ValueError for any content that is not a complete .npz file.
    """
    size = size_of(path)
    try:
        with zipfile.ZipFile(path) as z:
            sizes = {i.filename: i.file_size for i in z.infolist()}
            total = sum(sizes.values())
            if total > max(200_000_000, 30 * size) and total > size or total > memory() // 2:
                raise ValueError(f"{size} bytes unpack to {total}")
            for name, there in sizes.items():
                with z.open(name) as f:
                    shape, _, dtype = HEADERS[np.lib.format.read_magic(f)](f)
                    if int(np.prod(shape, dtype=object)) * dtype.itemsize > there:
                        raise ValueError(f"{name} says that it is {shape}, and holds {there} bytes")
        with np.load(path, allow_pickle=False) as arrays:
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
    except Exception:  # missing, damaged, or with other arrays than `check` looks for
        pass
    if compute is None:
        return None
    arrays = compute()
    try:
        write_atomically(path, lambda f: np.savez(f, **arrays))
    except InputError as error:
        print(f"note: {error} Next time this is computed again.")
    return arrays
