"""The exercises of notebooks 06 to 08: the training protocol, maps, and statistics."""

import math

import numpy as np
import torch
from torch import Tensor

from ...studies import stats
from ..review import Exercise


def protocols(g: torch.Generator, k: int) -> tuple[int, int, int]:
    return tuple(int(torch.randint(2, high, (), generator=g)) for high in (10_000, 500, 50_000))


def times_seen(steps: int, batch: int, samples: int) -> float:
    return steps * batch / samples


def labelled_cloud(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, int]:
    return torch.randn(30, 4, generator=g), torch.randint(3, (30,), generator=g), 3 + k


def nearest(z: Tensor, k: int) -> Tensor:
    """(N, k): the k nearest other samples of each."""
    return torch.cdist(z, z).fill_diagonal_(math.inf).argsort(dim=1)[:, :k]


def neighbours_agree(z: Tensor, labels: Tensor, k: int) -> Tensor:
    return (labels[nearest(z, k)] == labels.unsqueeze(1)).float().mean(dim=1)


def cloud_and_map(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, int]:
    z = torch.randn(30, 6, generator=g)
    return z, z[:, :2] + 0.3 * torch.randn(30, 2, generator=g), 4 + k


def both_neighbours(z: Tensor, points: Tensor, k: int) -> Tensor:
    """(N, N) bool: j is among i's k nearest in z and on the map."""
    near = lambda x: torch.zeros(len(x), len(x), dtype=torch.bool).scatter_(1, nearest(x, k), True)
    return near(z) & near(points)


def neighbours_kept(z: Tensor, points: Tensor, k: int) -> Tensor:
    return both_neighbours(z, points, k).sum() / (k * len(z))


def some_differences(g: torch.Generator, k: int) -> tuple[np.ndarray]:
    d = torch.randint(-40, 64, (5 + k,), generator=g).double() / 64  # sums are exact, so ties stay ties in whatever order one adds
    return (torch.where(d == 0, 0.5, d).numpy(),)


def flips(d: np.ndarray) -> np.ndarray:
    return stats.all_signs(len(d)) @ np.asarray(d, float)


def several_p(g: torch.Generator, k: int) -> tuple[list[float]]:
    """Several p-values, among them two so close that the larger would end up below the smaller, and one that ends up above 1."""
    p = (0.2 * torch.rand(4 + k, generator=g)).tolist()
    return ([0.9, *p, max(p) + 1e-4, 0.6],)


def by_size(p: list[float]) -> list[int]:
    return sorted(range(len(p)), key=p.__getitem__)


def without_cut(p: list[float]) -> list[float]:
    """Holm's correction without the cut at 1."""
    corrected, worst = [0.0] * len(p), 0.0
    for k, i in enumerate(by_size(p)):
        worst = corrected[i] = max(worst, p[i] * (len(p) - k))
    return corrected


