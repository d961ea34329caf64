"""Data as tensors in memory: `load_data` for the named sets and for image folders, `split` for your own tensors."""

from __future__ import annotations

import hashlib
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.seeding import generator
from ..errors import InputError, check_choice, check_range
from ..system import cache_dir, write_atomically

EMBEDDED = ("mnist1d", "digits", "two_moons", "blobs")
NAMES = (*EMBEDDED, "cifar10")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}


@dataclass(frozen=True)
class SSLData:
    """One data set, split for semi-supervised learning.

    Every x is a tensor of samples on the CPU: uint8 (N, C, H, W) images, float32 (N, C, L) signals or float32 (N, F)
    points; every y is int64 (N,). The labelled samples are part of the unlabelled pool, as in FixMatch. The methods never see
    `y_unlabelled`; it is there to measure pseudo-labels.
    """

    name: str
    classes: tuple[str, ...]
    x_labelled: Tensor
    y_labelled: Tensor
    x_unlabelled: Tensor
    y_unlabelled: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor
    mean: Tensor  # (channels,) float32 of the training part, to normalise with
    std: Tensor
    flip: bool = False  # may a weak view mirror an image? Not where left and right mean something, as in digits
    copy: str = ""  # "JPEG copy", where CIFAR-10 came from image files instead of the official binary ones

    @property
    def num_labels(self) -> int:
        return len(self.y_labelled)

    @property
    def num_val(self) -> int:
        return len(self.y_val)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.x_unlabelled.shape[1:])

    @property
    def kind(self) -> str:
        """ "image", "signal" or "points"."""
        return {3: "image", 2: "signal", 1: "points"}[len(self.sample_shape)]

    @property
    def fingerprint(self) -> str:
        """Tells two splits apart: a hash of names, shapes and every label."""
        h = hashlib.sha256(repr((self.name, self.classes, self.sample_shape, self.flip)).encode())
        for part in (self.y_labelled, self.y_unlabelled, self.y_val, self.y_test, self.x_labelled):
            h.update(part.cpu().numpy().tobytes())
        return h.hexdigest()[:16]

    def to(self, device: torch.device | str) -> SSLData:
        """The same data with every tensor on `device`."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})


def load_data(
    name_or_path: str | os.PathLike = "mnist1d",
    num_labels: int | None = 20,
    *,
    num_val: int = 0,
    seed: int = 0,
    flip: bool | None = None,
    root: str | os.PathLike | None = None,
    progress: bool = False,
) -> SSLData:
    """Load and split a data set.

    Args:
        name_or_path: "mnist1d", "digits", "two_moons", "blobs", "cifar10", or a folder laid out as train/<class>/<image>
            and test/<class>/<image>.
        num_labels: labelled samples in all, the same number of every class; None keeps every label.
        num_val: samples taken from the training part for choosing recipes; neither labelled nor in the unlabelled pool.
        seed: chooses the labelled and the validation samples. The data and the test part do not depend on it.
        flip: may weak views mirror images? None: yes for CIFAR-10 and folders, no for digits.
        root: where CIFAR-10 lies or goes; `cifar10_root()` by default. It may hold the official binary files, or the same images
            as files, train/<class>/<image> and test/<class>/<image>.
        progress: show bars while downloading or decoding.

    Raises:
        InputError: for an unknown name, a label count that does not fit, or a folder that is not such a data set.
    """
    name = os.fspath(name_or_path)
    natural, copy = False, ""
    if name == "mnist1d":
        with np.load(Path(__file__).with_name("embedded") / "mnist1d.npz", allow_pickle=False) as f:
            x, y, x_test, y_test = f["x"][:, None], f["y"], f["x_test"][:, None], f["y_test"]
        classes = tuple("0123456789")
    elif name == "digits":
        x, y, x_test, y_test = _digits()
        classes = tuple("0123456789")
    elif name in ("two_moons", "blobs"):
        x, y, x_test, y_test = _points(name)
        classes = ("upper", "lower") if name == "two_moons" else ("a", "b", "c", "d")
    elif name == "cifar10":
        root = Path(root) if root else cifar10_root()
        if (root / "train").is_dir():
            x, y, x_test, y_test, classes, copy = _cifar10_images(root, progress)
        else:
            x, y, x_test, y_test, classes = _cifar10(root)
        natural = True
    elif Path(name).is_dir():
        x, y, x_test, y_test, classes = load_folder(Path(name), progress)
        natural = True
    elif os.sep in name or "/" in name or Path(name).exists():
        raise InputError(
            f"dataset={name!r} is not a folder; give one with train/<class>/ and test/<class>/, or one of "
            f"{', '.join(NAMES)}."
        )
    else:
        check_choice("dataset", name, (*NAMES, "a folder"))
    tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in (x, y, x_test, y_test))
    flip = natural if flip is None else flip
    data = split(name, *tensors, classes, num_labels=num_labels, num_val=num_val, seed=seed, flip=flip)
    return replace(data, copy=copy)


def split(
    name: str,
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    classes: tuple[str, ...],
    *,
    num_labels: int | None,
    num_val: int = 0,
    seed: int = 0,
    flip: bool = False,
) -> SSLData:
    """Split your own tensors as `load_data` does: x uint8 images or float signals or points, y whole numbers from 0."""
    check_range("seed", seed, 0, whole=True)
    classes = tuple(map(str, classes))
    y, y_test = y.long(), y_test.long()
    x, x_test = (a if a.dim() == 4 else a.float() for a in (x, x_test))
    if len(classes) < 2:
        raise InputError(f"{name!r} has {len(classes)} class; a classifier needs at least two.")
    if x.dim() not in (2, 3, 4) or x.shape[1:] != x_test.shape[1:] or (x.dim() == 4 and x.dtype != torch.uint8):
        raise InputError(
            f"{name!r}: x is {tuple(x.shape)} {x.dtype}, x_test {tuple(x_test.shape)}; give both as uint8 images "
            "(N, C, H, W), signals (N, C, L) or points (N, F), samples of one shape."
        )
    for part, xs, ys in (("x", x, y), ("x_test", x_test, y_test)):
        if len(xs) != len(ys) or not len(ys) or ys.min() < 0 or ys.max() >= len(classes):
            raise InputError(
                f"{name!r}: {part} has {len(xs)} samples and {len(ys)} labels; give one label per sample, each a whole "
                f"number from 0 to {len(classes) - 1}."
            )
    check_range("num_val", num_val, 0, max(0, len(y) - len(classes)), whole=True)
    order = torch.randperm(len(y), generator=generator(seed, "validation"))
    val, pool = order[:num_val], order[num_val:].sort().values
    x_pool, y_pool = (x[pool], y[pool]) if num_val else (x, y)  # no copy where none is needed
    labelled = choose_labels(y_pool, len(classes), num_labels, generator(seed, "labels"))
    enough = max(
        1, 4_000_000 // x_pool[0, 0].numel()
    )  # samples for a mean; in float64, so that the thread count does not show
    some = x_pool[:: max(1, len(x_pool) // enough)].transpose(0, 1).flatten(1).double()
    mean, std = some.mean(1).float(), some.std(1).clamp(min=1e-6).float()
    return SSLData(
        name,
        classes,
        x_pool[labelled],
        y_pool[labelled],
        x_pool,
        y_pool,
        x[val],
        y[val],
        x_test,
        y_test,
        mean,
        std,
        flip,
    )


def choose_labels(y: Tensor, num_classes: int, num_labels: int | None, g: torch.Generator) -> Tensor:
    """Indices of `num_labels` samples of y, the same number from every class; every sample where num_labels is None."""
    if num_labels is None:
        return torch.arange(len(y))
    check_range("num_labels", num_labels, 1, whole=True)
    if num_labels % num_classes:
        below = num_labels // num_classes * num_classes
        near = f"{below} or {below + num_classes}" if below else f"{num_classes}"
        raise InputError(
            f"num_labels={num_labels} does not divide evenly among {num_classes} classes; give {near}, say."
        )
    each = num_labels // num_classes
    members = [(y == c).nonzero().squeeze(1) for c in range(num_classes)]
    fewest = min(map(len, members))
    if each > fewest:
        raise InputError(
            f"num_labels={num_labels} is more than there are: the rarest class has {fewest} training samples, "
            f"so give at most {fewest * num_classes}."
        )
    return torch.cat([m[torch.randperm(len(m), generator=g)[:each]] for m in members])


# --- embedded data ---------------------------------------------------------------------------------------------------


def _digits():
    """scikit-learn's 1,797 handwritten digits as uint8 (N, 1, 8, 8); 360 of them are the test set."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x = np.round(x * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    x, x_test, y, y_test = train_test_split(x, y, test_size=360, stratify=y, random_state=0)
    return x, y, x_test, y_test


