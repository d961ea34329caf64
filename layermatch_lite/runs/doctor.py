"""What is installed and what is missing; and filling every cache before a class."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
import time
from pathlib import Path

from ..data.sets import cifar10_at_hand, cifar10_root
from ..system import cache_dir, usable_cores
from .device import has_bf16
from .recording import list_recorded

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "seaborn",
    "ipywidgets",
    "jupyterlab",
    "anywidget",
    "voila",
    "umap-learn",
    "tqdm",
)
MEND = "python -m pip install -c constraints.txt -e ."


def examine() -> int:
    """Print the state of the installation; returns the number of things to mend, at most 1."""
    missing = 0

    def line(ok: bool, what: str, state: str, fix: str = "") -> None:
        nonlocal missing
        missing += not ok
        print(f"{'ok ' if ok else '-> '} {what:14s} {state}" + (f"\n   {'':14s} fix: {fix}" if fix and not ok else ""))

    version = sys.version_info
    line(
        version >= (3, 10),
        "python",
        f"{platform.python_version()} on {platform.platform(terse=True)}",
        "install Python 3.10 or newer",
    )
    for name in PACKAGES:
        try:
            line(True, name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            line(False, name, "not installed", MEND)
    line(*_imports("torchvision"))
    line(*_device())
    line(*_widgets())
    embedded = Path(__file__).parents[1] / "data" / "embedded" / "mnist1d.npz"
    line(
        embedded.exists(),
        "mnist1d",
        "shipped with the package" if embedded.exists() else f"{embedded} is missing",
        MEND,
    )
    recorded = list_recorded()
    line(bool(recorded), "recorded runs", ", ".join(recorded) or "are missing", MEND)
    there, root = cifar10_at_hand(), cifar10_root()
    absent = f"not in {root}; --dataset cifar10 downloads it (170 MB), only if you want it"
    print(f"{'ok ' if there else '   '} {'cifar10':14s} {f'in {root}' if there else absent}")
    print(f"    {'cache':14s} {cache_dir()} (set LAYERMATCH_CACHE to move it)")
    print("\nAll is well." if not missing else f"\n{missing} to mend, see the lines marked ->.")
    return min(missing, 1)


def _imports(name: str) -> tuple[bool, str, str, str]:
    try:
        importlib.import_module(name)
        return True, f"import {name}", "works", ""
    except Exception as error:  # a build for another torch raises RuntimeError, not ImportError
        return (
            False,
            f"import {name}",
            f"fails: {error}".splitlines()[0],
            "python -m pip install --force-reinstall torch torchvision (a matching pair)",
        )


def _device() -> tuple[bool, str, str, str]:
    import torch

    if torch.cuda.is_available():
        bf16 = "" if has_bf16(torch.device("cuda")) else ", no bf16: trains in float32"
        return True, "device", f"cuda: {torch.cuda.get_device_name()}{bf16}", ""
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    return True, "device", f"{kind}, {usable_cores()} cores (enough for everything but real CIFAR-10 training)", ""


def _widgets() -> tuple[bool, str, str, str]:
    """Is the JupyterLab side of ipywidgets in place?"""
    extension = Path(sys.prefix, "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json")
    try:
        major = int(importlib.metadata.version("ipywidgets").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return False, "widgets", "ipywidgets is not installed", MEND
    if not extension.exists():
        return (
            False,
            "widgets",
            "JupyterLab's side is missing",
            "python -m pip install --force-reinstall jupyterlab_widgets",
        )
    if major < 8:
        return False, "widgets", f"ipywidgets {major} is too old", "python -m pip install -U ipywidgets"
    return True, "widgets", "JupyterLab's side is in place", ""


def warm() -> None:
    """Do once, now, everything that is slow the first time: numba's compilation, fonts, decoding."""
    for what, job in (
        ("data", _warm_data),
        ("fonts and figures", _warm_figures),
        ("UMAP maps", _warm_umap),
        ("labs", _warm_labs),
    ):
        start = time.perf_counter()
        print(f"warming {what} ...", end=" ", flush=True)
        try:
            job()
        except Exception as error:  # whatever is broken is named by `examine`, which comes next
            print(f"failed: {error}")
            continue
        print(f"{time.perf_counter() - start:.0f} s")


def _warm_data() -> None:
    from ..data.sets import EMBEDDED, load_data

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
    from ..figures.embedding import embed
    from .recording import load_recorded

    moments = {f"digits_{method}": (1, 6, 20) for method in ("supervised", "fixmatch", "layermatch")}
    moments |= {f"cifar10_mini_250_{method}": (1, 20) for method in ("fixmatch", "layermatch")}
    for name, snapshots in moments.items():
        embed([load_recorded(name).features[s] for s in snapshots])


def _warm_labs() -> None:
    """The networks of the noise lab and the whole-run map of the time machine, as the labs start."""
    from ..labs.noise_lab import NoiseBench, NoiseState
    from ..labs.timemachine import TimeMachineBench, TimeMachineState

    noise, time_machine = NoiseBench(), TimeMachineBench()
    wanted = [(noise, NoiseState(labels=n)) for n in (10, 20, 40)] + [(time_machine, TimeMachineState(map="umap"))]
    for bench, state in wanted:
        if bench.missing(state) is not None:
            for _ in bench.prepare(state):
                pass
