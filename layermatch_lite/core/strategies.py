"""The two strategies of LayerMatch, as far as they are more than a line in the loss.

Grad-ReLU "off" and "block" are visible in `loss.pseudo_label_loss`; here is its third mode, the gate.
Avg-Clustering is the pair of averaged centres and their update. Both are our formulation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError, check_range


def gate(g_u: Tensor, g_s: Tensor) -> Tensor:
    """Grad-ReLU "gate": remove from g_u what opposes g_s, and nothing else.

    g_u - min(alpha, 0) g_s with alpha = <g_u, g_s> / <g_s, g_s>: the component of g_u along g_s passes through a
    ReLU. Where g_s = 0 nothing is removed. Our reading of the name (compare PCGrad, Yu et al. 2020).

    Args:
        g_u, g_s: (P,) gradients of lambda_u L_u and of L_s in the classifier, W and b as one flat vector.

    Returns:
        (P,) tensor of g_u's dtype.
    """
    if g_u.shape != g_s.shape or g_u.dim() != 1:
        raise InputError(
            f"gate takes two flat vectors of one length, got {tuple(g_u.shape)} and {tuple(g_s.shape)}; "
            "flatten W's and b's gradients into one vector each."
        )
    norm = g_s.dot(g_s)
    alpha = torch.where(norm > 0, g_u.dot(g_s) / norm.where(norm > 0, 1.0), 0.0)
    return g_u - alpha.clamp(max=0) * g_s


def warm_up(decay: float, t: int) -> float:
    """min(decay, (1+t)/(10+t)): an average that forgets its start quickly. t = 0 at the first update."""
    return min(decay, (1 + t) / (10 + t))


class AvgClustering(nn.Module):
    """Averaged centres W_bar (C, D) and b_bar (C,) of a linear classifier.

    They start at W, b; after every optimizer step W_bar <- m_t W_bar + (1 - m_t) W (b_bar likewise) with
    m_t = min(momentum, (1+t)/(10+t)). They are buffers: never trained, saved in checkpoints, moved by `.to`.
    """

    def __init__(self, classifier: nn.Linear, momentum: float = 0.99, rescale: bool = False):
        """momentum: m in [0, 1); 0 keeps the centres at W. rescale: for study, see `targets`."""
        super().__init__()
        check_range("momentum", momentum, 0, 1, open_high=True)
        self.momentum, self.rescale = momentum, rescale
        self.updates = 0
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", None if classifier.bias is None else classifier.bias.detach().clone())

    @torch.no_grad()
    def update(self, classifier: nn.Linear) -> None:
        """One step of the average; call it after the optimizer's step."""
        m = warm_up(self.momentum, self.updates)
        self.weight.lerp_(classifier.weight, 1 - m)
        if self.bias is not None:
            self.bias.lerp_(classifier.bias, 1 - m)
        self.updates += 1

    @torch.no_grad()
    def targets(self, classifier: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """(V (C, D), v (C,)): what the features are taught against: the averaged centres.

        With rescale, each gets the length of its w_c: then only directions are averaged. Averages are shorter than what they
        average, which alone makes the softmax milder; this control tells the two apart.
        """
        if not self.rescale:
            return self.weight, self.bias
        length = self.weight.norm(dim=1, keepdim=True)
        return self.weight * (classifier.weight.norm(dim=1, keepdim=True) / length.clamp_min(1e-12)), self.bias

    def get_extra_state(self) -> int:
        return self.updates

    def set_extra_state(self, updates: int) -> None:
        self.updates = int(updates)
