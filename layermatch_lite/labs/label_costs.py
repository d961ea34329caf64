"""The layer benefit taken apart into one number for each possible label, so that a lab only looks numbers up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.theory import classifier_gradient, error, with_bias
from ..errors import check_batches, check_output, check_threshold
from ..models import in_train_mode, layers, own_randomness


class LabelCosts(NamedTuple):
    """What every possible label of every sample would do to every layer at one threshold; see `label_costs`.

    benefit = start[k, l] - sum_i cost[k, l, i, q_i]
    """

    layers: list[str]
    start: Tensor  # (K, L) benefit of the true labels: 1 against W itself, about 1 against other centres
    cost: Tensor  # (K, L, N, C) what calling sample i class c takes away; 0 for its true class and below tau
    p_weak: Tensor  # (N, C) probabilities of the weak views, which make labels and mask
    z: Tensor  # (N, D) features and
    p: Tensor  # (N, C) probabilities of the strong views
    labelled: Tensor  # (C, D+1) gradient of L_s in (W, b)


@torch.enable_grad()
def label_costs(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    thresholds: Sequence[float],
    centers: Sequence[tuple[Tensor, Tensor]] = (),
) -> Iterator[LabelCosts]:
    """Take the layer benefit apart into one number per label, for each threshold in turn.

    The gradient is linear in the labels, so its product with g(true, masked) is a sum over samples. Per layer one derivative of
    the features along g(true, masked) gives all summands; after that the benefit of any labels is a look-up and a sum, and equals
    that of `layer_benefit` with those labels. Where g(true, masked) is zero, so are start and cost. Our formulation.

    Args:
        model: with `features` and `classifier` as in `layermatch_lite.models`. The other arguments are those of `layer_benefit`.
        thresholds: tau, one result each; the model is in train mode until the last is taken.
        centers: further (V (C, D), v (C,)) to teach the features against, as Avg-Clustering does; K = 1 + their number, the
            first being (W, b). Their gradient is compared with the same g(true, masked); the classifier's own does not change.
    """
    for tau in thresholds:
        check_batches(x, y, weak, strong, y_true)
        check_threshold(tau)
    n, classifier = len(strong), model.classifier
    groups = layers(model, classifier)
    W, b = classifier.weight.detach(), classifier.bias.detach()
    with in_train_mode(model):
        with own_randomness(model, strong.device):
            z_x, z_weak, z_strong = model.features(torch.cat([x, weak, strong])).split([len(x), n, n])
        z, z_x = z_strong.detach(), z_x.detach()
        softmax = lambda V, v, z: F.linear(z, V, v).softmax(dim=1)
        check_output(F.linear(z, W, b), y, y_true)
        p_weak, p = softmax(W, b, z_weak.detach()), softmax(W, b, z)
        taught = [(V, softmax(V, v, z)) for V, v in ((W, b), *centers)]
        labelled = classifier_gradient(with_bias(z_x), softmax(W, b, z_x), y)
        # r -> dL/dtheta for dL/dz = r is linear. Its transpose, the derivative of z along a direction, comes by going back twice.
        below = [q for name, group in groups.items() if name != "classifier" for q in group]
        r = torch.zeros_like(z).requires_grad_()
        transposed = dict(zip(below, torch.autograd.grad(z_strong, below, r, create_graph=True)))
        own_class = y_true.unsqueeze(1)
        for tau in thresholds:
            mask = p_weak.amax(dim=1) >= tau
            e = error(p, y_true, mask)
            true = dict(zip(below, torch.autograd.grad(z_strong, below, e @ W, retain_graph=True)))
            start, cost = [], []
            for name, group in groups.items():
                if name == "classifier":
                    g = classifier_gradient(with_bias(z), p, y_true, mask)
                    norm2, responses = g.square().sum(), [(with_bias(z) @ g.T, p)] * len(taught)
                else:
                    norm2 = sum(true[q].square().sum() for q in group)
                    along = sum((transposed[q] * true[q]).sum() for q in group)
                    (dz,) = torch.autograd.grad(along, r, retain_graph=True)
                    responses = [(dz @ V.T, p_taught) for V, p_taught in taught]
                scale = 1 / norm2 if norm2 > 0 else 0.0
                start.append(
                    torch.stack([(error(p_taught, y_true, mask) * h).sum() * scale for h, p_taught in responses])
                )
                cost.append(
                    torch.stack([(h - h.gather(1, own_class)) * mask.unsqueeze(1) * (scale / n) for h, _ in responses])
                )
            yield LabelCosts(list(groups), torch.stack(start, dim=1), torch.stack(cost, dim=1), p_weak, z, p, labelled)
