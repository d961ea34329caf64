"""Data as tensors in memory: `load_data` for the named sets and for image folders, `split` for your own tensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.seeding import generator
from ..errors import InputError, check_choice, check_kinds, check_range
from ..system import cache_dir, read_npz, torch_settings
from .arrays import class_numbers, samples
from .folders import load_folder

EMBEDDED = ("mnist1d", "digits", "two_moons", "blobs")
NAMES = (*EMBEDDED, "cifar10")
OF_FOLDERS = ("image_size", "test_share", "skip_broken")  # settings that act on folders of images alone
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class SSLData:
    """One data set, split for semi-supervised learning.

    Every x is a tensor of samples on the CPU: uint8 (N, C, H, W) images, float32 (N, C, L) signals or float32 (N, F)
    points; every y is int64 (N,). The labelled samples are part of the unlabelled pool, as in FixMatch. The methods never see
    `y_unlabelled`; it is there to measure pseudo-labels. -1 stands in it for an unknown class.
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
    image_size: int | None = None  # to which the images of a folder were scaled
    truth_known: bool = True  # is the true class of every sample in the pool known?
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
    def checksum(self) -> str:
        """Tells two splits apart: a hash of every sample and label, whatever the data are called and wherever they lie."""
        h = hashlib.sha256(repr((self.classes, self.sample_shape, self.flip)).encode())
        for part in (self.y_labelled, self.y_unlabelled, self.y_val, self.y_test,
                     self.x_labelled, self.x_unlabelled, self.x_val, self.x_test):  # fmt: skip
            h.update(part.cpu().contiguous().numpy())
        return h.hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        """What earlier versions saved in place of the checksum: a hash of names, shapes, all labels and the labelled samples."""
        h = hashlib.sha256(repr((self.name, self.classes, self.sample_shape, self.flip)).encode())
        for part in (self.y_labelled, self.y_unlabelled, self.y_val, self.y_test, self.x_labelled):
            h.update(part.cpu().numpy().tobytes())
        return h.hexdigest()[:16]

    def to(self, device: torch.device | str) -> SSLData:
        """The same data with every tensor on `device`."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})


@torch_settings()
def load_data(
    name_or_path: str | os.PathLike = "mnist1d",
    num_labels: int | None = 20,
    *,
    num_val: int = 0,
    seed: int = 0,
    flip: bool | None = None,
    image_size: int | None = None,
    test_share: float | None = None,
    skip_broken: bool = False,
    root: str | os.PathLike | None = None,
    progress: bool = False,
) -> SSLData:
    """Load and split a data set.

    Args:
        name_or_path: "mnist1d", "digits", "two_moons", "blobs", "cifar10", or a folder laid out as train/<class>/<image>,
            test/<class>/<image> and, for images whose class nobody knows, unlabelled/<image>.
        num_labels: labelled samples in all, the same number of every class; None keeps every label there is.
        num_val: samples taken from the training part for choosing recipes; neither labelled nor in the unlabelled pool.
        seed: chooses the labelled and the validation samples. The data and the test part do not depend on it.
        flip: may weak views mirror images? None: yes for CIFAR-10 and folders, no for digits.
        image_size: of a folder: scale every image until its shorter side has so many pixels, and crop the middle square.
        test_share: of a folder without test/: the share of each class's images in train/ that becomes the test set.
        skip_broken: of a folder: leave out images that cannot be decoded, and say how many.
        root: where CIFAR-10 lies or goes; `cifar10_root()` by default. It may hold the official binary files, or the same images
            as files, train/<class>/<image> and test/<class>/<image>.
        progress: show bars while downloading or decoding.

    Raises:
        InputError: for an unknown name, a label count that does not fit, or a folder that is not such a data set.
    """
    check_kinds({"dataset": ("path", name_or_path), "flip": ("flag or None", flip), "skip_broken": ("flag", skip_broken)})
    name = data_name(name_or_path)
    if image_size is not None:
        check_range("image_size", image_size, 8, 1024, whole=True)
    if test_share is not None:
        check_range("test_share", test_share, 0, 1, open_low=True, open_high=True)
    of_folders = dict(zip(OF_FOLDERS, (image_size, test_share, skip_broken or None)))
    if name in NAMES and (given := [f"{k}={v!r}" for k, v in of_folders.items() if v is not None]):
        raise InputError(f"{' and '.join(given)} would act on a folder of images, and {name!r} is none: leave it out.")
    natural, copy, x_unlabelled = False, "", None
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
    elif os.path.isdir(name):
        _check_test(name, test_share)
        found, classes = load_folder(Path(name), image_size=image_size, skip_broken=skip_broken, progress=progress)
        (x, y), (x_test, y_test) = found["train"], found.get("test") or (None, None)
        if test_share is not None:
            (x, y), (x_test, y_test) = _cut_off(name, x, y, test_share)
        x_unlabelled, _ = found.get("unlabelled", (None, None))
        x_unlabelled = x_unlabelled if x_unlabelled is not None and len(x_unlabelled) else None
        natural = True
    else:
        check_dataset(name)
    if flip and x.ndim != 4:
        raise InputError(f"flip=True has no effect on {name!r}, which are no images; leave it out.")
    flip = natural if flip is None else flip
    chosen = dict(num_labels=num_labels, num_val=num_val, seed=seed, flip=flip)
    data = split(name, x, y, x_test, y_test, classes, x_unlabelled=x_unlabelled, **chosen)
    return replace(data, copy=copy, image_size=image_size)


def data_name(name_or_path: str | os.PathLike) -> str:
    """What a data set is called: its name, or the whole path of a folder, so that it is found from elsewhere, too."""
    name = os.fspath(name_or_path)
    return name if name in NAMES or not os.path.isdir(name) else os.path.abspath(name)


def check_dataset(name: str) -> None:
    """Raise InputError unless this is the name of a data set, or a folder."""
    if name in NAMES or os.path.isdir(name):
        return
    if os.sep in name or "/" in name or os.path.exists(name):
        raise InputError(
            f"dataset={name!r} is not a folder; give one with train/<class>/ and test/<class>/ (--dataset; also where a saved "
            f"run's images have moved), or one of {', '.join(NAMES)}."
        )
    check_choice("dataset", name, (*NAMES, "a folder"))


def _check_test(name: str, share: float | None) -> None:
    """Raise InputError unless a folder has a test set, or is to set one aside: now, before its images are decoded."""
    there = os.path.isdir(os.path.join(name, "test"))
    if there and share is not None:
        raise InputError(f"test_share={share!r}, but {name} has a folder test/; leave one of them out.")
    if not there and share is None and os.path.isdir(os.path.join(name, "train")):
        raise InputError(f"{name} has no folder test/; add test/<class>/, or set a share of train/ aside: --test-share 0.2.")


def _cut_off(name: str, x: np.ndarray, y: np.ndarray, share: float):
    """((x, y) to train on, (x, y) to test on): the same share of every class, whatever the seed."""
    order, test = torch.randperm(len(y), generator=generator(0, "test share")).numpy(), np.zeros(len(y), bool)
    for c, n in zip(*np.unique(y, return_counts=True)):
        if n < 2:
            raise InputError(f"a class of {name}/train has one image, too few to set a test share aside; give at least two.")
        test[order[y[order] == c][: min(n - 1, max(1, round(share * n)))]] = True
    return (x[~test], y[~test]), (x[test], y[test])


@torch_settings()
def split(
    name: str,
    x,
    y,
    x_test,
    y_test,
    classes: Sequence[str],
    *,
    x_unlabelled=None,
    num_labels: int | None,
    num_val: int = 0,
    seed: int = 0,
    flip: bool = False,
) -> SSLData:
    """Split your own data as `load_data` does. Tensors or NumPy arrays.

    Args:
        name: what `TrainConfig.dataset` calls them.
        x, x_test: samples of one shape. uint8 images (N, C, H, W), (N, H, W, C) or (N, H, W), float signals (N, C, L), or float
            points (N, F).
        y, y_test: one class a sample, from 0 to C - 1, as (N,) or (N, 1), or one-hot (N, C). In y, -1 is an unknown class: the
            sample goes into the unlabelled pool.
        classes: C names.
        x_unlabelled: more samples for the pool, whose classes nobody knows.
        num_labels, num_val, seed: as for `load_data`; both are chosen among the samples whose class is known.
        flip: may weak views mirror the images?

    Raises InputError for anything else, such as values that are NaN.
    """
    check_range("seed", seed, 0, whole=True)
    check_kinds({"name": ("text", name), "flip": ("flag", flip)})
    check_kinds({"classes": ("text" if isinstance(classes, str) else "list", classes)})
    if len(classes := tuple(map(str, classes))) < 2:
        raise InputError(f"{name!r} has {len(classes)} class; a classifier needs at least two.")
    if len(set(classes)) < len(classes):
        raise InputError(f"classes={classes!r} holds a name twice; give each class its own.")
    C = len(classes)
    x, x_test = samples("x", x), samples("x_test", x_test)
    y, y_test = class_numbers("y", y, C, unknown=True), class_numbers("y_test", y_test, C)
    every = {"x": x, "x_test": x_test} | ({} if x_unlabelled is None else {"x_unlabelled": samples("x_unlabelled", x_unlabelled)})
    if len({a.shape[1:] for a in every.values()}) > 1:
        shapes = ", ".join(f"{k} {tuple(a.shape)}" for k, a in every.items())
        raise InputError(f"{name!r}: samples differ in shape: {shapes}; give all of one shape.")
    for part, xs, ys in (("x", x, y), ("x_test", x_test, y_test)):
        if len(xs) != len(ys) or not len(ys):
            raise InputError(f"{name!r}: {part} has {len(xs)} samples and {len(ys)} labels; give one label per sample.")
    if x_unlabelled is not None:
        x = torch.cat([x, every["x_unlabelled"]])
        y = torch.cat([y, y.new_full((len(x) - len(y),), -1)])
    known = (y >= 0).nonzero().squeeze(1)
    check_range("num_val", num_val, 0, max(0, len(known) - C), whole=True)
    val = known[torch.randperm(len(known), generator=generator(seed, "validation"))[:num_val]]
    pool = torch.ones(len(y), dtype=torch.bool).index_fill_(0, val, False)
    x_pool, y_pool = (x[pool], y[pool]) if num_val else (x, y)  # no copy where none is needed
    labelled = choose_labels(y_pool, C, num_labels, generator(seed, "labels"))
    enough = max(1, 4_000_000 // x_pool[0, 0].numel())  # samples for a mean; float64 hides the number of threads
    some = x_pool[:: max(1, len(x_pool) // enough)].transpose(0, 1).flatten(1).double()
    mean, std = some.mean(1).float(), some.std(1).clamp(min=1e-6).float()
    if not std.isfinite().all():
        raise InputError(f"{name!r}: values as large as {x_pool.abs().max():.3g} are beyond float32; scale x down.")
    return SSLData(
        name, classes, x_pool[labelled], y_pool[labelled], x_pool, y_pool, x[val], y[val], x_test, y_test, mean, std, flip,
        truth_known=len(known) == len(y),
    )  # fmt: skip


def choose_labels(y: Tensor, num_classes: int, num_labels: int | None, g: torch.Generator) -> Tensor:
    """Indices of `num_labels` samples of y, the same number from every class; every sample of a known class where it is None."""
    if num_labels is None:
        if missing := sorted(set(range(num_classes)) - set(y.unique().tolist())):
            raise InputError(f"no sample of class {missing[0]} has a label; give one at least for each of {num_classes} classes.")
        return (y >= 0).nonzero().squeeze(1)
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
    _check_test(str(root), None)
    found, classes = load_folder(root, progress=progress)
    (x, y), (x_test, y_test) = found["train"], found["test"]
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
