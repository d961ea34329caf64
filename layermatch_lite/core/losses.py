"""The losses: FixMatch, and LayerMatch beside it.

Read `fixmatch_loss` first, then `pseudo_label_loss`: they differ by which weights the features and the
classifier see. At the end stands FreeMatch, which answers another question: not which layers learn from a
pseudo-label, but which samples give one. Notation: z = f(x) are features (N, D); the classifier holds W (C, D)
and b (C,); q are pseudo-labels, a the 0/1 mask of samples over the threshold tau.

Sources: FixMatch is Sohn et al. 2020, eq. 4. The two strategies follow the abstract of LayerMatch (arXiv
2406.14207); the formulas are our formulation. FreeMatch is Wang et al. 2023 (arXiv 2205.07246).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, check_choice, check_range
from ..runs.parallel import mean_over_processes, sum_over_processes
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


def pseudo_label(
    logits: Tensor, threshold: float | Tensor, noise: Callable | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C) logits of the weak views -> labels (N,) int64, mask (N,) bool, confidence (N,) float.

    threshold: tau for all, or one for each class (C,). No gradient flows through any of the three results. noise: for study,
    a function (labels, p) -> labels that spoils some.
    """
    p = at_least_float32(logits.detach()).softmax(dim=1)
    confidence, labels = p.max(dim=1)
    mask = confidence >= (threshold[labels] if isinstance(threshold, Tensor) else threshold)
    return labels if noise is None else noise(labels, p), mask, confidence


def masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """(1/N) sum_i a_i CE(logits_i, labels_i): the mean runs over all N samples, not over the masked ones only."""
    return (F.cross_entropy(at_least_float32(logits), labels, reduction="none") * mask).mean()


def fixmatch_loss(
    z_weak: Tensor,
    z_strong: Tensor,
    classifier: nn.Linear,
    *,
    threshold: float | Tensor = 0.95,
    fairness: Callable | None = None,
    noise: Callable | None = None,
) -> PseudoLabelLoss:
    """FixMatch's unlabelled loss L_u (Sohn et al. 2020, eq. 4): every layer gets the same gradient treatment."""
    check_threshold(threshold, classifier)
    W, b = classifier.weight, classifier.bias
    q, a, confidence = pseudo_label(linear(z_weak.detach(), W, b), threshold, noise)
    L_u = unlabelled_loss(linear(z_strong, W, b), q, a, fairness)
    return PseudoLabelLoss(L_u, q, a, confidence)


def pseudo_label_loss(
    z_weak: Tensor,
    z_strong: Tensor,
    classifier: nn.Linear,
    *,
    threshold: float | Tensor = 0.95,
    grad_relu: str = "block",
    centers: AvgClustering | None = None,
    labels_from: str = "classifier",
    classifier_weight: float = 1.0,
    fairness: Callable | None = None,
    noise: Callable | None = None,
) -> PseudoLabelLoss:
    """The unlabelled loss with one term per layer (our formulation of LayerMatch).

    L_z teaches the features against fixed centres V: W itself, or the averaged centres where `centers` is given
    (Avg-Clustering). L_W teaches the classifier on fixed features; Grad-ReLU "block" drops it.

    Args:
        z_weak, z_strong: (N, D) features of the weak and the strong views of the same N samples, any float dtype.
        classifier: the linear classification layer, W (C, D) and b (C,).
        threshold: tau in [0, 1], or one for each class (C,); samples whose confidence is at least tau count.
        grad_relu: "off" or "block". "gate" needs the labelled gradient too and is done by the training step
            (`layermatch_lite.runs.training.add_gated_gradient`).
        centers: averaged centres, or None.
        labels_from: "classifier" (the formulation), or "centers" to study labels taken from lagging centres.
        classifier_weight: for study, a weight for L_W where Grad-ReLU is "off": 1 keeps it whole, 0 drops it as "block" does.
        fairness: FreeMatch's class fairness term as a function (logits (N, C), mask (N,)) -> scalar, added to L_z and to L_W.
        noise: for study, a function (labels (N,), p (N, C)) -> labels that spoils some pseudo-labels (`layermatch_lite.variants.noise`).

    Returns:
        PseudoLabelLoss; `loss` is a scalar in float32 (float64 for float64 features).

    Raises:
        InputError (a ValueError): for an unknown mode, "gate", a threshold outside [0, 1], or
            labels_from="centers" without centers.
    """
    check_choice("grad_relu", grad_relu, GRAD_RELU)
    check_choice("labels_from", labels_from, LABELS_FROM)
    check_range("classifier_weight", classifier_weight, 0)
    check_threshold(threshold, classifier)
    if grad_relu == "gate":
        raise InputError(
            "grad_relu='gate' compares with the labelled gradient, which this loss does not see; "
            "the training step does it: layermatch_lite.runs.training.add_gated_gradient, or train(...)."
        )
    if labels_from == "centers" and centers is None:
        raise InputError(
            "labels_from='centers' needs centers=AvgClustering(classifier); pass it, or use labels_from='classifier'."
        )
    if grad_relu == "off" and centers is None and classifier_weight == 1:  # one term has the same gradients
        return fixmatch_loss(z_weak, z_strong, classifier, threshold=threshold, fairness=fairness, noise=noise)

    W, b = classifier.weight, classifier.bias
    V, v = (W.detach(), detach(b)) if centers is None else centers.targets(classifier)
    Q, r = (V, v) if labels_from == "centers" else (W, b)

    q, a, confidence = pseudo_label(linear(z_weak.detach(), Q, r), threshold, noise)
    L_u = L_z = unlabelled_loss(linear(z_strong, V, v), q, a, fairness)
    if grad_relu == "off":
        L_W = classifier_weight * unlabelled_loss(linear(z_strong.detach(), W, b), q, a, fairness)
        L_u = L_z + (L_W - L_W.detach())  # the value of L_z, the gradients of both
    return PseudoLabelLoss(L_u, q, a, confidence)


