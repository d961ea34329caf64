"""The exercises of notebooks 04 and 05: Grad-ReLU and Avg-Clustering."""

import torch
from torch import Tensor

from ...core.centers import warm_up
from ...core.losses import linear, masked_cross_entropy
from ...variants.gate import gate
from ..review import Exercise
from .pseudo_labels import batch, confident, fixmatch


def grad_relu(z_weak: Tensor, z_strong: Tensor, W: Tensor, b: Tensor, tau: float) -> Tensor:
    return masked_cross_entropy(linear(z_strong, W.detach(), b.detach()), *confident(z_weak, W, b, tau))


def opposed_gradients(g: torch.Generator, k: int) -> tuple[Tensor, Tensor]:
    g_u, g_s = torch.randn(2, 20, generator=g)
    sign = 1.0 if k % 2 else -1.0  # every other time the two oppose each other
    g_u = g_u * sign * (g_u @ g_s).sign()
    return g_u, g_s * (k != 2)


def two_centres(g: torch.Generator, k: int) -> tuple[Tensor, Tensor, int, float]:
    return torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g), (0, 3, 20, 79, 200, 5000)[k], 0.9


def averaged(W_bar: Tensor, W: Tensor, t: int, m: float) -> Tensor:
    m_t = warm_up(m, t)
    return m_t * W_bar + (1 - m_t) * W


def batch_with_averages(g: torch.Generator, k: int) -> tuple:
    z_weak, z_strong, W, b, tau = batch(g, k)
    return z_weak, z_strong, W, b, W + torch.randn(W.shape, generator=g), b + torch.randn(b.shape, generator=g), tau


def layermatch_loss(
    z_weak: Tensor, z_strong: Tensor, W: Tensor, b: Tensor, W_bar: Tensor, b_bar: Tensor, tau: float
) -> Tensor:
    return masked_cross_entropy(linear(z_strong, W_bar.detach(), b_bar.detach()), *confident(z_weak, W, b, tau))


STRATEGIES = {
    "grad_relu": Exercise(
        "04_grad_relu", batch, grad_relu, ("the loss",),
        hints=(
            "The value of the loss stays the same. Only the gradient's way back is cut, and only where it leads into the classifier.",
            ".detach() gives a tensor of the same values through which no gradient flows. Which of z_strong, W and b need it?",
            "F.linear(z_strong, W.detach(), b.detach()) gives the logits; the rest is FixMatch.",
        ),
        mistakes={
            "a gradient still reaches W and b: this is plain FixMatch. Stop it at the weights.": fixmatch,
            "the features get no gradient, and the classifier still gets one: detach W and b, not z_strong.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(s.detach(), W, b), *confident(z, W, b, tau)),
            "b still learns; it is part of the classification layer, too.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(s, W.detach(), b), *confident(z, W, b, tau)),
            "nothing learns any more: the whole loss is detached. Detach W and b, not the loss or z_strong.":
                lambda z, s, W, b, tau: fixmatch(z, s, W, b, tau).detach(),
            "you average over the samples over τ only; average over all N.":
                lambda z, s, W, b, tau: grad_relu(z, s, W, b, tau) / confident(z, W, b, tau)[1].float().mean().clamp(min=1e-9),
        },
        gradients=("z_weak", "z_strong", "W", "b"),
    ),
    "gated": Exercise(
        "04_grad_relu", opposed_gradients, gate, ("the gated gradient",),
        hints=(
            "How much of g_s is in g_u? α = ⟨g_u, g_s⟩ / ⟨g_s, g_s⟩. Remove this component only if α is negative.",
            "g_u - min(α, 0) g_s: for α ≥ 0 nothing changes; for α < 0 what is left is at a right angle to g_s.",
            "Where g_s is 0, α is 0 / 0: return g_u as it is.",
        ),
        mistakes={
            "you also remove what agrees with g_s; the gate removes the component only where α < 0.":
                lambda u, s: u - u @ s / (s @ s).clamp(min=1e-30) * s,
            "you remove the wrong side: what opposes g_s should go, what agrees should stay.":
                lambda u, s: u - (u @ s / (s @ s).clamp(min=1e-30)).clamp(min=0) * s,
            "that is a ReLU on every entry; the gate acts on one number, the component along g_s.": lambda u, s: u.relu(),
            "α must be divided by the square of |g_s|, not by |g_s|.":
                lambda u, s: u - (u @ s / s.norm().clamp(min=1e-30)).clamp(max=0) * s,
            "where g_s is 0, the result is NaN; nothing should be removed there.": lambda u, s: u - (u @ s / (s @ s)).clamp(max=0) * s,
            "where the two oppose each other, you drop all of g_u; only its component along g_s should go.":
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
            "the weights are swapped: m_t belongs to the old average, 1 - m_t to W.":
                lambda A, W, t, m: averaged(W, A, t, m),
            "the warm-up is missing: m_t = min(m, (1 + t) / (10 + t)).": lambda A, W, t, m: m * A + (1 - m) * W,
            "m_t must never be larger than m: min, not max.":
                lambda A, W, t, m: (w := max(m, (1 + t) / (10 + t))) * A + (1 - w) * W,
            "that is the warm-up alone: after it, m_t stays at m.":
                lambda A, W, t, m: (w := (1 + t) / (10 + t)) * A + (1 - w) * W,
        },
    ),
    "layermatch_loss": Exercise(
        "05_avg_clustering", batch_with_averages, layermatch_loss, ("L_z",),
        hints=(
            "Two classifiers, two jobs: the current one (W, b) labels the weak view; the strong view is compared with the averaged one (W_bar, b_bar).",
            "Only the features learn: neither W nor W_bar may get a gradient.",
            "Labels and mask: softmax of F.linear(z_weak, W, b), detached. Loss: F.linear(z_strong, W_bar.detach(), b_bar.detach()).",
        ),
        mistakes={
            "your labels or mask come from the averaged centres, which lag. Take them from the current W and b.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, A.detach(), c.detach()), *confident(z, A, c, tau)),
            "you pull the features to the current centres; pull them to the averaged ones, W_bar.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, W.detach(), b.detach()), *confident(z, W, b, tau)),
            "this is plain FixMatch: the averaged centres are never used.": lambda z, s, W, b, A, c, tau: fixmatch(z, s, W, b, tau),
            "W_bar and b_bar get a gradient; averages are not trained. Detach them.":
                lambda z, s, W, b, A, c, tau: masked_cross_entropy(linear(s, A, c), *confident(z, W, b, tau)),
            "you average over the samples over τ only; average over all N.":
                lambda z, s, W, b, A, c, tau: layermatch_loss(z, s, W, b, A, c, tau)
                / confident(z, W, b, tau)[1].float().mean().clamp(min=1e-9),
        },
        gradients=("z_weak", "z_strong", "W", "b", "W_bar", "b_bar"),
    ),
}  # fmt: skip
