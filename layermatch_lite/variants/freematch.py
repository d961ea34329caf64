"""FreeMatch (Wang et al. 2023, arXiv 2205.07246): not which layers learn from a pseudo-label, but which samples give one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.losses import PseudoLabels, at_least_float32, linear, masked_cross_entropy
from ..core.methods import FixMatch
from ..errors import check_range
from ..runs.parallel import mean_over_processes, sum_over_processes
from .wrapper import Wrapper


class AdaptiveThresholds(Wrapper):
    """A method with FreeMatch's thresholds in place of tau, and its fairness term."""

    def __init__(self, method: Wrapper | FixMatch, freematch: FreeMatch):
        super().__init__(method)
        self.freematch, self.base.term = freematch, freematch.term

    def pseudo_label(self, z_weak: Tensor, i: Tensor) -> PseudoLabels:
        W, b = self.base.classifier.weight, self.base.classifier.bias
        self.freematch.update(linear(z_weak.detach(), W, b))
        self.base.threshold = self.freematch.thresholds
        return super().pseudo_label(z_weak, i)


class FreeMatch(nn.Module):
    """The running averages from which FreeMatch takes its thresholds and its fairness term (Wang et al. 2023).

    Its buffers, all 1/C at first: tau (), how sure the network is on average; p (C,), what it predicts on average; h (C,), how
    often it predicts each class. Call `update` with each batch's weak views, then use `thresholds` and `fairness`.

    As in the USB benchmark's code, the averages start at 1/C, samples at their threshold count (>=), and the update comes before
    the mask.
    """

    def __init__(self, num_classes: int, momentum: float = 0.99, weight: float = 0.01):
        """momentum: lambda of the averages, in [0, 1). weight: w_f of the fairness term; 0 leaves it out.

        The defaults are those of the recipe for MNIST-1D; the published ones for CIFAR-10, 0.999 and 0.001, need thousands of
        steps (preset "paper").
        """
        super().__init__()
        check_range("num_classes", num_classes, 2, 10**6, whole=True)
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

    def term(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """What strong views with these logits (N, C) are taught: cross-entropy under the mask (N,) plus w_f L_f."""
        L = masked_cross_entropy(logits, labels, mask)
        return L + self.weight * fairness_loss(logits, mask, self.p, self.h) if self.weight else L


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