MEASURING = {
    "times_seen": Exercise(
        "06_layermatch_on_cifar10", protocols, times_seen, ("the number",),
        hints=("How many images are drawn in all steps together? If all come equally often, how many of these draws are of one image?",
               "steps * batch / samples, not rounded."),
        mistakes={
            "that is how many images are drawn in all; each is one of `samples`.": lambda steps, batch, samples: steps * batch,
            "it is rounded down; a number such as 0.4 says that most images are never seen.":
                lambda steps, batch, samples: steps * batch // samples,
            "the fraction is upside down.": lambda steps, batch, samples: samples / (steps * batch),
            "the batch is missing: `batch` images are drawn in each step.": lambda steps, batch, samples: steps / samples,
        },
    ),
    "neighbours_agree": Exercise(
        "07_umap_clusters", labelled_cloud, neighbours_agree, ("the share of agreeing neighbours",),
        hints=(
            "torch.cdist(z, z) holds all distances. The nearest of all is the sample itself, at distance 0: leave it out.",
            "argsort(dim=1)[:, 1:k+1] are the k nearest others of each sample.",
            "labels[near] has the shape (N, k); compare with labels[:, None] and take the mean over dim 1.",
        ),
        mistakes={
            "each sample counts as its own neighbour, and it always agrees: leave it out.":
                lambda z, labels, k: (labels[torch.cdist(z, z).argsort(1)[:, :k]] == labels[:, None]).float().mean(1),
            "these are the farthest, not the nearest.":
                lambda z, labels, k: (labels[torch.cdist(z, z).argsort(1, descending=True)[:, :k]] == labels[:, None]).float().mean(1),
            "that is one number for all samples; return the share for each sample.": lambda z, labels, k: neighbours_agree(z, labels, k).mean(),
            "that is how many agree; divide by k for the share.": lambda z, labels, k: k * neighbours_agree(z, labels, k),
            "one neighbour too many: k of them, without the sample itself.":
                lambda z, labels, k: (labels[torch.cdist(z, z).argsort(1)[:, 1 : k + 2]] == labels[:, None]).float().mean(1),
        },
    ),
    "neighbours_kept": Exercise(
        "07_umap_clusters", cloud_and_map, neighbours_kept, ("the share of kept neighbours",),
        hints=(
            "Two tables of neighbours, (N, k) each: one in z, one on the map. The order within a row does not matter.",
            "For each sample, count how many of its neighbours are in both rows: set(a) & set(b), or a comparison of all pairs.",
            "(a[:, :, None] == b[:, None, :]).any(2) says for each neighbour in z whether it is also one on the map; its mean is the answer.",
        ),
        mistakes={
            "you compare the lists position by position; a neighbour may be third in one and fifth in the other.":
                lambda z, points, k: (nearest(z, k) == nearest(points, k)).float().mean(),
            "each sample counts as its own neighbour, which every map keeps.":
                lambda z, points, k: (both_neighbours(z, points, k - 1).sum() + len(z)) / (k * len(z)),
            "that is how many are kept; divide by the k neighbours of each of N samples.":
                lambda z, points, k: both_neighbours(z, points, k).sum(),
            "that is one share for each sample; take their mean.": lambda z, points, k: both_neighbours(z, points, k).sum(1) / k,
            "divide by k as well: you want the share of each sample's k neighbours that is kept.":
                lambda z, points, k: both_neighbours(z, points, k).sum(1).float().mean(),
        },
    ),
    "sign_flip": Exercise(
        "08_ablation_and_claims", some_differences, stats.p_value, ("p",),
        hints=(
            "If the method did nothing, each difference could just as well have had the other sign. With n seeds there are 2^n ways to choose the signs.",
            "itertools.product([-1, 1], repeat=n) goes through them all. Take the mean of the flipped differences each time.",
            "p is the share of ways whose mean is at least as far from 0, above or below, as the one observed. The observed signs count, too.",
        ),
        mistakes={
            "you count one side only; count what is as far from 0 above *and* below.": lambda d: (flips(d) >= d.astype(float).sum() - 1e-9).mean(),
            "the observed signs are one of the 2^n ways and count: ≥, not >.":
                lambda d: (np.abs(flips(d)) > abs(d.astype(float).sum()) + 1e-9).mean(),
            "that is the share of the others: the ways whose mean is *closer* to 0.": lambda d: 1 - stats.p_value(d),
            "that is a count; divide by the number of ways, 2^n.": lambda d: stats.p_value(d) * 2 ** len(d),
        },
    ),
    "holm": Exercise(
        "08_ablation_and_claims", several_p, stats.holm, ("the corrected p-values",),
        hints=(
            "Go from the smallest p-value to the largest: the first times m, the second times m - 1, and so on.",
            "A corrected value is never smaller than the one before it in this order, and never larger than 1.",
            "Put each one back in the place of its p-value: sorted(range(m), key=p.__getitem__) gives the places in order of size.",
        ),
        mistakes={
            "all are multiplied by m: that is Bonferroni. Holm multiplies the second smallest by m - 1, the next by m - 2 ...":
                lambda p: [min(1.0, len(p) * x) for x in p],
            "a larger p-value got a smaller corrected one: each must be at least as large as the one before it (a running maximum).":
                lambda p: [min(1.0, p[i] * (len(p) - by_size(p).index(i))) for i in range(len(p))],
            "they are in order of size; put each back in the place of its p-value.": lambda p: sorted(stats.holm(p)),
            "the factors run the wrong way round: the smallest p-value gets the largest one, m.":
                lambda p: [min(1.0, p[i] * (by_size(p).index(i) + 1)) for i in range(len(p))],
            "one of them is above 1, which no probability is: cap them at 1.": without_cut,
        },
    ),
}  # fmt: skip
