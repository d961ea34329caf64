"""What is installed, what is missing and how to fix it; and filling every cache before a class."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path

from ..data.folders import is_decoded
from ..data.sets import EMBEDDED, cifar10_at_hand, cifar10_root, load_data
from ..errors import InputError
from ..system import cache_dir, check_writable, printable, usable_cores
from .device import has_bf16, pick_device
from .recording import list_recorded, load_recorded

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
    modules = {name: module for module, names in metadata.packages_distributions().items() for name in names}
    for name, needed in requirements().items():
        try:
            found = metadata.version(name)
            import_module(modules.get(name, name))
            line(_numbers(found) >= _numbers(needed), name, found, f"at least {needed} is needed: {INSTALL}")
        except metadata.PackageNotFoundError:
            line(False, name, "not installed")
        except Exception as error:  # a torchvision for another torch raises RuntimeError, not ImportError
            pair = "torch torchvision (a matching pair)" if name in ("torch", "torchvision") else name
            reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
            line(False, name, f"{found} cannot be imported: {reason}", f"python -m pip install --force-reinstall {pair}")
    line(True, "device", _device())
    line(*_widgets())
    for what, read in EMBEDDED_FILES.items():
        try:
            line(True, what, read())
        except Exception as error:  # whatever a damaged file raises
            line(False, what, f"damaged: {printable(error)}", "install the package again; in a clone, git status names the file")
    root = cifar10_root()
    if not cifar10_at_hand():
        print(f"    {'cifar10':14s} not in {root}; --dataset cifar10 downloads it (170 MB), only if you want it")
    elif (root / "train").is_dir() and not is_decoded(root):
        print(f"    {'cifar10':14s} in {root}, not read yet: doctor --warm does")
    else:
        line(*_cifar10(root))
    try:
        check_writable(cache_dir(), "LAYERMATCH_CACHE")
        print(f"    {'cache':14s} {cache_dir()} (set LAYERMATCH_CACHE to move it)")
    except InputError as error:
        line(False, "cache", printable(error), "set LAYERMATCH_CACHE to a folder that can be written")
    for what in failed:
        line(False, "warming", what, "see the other lines marked ->, then run doctor --warm again")
    print(f"\n{to_fix} to fix, see the lines marked ->." if to_fix else "\nAll is well.")
    return int(to_fix > 0)


def _read_data() -> str:
    return ", ".join(load_data(name, None).name for name in EMBEDDED)


def _read_recordings() -> str:
    names = list_recorded()
    if not names:
        raise InputError("no recorded run is there")
    for name in names:
        load_recorded(name)
    return f"{len(names)} recorded runs"


def _read_studies() -> str:
    from ..studies.files import RECORDED, load
    from ..studies.known_noise import DATASETS, load_maps, maps_file

    for path in RECORDED.glob("*.json"):
        load(path)
    for dataset in DATASETS:
        load_maps(maps_file(dataset))
    return f"{len(list(RECORDED.glob('*.json')))} recorded studies"


def _read_labs() -> str:
    from ..labs import packs

    paths = sorted(packs.SHIPPED.glob("*.pack"))
    for path in paths:
        packs.unpack(path.read_bytes())  # gzip knows its checksum
    return f"{len(paths)} blocks of data"


def _read_notebooks() -> str:
    import nbformat

    from ..course.editions import NOTEBOOKS, SOLUTIONS, exercises

    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not paths:
        raise InputError(f"no notebook is in {NOTEBOOKS}")
    for path in paths:
        nbformat.validate(nbformat.read(path, 4))
    count = sum(len(exercises(path.stem)) for path in SOLUTIONS.glob("[0-9]*.py"))
    return f"{len(paths)} notebooks, {count} exercises"


# What `examine` calls ok has been read, not only seen.
EMBEDDED_FILES = {
    "data": _read_data,
    "recordings": _read_recordings,
    "studies": _read_studies,
    "labs": _read_labs,
    "notebooks": _read_notebooks,
}


def _cifar10(root: Path) -> tuple[bool, str, str, str]:
    """The official files are compared with their checksums; images have been decoded into the cache, all of them."""
    from torchvision.datasets import CIFAR10

    try:
        load_data("cifar10", None) if (root / "train").is_dir() else CIFAR10(str(root), download=False)
        return True, "cifar10", f"in {root}", ""
    except Exception as error:
        bad = "train" if (root / "train").is_dir() else "cifar-10-batches-py"
        fix = f"move {root / bad} away and load it again (--dataset cifar10)"
        return False, "cifar10", f"damaged: {printable(error)}", fix


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
    fix, state = "python -m pip install --force-reinstall jupyterlab_widgets", "missing"
    for folder in jupyter_path("labextensions"):
        try:
            built = json.loads(Path(folder, place).read_text(encoding="utf-8"))["jupyterlab"]["_build"]
            if Path(folder, place).parent.joinpath(built["load"]).stat().st_size:
                return True, "widgets", "JupyterLab's side is in place", fix
            state = "damaged"
        except FileNotFoundError:
            continue
        except Exception:  # not JSON, or without what JupyterLab looks for
            state = "damaged"
    return False, "widgets", f"JupyterLab's side is {state}", fix


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
