"""Wrong labels on purpose: corrupt pseudo-labels in a known way, to see what the errors do.

A kind of noise is a row of probabilities per sample: where its label goes. `corrupt` draws from it with one uniform number
per sample, and staying comes first: with the same numbers a higher rate hits the same samples and more, and two methods trained
with them meet the same noise. Rates hold in expectation exactly; nothing is clipped. Our formulation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.losses import PseudoLabels, linear
from ..core.methods import FixMatch
from ..core.seeding import generator
from ..errors import InputError, check_choice, check_range
from .wrapper import Wrapper

KINDS = ("uniform", "pair", "confusion", "low_confidence")


def uniform(num_classes: int, rate: float) -> Tensor:
    """(C, C): a label is wrong with probability `rate`, all other classes alike."""
    check_range("num_classes", num_classes, 2, whole=True)
    check_range("rate", rate, 0, 1)
    T = torch.full((num_classes, num_classes), rate / (num_classes - 1), dtype=torch.float64)
    return T.fill_diagonal_(1 - rate)


def pair_flip(num_classes: int, rate: float) -> Tensor:
    """(C, C): class c is taken for c + 1 (the last for 0) with probability `rate`: the errors agree with each other."""
    check_range("num_classes", num_classes, 2, whole=True)
    check_range("rate", rate, 0, 1)
    T = torch.eye(num_classes, dtype=torch.float64)
    return (1 - rate) * T + rate * T.roll(1, dims=1)


def class_dependent(matrix) -> Tensor:
    """Your own (C, C) matrix, checked: row c holds the probabilities with which class c is given each label.

    matrix: nested lists, an array, or text with rows between semicolons: "0.9 0.1; 0.2 0.8".
    """
    try:
        if isinstance(matrix, str):
            matrix = [[float(v) for v in row.replace(",", " ").split()] for row in matrix.split(";")]
        T = torch.as_tensor(matrix, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{matrix!r} is not a noise matrix ({error}); give rows of C numbers, as text like '0.9 0.1; 0.2 0.8', or one of the "
            f"kinds {', '.join(KINDS)}."
        ) from error
    if T.dim() != 2 or T.shape[0] != T.shape[1] or len(T) < 2:
        raise InputError(f"a noise matrix is square, C x C with C of at least 2; this one is {tuple(T.shape)}.")
    bad = ~((T >= 0) & (T <= 1)).all(dim=1)  # a NaN fails both comparisons
    if bad.any():
        c = int(bad.nonzero()[0])
        raise InputError(
            f"row {c} of the noise matrix is {T[c].tolist()}; its entries are probabilities, each in [0, 1]."
        )
    sums = T.sum(dim=1)
    if (off := (sums - 1).abs() > 1e-6).any():
        c = int(off.nonzero()[0])
        raise InputError(
            f"row {c} of the noise matrix sums to {sums[c]:.4g}; every row must sum to 1: divide it by its sum, say."
        )
    return T


def confusion(labels: Tensor, p: Tensor, rate: float) -> Tensor:
    """(C, C): wrong with probability `rate`, and the wrong class is one that the network itself confuses with the label.

    labels: (N,) int64; p: (N, C) probabilities. Row c is the mean of p over the samples labelled c, without c itself.
    """
    check_range("rate", rate, 0, 1)
    C = p.shape[1]
    p = _exact(p)
    sums = F.one_hot(labels, C).to(p.dtype).T @ p  # not index_add_, which adds in no fixed order on a GPU
    stay = torch.eye(C, dtype=p.dtype, device=p.device)
    return (1 - rate) * stay + rate * _others(sums, torch.arange(C, device=p.device))


def low_confidence(labels: Tensor, p: Tensor, rate: float) -> Tensor:
    """(N, C): errors where the network is unsure. Sample i is wrong with probability r_i = 1 - c_i^s, c_i its confidence.

    s is found so that the mean of r_i over all N samples is `rate` (so it is less among the confident ones); s = 1 are the errors
    of a calibrated network. The wrong class is drawn from p.
    A confidence of exactly 1 counts as 1 - 1e-12, so every rate can be reached.
    """
    check_range("rate", rate, 0, 1)
    p = _exact(p)
    doubt = (1 - p.amax(dim=1)).clamp(min=1e-12)
    low, high = torch.full_like(doubt[0], -40.0), torch.full_like(doubt[0], 40.0)  # log s
    wrong = lambda log_s: -torch.expm1(log_s.exp() * torch.log1p(-doubt))
    for _ in range(80):
        middle = (low + high) / 2
        less = wrong(middle).mean() < rate
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    r = wrong(high) if 0 < rate < 1 else torch.full_like(doubt, rate)
    stay = F.one_hot(labels, p.shape[1]).to(p.dtype)
    return (1 - r).unsqueeze(1) * stay + r.unsqueeze(1) * _others(p, labels)


def _others(weights: Tensor, own: Tensor) -> Tensor:
    """Rows of `weights` without their own class, each summing to 1; all other classes alike where nothing is left."""
    rest = weights.clone().scatter_(1, own.unsqueeze(1), 0.0)
    alike = torch.ones_like(rest).scatter_(1, own.unsqueeze(1), 0.0)
    rest = torch.where(rest.sum(dim=1, keepdim=True) > 0, rest, alike)
    return rest / rest.sum(dim=1, keepdim=True)


def rows(kind: str | Tensor, rate: float, labels: Tensor, p: Tensor) -> Tensor:
    """(N, C): where each label goes. kind: one of KINDS, or a (C, C) matrix, which brings its own rates.

    labels: (N,) int64; p: (N, C) probabilities of the network, which the two realistic kinds read.
    """
    C = p.shape[1]
    if kind == "low_confidence":
        return low_confidence(labels, p, rate)
    if kind == "confusion":
        return confusion(labels, p, rate)[labels]
    return matrix(kind, rate, C).to(p.device, _exact(p).dtype)[labels]


def matrix(kind: str | Tensor, rate: float, num_classes: int) -> Tensor:
    """The (C, C) matrix of a kind that has one: "uniform", "pair", or your own, as text or numbers (then rate is 0)."""
    if isinstance(kind, str) and kind in ("uniform", "pair"):
        return {"uniform": uniform, "pair": pair_flip}[kind](num_classes, rate)
    T = class_dependent(kind)
    if len(T) != num_classes:
        raise InputError(
            f"the noise matrix is {len(T)} x {len(T)}, but there are {num_classes} classes; give one row and column each."
        )
    return T


def corrupt(labels: Tensor, rows: Tensor, u: Tensor) -> Tensor:
    """(N,) int64 labels drawn from their rows (N, C) of probabilities, with uniform numbers u (N,) in [0, 1).

    The label itself comes first in the order, so it stays where u is below the probability of staying. From a (C, C) matrix T,
    the rows are T[labels]. The rows are taken as they are: `rows`, `class_dependent` and the others make right ones.
    """
    N, C = rows.shape
    if len(labels) != N or len(u) != N:
        raise InputError(
            f"{len(labels)} labels, {N} rows of noise and {len(u)} uniform numbers do not fit; give one of each per sample "
            "(from a matrix T: T[labels])."
        )
    order = (labels.unsqueeze(1) + torch.arange(C, device=labels.device)) % C
    ahead = rows.gather(1, order).cumsum(dim=1)[:, :-1]  # the last class takes what rounding leaves
    return order.gather(1, (u.unsqueeze(1).to(ahead.dtype) >= ahead).sum(dim=1, keepdim=True)).squeeze(1)


class TrueLabels(Wrapper):
    """A method whose pseudo-labels are the true labels of the pool, each of them certain."""

    def __init__(self, method: Wrapper | FixMatch, y: Tensor, classes: Sequence[str]):
        """y: (pool,) int64. classes: that noise may name; InputError where one has no sample."""
        super().__init__(method)
        for c, name in enumerate(classes):
            if not bool((y == c).any()):
                raise InputError(f"the pool has no sample of class {name!r}, and noise would name it; leave the class out.")
        self.y = y

    def pseudo_label(self, z_weak: Tensor, i: Tensor) -> PseudoLabels:
        certain = torch.ones_like(i)
        return PseudoLabels(self.y[i], certain.bool(), certain.float())


class Corrupted(Wrapper):
    """A method whose pseudo-labels are corrupted in a known way.

    Every sample of the pool has one uniform number for good, made from the seed: a sample that is hit stays hit, as in
    confirmation bias, and two methods trained with one seed share the hits.
    """

    def __init__(self, method: Wrapper | FixMatch, noise: Injected):
        super().__init__(method)
        self.noise = noise

    def pseudo_label(self, z_weak: Tensor, i: Tensor) -> PseudoLabels:
        q = super().pseudo_label(z_weak, i)
        p = linear(z_weak.detach(), self.base.source.weight, self.base.source.bias).softmax(dim=1)
        return q._replace(labels=self.noise(q.labels, p, i))


class Injected:
    """noise(labels (N,), p (N, C), i (N,)) -> labels (N,): corrupts the labels of the samples i of a pool."""

    def __init__(self, kind: str, rate: float, seed: int, size: int, num_classes: int, device: torch.device | str = "cpu"):
        """kind and rate as for `rows`; size: of the pool."""
        check_noise(kind, rate)
        self.kind, self.rate = kind, rate
        self.u = torch.rand(size, generator=generator(seed, "noise")).to(device)
        reads_p = kind in ("low_confidence", "confusion")
        # Made once: a copy in every step would make the host wait for a GPU.
        self.T = None if reads_p else matrix(kind, rate, num_classes).float().to(device)

    def __call__(self, labels: Tensor, p: Tensor, i: Tensor) -> Tensor:
        where = rows(self.kind, self.rate, labels, p) if self.T is None else self.T[labels]
        return corrupt(labels, where, self.u[i])


def check_noise(kind: str | Tensor, rate: float) -> None:
    """Raise InputError unless this is a kind with a rate in [0, 1], or a matrix with rate 0."""
    named = isinstance(kind, str) and ";" not in kind
    if named:
        check_choice("noise", kind, (*KINDS, "a matrix like '0.9 0.1; 0.2 0.8'"))
    check_range("noise_rate", rate, 0, 1)
    if not named:
        class_dependent(kind)
        if rate:
            raise InputError(
                f"noise_rate={rate:g} has no meaning beside a noise matrix, which holds its own rates; leave it out."
            )


def _exact(x: Tensor) -> Tensor:
    """float64, or float32 on MPS, which has no other."""
    return x.float() if x.device.type == "mps" else x.double()
