"""Grad-ReLU "gate": our reading of the name, for comparison with "block"."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.losses import PseudoLabels, linear
from ..errors import takes
from ..runs.parallel import mean_over_processes
from .wrapper import Wrapper


@takes(g_u="float (P)", g_s="float (P)")
def gate(g_u: Tensor, g_s: Tensor) -> Tensor:
    """Remove from g_u what opposes g_s, and nothing else.

    g_u - min(alpha, 0) g_s with alpha = <g_u, g_s> / <g_s, g_s>: the component of g_u along g_s passes through a
    ReLU. Where g_s = 0 nothing is removed. Our formulation (compare PCGrad, Yu et al. 2020).

    Args:
        g_u, g_s: (P,) gradients of lambda_u L_u and of L_s in the classifier, W and b as one flat vector.

    Returns:
        (P,) tensor of g_u's dtype.
    """
    norm = g_s.dot(g_s)
    alpha = torch.where(norm > 0, g_u.dot(g_s) / norm.where(norm > 0, 1.0), 0.0)
    return g_u - alpha.clamp(max=0) * g_s


class Gate(Wrapper):
    """A method with Grad-ReLU "block" whose classifier also learns from what the gate lets through.

    After the backward pass of L_s + lambda_u L_z, which does not reach the classifier through L_z, its `.grad` is g_s.
    """

    def loss(self, z_strong: Tensor, q: PseudoLabels) -> Tensor:
        self.z_strong, self.q = z_strong.detach(), q
        return super().loss(z_strong, q)

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        super().backward(L_s, L_u)
        W, b = self.base.classifier.weight, self.base.classifier.bias
        parameters = list(self.base.classifier.parameters())
        L_W = self.base.term(linear(self.z_strong, W, b), self.q.labels, self.q.mask)
        g_u = torch.autograd.grad(self.base.lambda_u * L_W, parameters)
        g_u = mean_over_processes(torch.cat([g.flatten() for g in g_u]))
        g_s = torch.cat([p.grad.flatten() for p in parameters])
        for p, g in zip(parameters, gate(g_u, g_s).split([p.numel() for p in parameters])):
            p.grad += g.view_as(p)
