"""Variants of which layers pseudo-labels reach, and of what they are taught against; for study."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.centers import AvgClustering
from ..core.losses import PseudoLabels, linear, unlabelled_loss
from ..core.methods import FixMatch
from ..runs.parallel import mean_over_processes
from .wrapper import Wrapper


class WeightedClassifier(FixMatch):
    """Grad-ReLU in between: the classifier's pseudo-label gradient is multiplied by a weight; 1 is "off", 0 is "block"."""

    weight = 1.0

    def loss(self, z_strong: Tensor, q: PseudoLabels) -> Tensor:
        W, b = self.classifier.weight, self.classifier.bias
        L_z = unlabelled_loss(z_strong, self.classifier, q, centers=self.centers, term=self.term)
        L_W = self.weight * self.term(linear(z_strong.detach(), W, b), q.labels, q.mask)
        return L_z + (L_W - L_W.detach())


class RescaledCenters(AvgClustering):
    """Averaged centres, each with the length of its current w_c: only directions are averaged.

    Averages are shorter than what they average, which alone makes the softmax milder; this control tells the two apart.
    """

    @torch.no_grad()
    def targets(self, classifier: nn.Linear) -> tuple[Tensor, Tensor | None]:
        length = self.weight.norm(dim=1, keepdim=True)
        return self.weight * (classifier.weight.norm(dim=1, keepdim=True) / length.clamp_min(1e-12)), self.bias


class Blocked(Wrapper):
    """A method in which L_s alone teaches some layers; the layers below them keep both gradients."""

    def __init__(self, method: Wrapper | FixMatch, parameters: list[nn.Parameter]):
        super().__init__(method)
        self.parameters = parameters

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        kept = torch.autograd.grad(L_s, self.parameters, retain_graph=True)
        super().backward(L_s, L_u)
        for parameter, g in zip(self.parameters, kept):
            parameter.grad = mean_over_processes(g)
