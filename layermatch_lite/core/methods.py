"""The methods as the training loop meets them: what the labels are, what is taught, what happens after a step.

FixMatch, Grad-ReLU, Avg-Clustering and LayerMatch are one class with one pair of arguments: `grad_relu` ("off" or "block")
and `centers` (None or `AvgClustering`). What departs further from them, for study, stands in `layermatch_lite.variants`.
"""

from __future__ import annotations

from torch import Tensor, nn

from .centers import AvgClustering
from .losses import PseudoLabels, linear, masked_cross_entropy, pseudo_label, unlabelled_loss


class FixMatch:
    """FixMatch, and with its last two arguments the strategies of LayerMatch.

    | grad_relu | centers         | is             |
    |-----------|-----------------|----------------|
    | "off"     | None            | FixMatch       |
    | "block"   | None            | Grad-ReLU      |
    | "off"     | AvgClustering   | Avg-Clustering |
    | "block"   | AvgClustering   | LayerMatch     |
    """

    def __init__(
        self,
        classifier: nn.Linear,
        threshold: float | Tensor,
        lambda_u: float = 1.0,
        *,
        grad_relu: str = "off",
        centers: AvgClustering | None = None,
    ):
        self.classifier, self.threshold, self.lambda_u = classifier, threshold, lambda_u
        self.grad_relu, self.centers = grad_relu, centers
        self.source = classifier  # whose logits make the pseudo-labels
        self.term = masked_cross_entropy  # what logits are taught

    def pseudo_label(self, z_weak: Tensor, i: Tensor) -> PseudoLabels:
        """What the features (N, D) of the weak views say. i: (N,) which samples of the pool they belong to."""
        return pseudo_label(linear(z_weak.detach(), self.source.weight, self.source.bias), self.threshold)

    def loss(self, z_strong: Tensor, q: PseudoLabels) -> Tensor:
        """L_u: what the features (N, D) of the strong views are taught, a scalar."""
        return unlabelled_loss(
            z_strong, self.classifier, q, grad_relu=self.grad_relu, centers=self.centers, term=self.term
        )

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        """Gradients of L_s + lambda_u L_u."""
        (L_s + self.lambda_u * L_u).backward()

    def after_step(self) -> None:
        """The optimizer has changed the weights."""
        if self.centers is not None:
            self.centers.update(self.classifier)


class Supervised:
    """The labelled samples alone: no pseudo-labels, L_u = 0."""

    def __init__(self, classifier: nn.Linear):
        self.classifier = classifier

    def pseudo_label(self, z_weak: None, i: None) -> None:
        return None

    def loss(self, z_strong: None, q: None) -> Tensor:
        return self.classifier.weight.new_zeros(())

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        L_s.backward()

    def after_step(self) -> None:
        pass
