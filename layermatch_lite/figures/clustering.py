"""How well do features cluster by class, and how do the centres move? scikit-learn measures where it can.

Features z are (N, D), labels y (N,) whole numbers, both as tensors or arrays. Everything is measured with the true labels, so it
belongs in figures, never in training.
"""

from __future__ import annotations

import math

import numpy as np

from ..data.arrays import as_tensor, real_array
from ..errors import InputError, check_range


def cluster_quality(z, y, *, seed: int = 0) -> dict[str, float]:
    """Six views of the same question: do samples of one class lie together, and apart from the others?

    Returns:
        scatter_ratio           within-class over between-class scatter (traces): smaller is better, 0 for points
        silhouette              mean over samples, -1 to 1: how much nearer the own class is than the next one
        nmi, ari                k-means clusters (k = number of classes) against the classes: normalised mutual information in
                                [0, 1], adjusted Rand index (0 by chance)
        kmeans_accuracy         the same clusters, each matched to one class in the best way (Hungarian method): share right
        nearest_mean_accuracy   share of samples nearer to the mean of their own class (the others of it) than to any other
                                class mean, in [0, 1]
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn import metrics
    from sklearn.cluster import KMeans

    check_range("seed", seed, 0, 2**32 - 1, whole=True)
    z, y = _checked(z, y)
    classes, y = np.unique(y, return_inverse=True)
    clusters = KMeans(len(classes), n_init=3, random_state=seed).fit_predict(z)
    counts = metrics.cluster.contingency_matrix(y, clusters)
    means = np.stack([z[y == c].mean(axis=0) for c in range(len(classes))])
    size = np.bincount(y)[y]
    away = metrics.pairwise_distances(z, means)
    # A sample pulls its own class's mean towards itself: without it, the distance is n/(n-1) times as large. One alone has none.
    away[np.arange(len(y)), y] *= np.where(size > 1, size / np.maximum(1, size - 1), np.inf)
    return {
        "scatter_ratio": scatter_ratio(z, y),
        "silhouette": float(metrics.silhouette_score(z, y)),
        "nmi": float(metrics.normalized_mutual_info_score(y, clusters)),
        "ari": float(metrics.adjusted_rand_score(y, clusters)),
        "kmeans_accuracy": float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(y)),
        "nearest_mean_accuracy": float((away.argmin(axis=1) == y).mean()),
    }


def scatter_ratio(z, y) -> float:
    """Trace of the within-class scatter over that of the between-class scatter; infinite where all class means coincide."""
    z, y = _checked(z, y)
    center, within, between = z.mean(axis=0), 0.0, 0.0
    for c in np.unique(y):
        own = z[y == c]
        within += float(((own - own.mean(axis=0)) ** 2).sum())
        between += len(own) * float(((own.mean(axis=0) - center) ** 2).sum())
    return within / between if between > 0 else math.inf


def distance_to_center(z, y, weight) -> np.ndarray:
    """(N,) angles in degrees between each feature and the centre of its class, row y_i of weight (C, D); 90 for a zero feature.

    An angle, because a linear layer reads directions: making w_c longer draws no feature nearer to it.
    """
    z, y = _fitting(z, y)
    W = real_array("weight", weight, (None, z.shape[1]))
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= len(W):
        raise InputError(
            f"labels from {y.min()} to {y.max()} do not fit {len(W)} centres; give whole numbers from 0 to {len(W) - 1}."
        )
    w = W[y]
    cosine = (z * w).sum(axis=1) / (np.linalg.norm(z, axis=1) * np.linalg.norm(w, axis=1)).clip(min=1e-12)
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


def drift(before, after) -> float:
    """How far a matrix of centres has moved, relative to its size: |after - before| / |before| (Frobenius norms)."""
    before = real_array("before", before, (None, None))
    after = real_array("after", after, before.shape)
    size = np.linalg.norm(before)
    return float(np.linalg.norm(after - before) / size) if size > 0 else math.inf


def _fitting(z, y) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and labels (N,) as arrays that fit together, without NaN."""
    z, y = real_array("z", z, (None, None)), as_tensor("y", y).numpy()
    if not len(z) or y.shape != z.shape[:1]:
        raise InputError(f"features {z.shape} and labels {y.shape} do not fit; give (N, D) features and (N,) labels.")
    return z, y


def _checked(z, y) -> tuple[np.ndarray, np.ndarray]:
    """The same, with enough classes and samples to speak of clusters."""
    z, y = _fitting(z, y)
    found = len(np.unique(y))
    if found < 2:
        raise InputError(f"all {len(y)} samples belong to one class; clusters can be compared from two classes on.")
    if len(y) <= found:
        raise InputError(f"{len(y)} samples of {found} classes are too few to measure clusters; give more per class.")
    return z, y
