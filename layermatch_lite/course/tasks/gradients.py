"""The exercises of notebooks 02 and 03: what a wrong label does to centres, features and layers."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.probe import cosine
from ..review import Exercise, as_tensor


def labelled_features(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z (N, D), W (C, D), labels y and q (N,) that differ in places."""
    N, D, C = 9, 3, 4
    y = torch.randint(C, (N,), generator=g)
    wrong = torch.rand(N, generator=g) < 0.4
    q = torch.where(wrong, (y + 1 + torch.randint(C - 1, (N,), generator=g)) % C, y)
    q[0] = (y[0] + 1) % C  # at least one is wrong
    return torch.randn(N, D, generator=g), torch.randn(C, D, generator=g), y, q


def pulls(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, Tensor]:
    z, W, _, q = labelled_features(g, k)
    return W, (z @ W.T).softmax(dim=1), q


def noises(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, Tensor, int]:
    z, W, y, q = labelled_features(g, k)
    return z, y, q, len(W)


def centre_noise(z: Tensor, y: Tensor, q: Tensor, C: int) -> Tensor:
    return (F.one_hot(y, C) - F.one_hot(q, C)).to(z.dtype).T @ z / len(z)


def two_gradients(g: torch.Generator, k: int) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, 30, generator=g)
    return a * (k != 3), b  # once, nothing is over tau: the loss is 0, and its gradient, too


def alignment(g_pseudo: Tensor, g_true: Tensor) -> Tensor:
    return torch.tensor(cosine(g_pseudo, g_true))


def a_confident_network(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, float]:
    p = (3 * torch.randn(200, 5, generator=g)).softmax(dim=1)
    return p, torch.randint(5, (200,), generator=g), 0.1 + 0.1 * k


def fooling_noise(p: Tensor, y: Tensor, rate: float) -> Tensor:
    q = y.clone()
    sure = p.amax(dim=1).argsort(descending=True)[: round(rate * len(y))]
    q[sure] = (y[sure] + 1) % p.shape[1]
    return q


def fools(q: object, p: Tensor, y: Tensor, rate: float) -> str | None:
    """Say what is wrong unless as many labels are wrong as asked, and at least that share over every threshold."""
    q = as_tensor("q", q)
    if q.shape != y.shape:
        return f"q has the shape {tuple(q.shape)}; one label for each sample is expected, {tuple(y.shape)}."
    q = q.double()
    if not torch.equal(q, q.round()) or q.min() < 0 or q.max() >= p.shape[1]:
        return f"q must hold classes, whole numbers from 0 to {p.shape[1] - 1}; yours go from {q.min():g} to {q.max():g}."
    wrong = (q != y).double()
    if abs(wrong.sum() - rate * len(y)) > 1:
        return (
            f"{int(wrong.sum())} of {len(y)} labels are wrong, where a rate of {rate:.1f} asks for {round(rate * len(y))}. "
            "(A label drawn at random may be the true class; draw from the others.)"
        )
    by_confidence = wrong[p.amax(dim=1).argsort(descending=True)]
    over = by_confidence.cumsum(0) / torch.arange(1, len(y) + 1)
    short = over < rate - 1.5 / torch.arange(1, len(y) + 1)
    if short.any():
        n = int(short.nonzero()[0]) + 1
        tau = p.amax(dim=1).sort(descending=True).values[n - 1]
        return (
            f"the threshold sees through it: of the {n} samples over τ = {tau:.2f}, only {over[n - 1]:.0%} are wrong, of all "
            f"samples {rate:.0%}. Put the errors where the network is sure."
        )
    return None


GRADIENTS = {
    "feature_pull": Exercise(
        "02_two_layers_two_behaviours", pulls, lambda W, p, q: W[q] - p @ W, ("the pull",),
        hints=(
            "A descent step goes against the gradient, so its direction is minus the derivative with respect to z: for one sample, towards w_q and away from something.",
            "That something is the centre the network expects: the mean of all centres, weighted with p.",
            "W[q] picks a row for every sample, and p @ W is the expected centre of every sample.",
        ),
        mistakes={
            "it points the wrong way: this is the gradient, and a descent step goes against it.": lambda W, p, q: p @ W - W[q],
            "towards w_q, yes; but also away from the centre that the network expects, the sum of p_c w_c.": lambda W, p, q: W[q],
            "the weight of w_q is too small: the pull is w_q minus the expected centre, not (1 - p_q) w_q alone.":
                lambda W, p, q: (1 - p.gather(1, q.unsqueeze(1))) * W[q],
            "you divide by N; the pull comes from each sample's own loss, not from the mean.": lambda W, p, q: (W[q] - p @ W) / len(p),
        },
    ),
    "centre_noise": Exercise(
        "02_two_layers_two_behaviours", noises, centre_noise, ("the noise",),
        hints=(
            "The gradient with labels q is (1/N) Σ (p - e_q) zᵀ, with the true labels (1/N) Σ (p - e_y) zᵀ. Subtract.",
            "p cancels: (1/N) Σ (e_y - e_q) zᵀ is left. F.one_hot gives the vectors e, of shape (N, C).",
            "(F.one_hot(y, C) - F.one_hot(q, C)).float().T @ z sums over the samples; divide by N.",
        ),
        mistakes={
            "the sign is wrong: the gradient with q minus the gradient with y leaves e_y - e_q.": lambda z, y, q, C: -centre_noise(z, y, q, C),
            "the 1/N of the mean is missing.": lambda z, y, q, C: len(z) * centre_noise(z, y, q, C),
            "you average over the wrong labels only; the loss is a mean over all N.":
                lambda z, y, q, C: centre_noise(z, y, q, C) * len(z) / max(1, int((y != q).sum())),
            "rows and columns are swapped: one row for each centre, (C, D).": lambda z, y, q, C: centre_noise(z, y, q, C).T,
        },
    ),
    "alignment": Exercise(
        "03_gradient_interference", two_gradients, alignment, ("the alignment",),
        hints=(
            "Only the directions count: how long either gradient is must not matter. For flat vectors, a @ b is the inner product.",
            "⟨g_pseudo, g_true⟩ over the product of both lengths. g.norm() is a length.",
            "Where nothing passes τ, g_pseudo is 0, and 0 / 0 is NaN: return 0.0 there.",
        ),
        mistakes={
            "that is the inner product alone: divide by both lengths, so that only the directions count.": lambda a, b: a @ b,
            "it depends on how long g_pseudo is: divide by both lengths.": lambda a, b: a @ b / (b @ b),
            "it depends on how long g_true is: divide by both lengths.": lambda a, b: a @ b / (a @ a).clamp(min=1e-30),
            "where g_pseudo is 0 (nothing passes τ), the result is NaN; it should be 0.": lambda a, b: a @ b / (a.norm() * b.norm()),
            "that is the angle; the alignment is its cosine.": lambda a, b: torch.tensor(cosine(a, b)).acos(),
        },
    ),
    "fooling_noise": Exercise(
        "03_gradient_interference", a_confident_network, fooling_noise, ("q",),
        hints=(
            "A threshold keeps the samples with the largest p.amax(dim=1). Where must the errors be for the threshold to keep them?",
            "Sort the samples by confidence (argsort with descending=True) and take the first round(rate * N).",
            "Give each of these a different class: (y + 1) % C is always wrong. Work on a copy, y.clone().",
        ),
        judge=fools,
    ),
}  # fmt: skip
