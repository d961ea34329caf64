"""Recorded runs for the page: those that come with the package, and your own by their path."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..data.sets import cifar10_at_hand, cifar10_root, load_data
from ..errors import InputError
from ..runs.recording import Recording, find_images, list_recorded, load_recorded
from ..runs.train import data_of
from . import packs
from .lessons import run_name

NEIGHBORS = 10
UNKNOWN = 255  # a true class that nobody knows, in a block for the page


def run_pack(run: str, folder: Path = Path()) -> bytes:
    """The block of a recording at a path. Raises InputError where it is missing, damaged, too new, or FreeMatch's."""
    return pack_of(Recording.load(folder / Path(run).expanduser()), run)


def pack_of(r: Recording, run: str, umap: np.ndarray | None = None, **about) -> bytes:
    """S snapshots of N samples: labels, mask, confidences, maps (S, N, 2), and each sample's nearest neighbours by its features.

    umap: the map of all snapshots, where there is one; PCA always is.
    """
    if r.config.switches.freematch:
        raise InputError(f"{run} records FreeMatch, which has a tau for each class, and the labs draw one; give another.")
    if len(r.classes) > UNKNOWN:
        raise InputError(f"{run} has {len(r.classes)} classes, and the labs draw at most {UNKNOWN}.")
    flat = r.features[:, :, :2].astype(np.float32)
    maps = {"pca": packs.on_map(np.pad(flat, ((0, 0), (0, 0), (0, 2 - flat.shape[2]))))}
    if umap is not None:
        maps["umap"] = packs.on_map(umap)
    about |= {
        "run": run, "name": run_name(run if run in list_recorded() else Path(run).stem), "data": r.data_name,
        "method": r.config.method, "tau": r.config.threshold, "classes": r.classes, "seed": r.config.seed,
        "steps": r.steps.tolist(), "N": len(r.y_true), "samples": hashlib.sha256(r.sample).hexdigest()[:16],
        "maps": list(maps), "pictures": pictures_key(r, run),
    }  # fmt: skip
    return packs.pack(
        about, labels=r.labels.astype(np.uint8), mask=r.mask.astype(np.uint8), confidence=confidences(r),
        y=np.where(r.y_true < 0, UNKNOWN, r.y_true).astype(np.uint8), near=neighbours(r), **maps,
    )  # fmt: skip


def shipped_map(run: str) -> np.ndarray:
    """(S, N, 2) the UMAP map of all snapshots of a run that comes with the package, in a square of `packs.PLACE`."""
    return packs.unpack(packs.shipped(f"run_{run}"))[1]["umap"].astype(np.float32)


def confidences(r: Recording) -> np.ndarray:
    """(S, N) uint16 of `packs.SCALE`: compared with the recorded τ they give exactly the recorded mask.

    A recording holds them as float16, which rounds some to the other side of τ; the mask was made before that.
    """
    tau, c = round(r.config.threshold * packs.SCALE), packs.shares(r.confidence)
    return np.where(r.mask, np.maximum(c, tau), np.minimum(c, max(0, tau - 1))).astype(np.uint16)


def neighbours(r: Recording) -> np.ndarray:
    """(S, N, k) uint16: every sample's nearest others in feature space."""
    k, found = min(NEIGHBORS, len(r.y_true) - 1), []
    for z in r.features.astype(np.float32):
        rows = []
        for i in np.array_split(np.arange(len(z)), max(1, len(z) // 100)):  # not all distances at once
            distance = ((z[i, None] - z[None]) ** 2).sum(axis=2)
            distance[np.arange(len(i)), i] = np.inf
            rows.append(np.argsort(distance, axis=1, kind="stable")[:, :k])
        found.append(np.concatenate(rows))
    return np.stack(found).astype(np.uint16)


def pictures_key(r: Recording, run: str) -> str:
    """Under which key the page asks for the samples themselves; nothing for points in the plane."""
    if r.about["name"] in ("digits", "mnist1d") and run in list_recorded():
        return f"pictures_{r.about['name']}"
    return f"pictures_{run}" if r.about["name"] in ("digits", "mnist1d", "cifar10") else ""


def pictures(run: str, folder: Path = Path()) -> bytes:
    """The recorded samples as their data set stores them; CIFAR-10's come from the reader's own copy.

    Raises InputError where there is none.
    """
    r = load_recorded(run) if run in list_recorded() else Recording.load(folder / Path(run).expanduser())
    if r.about["name"] != "cifar10":
        data = data_of(r.config)
        if data.fingerprint != r.about.get("fingerprint"):
            raise InputError(f"{run} records other {r.about['name']} than load_data gives: there is no picture of its samples.")
        x = data.x_unlabelled[r.sample.astype(int)].numpy()
    elif not cifar10_at_hand():
        where = f"your own CIFAR-10, which is not in {cifar10_root()}"
        raise InputError(f"the photographs come from {where}; load_data('cifar10') downloads it.")
    else:
        x = find_images(r, load_data("cifar10", None)).numpy()
    return packs.pack({"shape": list(x.shape[1:])}, images=packs.pictures(x).reshape(len(x), -1))
