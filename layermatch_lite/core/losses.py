"""The unlabelled loss: FixMatch's, and LayerMatch's beside it.

Read `fixmatch_loss` first, then `unlabelled_loss`: they differ by which weights the features and the classifier see.
Notation: z = f(x) are features (N, D); the classifier holds W (C, D) and b (C,); q are pseudo-labels, a the 0/1 mask of
samples over the threshold tau. The line `@takes(...)` above a function checks what it is given.

Sources: FixMatch is Sohn et al. 2020, eq. 4. The two strategies follow the abstract of LayerMatch (arXiv 2406.14207); the
formulas are our formulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, check_choice, check_threshold, takes
from .centers import AvgClustering

GRAD_RELU = ("off", "block", "gate")
LABELS_FROM = ("classifier", "centers")


class PseudoLabels(NamedTuple):
    """What the weak views say. No gradient flows through any of the three."""

    labels: Tensor  # (N,) int64: q, the most probable class
    mask: Tensor  # (N,) bool: a, True where the confidence reaches tau
    confidence: Tensor  # (N,) float: max_c p_c


class PseudoLabelLoss(NamedTuple):
    """What `pseudo_label_loss` returns."""

    loss: Tensor  # scalar: value of L_z, gradients of L_z and L_W
    labels: Tensor  # (N,) int64
    mask: Tensor  # (N,) bool
    confidence: Tensor  # (N,) float


def at_least_float32(x: Tensor) -> Tensor:
    """bf16 and fp16 become float32; float32 and float64 stay what they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def linear(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits (N, C) of features (N, D), in at least float32, also inside an autocast region."""
    with torch.autocast(z.device.type, enabled=False):
        return F.linear(at_least_float32(z), weight, bias)


def pseudo_label(logits: Tensor, threshold: float | Tensor) -> PseudoLabels:
    """Pseudo-labels from logits (N, C) of the weak views. threshold: tau for all, or one for each class (C,)."""
    p = at_least_float32(logits.detach()).softmax(dim=1)
    confidence, labels = p.max(dim=1)
    tau = threshold[labels] if isinstance(threshold, Tensor) else threshold
    return PseudoLabels(labels, confidence >= tau, confidence)


def masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """(1/N) sum_i a_i CE(logits_i, labels_i): the mean runs over all N samples, not over the masked ones only."""
    return (F.cross_entropy(at_least_float32(logits), labels, reduction="none") * mask).mean()


@takes(z_weak="float (N, D)", z_strong="float (N, D)", classifier="linear (D, C)")
def fixmatch_loss(
    z_weak: Tensor, z_strong: Tensor, classifier: nn.Linear, *, threshold: float | Tensor = 0.95
) -> PseudoLabelLoss:
    """FixMatch's unlabelled loss L_u (Sohn et al. 2020, eq. 4): (W, b) makes the labels, and (W, b) learns from them."""
    check_threshold(threshold, classifier.out_features)
    W, b = classifier.weight, classifier.bias
    q = pseudo_label(linear(z_weak.detach(), W, b), threshold)
    return PseudoLabelLoss(masked_cross_entropy(linear(z_strong, W, b), q.labels, q.mask), *q)


def unlabelled_loss(
    z_strong: Tensor, classifier: nn.Linear, q: PseudoLabels, *, grad_relu: str = "block", centers: AvgClustering | None = None,
    term: Callable = masked_cross_entropy,
) -> Tensor:  # fmt: skip
    """L_u as two terms, one for each part of the network (our formulation of LayerMatch).

    L_z teaches the features against fixed centres V: W itself, or the averaged centres (Avg-Clustering). L_W teaches the
    classifier on fixed features; Grad-ReLU "block" drops it. The value is that of L_z, the gradients are those of both.

    term(logits (N, C), labels, mask) -> scalar is what one set of logits is taught.
    """
    W, b = classifier.weight, classifier.bias
    if grad_relu == "off" and centers is None:  # FixMatch: one term has the gradients of both
        return term(linear(z_strong, W, b), q.labels, q.mask)
    V, v = (W.detach(), detach(b)) if centers is None else centers.targets(classifier)
    L_z = term(linear(z_strong, V, v), q.labels, q.mask)
    if grad_relu == "block":
        return L_z
    L_W = term(linear(z_strong.detach(), W, b), q.labels, q.mask)
    return L_z + (L_W - L_W.detach())


@takes(z_weak="float (N, D)", z_strong="float (N, D)", classifier="linear (D, C)", centers=AvgClustering | None)
def pseudo_label_loss(
    z_weak: Tensor, z_strong: Tensor, classifier: nn.Linear, *, threshold: float | Tensor = 0.95, grad_relu: str = "block",
    centers: AvgClustering | None = None, labels_from: str = "classifier",
) -> PseudoLabelLoss:  # fmt: skip
    """Pseudo-labels and `unlabelled_loss` in one call, for a training loop of your own.

    Args:
        z_weak, z_strong: (N, D) features of the weak and the strong views of the same N samples, any float dtype.
        classifier: the linear classification layer, W (C, D) and b (C,).
        threshold: tau in [0, 1], or one for each class (C,); samples whose confidence is at least tau count.
        grad_relu: "off" or "block". "gate" also needs the labelled gradient (`layermatch_lite.variants.gate.Gate`).
        centers: averaged centres, or None.
        labels_from: "classifier" (the formulation), or "centers" to study labels taken from lagging centres.

    Returns:
        PseudoLabelLoss; `loss` is a scalar in float32 (float64 for float64 features).

    Raises:
        InputError (a ValueError): for an unknown mode, "gate", a threshold outside [0, 1], or
            labels_from="centers" without centers.
    """
    check_choice("grad_relu", grad_relu, GRAD_RELU)
    check_choice("labels_from", labels_from, LABELS_FROM)
    check_threshold(threshold, classifier.out_features)
    if centers is not None:
        centers.check(classifier)
    if grad_relu == "gate":
        raise InputError(
            "grad_relu='gate' compares with the labelled gradient, which this loss does not see; the training step does it: "
            "layermatch_lite.variants.gate.Gate, or train(...)."
        )
    if labels_from == "centers" and centers is None:
        raise InputError(
            "labels_from='centers' needs centers=AvgClustering(classifier); pass it, or use labels_from='classifier'."
        )
    source = centers if labels_from == "centers" else classifier
    q = pseudo_label(linear(z_weak.detach(), source.weight, source.bias), threshold)
    return PseudoLabelLoss(unlabelled_loss(z_strong, classifier, q, grad_relu=grad_relu, centers=centers), *q)


def detach(b: Tensor | None) -> Tensor | None:
    """sg(b), also for a classifier without bias."""
    return None if b is None else b.detach()
