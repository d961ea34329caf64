"""The losses: FixMatch, and LayerMatch beside it.

Read `fixmatch_loss` first, then `pseudo_label_loss`: they differ by which weights the features and the
classifier see. Notation: z = f(x) are features (N, D); the classifier holds W (C, D) and b (C,); q are
pseudo-labels, a the 0/1 mask of samples over the threshold tau.

Sources: FixMatch is Sohn et al. 2020, eq. 4. The two strategies follow the abstract of LayerMatch (arXiv
2406.14207); the formulas are our formulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import InputError, check_choice, check_range
from .strategies import AvgClustering

GRAD_RELU = ("off", "block", "gate")
LABELS_FROM = ("classifier", "centers")


class PseudoLabelLoss(NamedTuple):
    """What `pseudo_label_loss` returns."""

    loss: Tensor  # scalar: value of L_z, gradients of L_z and L_W
    labels: Tensor  # (N,) int64: q, the pseudo-labels
    mask: Tensor  # (N,) bool: a, True where the confidence reaches tau
    confidence: Tensor  # (N,) float: max_c p_c of the weak view


def at_least_float32(x: Tensor) -> Tensor:
    """bf16 and fp16 become float32; float32 and float64 stay what they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def linear(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits in at least float32, also inside an autocast region: (N, D) features -> (N, C)."""
    with torch.autocast(z.device.type, enabled=False):
        return F.linear(at_least_float32(z), weight, bias)


def pseudo_label(logits: Tensor, threshold: float, noise: Callable | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C) logits of the weak views -> labels (N,) int64, mask (N,) bool, confidence (N,) float.

    No gradient flows through any of the three. noise: for study, a function (labels, p) -> labels that spoils some.
    """
    p = at_least_float32(logits.detach()).softmax(dim=1)
    confidence, labels = p.max(dim=1)
    return labels if noise is None else noise(labels, p), confidence >= threshold, confidence


def masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """(1/N) sum_i a_i CE(logits_i, labels_i): the mean runs over all N samples, not over the masked ones only."""
    return (F.cross_entropy(at_least_float32(logits), labels, reduction="none") * mask).mean()


def fixmatch_loss(
    z_weak: Tensor,
    z_strong: Tensor,
    classifier: nn.Linear,
    *,
    threshold: float = 0.95,
    noise: Callable | None = None,
) -> PseudoLabelLoss:
    """FixMatch's unlabelled loss L_u (Sohn et al. 2020, eq. 4): every layer gets the same gradient treatment."""
    check_range("threshold", threshold, 0, 1)
    W, b = classifier.weight, classifier.bias
    q, a, confidence = pseudo_label(linear(z_weak.detach(), W, b), threshold, noise)
    L_u = masked_cross_entropy(linear(z_strong, W, b), q, a)
    return PseudoLabelLoss(L_u, q, a, confidence)


def pseudo_label_loss(
    z_weak: Tensor,
    z_strong: Tensor,
    classifier: nn.Linear,
    *,
    threshold: float = 0.95,
    grad_relu: str = "block",
    centers: AvgClustering | None = None,
    labels_from: str = "classifier",
    noise: Callable | None = None,
) -> PseudoLabelLoss:
    """The unlabelled loss with one term per layer (our formulation of LayerMatch).

    L_z teaches the features against fixed centres V: W itself, or the averaged centres where `centers` is given
    (Avg-Clustering). L_W teaches the classifier on fixed features; Grad-ReLU "block" drops it.

    Args:
        z_weak, z_strong: (N, D) features of the weak and the strong views of the same N samples, any float dtype.
        classifier: the linear classification layer, W (C, D) and b (C,).
        threshold: tau in [0, 1]; samples whose confidence is at least tau count.
        grad_relu: "off" or "block". "gate" needs the labelled gradient too and is done by the training step
            (`layermatch_lite.training.add_gated_gradient`).
        centers: averaged centres, or None.
        labels_from: "classifier" (the formulation), or "centers" to study labels taken from lagging centres.
        noise: for study, a function (labels (N,), p (N, C)) -> labels that spoils some pseudo-labels (`layermatch_lite.noise`).

    Returns:
        PseudoLabelLoss; `loss` is a scalar in float32 (float64 for float64 features).

    Raises:
        InputError (a ValueError): for an unknown mode, "gate", a threshold outside [0, 1], or
            labels_from="centers" without centers.
    """
    check_choice("grad_relu", grad_relu, GRAD_RELU)
    check_choice("labels_from", labels_from, LABELS_FROM)
    check_range("threshold", threshold, 0, 1)
    if grad_relu == "gate":
        raise InputError(
            "grad_relu='gate' compares with the labelled gradient, which this loss does not see; "
            "the training step does it: layermatch_lite.training.add_gated_gradient, or train(...)."
        )
    if labels_from == "centers" and centers is None:
        raise InputError(
            "labels_from='centers' needs centers=AvgClustering(classifier); pass it, or use labels_from='classifier'."
        )
    if grad_relu == "off" and centers is None:
        return fixmatch_loss(z_weak, z_strong, classifier, threshold=threshold, noise=noise)  # same gradients

    W, b = classifier.weight, classifier.bias
    V, v = (W.detach(), detach(b)) if centers is None else (centers.weight, centers.bias)
    Q, r = (V, v) if labels_from == "centers" else (W, b)

    q, a, confidence = pseudo_label(linear(z_weak.detach(), Q, r), threshold, noise)
    L_u = L_z = masked_cross_entropy(linear(z_strong, V, v), q, a)
    if grad_relu == "off":
        L_W = masked_cross_entropy(linear(z_strong.detach(), W, b), q, a)
        L_u = L_z + (L_W - L_W.detach())  # the value of L_z, the gradients of both
    return PseudoLabelLoss(L_u, q, a, confidence)


def detach(b: Tensor | None) -> Tensor | None:
    """sg(b), also for a classifier without bias."""
    return None if b is None else b.detach()
