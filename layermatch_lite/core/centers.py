"""Avg-Clustering: averaged centres, which do not jitter with single batches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import InputError, check_range, takes


def warm_up(decay: float, t: int) -> float:
    """min(decay, (1+t)/(10+t)): an average that forgets its start quickly. t = 0 at the first update."""
    return min(decay, (1 + t) / (10 + t))


class AvgClustering(nn.Module):
    """Averaged centres W_bar (C, D) and b_bar (C,) of a linear classifier (our formulation).

    They start at W, b; after every optimizer step W_bar <- m_t W_bar + (1 - m_t) W (b_bar likewise) with
    m_t = min(momentum, (1+t)/(10+t)). They are buffers: never trained, saved in checkpoints, moved by `.to`.
    """

    @takes(classifier="linear (D, C)")
    def __init__(self, classifier: nn.Linear, momentum: float = 0.99):
        """momentum: m in [0, 1); 0 keeps the centres at W."""
        super().__init__()
        check_range("momentum", momentum, 0, 1, open_high=True)
        self.momentum, self.updates = momentum, 0
        self.register_buffer("weight", classifier.weight.detach().clone())
        self.register_buffer("bias", None if classifier.bias is None else classifier.bias.detach().clone())

    @torch.no_grad()
    def update(self, classifier: nn.Linear) -> None:
        """One step of the average; call it after the optimizer's step. InputError for a classifier of another shape."""
        self.check(classifier)
        m = warm_up(self.momentum, self.updates)
        self.weight.lerp_(classifier.weight, 1 - m)
        if self.bias is not None:
            self.bias.lerp_(classifier.bias, 1 - m)
        self.updates += 1

    def check(self, classifier: nn.Linear) -> None:
        """Raise InputError unless this is a classifier of the centres' shape: another would be averaged without a word."""
        shape = getattr(getattr(classifier, "weight", None), "shape", None)
        if shape != self.weight.shape or (classifier.bias is None) != (self.bias is None):
            raise InputError(f"the centres are {tuple(self.weight.shape)}; give the nn.Linear that they were made of.")

    def targets(self, classifier: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """(V (C, D), v (C,)): what the features are taught against: the averaged centres."""
        return self.weight, self.bias

    def get_extra_state(self) -> int:
        return self.updates

    def set_extra_state(self, updates: int) -> None:
        self.updates = int(updates)
