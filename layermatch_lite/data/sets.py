"""Data as tensors in memory: `load_data` for the named sets and for image folders, `split` for your own tensors."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.seeding import generator
from ..errors import InputError, check_choice, check_range
from ..system import cache_dir, read_npz
from .folders import load_folder

EMBEDDED = ("mnist1d", "digits", "two_moons", "blobs")
NAMES = (*EMBEDDED, "cifar10")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


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
        f = read_npz(Path(__file__).with_name("embedded") / "mnist1d.npz")
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
    enough = max(1, 4_000_000 // x_pool[0, 0].numel())  # samples for a mean; float64 hides the number of threads
    some = x_pool[:: max(1, len(x_pool) // enough)].transpose(0, 1).flatten(1).double()
    mean, std = some.mean(1).float(), some.std(1).clamp(min=1e-6).float()
    return SSLData(
        name, classes, x_pool[labelled], y_pool[labelled], x_pool, y_pool, x[val], y[val], x_test, y_test, mean, std, flip
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


# --- CIFAR-10 --------------------------------------------------------------------------------------------------------


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
