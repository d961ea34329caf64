"""The derivation as code: what one pseudo-label does to the classification layer and to the features, in closed form.

Notation: z (N, D) features, W (C, D) and b (C,) the classifier, p = softmax(W z + b), labels q (N,), mask a (N,). All are
for L_u = (1/N) sum_i a_i CE(W z_i + b, q_i). These are textbook derivatives; the split into clean and noise is our formulation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import takes


@takes(p="float (N, C)", labels="label (N) of C", mask="bool (N) or None")
def error(p: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """dL_u/dlogits: (1/N) a_i (p_i - e_q), (N, C) for probabilities p (N, C), labels (N,) and a mask (N,) or None (all)."""
    e = (p - F.one_hot(labels, p.shape[1])) / len(p)
    return e if mask is None else e * mask.unsqueeze(1)


def with_bias(z: Tensor) -> Tensor:
    """(N, D) -> (N, D+1): a feature that is always 1 turns the bias into one more column of W."""
    return torch.cat([z, torch.ones_like(z[:, :1])], dim=1)


@takes(z="float (N, D)", p="float (N, C)", labels="label (N) of C", mask="bool (N) or None")
def classifier_gradient(z: Tensor, p: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """dL_u/dW = sum_i (1/N) a_i (p_i - e_q) z_i^T: (C, D). One wrong label pushes two centres, for every sample at once."""
    return error(p, labels, mask).T @ z


@takes(W="float (C, D)", p="float (N, C)", labels="label (N) of C", mask="bool (N) or None")
def feature_gradient(W: Tensor, p: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """dL_u/dz_i = (1/N) a_i W^T (p_i - e_q): (N, D). A descent step pulls z_i towards w_q and away from the other centres."""
    return error(p, labels, mask) @ W


@takes(z="float (N, D)", p="float (N, C)", labels="label (N) of C", y_true="label (N) of C", mask="bool (N) or None")
def split_classifier_gradient(
    z: Tensor, p: Tensor, labels: Tensor, y_true: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dL_u/dW as clean + noise, each (C, D): the gradient the true labels would give, and (1/N) sum_i a_i (e_y - e_q) z_i^T.

    The noise does not depend on p; but as p approaches a wrong e_q, the clean part becomes its opposite and the sum vanishes.
    """
    wrong = (F.one_hot(y_true, p.shape[1]) - F.one_hot(labels, p.shape[1])).to(z.dtype) / len(p)
    noise = (wrong if mask is None else wrong * mask.unsqueeze(1)).T @ z
    return classifier_gradient(z, p, y_true, mask), noise


@takes(W="float (C, D)", p="float (N, C)", labels="label (N) of C", y_true="label (N) of C", mask="bool (N) or None")
def split_feature_gradient(
    W: Tensor, p: Tensor, labels: Tensor, y_true: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """dL_u/dz as clean + noise, each (N, D): a wrong label adds (w_y - w_q) / N to its own sample's gradient alone."""
    noise = (W[y_true] - W[labels]) / len(p)
    return feature_gradient(W, p, y_true, mask), noise if mask is None else noise * mask.unsqueeze(1)
