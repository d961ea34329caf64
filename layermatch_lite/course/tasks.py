"""The exercises of notebooks 01 to 08: their random inputs, the library's version, typical mistakes, hints in steps.

The texts and the solutions stand in `solutions/`, from which the notebooks' cells are made (`make exercises`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.centers import warm_up
from ..core.losses import linear, masked_cross_entropy, pseudo_label
from ..runs.run import cosine_schedule
from ..studies import stats
from ..variants.gate import gate
from .exercises import Exercise, as_tensor

# --- 01 Pseudo-labels --------------------------------------------------------------------------------------------------


def some_probabilities(g: torch.Generator, k: int) -> tuple[Tensor, float]:
    p = (2 * torch.randn(12, 4 + k % 2, generator=g)).softmax(dim=1)
    return p, p.amax(dim=1).sort().values[5].item()  # one confidence is exactly tau


def labels_and_mask(p: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    confidence, q = p.max(dim=1)
    return q, confidence >= tau


def batch(g: torch.Generator, k: int) -> tuple:
    N, D, C = 16, 5, 4
    z_weak = torch.randn(N, D, generator=g)
    z_strong = z_weak + torch.randn(N, D, generator=g)
    W, b = torch.randn(C, D, generator=g), torch.randn(C, generator=g)
    return z_weak, z_strong, W, b, 0.6 + 0.05 * k


def confident(z: Tensor, W: Tensor, b: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    q, a, _ = pseudo_label(linear(z.detach(), W, b), tau)
    return q, a


def fixmatch(z_weak: Tensor, z_strong: Tensor, W: Tensor, b: Tensor, tau: float) -> Tensor:
    return masked_cross_entropy(linear(z_strong, W, b), *confident(z_weak, W, b, tau))


# --- 02 One loss, two behaviours ---------------------------------------------------------------------------------------


def labelled_features(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z (N, D), W (C, D), labels y and q (N,) that differ here and there."""
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


# --- 03 Gradient interference ------------------------------------------------------------------------------------------


def two_gradients(g: torch.Generator, k: int) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, 30, generator=g)
    return a, b * (k != 3)  # once, nothing is over tau: both loss and gradient are 0


def benefit(g_pseudo: Tensor, g_true: Tensor) -> Tensor:
    size = g_true @ g_true
    return g_pseudo @ g_true / size if size > 0 else size * 0.0


def rates(g: torch.Generator, k: int) -> tuple[float, int]:
    return torch.rand((), generator=g).item(), 3 + k


def benefit_when_undecided(rate: float, C: int) -> float:
    return 1 - rate * C / (C - 1)


def a_confident_network(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, float]:
    p = (3 * torch.randn(200, 5, generator=g)).softmax(dim=1)
    return p, torch.randint(5, (200,), generator=g), 0.1 + 0.1 * k


def fooling_noise(p: Tensor, y: Tensor, rate: float) -> Tensor:
    q = y.clone()
    sure = p.amax(dim=1).argsort(descending=True)[: round(rate * len(y))]
    q[sure] = (y[sure] + 1) % p.shape[1]
    return q


def fools(q: object, p: Tensor, y: Tensor, rate: float) -> str | None:
    """Are as many labels wrong as asked, and never fewer among those over a threshold, whatever it is?"""
    q = as_tensor("q", q)
    if q.shape != y.shape:
        return f"q has the shape {tuple(q.shape)}; one label for each sample is expected, {tuple(y.shape)}."
    q = q.double()
    if not torch.equal(q, q.round()) or q.min() < 0 or q.max() >= p.shape[1]:
        return f"q must hold classes, whole numbers from 0 to {p.shape[1] - 1}; it goes from {q.min():g} to {q.max():g}."
    wrong = (q != y).double()
    if abs(wrong.sum() - rate * len(y)) > 1:
        return (
            f"{int(wrong.sum())} of {len(y)} labels are wrong, where a rate of {rate:.1f} asks for {round(rate * len(y))}. "
            "(A label drawn at random may hit the true class; draw the others.)"
        )
    by_confidence = wrong[p.amax(dim=1).argsort(descending=True)]
    over = by_confidence.cumsum(0) / torch.arange(1, len(y) + 1)
    short = over < rate - 1.5 / torch.arange(1, len(y) + 1)
    if short.any():
        n = int(short.nonzero()[0]) + 1
        tau = p.amax(dim=1).sort(descending=True).values[n - 1]
        return (
            f"the threshold sees through it: of the {n} samples over τ = {tau:.2f} only {over[n - 1]:.0%} are wrong, of all "
            f"samples {rate:.0%}. Put the errors where the network is sure."
        )
    return None


