"""The exercises of notebook 01: labels, mask and FixMatch's loss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.losses import linear, masked_cross_entropy, pseudo_label
from ..review import Exercise


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


PSEUDO_LABELS = {
    "labels_and_mask": Exercise(
        "01_pseudo_labels", some_probabilities, labels_and_mask, ("q", "a"),
        hints=(
            "Every row of p is one sample. Its pseudo-label is the class with the largest probability; that probability is the confidence.",
            "p.max(dim=1) gives both at once: the values and their positions.",
            "The mask is confidence >= tau: a sample exactly at τ counts.",
        ),
        mistakes={
            "q and a are swapped: labels first, mask second.": lambda p, tau: labels_and_mask(p, tau)[::-1],
            "a sample whose confidence is exactly τ must pass: ≥, not >.": lambda p, tau: (p.argmax(1), p.amax(1) > tau),
            "a should be 1 for the samples at or over τ; yours are those below.": lambda p, tau: (p.argmax(1), p.amax(1) < tau),
            "q should be a class for each sample: the largest of a row (dim=1), not of a column.":
                lambda p, tau: (p.argmax(0), p.amax(0) >= tau),
            "q should be the class itself, a whole number, not a row of zeros and a one.":
                lambda p, tau: (F.one_hot(p.argmax(1), p.shape[1]), p.amax(1) >= tau),
            "a has one entry for each sample, from its largest probability; yours has one for each class.":
                lambda p, tau: (p.argmax(1), p >= tau),
        },
    ),
    "fixmatch": Exercise(
        "01_pseudo_labels", batch, fixmatch, ("L_u",),
        hints=(
            "Two forward passes through the classifier: the weak view gives labels and mask, the strong view is trained with them.",
            "F.cross_entropy(logits, q, reduction='none') gives one loss for each sample; multiply by the mask, then take the mean over all N.",
            "No gradient may flow back through the labels: take the softmax of the weak logits from detached features and weights.",
        ),
        mistakes={
            "you average over the samples over τ only; FixMatch divides by N, so that a few labels carry little weight.":
                lambda z, s, W, b, tau: fixmatch(z, s, W, b, tau) / confident(z, W, b, tau)[1].float().mean().clamp(min=1e-9),
            "your labels come from the strong view; take them from the weak one.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(s, W, b), *confident(s, W, b, tau)),
            "your loss counts every sample, even those below τ: where is the mask?":
                lambda z, s, W, b, tau: F.cross_entropy(linear(s, W, b), confident(z, W, b, tau)[0]),
            "you add up the losses; FixMatch takes their mean over all N samples.":
                lambda z, s, W, b, tau: len(z) * fixmatch(z, s, W, b, tau),
            "you compute the loss on the weak view; the weak view only gives the label, and the strong view is trained with it.":
                lambda z, s, W, b, tau: masked_cross_entropy(linear(z, W, b), *confident(z, W, b, tau)),
            "your targets are the probabilities themselves; FixMatch uses a hard label, the argmax.":
                lambda z, s, W, b, tau: (confident(z, W, b, tau)[1] * F.cross_entropy(
                    linear(s, W, b), linear(z, W, b).detach().softmax(1), reduction="none")).mean(),
        },
        gradients=("z_weak", "z_strong", "W", "b"),
    ),
}  # fmt: skip