def _points(name: str):
    """2,000 points, half of them the test set: float32 (N, 2)."""
    from sklearn.datasets import make_blobs, make_moons

    if name == "two_moons":
        x, y = make_moons(2000, noise=0.12, random_state=0)
    else:
        x, y = make_blobs(2000, centers=[(-1, -1), (-1, 1), (1, -1), (1, 1)], cluster_std=0.45, random_state=0)
    x = x.astype(np.float32)
    return x[:1000], y[:1000], x[1000:], y[1000:]


# --- CIFAR-10 and folders --------------------------------------------------------------------------------------------


def cifar10_root() -> Path:
    """Where CIFAR-10 lies, or goes when it is downloaded."""
    return cache_dir() / "cifar10"


def cifar10_at_hand() -> bool:
    """Is CIFAR-10 on this machine, so that `load_data("cifar10")` needs no network?"""
    return any((cifar10_root() / part).is_dir() for part in ("cifar-10-batches-py", "train"))


def _cifar10_images(root: Path, progress: bool):
    """CIFAR-10 as image files. Its images come class by class, so indices differ from those of the official files."""
    x, y, x_test, y_test, classes = load_folder(root, progress)
    if classes != CIFAR10_CLASSES or x.shape[1:] != (3, 32, 32):
        raise InputError(
            f"{root} is not CIFAR-10: it has {len(classes)} classes ({', '.join(classes[:3])}, ...) of {x.shape[3]}x{x.shape[2]} "
            f"pixels; for images of your own use dataset={str(root)!r}."
        )
    lossy = any(f.suffix.lower() in (".jpg", ".jpeg") for f in (root / "train" / classes[0]).iterdir())
    return x, y, x_test, y_test, classes, "JPEG copy" if lossy else "image files"