# --- 04 Grad-ReLU ------------------------------------------------------------------------------------------------------


def strong_batch(g: torch.Generator, k: int) -> tuple:
    z_weak, z, W, b, tau = batch(g, k)
    return z, W, b, *confident(z_weak, W, b, tau)


def blocked(z: Tensor, W: Tensor, b: Tensor, q: Tensor, a: Tensor) -> Tensor:
    return masked_cross_entropy(linear(z, W.detach(), b.detach()), q, a)


def opposed_gradients(g: torch.Generator, k: int) -> tuple[Tensor, Tensor]:
    g_u, g_s = torch.randn(2, 20, generator=g)
    sign = 1.0 if k % 2 else -1.0  # every other time they oppose each other
    g_u = g_u * sign * (g_u @ g_s).sign()
    return g_u, g_s * (k != 2)


# --- 05 Avg-Clustering -------------------------------------------------------------------------------------------------


def two_centres(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, int, float]:
    return torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g), (0, 3, 20, 79, 200, 5000)[k], 0.9


def averaged(W_bar: Tensor, W: Tensor, t: int, m: float) -> Tensor:
    m_t = warm_up(m, t)
    return m_t * W_bar + (1 - m_t) * W


def batch_with_averages(g: torch.Generator, k: int) -> tuple:
    z_weak, z_strong, W, b, tau = batch(g, k)
    return z_weak, z_strong, W, b, W + torch.randn(W.shape, generator=g), b + torch.randn(b.shape, generator=g), tau


def avg_clustering_loss(
    z_weak: Tensor, z_strong: Tensor, W: Tensor, b: Tensor, W_bar: Tensor, b_bar: Tensor, tau: float
) -> Tensor:
    return masked_cross_entropy(linear(z_strong, W_bar.detach(), b_bar.detach()), *confident(z_weak, W, b, tau))


# --- 06 CIFAR-10 -------------------------------------------------------------------------------------------------------


def protocols(g: torch.Generator, k: int) -> tuple[int, int, int]:
    return tuple(int(torch.randint(2, high, (), generator=g)) for high in (10_000, 500, 50_000))


def times_seen(steps: int, batch: int, samples: int) -> float:
    return steps * batch / samples


def moments(g: torch.Generator, k: int) -> tuple[int, int, float]:
    K = int(torch.randint(100, 10_000, (), generator=g))
    return int(torch.randint(1, K, (), generator=g)), K, 0.03


def learning_rate(k: int, K: int, lr: float) -> float:
    return lr * cosine_schedule(k, K)


# --- 07 UMAP -----------------------------------------------------------------------------------------------------------


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


# --- 08 Ablation and claims --------------------------------------------------------------------------------------------


def some_differences(g: torch.Generator, k: int) -> tuple[np.ndarray]:
    d = torch.randint(-40, 64, (5 + k,), generator=g).double() / 64  # sums are exact, so ties are ties however one adds up
    return (torch.where(d == 0, 0.5, d).numpy(),)


def flips(d: np.ndarray) -> np.ndarray:
    return (1 - 2 * (np.arange(2 ** len(d))[:, None] >> np.arange(len(d)) & 1)) @ np.asarray(d, float)