def unlabelled_loss(logits: Tensor, labels: Tensor, mask: Tensor, fairness: Callable | None = None) -> Tensor:
    """What strong views with these logits (N, C) are taught by pseudo-labels, and by FreeMatch's fairness where it is given."""
    L = masked_cross_entropy(logits, labels, mask)
    return L if fairness is None else L + fairness(logits, mask)


def check_threshold(threshold: float | Tensor, classifier: nn.Linear) -> None:
    """Raise InputError unless tau is a number in [0, 1] or a vector with one for each class."""
    if not isinstance(threshold, Tensor):
        check_range("threshold", threshold, 0, 1)
    elif threshold.shape != (classifier.out_features,):
        raise InputError(
            f"threshold has shape {tuple(threshold.shape)}; give one number, or a vector with one for each of the "
            f"{classifier.out_features} classes."
        )


def detach(b: Tensor | None) -> Tensor | None:
    """sg(b), also for a classifier without bias."""
    return None if b is None else b.detach()


# --- FreeMatch ---------------------------------------------------------------------------------------------------------


class FreeMatch(nn.Module):
    """The running averages from which FreeMatch takes its thresholds and its fairness term (Wang et al. 2023).

    Its buffers, all 1/C at first: tau (), how sure the network is on average; p (C,), what it predicts on average; h (C,), how
    often it predicts each class. Call `update` with each batch's weak views, then use `thresholds` and `fairness`.

    As in the authors' code, samples at their threshold count (>=), and the update comes before the mask. That code starts the
    averages at 1; here they start at 1/C, as the paper says.
    """

    def __init__(self, num_classes: int, momentum: float = 0.999, weight: float = 0.001):
        """momentum: lambda of the averages, in [0, 1). weight: w_f of the fairness term; 0 leaves it out."""
        super().__init__()
        check_range("momentum", momentum, 0, 1, open_high=True)
        check_range("weight", weight, 0)
        self.momentum, self.weight = momentum, weight
        self.register_buffer("tau", torch.tensor(1 / num_classes))
        self.register_buffer("p", torch.full((num_classes,), 1 / num_classes))
        self.register_buffer("h", torch.full((num_classes,), 1 / num_classes))

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """tau <- lambda tau + (1 - lambda) mean_i max_c q_ic; p and h likewise, with the mean of q_i and the histogram of its
        largest entries. logits: (N, C) of the weak views, q their softmax."""
        q = at_least_float32(logits).softmax(dim=1)
        confidence, labels = q.max(dim=1)
        new = torch.stack([q.mean(dim=0), count(labels, torch.ones_like(confidence), q.shape[1]) / len(q)])
        new = mean_over_processes(torch.cat([new.flatten(), confidence.mean()[None]])).to(self.tau.dtype)
        p, h, tau = new.split([q.shape[1], q.shape[1], 1])
        for average, value in ((self.p, p), (self.h, h), (self.tau, tau[0])):
            average.lerp_(value, 1 - self.momentum)

    @property
    def thresholds(self) -> Tensor:
        """(C,): tau_c = tau p_c / max p. A class that is predicted less often gets a lower threshold."""
        return self.tau * self.p / self.p.max()

    def fairness(self, logits: Tensor, mask: Tensor) -> Tensor:
        """w_f L_f, to be added to the unlabelled loss of the strong views' logits (N, C) under their mask (N,)."""
        return self.weight * fairness_loss(logits, mask, self.p, self.h)


def fairness_loss(logits: Tensor, mask: Tensor, p: Tensor, h: Tensor) -> Tensor:
    """FreeMatch's self-adaptive class fairness term L_f, a scalar, from (N, C) logits of strong views and their mask (N,).

    L_f = sum_c norm(p / h)_c log norm(p_bar / h_bar)_c with norm(v) = v / sum(v): minus the cross-entropy between what the
    network says on average (p and h (C,) of `FreeMatch`) and what it says on these strong views: p_bar their mean prediction,
    h_bar the histogram of its largest entries, both over the mask. Where h or h_bar is 0 the ratio counts as 0, and 1e-12 is
    added under the log, as in the authors' code. An empty mask gives 0.
    """
    q = at_least_float32(logits).softmax(dim=1)
    a = mask.to(q.dtype)
    p_bar = sum_over_processes((q * a[:, None]).sum(dim=0))
    h_bar = sum_over_processes(count(q.argmax(dim=1), a, q.shape[1]))
    L_f = (ratio(p.to(q.dtype), h.to(q.dtype)) * (ratio(p_bar, h_bar) + 1e-12).log()).sum()
    return torch.where(h_bar.sum() > 0, L_f, torch.zeros_like(L_f))


def count(labels: Tensor, weight: Tensor, num_classes: int) -> Tensor:
    """(C,): the sum of the weights (N,) of each label (N,)."""
    return torch.zeros(num_classes, dtype=weight.dtype, device=weight.device).index_add_(0, labels, weight)


def ratio(p: Tensor, h: Tensor) -> Tensor:
    """p / h, 0 where h is 0 or too small to divide by, scaled to sum 1; all 0 where nothing is left."""
    some = (1 / h).isfinite()
    r = torch.where(some, p / torch.where(some, h, 1.0), 0.0)
    total = r.sum()
    return r / torch.where(total > 0, total, 1.0)
