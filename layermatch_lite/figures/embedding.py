"""Maps of features by PCA or UMAP, all snapshots of a run in one space.

All snapshots are embedded together, so a point can be followed through training; a UMAP map does not say how far it went.
UMAP (McInnes et al. 2018) is imported only when used; with a fixed seed it runs on one thread and gives the same map every time
on one machine. Maps are kept in the cache folder under a hash of everything they depend on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..data.arrays import real_array
from ..errors import InputError, check_choice, check_kinds, check_range
from ..system import cache_dir, cached_npz, torch_settings


def embed(
    snapshots: Sequence,
    method: str = "umap",
    *,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    init: str = "pca",
) -> list[np.ndarray]:
    """Map the features of one or more snapshots to the plane, all in one space.

    The first UMAP map in a process takes ten seconds and more, most of it for compiling.

    Args:
        snapshots: S tensors or arrays of (N, D) features; N may differ, D not. Row i of each is the same sample, usually.
        method: "umap", or "pca": the first two principal components, at once.
        n_neighbors: of UMAP; small looks at detail, large at the whole. min_dist: how tightly it packs, 0 to 1.
        seed: of UMAP's sampling, and of its start if that is random.
        init: where UMAP starts: "pca", the same for the same data, or "random".

    Returns:
        S arrays (N, 2) float32. UMAP's axes have no unit; those of PCA have that of the features.

    Raises:
        InputError: for NaN, too few points for n_neighbors, or snapshots that do not fit together.
    """
    check_kinds({"snapshots": ("list", snapshots)})
    check_choice("method", method, ("umap", "pca"))
    check_choice("init", init, ("pca", "random"))
    check_range("n_neighbors", n_neighbors, 2, whole=True)
    check_range("min_dist", min_dist, 0, 1)
    check_range("seed", seed, 0, 2**32 - 1, whole=True)
    parts = [real_array(f"snapshot {i}", z, (None, None)).astype(np.float32) for i, z in enumerate(snapshots)]
    if not parts:
        raise InputError("there are no snapshots to map; give at least one.")
    if len({p.shape[1] for p in parts}) != 1:
        raise InputError(f"snapshots have {', '.join(str(p.shape[1]) for p in parts)} features; give all of one D.")
    z = np.concatenate(parts)
    if method == "umap" and len(z) <= n_neighbors:
        raise InputError(
            f"n_neighbors={n_neighbors} needs more than {n_neighbors} points, there are {len(z)}; give fewer neighbours."
        )
    if len(z) < 3 or z.shape[1] < 2:
        raise InputError(
            f"{len(z)} points with {z.shape[1]} features cannot be mapped to the plane; give 3 points, 2 features."
        )
    if not np.ptp(z, axis=0).any():
        raise InputError(f"all {len(z)} points are the same; there is nothing to map. Have the features collapsed?")
    settings = (n_neighbors, min_dist, seed, init)
    if method == "pca":
        points = _pca(z)
    else:
        compute = lambda: {"points": _umap(z, *settings)}
        points = cached_npz(_cache_file(z, *settings), _complete(len(z)), compute)["points"]
    return np.split(points, np.cumsum([len(p) for p in parts])[:-1])


def _pca(z: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full").fit_transform(z.astype(np.float64)).astype(np.float32)


def _cache_file(z: np.ndarray, n_neighbors: int, min_dist: float, seed: int, init: str) -> Path:
    from importlib.metadata import PackageNotFoundError, version

    try:
        settings = (z.shape, n_neighbors, float(min_dist), seed, init, version("umap-learn"))
    except PackageNotFoundError as error:
        raise InputError(
            "umap-learn is not installed; `python -m pip install umap-learn`, or use method='pca'."
        ) from error
    key = hashlib.sha256(repr(settings).encode() + np.ascontiguousarray(z).tobytes()).hexdigest()[:32]
    return cache_dir() / "maps" / f"{key}.npz"


def _complete(n: int) -> Callable[[dict[str, np.ndarray]], bool]:
    """A check of cached arrays: do they hold a map of n points?"""

    def check(arrays: dict[str, np.ndarray]) -> bool:
        points = arrays["points"]
        return points.shape == (n, 2) and points.dtype == np.float32 and bool(np.isfinite(points).all())

    return check


def _umap(z: np.ndarray, n_neighbors: int, min_dist: float, seed: int, init: str) -> np.ndarray:
    with torch_settings():  # numba sets OpenMP's thread count for the whole process, and torch's with it
        from umap import UMAP

        fit = UMAP(
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            random_state=seed,
            n_jobs=1,  # a fixed seed forces it; said here so that UMAP need not warn
            init=init,  # by default PCA: the same start for the same data, and no jumps between unconnected parts
            tqdm_kwds={"disable": True},
        )
        return fit.fit_transform(z.astype(np.float32)).astype(np.float32)
