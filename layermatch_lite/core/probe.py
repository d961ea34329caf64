"""Layer benefit: the paper's title, measured. What would pseudo-labels do to each layer?

For every layer the gradient of FixMatch's L_u on the same strong views is taken four times, with {pseudo, true} labels
on {masked, all} samples, and compared. The quantities are our formulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, check_output, check_threshold, takes
from ..models import in_train_mode, last_layer, layers, own_randomness
from .losses import at_least_float32, pseudo_label
from .seeding import generator as make_generator
from .theory import error

if TYPE_CHECKING:
    import pandas as pd


@takes(
    model=nn.Module, x="tensor (B, ...)", y="int (B)", weak="tensor (N, ...)", strong="tensor (N, ...)", y_true="int (N) or None",
    generator=torch.Generator | None, relabel=Callable | None,
)  # fmt: skip
def layer_benefit(
    model: nn.Module, x: Tensor, y: Tensor, weak: Tensor, strong: Tensor, y_true: Tensor | None, *, threshold: float,
    generator: torch.Generator | None = None, relabel: Callable | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Measure every layer at the model's current weights, always for plain FixMatch, whatever the method trains with.

    Works for any classifier whose last layer is an `nn.Linear`. One joint forward in train mode, as in training but without
    autocast, and six backward passes. The mode, the buffers (BN statistics), the random state and every `.grad` are left as they
    were.

    Args:
        model: maps a batch to logits (N, C); its output is that of its last `nn.Linear`.
        x, y: (B, ...) labelled views and their int64 labels.
        weak, strong: (N, ...) views of the same N unlabelled samples.
        y_true: (N,) int64, their true labels; None where they are unknown, and what needs them is NaN.
        threshold: tau.
        generator: draws the random subset of the control; by default the same one every time.
        relabel: (labels (N,), p (N, C) of the weak views) -> the labels to measure in place of the network's own.

    Returns:
        One row per layer, in the model's order. With g(labels, samples) the gradient of L_u:
        layer                   conv 1, block 2, ..., classifier: with biases and the normalisation that follows (`layers`)
        benefit                 <g(pseudo, masked), g(true, masked)> / |g(true, masked)|^2: to first order, a step lowers the
                                true loss of these samples 1: as much as with true labels, 0: not at all, negative: it
                                rises. No ceiling at 1, and what is orthogonal to the true gradient does not count
        cosine                  between the same two gradients: how much of the step goes in the true direction
        alignment               cos(g(pseudo, masked), g(true, all)): effect on the loss one really wants
        alignment_true_masked   the same with true labels: what selection by confidence does alone
        alignment_pseudo_all    the same with all samples: what wrong labels do alone
        alignment_true_random   control: true labels on a random subset as large as the mask
        interference            cos(g(pseudo, masked), gradient of L_s): needs no true labels
        norm_pseudo, norm_true, norm_labelled   |g(pseudo, masked)|, |g(true, masked)|, |gradient of L_s|
        norm_noise              |g(pseudo, masked) - g(true, masked)|: the part that wrong labels add to the clean one, norm_true
        mask_rate, wrong_rate   share of samples over tau; share of wrong labels among them (NaN if there are none)
        empty                   True where no sample passed, or where the true gradient of those that did is zero (nothing left
                                to learn): then there is nothing to compare, and ratios with a zero gradient are given as 0

    Raises:
        InputError: for a model without a linear last layer, a layer that the output does not depend on, outputs with NaN,
            a threshold outside [0, 1], or batches and labels that do not fit together.
    """
    import pandas as pd

    g = generator or make_generator(0, "probe", strong.device)
    records = measure(model, x, y, weak, strong, y_true, threshold=threshold, generator=g, relabel=relabel)
    return pd.DataFrame(records).astype({name: "float64" for name in records[0] if name not in ("layer", "empty")})