def _cifar10(root: Path):
    """The official binary files through torchvision, downloaded once and verified."""
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(str(root), train=part, download=True) for part in (True, False))
    except Exception as error:  # torchvision raises whatever its download met: URLError, RuntimeError, OSError, ...
        raise InputError(
            f"CIFAR-10 is not in {root} and could not be downloaded ({type(error).__name__}: {error}). Tried {CIFAR10.url}. "
            f"Put cifar-10-python.tar.gz, or the images as train/<class>/ and test/<class>/, into that folder, or use "
            f"others: --dataset FOLDER with train/<class>/ and test/<class>/ in it."
        ) from error
    x, x_test = (np.ascontiguousarray(d.data.transpose(0, 3, 1, 2)) for d in (train, test))
    return x, np.array(train.targets), x_test, np.array(test.targets), tuple(train.classes)


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
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); mend or remove it.") from error
    state = hashlib.sha256(repr(stats).encode()).hexdigest()
    key = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    cache = cache_dir() / "folders" / f"{key}.npz"
    arrays = _read_cache(cache, state)
    if arrays is None:
        arrays = {}
        for part, by_class in parts.items():
            files = [e.path for entries in by_class.values() for e in entries]
            arrays[part] = _decode(files, f"decoding {part}", progress)
        if arrays["train"].shape[1:] != arrays["test"].shape[1:]:
            a, b = (arrays[p].shape[:1:-1] for p in ("train", "test"))
            raise InputError(
                f"{folder}: train images are {a[0]}x{a[1]} pixels, test images {b[0]}x{b[1]}; resize them to one size."
            )
        try:
            write_atomically(cache, lambda f: np.savez(f, state=np.array(state), **arrays))
        except OSError as error:
            print(f"note: the decoded images could not be cached ({error}); the next start decodes them again.")
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


def _read_cache(cache: Path, state: str) -> dict[str, np.ndarray] | None:
    """The cached arrays, or None where there are none, they are damaged, or the folder has changed since."""
    try:
        with np.load(cache, allow_pickle=False) as f:
            return {"train": f["train"], "test": f["test"]} if str(f["state"]) == state else None
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


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
