"""Clustering metrics against cases whose answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError
from layermatch_lite.figures.clustering import cluster_quality, distance_to_center, drift, scatter_ratio


def clouds(spread, n=30, seed=0):
    g = np.random.default_rng(seed)
    y = np.repeat([0, 1, 2], n)
    centers = np.array([[10.0, 0, 0], [0, 10, 0], [0, 0, 10]])
    return centers[y] + spread * g.normal(size=(3 * n, 3)), y


def test_separate_clouds_are_perfect():
    q = cluster_quality(*clouds(0.1))
    assert q["nmi"] == q["ari"] == pytest.approx(1) and q["kmeans_accuracy"] == q["nearest_mean_accuracy"] == 1
    assert q["silhouette"] > 0.95 and q["scatter_ratio"] < 0.01


def test_no_structure_is_chance():
    g = np.random.default_rng(1)
    q = cluster_quality(g.normal(size=(300, 64)), np.arange(300) % 10)
    assert q["nearest_mean_accuracy"] < 0.17, "not helped by being part of one's own mean"
    q = cluster_quality(g.normal(size=(300, 5)), np.arange(300) % 3)
    assert abs(q["ari"]) < 0.05 and q["nmi"] < 0.05 and q["silhouette"] < 0.05 and q["kmeans_accuracy"] < 0.5


def test_more_spread_is_worse_in_every_measure():
    good, bad = cluster_quality(*clouds(1.0)), cluster_quality(*clouds(6.0))
    assert good["scatter_ratio"] < bad["scatter_ratio"]
    assert all(good[k] > bad[k] for k in good if k != "scatter_ratio")


def test_scatter_ratio_by_hand():
    z, y = np.array([[0.0], [2.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    assert scatter_ratio(z, y) == pytest.approx((4 * 1) / (4 * 25))
    assert scatter_ratio(z, np.array([0, 1, 1, 0])) == np.inf


def test_kmeans_is_matched_in_the_best_way():
    """Cluster numbers are arbitrary: renaming the classes changes nothing."""
    z, y = clouds(2.0)
    assert cluster_quality(z, y) == cluster_quality(z, np.array([7, 3, 5])[y])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_scale_and_rotation_change_nothing(seed, scale):
    z, y = clouds(3.0)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    assert scatter_ratio(scale * z @ rotation, y) == pytest.approx(scatter_ratio(z, y))


def test_distance_to_center_is_an_angle():
    W = torch.tensor([[1.0, 0], [0, 5]])
    z, y = torch.tensor([[3.0, 0], [1, 1], [0, 2], [0, -1]]), torch.tensor([0, 0, 1, 1])
    assert distance_to_center(z, y, W) == pytest.approx([0, 45, 0, 180])
    assert distance_to_center(z, y, 9 * W) == pytest.approx([0, 45, 0, 180])


def test_drift():
    a = torch.tensor([[3.0, 4.0]])
    assert drift(a, a) == 0 and drift(a, 2 * a) == pytest.approx(1) and drift(a, -a) == pytest.approx(2)
    assert drift(0 * a, a) == np.inf
    with pytest.raises(InputError, match="does not fit"):
        drift(a, torch.zeros(2, 2))


@pytest.mark.parametrize(
    "z, y, named",
    [
        ([[1.0, np.nan], [0, 1], [2, 2]], [0, 1, 1], "1 of 3 rows of z hold NaN"),
        ([[1.0, np.inf], [0, 1], [2, 2]], [0, 1, 1], "NaN, infinity"),
        ([[1.0, 0], [0, 1], [2, 2]], [1, 1, 1], "one class"),
        ([[1.0, 0], [0, 1]], [0, 1], "too few"),
        ([[1.0, 0], [0, 1]], [0, 1, 2], "do not fit"),
        ([1.0, 0], [0, 1], "does not fit"),
    ],
)
def test_what_cannot_be_measured(z, y, named):
    angle = lambda z, y: distance_to_center(z, y, np.ones((3, 2)))
    for f in (cluster_quality, scatter_ratio) + ((angle,) if named not in ("one class", "too few") else ()):
        with pytest.raises(InputError, match=named):
            f(np.array(z), np.array(y))


def test_leaving_oneself_out_by_hand():
    z, y = clouds(8.0, n=5)
    right = 0
    for i in range(len(z)):
        others = np.arange(len(z)) != i
        means = [z[others & (y == c)].mean(axis=0) for c in range(3)]
        right += np.argmin([np.linalg.norm(z[i] - m) for m in means]) == y[i]
    assert cluster_quality(z, y)["nearest_mean_accuracy"] == pytest.approx(right / len(z))


@pytest.mark.parametrize(
    "y, W, named",
    [
        ([0, -1], np.eye(2), "labels from -1 to 0 do not fit 2 centres"),
        ([0, 2], np.eye(2), "labels from 0 to 2 do not fit 2 centres"),
        ([0.0, 1.0], np.eye(2), "whole numbers"),
        ([0, 1], np.ones((2, 1)), "does not fit"),
        ([0, 1], np.full((2, 2), np.nan), "2 of 2 rows of weight hold NaN"),
    ],
)
def test_centres_that_do_not_fit(y, W, named):
    with pytest.raises(InputError, match=named):
        distance_to_center(np.ones((2, 2)), np.array(y), W)
    with pytest.raises(InputError, match="NaN"):
        drift(np.ones((2, 2)), np.full((2, 2), np.nan))
