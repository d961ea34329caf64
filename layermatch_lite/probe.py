"""Layer benefit: the paper's title, measured. What would pseudo-labels do to each layer?

For every layer the gradient of FixMatch's L_u on the same strong views is taken four times, with {pseudo, true} labels
on {masked, all} samples, and compared. The quantities are our formulation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loss import linear, pseudo_label


def layers(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """{name: trainable parameters} of every top-level child that has any: a layer with its biases and its BN."""
    grouped = {name: [p for p in child.parameters() if p.requires_grad] for name, child in model.named_children()}
    return {name: parameters for name, parameters in grouped.items() if parameters}


def layer_benefit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    threshold: float,
    generator: torch.Generator,
) -> list[dict]:
    """Measure every layer at the model's current weights, always for plain FixMatch, whatever the method trains with.

    One joint forward in train mode, as in training; the BN buffers and the mode are restored afterwards and no
    `.grad` is touched.

    Args:
        model: has `features(x)` and a linear `classifier`.
        x, y: (B, ...) labelled views and their int64 labels.
        weak, strong: (N, ...) views of the same N unlabelled samples; y_true: (N,) int64, their true labels.
        threshold: tau.
        generator: draws the random subset of the control.

    Returns:
        One record per layer, in the model's order. With g(labels, samples) the gradient of L_u:
        benefit                 <g(pseudo, masked), g(true, masked)> / |g(true, masked)|^2: 1 as good as the truth, 0 no
                                use, negative: a step raises the true loss of these samples to first order
        alignment               cos(g(pseudo, masked), g(true, all)): effect on the loss one really wants
        alignment_true_masked   the same with true labels: what selection by confidence does alone
        alignment_pseudo_all    the same with all samples: what wrong labels do alone
        alignment_true_random   control: true labels on a random subset as large as the mask
        interference            cos(g(pseudo, masked), gradient of L_s): needs no true labels
        norm_pseudo, norm_true, norm_labelled   |g(pseudo, masked)|, |g(true, masked)|, |gradient of L_s|
        mask_rate, wrong_rate   share of samples over tau; share of wrong labels among them (None if there are none)
        empty                   True where no sample passed: its gradients are zero, and so is every ratio with them
    """
    groups = layers(model)
    parameters = [p for group in groups.values() for p in group]
    buffers = [(b, b.clone()) for b in model.buffers()]
    was_training = model.training
    model.train()
    try:
        n = len(strong)
        z = model.features(torch.cat([x, weak, strong]))
        z_x, z_weak, z_strong = z.split([len(x), n, n])
        W, b = model.classifier.weight, model.classifier.bias
        labels, mask, _ = pseudo_label(linear(z_weak.detach(), W, b), threshold)
        logits = linear(z_strong, W, b)
        p = logits.detach().softmax(dim=1)

        def gradient(targets: Tensor, samples: Tensor) -> list[Tensor]:
            """Of (1/N) sum_i samples_i CE(logits_i, targets_i), one flat vector per layer."""
            error = (p - F.one_hot(targets, p.shape[1])) * samples.unsqueeze(1) / n
            return by_layer(torch.autograd.grad(logits, parameters, error, retain_graph=True, allow_unused=True))

        def by_layer(gradients) -> list[Tensor]:
            flat = iter(
                torch.zeros_like(q).flatten() if g is None else g.flatten() for g, q in zip(gradients, parameters)
            )
            return [torch.cat([next(flat) for _ in group]) for group in groups.values()]

        everyone = torch.ones_like(mask)
        at_random = torch.zeros_like(mask)
        at_random[torch.randperm(n, generator=generator, device=mask.device)[: int(mask.sum())]] = True
        pseudo_masked, true_masked = gradient(labels, mask), gradient(y_true, mask)
        pseudo_all, true_all = gradient(labels, everyone), gradient(y_true, everyone)
        true_random = gradient(y_true, at_random)
        L_s = F.cross_entropy(linear(z_x, W, b), y)
        labelled = by_layer(torch.autograd.grad(L_s, parameters, allow_unused=True))
    finally:
        model.train(was_training)
        with torch.no_grad():
            for buffer, saved in buffers:
                buffer.copy_(saved)

    masked = int(mask.sum())
    wrong_rate = float((labels != y_true)[mask].float().mean()) if masked else None
    return [
        {
            "layer": name,
            "benefit": _ratio(pseudo_masked[i] @ true_masked[i], true_masked[i] @ true_masked[i]),
            "alignment": cosine(pseudo_masked[i], true_all[i]),
            "alignment_true_masked": cosine(true_masked[i], true_all[i]),
            "alignment_pseudo_all": cosine(pseudo_all[i], true_all[i]),
            "alignment_true_random": cosine(true_random[i], true_all[i]),
            "interference": cosine(pseudo_masked[i], labelled[i]),
            "norm_pseudo": float(pseudo_masked[i].norm()),
            "norm_true": float(true_masked[i].norm()),
            "norm_labelled": float(labelled[i].norm()),
            "mask_rate": masked / n,
            "wrong_rate": wrong_rate,
            "empty": masked == 0,
        }
        for i, name in enumerate(groups)
    ]


def cosine(a: Tensor, b: Tensor) -> float:
    """cos of the angle between two flat vectors; 0 where either is zero."""
    return _ratio(a @ b, a.norm() * b.norm())


def _ratio(top: Tensor, bottom: Tensor) -> float:
    return float(top / bottom) if bottom > 0 else 0.0
