"""Games in the plane that notebooks play: small enough to see everything, too small to prove anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..core import theory
from ..errors import check_choice

if TYPE_CHECKING:
    import pandas as pd


def chase(labels_from: str, m: float) -> pd.DataFrame:
    """Free features chase averaged centres, 20 games of 150 rounds; pseudo-labels count from τ = 0.8 on.

    Returns one row per game and round: `seed`, `step`, `mask_rate`, `pseudo_label_accuracy` (NaN where nothing passes τ), and
    `accuracy` (of W, on all features).

    60 features of each of three classes; the classifier W learns from every twelfth alone (Grad-ReLU), and its average, of
    constant momentum m, pulls the features. Centres start a quarter turn off, worse than chance on purpose.

    labels_from: "W", or "W_bar": the average that lags; InputError for anything else. (A question about our formulation, not
    from the paper.)
    """
    import pandas as pd

    from ..figures.plane import toy

    check_choice("labels_from", labels_from, ("W", "W_bar"))
    rows = []
    for seed in range(20):
        z, y, _ = toy(each=60, seed=seed)
        x, y_x = z[::12].clone(), y[::12]
        start = torch.tensor([180.0, 300.0, 60.0]).deg2rad()
        W = W_bar = 1.5 * torch.stack([start.cos(), start.sin()], dim=1)
        for step in range(151):
            judge = W if labels_from == "W" else W_bar
            confidence, q = (z @ judge.T).softmax(dim=1).max(dim=1)
            mask = confidence >= 0.8
            right = float((q == y)[mask].float().mean()) if mask.any() else float("nan")
            found = float(((z @ W.T).argmax(dim=1) == y).float().mean())
            rows.append((seed, step, float(mask.float().mean()), right, found))
            z = z - 0.1 * len(z) * theory.feature_gradient(W_bar, (z @ W_bar.T).softmax(dim=1), q, mask)
            W = W - 0.1 * theory.classifier_gradient(x, (x @ W.T).softmax(dim=1), y_x)
            W_bar = m * W_bar + (1 - m) * W
    return pd.DataFrame(rows, columns=["seed", "step", "mask_rate", "pseudo_label_accuracy", "accuracy"])