def several_p(g: torch.Generator, k: int) -> tuple[list[float]]:
    """Several p-values, among them two close ones, of which the larger would be overtaken, and one that gets above 1."""
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


TASKS = {
    "labels_and_mask": Exercise(
        "01_pseudo_labels", some_probabilities, labels_and_mask, ("q", "a"),
        hints=(
            "Every row of p is one sample. Its pseudo-label is the class with the largest probability; that probability is the confidence.",
            "p.max(dim=1) gives both at once, the values and where they stand.",
            "The mask is confidence >= tau: a sample exactly at τ counts.",
        ),
        mistakes={
            "q and a have changed places: labels first, mask second.": lambda p, tau: labels_and_mask(p, tau)[::-1],
            "a sample whose confidence is exactly τ must pass: ≥, not >.": lambda p, tau: (p.argmax(1), p.amax(1) > tau),
            "a should be 1 for the samples at or over τ; yours are those below.": lambda p, tau: (p.argmax(1), p.amax(1) < tau),
            "q should be a class for each sample: the largest of a row (dim=1), not of a column.":
                lambda p, tau: (p.argmax(0), p.amax(0) >= tau),
            "q should be the class itself, a whole number, not a row of zeros and a one.":
                lambda p, tau: (F.one_hot(p.argmax(1), p.shape[1]), p.amax(1) >= tau),
            "a judges each sample by its largest probability; yours has one entry for each class.":
                lambda p, tau: (p.argmax(1), p >= tau),
        },
    ),
    "fixmatch": Exercise(
        "01_pseudo_labels", batch, fixmatch, ("L_u",),
        hints=(
            "Two forward passes through the classifier: the weak view makes labels and mask, the strong view is trained with them.",
            "F.cross_entropy(logits, q, reduction='none') gives one loss for each sample; multiply by the mask, then take the mean over all N.",
            "Nothing may flow back through the labels: take the softmax of the weak logits from detached features and weights.",
        ),
        mistakes={
            "the mean runs over the samples over τ only; FixMatch divides by all N, so that few labels weigh little.":
                lambda z, s, W, b, tau: fixmatch(z, s, W, b, tau) / confident(z, W, b, tau)[1].float().mean().clamp(min=1e-9),
            "the labels come from the strong view; the weak view makes them.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(s, W, b), *confident(s, W, b, tau)),
            "every sample counts in yours, also those below τ: where is the mask?":
                lambda z, s, W, b, tau: F.cross_entropy(linear(s, W, b), confident(z, W, b, tau)[0]),
            "the losses are added up; FixMatch takes their mean over all N samples.":
                lambda z, s, W, b, tau: len(z) * fixmatch(z, s, W, b, tau),
            "the loss stands on the weak view; the label of the weak view is there to teach the strong one.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(z, W, b), *confident(z, W, b, tau)),
            "the targets are the probabilities themselves; FixMatch's label is hard, the argmax.":
                lambda z, s, W, b, tau: (confident(z, W, b, tau)[1] * F.cross_entropy(
                    linear(s, W, b), linear(z, W, b).detach().softmax(1), reduction="none")).mean(),
        },
        gradients=("z_weak", "z_strong", "W", "b"),
    ),
    "feature_pull": Exercise(
        "02_two_layers_two_behaviours", pulls, lambda W, p, q: W[q] - p @ W, ("the pull",),
        hints=(
            "A descent step goes against the gradient, so its direction is minus the derivative by z: for one sample, towards w_q and away from something.",
            "That something is the centre the network expects: the mean of all centres, weighted with p.",
            "W[q] picks a row for every sample, and p @ W is the expected centre of every sample.",
        ),
        mistakes={
            "it points the wrong way: this is the gradient, and a descent step goes against it.": lambda W, p, q: p @ W - W[q],
            "towards w_q, yes; but also away from the centre that the network expects, the sum of p_c w_c.": lambda W, p, q: W[q],
            "w_q comes in with too small a weight: it is w_q minus the expected centre, not (1 - p_q) w_q alone.":
                lambda W, p, q: (1 - p.gather(1, q.unsqueeze(1))) * W[q],
            "it is divided by N; here each sample's own loss is meant, without the mean.": lambda W, p, q: (W[q] - p @ W) / len(p),
        },
    ),
    "centre_noise": Exercise(
        "02_two_layers_two_behaviours", noises, centre_noise, ("the noise",),
        hints=(
            "The gradient with labels q is (1/N) Σ (p - e_q) zᵀ, with the truth (1/N) Σ (p - e_y) zᵀ. Subtract.",
            "p cancels: (1/N) Σ (e_y - e_q) zᵀ is left. F.one_hot makes the e's, of shape (N, C).",
            "(F.one_hot(y, C) - F.one_hot(q, C)).float().T @ z sums over the samples; divide by N.",
        ),
        mistakes={
            "the sign is turned: gradient with q minus gradient with y leaves e_y - e_q.": lambda z, y, q, C: -centre_noise(z, y, q, C),
            "the 1/N of the mean is missing.": lambda z, y, q, C: len(z) * centre_noise(z, y, q, C),
            "the mean runs over the wrong labels only; the loss is a mean over all N.":
                lambda z, y, q, C: centre_noise(z, y, q, C) * len(z) / max(1, int((y != q).sum())),
            "rows and columns have changed places: one row for each centre, (C, D).": lambda z, y, q, C: centre_noise(z, y, q, C).T,
        },
    ),
    "benefit": Exercise(
        "03_gradient_interference", two_gradients, benefit, ("the benefit",),
        hints=(
            "How much does a step along g_pseudo lower the true loss, measured by what a step along g_true would? To first order both are inner products with g_true.",
            "⟨g_pseudo, g_true⟩ over ⟨g_true, g_true⟩. For flat vectors, a @ b is the inner product.",
            "Where nothing passes τ both gradients are 0, and 0 / 0 is NaN: return 0.0 there.",
        ),
        mistakes={
            "that is the cosine: it forgets how long the step is. Divide by |g_true|² alone.":
                lambda a, b: F.cosine_similarity(a, b, dim=0),
            "the measure is g_true: divide by its square, not by that of g_pseudo.": lambda a, b: a @ b / (a @ a),
            "divide by the square of |g_true|, not by |g_true|.": lambda a, b: a @ b / b.norm().clamp(min=1e-30),
            "where g_true is 0 (nothing passes τ) the result is NaN; 0 is expected there.": lambda a, b: a @ b / (b @ b),
            "the inner product alone: divide by |g_true|², so that 1 means as good as the truth.": lambda a, b: a @ b,
        },
    ),
    "benefit_when_undecided": Exercise(
        "03_gradient_interference", rates, benefit_when_undecided, ("the benefit",),
        hints=(
            "Every layer's gradient is linear in the error p - e_q at the logits. So ask what the noise does to this error on average.",
            "The mean of e_q over the noise is (1 - r) e_y + r/(C-1) (1 - e_y), with 1 a vector of ones. And an undecided network says p = 1/C everywhere.",
            "Then p - mean of e_q is the same vector as p - e_y, times a factor that holds r and C. That factor is the benefit; it is 0 where labels tell nothing any more, at r = (C-1)/C.",
        ),
        mistakes={
            "1 - r would be right if a wrong label did nothing. It does harm, too: it pushes a wrong class up.": lambda r, C: 1 - r,
            "1 - 2r is right for two classes. With more, errors are spread over C - 1 classes and harm less.": lambda r, C: 1 - 2 * r,
            "close: an error goes to one of the C - 1 other classes, never to the true one.": lambda r, C: 1 - r * (C - 1) / C,
            "too steep: at r = 1 it must be -1/(C-1).": lambda r, C: 1 - r * C,
        },
    ),
    "fooling_noise": Exercise(
        "03_gradient_interference", a_confident_network, fooling_noise, ("q",),
        hints=(
            "A threshold keeps the samples with the largest p.amax(dim=1). Where must the errors be, so that it keeps them?",
            "Sort the samples by confidence (argsort with descending=True) and take the first round(rate * N).",
            "Give each of these another class: (y + 1) % C is always wrong. Work on a copy, y.clone().",
        ),
        judge=fools,
    ),
    "blocked": Exercise(
        "04_grad_relu", strong_batch, blocked, ("the loss",),
        hints=(
            "The value of the loss stays. Only the way back is cut, and only where it leads into the classifier.",
            "A tensor's .detach() has its values and no way back. Which of z, W, b should have none?",
            "F.linear(z, W.detach(), b.detach()) gives the logits; the rest is FixMatch's masked mean.",
        ),
        mistakes={
            "a gradient still reaches W and b: this is plain FixMatch. Stop it at the weights.":
                lambda z, W, b, q, a: masked_cross_entropy(linear(z, W, b), q, a),
            "the features get no gradient, and the classifier keeps its: detach W and b, not z.":
                lambda z, W, b, q, a: masked_cross_entropy(linear(z.detach(), W, b), q, a),
            "b still learns: it belongs to the classification layer, too.":
                lambda z, W, b, q, a: masked_cross_entropy(linear(z, W.detach(), b), q, a),
            "nothing learns any more: the loss is cut off as a whole. Detach W and b, not the loss or z.":
                lambda z, W, b, q, a: blocked(z, W, b, q, a).detach(),
            "the mean runs over the samples over τ only; it goes over all N.":
                lambda z, W, b, q, a: blocked(z, W, b, q, a) / a.float().mean().clamp(min=1e-9),
        },
        gradients=("z", "W", "b"),
    ),
    "gated": Exercise(
        "04_grad_relu", opposed_gradients, gate, ("the gated gradient",),
        hints=(
            "How much of g_s is in g_u? α = ⟨g_u, g_s⟩ / ⟨g_s, g_s⟩. Only a negative α is to be taken away.",
            "g_u - min(α, 0) g_s: for α ≥ 0 nothing happens, for α < 0 what is left is at a right angle to g_s.",
            "Where g_s is 0, α is 0 / 0: return g_u as it is.",
        ),
        mistakes={
            "what agrees with g_s is taken away as well; the gate removes it only where α < 0.":
                lambda u, s: u - u @ s / (s @ s).clamp(min=1e-30) * s,
            "the wrong side is removed: what opposes g_s should go, what agrees should stay.":
                lambda u, s: u - (u @ s / (s @ s).clamp(min=1e-30)).clamp(min=0) * s,
            "that is a ReLU on every entry; the gate acts on one number, the component along g_s.": lambda u, s: u.relu(),
            "α must be divided by the square of |g_s|, not by |g_s|.":
                lambda u, s: u - (u @ s / s.norm().clamp(min=1e-30)).clamp(max=0) * s,
            "where g_s is 0 the result is NaN; there nothing should be removed.": lambda u, s: u - (u @ s / (s @ s)).clamp(max=0) * s,
            "where they oppose each other the whole of g_u is dropped; only its component along g_s should go.":
                lambda u, s: u * (u @ s >= 0),
        },
    ),
    "averaged": Exercise(
        "05_avg_clustering", two_centres, averaged, ("the new average",),
        hints=(
            "An exponential moving average: keep the share m_t of the old average, add the share 1 - m_t of what is new.",
            "m_t = min(m, (1 + t) / (10 + t)): at t = 0 it is 1/10, so the start is nearly forgotten; later it is m.",
        ),
        mistakes={
            "the shares have changed places: m_t belongs to the old average, 1 - m_t to W.":
                lambda A, W, t, m: averaged(W, A, t, m),
            "the warm-up is missing: m_t = min(m, (1 + t) / (10 + t)).": lambda A, W, t, m: m * A + (1 - m) * W,
            "m_t must never be larger than m: min, not max.":
                lambda A, W, t, m: (w := max(m, (1 + t) / (10 + t))) * A + (1 - w) * W,
            "that is the warm-up alone: after it, m_t stays at m.":
                lambda A, W, t, m: (w := (1 + t) / (10 + t)) * A + (1 - w) * W,
        },
    ),
    "avg_clustering_loss": Exercise(
        "05_avg_clustering", batch_with_averages, avg_clustering_loss, ("L_z",),
        hints=(
            "Two classifiers, two jobs: the current one (W, b) labels the weak view, the averaged one (W_bar, b_bar) is what the strong view is compared with.",
            "Only the features learn: neither W nor W_bar may get a gradient.",
            "Labels and mask: softmax of F.linear(z_weak, W, b), detached. Loss: F.linear(z_strong, W_bar.detach(), b_bar.detach()).",
        ),
        mistakes={
            "labels or mask come from the averaged centres; those lag. Take them from the current W and b.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, A.detach(), c.detach()), *confident(z, A, c, tau)),
            "the features are pulled to the current centres; the averaged ones, W_bar, should pull.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, W.detach(), b.detach()), *confident(z, W, b, tau)),
            "this is plain FixMatch: nowhere are the averaged centres used.": lambda z, s, W, b, A, c, tau: fixmatch(z, s, W, b, tau),
            "W_bar and b_bar get a gradient; averages are not trained. Detach them.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, A, c), *confident(z, W, b, tau)),
            "the mean runs over the samples over τ only; it goes over all N.":
                lambda z, s, W, b, A, c, tau: avg_clustering_loss(z, s, W, b, A, c, tau)
                / confident(z, W, b, tau)[1].float().mean().clamp(min=1e-9),
        },
        gradients=("z_weak", "z_strong", "W", "b", "W_bar", "b_bar"),
    ),
    "times_seen": Exercise(
        "06_layermatch_on_cifar10", protocols, times_seen, ("the number",),
        hints=("How many images pass in all steps together? How many of these is one of them, if all come equally often?",
               "steps * batch / samples, not rounded."),
        mistakes={
            "that is how many images pass in all; each of them is one of `samples`.": lambda steps, batch, samples: steps * batch,
            "it is rounded down; a number such as 0.4 tells that most are never seen.":
                lambda steps, batch, samples: steps * batch // samples,
            "the fraction is upside down.": lambda steps, batch, samples: samples / (steps * batch),
            "the batch is missing: `batch` images pass in each step.": lambda steps, batch, samples: steps / samples,
        },
    ),
    "learning_rate": Exercise(
        "06_layermatch_on_cifar10", moments, learning_rate, ("the learning rate",),
        hints=(
            "lr · cos(7πk / 16K): at k = 0 the full rate, at the end cos(7π/16) of it, about a fifth.",
            "math.cos takes radians; 7π/16 is the angle at the end, so it is 7 / 16 * math.pi * k / K.",
        ),
        mistakes={
            "that is half a cosine, down to 0 at the end; FixMatch stops at 7/16 of π, where a fifth is left.":
                lambda k, K, lr: lr * (1 + math.cos(math.pi * k / K)) / 2,
            "at the end the rate would be below 0: the angle goes to 7π/16, not to π.": lambda k, K, lr: lr * math.cos(math.pi * k / K),
            "math.cos takes radians, not degrees.": lambda k, K, lr: lr * math.cos(7 * 180 * k / (16 * K)),
            "π is missing: the angle is 7πk / 16K.": lambda k, K, lr: lr * math.cos(7 * k / (16 * K)),
            "7πk / 16K is a fraction: K stands below the line.": lambda k, K, lr: lr * math.cos(7 * math.pi * k / 16 * K),
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
            "those are the farthest, not the nearest.":
                lambda z, labels, k: (labels[torch.cdist(z, z).argsort(1, descending=True)[:, :k]] == labels[:, None]).float().mean(1),
            "that is one number for all; the share of each sample is asked for.": lambda z, labels, k: neighbours_agree(z, labels, k).mean(),
            "that is how many agree; divide by k for the share.": lambda z, labels, k: k * neighbours_agree(z, labels, k),
            "too many by one: k neighbours, without the sample itself.":
                lambda z, labels, k: (labels[torch.cdist(z, z).argsort(1)[:, 1 : k + 2]] == labels[:, None]).float().mean(1),
        },
    ),
    "neighbours_kept": Exercise(
        "07_umap_clusters", cloud_and_map, neighbours_kept, ("the share of kept neighbours",),
        hints=(
            "Two tables of neighbours, (N, k) each: one in z, one on the map. The order within a row does not matter.",
            "For each sample, count how many of its neighbours stand in both rows: set(a) & set(b), or a comparison of all pairs.",
            "(a[:, :, None] == b[:, None, :]).any(2) says for each neighbour in z whether it is one on the map; its mean is the answer.",
        ),
        mistakes={
            "the lists are compared place by place; a neighbour may be third in one and fifth in the other.":
                lambda z, points, k: (nearest(z, k) == nearest(points, k)).float().mean(),
            "each sample counts as its own neighbour, which every map keeps.":
                lambda z, points, k: (both_neighbours(z, points, k - 1).sum() + len(z)) / (k * len(z)),
            "that is how many are kept; divide by the k neighbours of each of N samples.":
                lambda z, points, k: both_neighbours(z, points, k).sum(),
            "that is one share for each sample; take the mean of all.": lambda z, points, k: both_neighbours(z, points, k).sum(1) / k,
            "divide by k as well: of the k neighbours of each sample, the share that is kept.":
                lambda z, points, k: both_neighbours(z, points, k).sum(1).float().mean(),
        },
    ),
    "sign_flip": Exercise(
        "08_ablation_and_claims", some_differences, stats.p_value, ("p",),
        hints=(
            "If the method did nothing, each difference could as well have had the other sign. With n seeds there are 2^n ways.",
            "itertools.product([-1, 1], repeat=n) goes through them all. Take the mean of the flipped differences each time.",
            "p is the share of ways whose mean is at least as far from 0, up or down, as the one that was seen. The way that was seen counts, too.",
        ),
        mistakes={
            "only one side is counted; as far from 0 *up or down* is meant.": lambda d: (flips(d) >= d.astype(float).sum() - 1e-9).mean(),
            "what was seen is one of the 2^n ways and counts: ≥, not >.":
                lambda d: (np.abs(flips(d)) > abs(d.astype(float).sum()) + 1e-9).mean(),
            "that is the share of the others: ways that are *less* far from 0.": lambda d: 1 - stats.p_value(d),
            "that is a count; divide by the number of ways, 2^n.": lambda d: stats.p_value(d) * 2 ** len(d),
        },
    ),
    "holm": Exercise(
        "08_ablation_and_claims", several_p, stats.holm, ("the corrected p-values",),
        hints=(
            "Go from the smallest p-value to the largest: the first times m, the second times m - 1, and so on.",
            "A corrected value may not be smaller than the one before it in this order, and never larger than 1.",
            "Put each one back where its p-value stood: sorted(range(m), key=p.__getitem__) gives the places in order of size.",
        ),
        mistakes={
            "all are multiplied by m: that is Bonferroni. Holm multiplies the second smallest by m - 1, the next by m - 2 ...":
                lambda p: [min(1.0, len(p) * x) for x in p],
            "a larger p-value got a smaller corrected one: each must be at least as large as the one before it (a running maximum).":
                lambda p: [min(1.0, p[i] * (len(p) - by_size(p).index(i))) for i in range(len(p))],
            "they come in order of size; put each back to the place of its p-value.": lambda p: sorted(stats.holm(p)),
            "the factors run the wrong way: the smallest p-value gets the largest one, m.":
                lambda p: [min(1.0, p[i] * (by_size(p).index(i) + 1)) for i in range(len(p))],
            "a probability above 1: cut them at 1.": without_cut,
        },
    ),
}  # fmt: skip