@torch.enable_grad()
def measure(
    model: nn.Module, x: Tensor, y: Tensor, weak: Tensor, strong: Tensor, y_true: Tensor | None, *, threshold: float | Tensor,
    generator: torch.Generator, relabel: Callable | None = None,
) -> list[dict]:  # fmt: skip
    """`layer_benefit` as plain records, for the history of a run: None in place of NaN."""
    if not len(x) or not len(weak):
        raise InputError(f"{len(x)} labelled and {len(weak)} unlabelled samples; give at least one of each.")
    with in_train_mode(model):
        n = len(strong)
        with own_randomness(model, strong.device):
            output, classifier, _ = last_layer(model, torch.cat([x, weak, strong]))
        check_output(output, y, y_true)
        check_threshold(threshold, output.shape[1])
        groups = layers(model, classifier)
        if not output.requires_grad:
            raise InputError(_WITHOUT_GRADIENT.format(name=", ".join(groups)))
        parameters = [p for group in groups.values() for p in group]
        logits_x, logits_weak, logits = at_least_float32(output).split([len(x), n, n])
        labels, mask, _ = pseudo_label(logits_weak, threshold)
        if relabel is not None:
            labels = relabel(labels, logits_weak.detach().softmax(dim=1))
        known, y_true = y_true is not None, labels if y_true is None else y_true  # a stand-in, left out below
        p = logits.detach().softmax(dim=1)

        def gradient(targets: Tensor, samples: Tensor) -> list[Tensor]:
            """Of (1/N) sum_i samples_i CE(logits_i, targets_i), one flat vector per layer."""
            return by_layer(logits, error(p, targets, samples))

        def by_layer(out: Tensor, e: Tensor | None = None, last: bool = False) -> list[Tensor]:
            flat = iter(torch.autograd.grad(out, parameters, e, retain_graph=not last, allow_unused=True))
            whole = {name: [next(flat) for _ in group] for name, group in groups.items()}
            for name, parts in whole.items():
                if any(part is None for part in parts):
                    raise InputError(_WITHOUT_GRADIENT.format(name=name))
            return [torch.cat([part.flatten() for part in parts]) for parts in whole.values()]

        at_random = torch.zeros_like(mask)
        order = torch.randperm(n, generator=generator, device=generator.device).to(mask.device)
        at_random[order[: int(mask.sum())]] = True
        pseudo_masked, pseudo_all = gradient(labels, mask), gradient(labels, torch.ones_like(mask))
        truth = gradient if known else lambda *_: pseudo_masked
        true_masked, true_all, true_random = (truth(y_true, one) for one in (mask, torch.ones_like(mask), at_random))
        labelled = by_layer(F.cross_entropy(logits_x, y), last=True)

    masked = int(mask.sum())
    wrong_rate = float((labels != y_true)[mask].float().mean()) if masked else None
    records = [
        {
            "layer": name,
            "benefit": _ratio(pseudo_masked[i] @ true_masked[i], true_masked[i] @ true_masked[i]),
            "cosine": cosine(pseudo_masked[i], true_masked[i]),
            "alignment": cosine(pseudo_masked[i], true_all[i]),
            "alignment_true_masked": cosine(true_masked[i], true_all[i]),
            "alignment_pseudo_all": cosine(pseudo_all[i], true_all[i]),
            "alignment_true_random": cosine(true_random[i], true_all[i]),
            "interference": cosine(pseudo_masked[i], labelled[i]),
            "norm_pseudo": float(pseudo_masked[i].norm()),
            "norm_true": float(true_masked[i].norm()),
            "norm_noise": float((pseudo_masked[i] - true_masked[i]).norm()),
            "norm_labelled": float(labelled[i].norm()),
            "mask_rate": masked / n,
            "wrong_rate": wrong_rate,
            "empty": masked == 0 or not bool(true_masked[i].any()),
        }
        for i, name in enumerate(groups)
    ]
    return records if known else [{k: v if k in WITHOUT_TRUTH else None for k, v in r.items()} for r in records]


WITHOUT_TRUTH = ("layer", "interference", "norm_pseudo", "norm_labelled", "mask_rate", "empty")  # what needs no true labels
_WITHOUT_GRADIENT = (
    "layer '{name}' has a parameter without a gradient: the output does not depend on it. Take it out of the model, or leave it "
    "out of the measurement with .requires_grad_(False)."
)


def cosine(a: Tensor, b: Tensor) -> float:
    """cos of the angle between two flat vectors; 0 where either is zero."""
    return _ratio(a @ b, a.norm() * b.norm())


def _ratio(top: Tensor, bottom: Tensor) -> float:
    return float(top / bottom) if bottom > 0 else 0.0
