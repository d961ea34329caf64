"""What is installed, what is missing and how to fix it; and filling every cache before a class."""

from __future__ import annotations

import platform
import re
import sys
import time
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from ..data.sets import EMBEDDED, cifar10_at_hand, cifar10_root, load_data
from ..system import cache_dir, usable_cores
from .device import has_bf16, pick_device
from .recording import list_recorded

INSTALL = "python -m pip install -c constraints.txt -e ."


def examine(failed: Sequence[str] = ()) -> int:
    """Print the state of the installation; returns 1 where something has to be fixed. failed: what `warm` could not fill."""
    to_fix = 0

    def line(ok: bool, what: str, state: str, fix: str = INSTALL) -> None:
        nonlocal to_fix
        to_fix += not ok
        print(f"{'ok ' if ok else '-> '} {what:14s} {state}" + ("" if ok else f"\n    {'':14s} fix: {fix}"))

    python = f"{platform.python_version()} on {platform.platform(terse=True)}"
    line(sys.version_info >= (3, 10), "python", python, "install Python 3.10 or newer")
    for name, needed in requirements().items():
        try:
            found = metadata.version(name)
            line(_numbers(found) >= _numbers(needed), name, found, f"at least {needed} is needed: {INSTALL}")
        except metadata.PackageNotFoundError:
            line(False, name, "not installed")
    try:
        import_module("torchvision")
    except Exception as error:  # a build for another torch raises RuntimeError, not ImportError
        fix = "python -m pip install --force-reinstall torch torchvision (a matching pair)"
        line(False, "torchvision", f"cannot be imported: {error}".splitlines()[0], fix)
    line(True, "device", _device())
    line(*_widgets())
    try:
        data, runs = [load_data(name, None).name for name in EMBEDDED], list_recorded()
        line(bool(runs), "embedded", f"{', '.join(data)}; {len(runs)} recorded runs")
    except Exception as error:
        line(False, "embedded", f"data cannot be read: {error}")
    there, root = cifar10_at_hand(), cifar10_root()
    absent = f"not in {root}; --dataset cifar10 downloads it (170 MB), only if you want it"
    print(f"{'ok ' if there else '   '} {'cifar10':14s} {f'in {root}' if there else absent}")
    print(f"    {'cache':14s} {cache_dir()} (set LAYERMATCH_CACHE to move it)")
    for what in failed:
        line(False, "warming", what, "see the other lines marked ->, then run doctor --warm again")
    print(f"\n{to_fix} to fix, see the lines marked ->." if to_fix else "\nAll is well.")
    return int(to_fix > 0)


def requirements() -> dict[str, str]:
    """{package: lowest version} of everything that this package needs to run, from its own metadata."""
    try:
        lines = metadata.requires("layermatch-lite") or []
    except metadata.PackageNotFoundError:  # run from a folder, without installation
        return {"layermatch-lite": "0"}
    needed = [line for line in lines if "extra ==" not in line]
    return {re.match(r"[\w.-]+", line)[0]: re.search(r">=([\d.]+)|$", line)[1] or "0" for line in needed}


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)[:3]]


def _device() -> str:
    import torch

    device = pick_device("auto")
    name = f"cuda: {torch.cuda.get_device_name()}" if device.type == "cuda" else f"{device}, {usable_cores()} cores"
    return f"{name}, {'has bf16' if has_bf16(device) else 'without bf16: computes in float32'}"


def _widgets() -> tuple[bool, str, str, str]:
    """Is the JupyterLab side of ipywidgets in place, in any of the folders where JupyterLab looks?"""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return False, "widgets", "Jupyter is not installed", INSTALL
    place = Path("@jupyter-widgets", "jupyterlab-manager", "package.json")
    there = any(Path(folder, place).exists() for folder in jupyter_path("labextensions"))
    state = f"JupyterLab's side is {'in place' if there else 'missing'}"
    return there, "widgets", state, "python -m pip install --force-reinstall jupyterlab_widgets"


def warm() -> list[str]:
    """Do now what is slow the first time: numba's compilation, fonts, decoding. Returns what failed, in words."""
    jobs = {"data": _warm_data, "fonts and figures": _warm_figures, "UMAP maps": _warm_umap}
    failed = []
    for what, job in jobs.items():
        start = time.perf_counter()
        print(f"warming {what} ...", end=" ", flush=True)
        try:
            job()
            print(f"{time.perf_counter() - start:.0f} s")
        except Exception as error:  # the others are filled nevertheless
            failed.append(f"{what} failed: {type(error).__name__}: {error}")
            print("failed, see below")
    return failed


def _warm_data() -> None:
    for name in (*EMBEDDED, "cifar10") if cifar10_at_hand() else EMBEDDED:
        load_data(name, None)


def _warm_figures() -> None:
    import io

    import seaborn  # noqa: F401  its import is the slow part
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().set_title("warm")
    figure.savefig(io.BytesIO())


def _warm_umap() -> None:
    """The maps of notebook 07, kept in the cache."""
    import torch

    from ..core.seeding import generator
    from ..figures.embedding import embed
    from .recording import load_recorded

    z = load_recorded("digits_fixmatch").features[20]
    noise = torch.randn(400, 16, generator=generator(0, "pure noise"))
    embed([z])
    for seed in (0, 1, 2):
        embed([z], seed=seed, init="random")
    for n in (3, 30):
        embed([noise], n_neighbors=n, min_dist=0.0)
