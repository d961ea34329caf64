"""A method around a method: what a variant does not change passes through."""

from __future__ import annotations

from torch import Tensor

from ..core.losses import PseudoLabels


class Wrapper:
    """Passes every call on to the method inside; a variant overrides what it changes."""

    def __init__(self, method):
        """method: with the four functions of `core.methods.FixMatch`."""
        self.method, self.base = method, getattr(method, "base", method)  # base: what is inside all wrappers

    def pseudo_label(self, z_weak: Tensor | None, i: Tensor | None) -> PseudoLabels | None:
        return self.method.pseudo_label(z_weak, i)

    def loss(self, z_strong: Tensor | None, q: PseudoLabels | None) -> Tensor:
        return self.method.loss(z_strong, q)

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        self.method.backward(L_s, L_u)

    def after_step(self) -> None:
        self.method.after_step()
