"""The layer benefit, had the pseudo-labels known errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.probe import layer_benefit
from ..core.seeding import generator as make_generator
from .noise import KINDS, check_noise, corrupt, rows

if TYPE_CHECKING:
    import pandas as pd


def benefit_under_noise(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    weak: Tensor,
    strong: Tensor,
    y_true: Tensor,
    *,
    threshold: float,
    rates: Sequence[float],
    kinds: Sequence[str] = KINDS,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    """The layer benefit, had the pseudo-labels known errors: true labels corrupted at each rate by each kind of noise.

    Arguments as for `layer_benefit`; kinds and rates as in `variants.noise`. The samples over the threshold stay the
    network's own choice, and all measurements share one uniform number per sample. Returns the table of `layer_benefit` once per
    kind and rate, with columns kind and rate.
    """
    import pandas as pd

    g = generator or make_generator(0, "probe", strong.device)
    u = torch.rand(len(strong), generator=g, device=g.device).to(strong.device)
    state, tables = g.get_state(), []
    for kind in kinds:
        for rate in rates:
            check_noise(kind, rate)

            def corrupted(_: Tensor, p: Tensor) -> Tensor:
                """The rate holds among the samples over tau, and among the others."""
                labels, over = y_true.clone(), p.amax(dim=1) >= threshold
                for part in (over, ~over):
                    if part.any():
                        labels[part] = corrupt(y_true[part], rows(kind, rate, y_true[part], p[part]), u[part])
                return labels

            g.set_state(state)  # the same random subset for the control, too
            t = layer_benefit(model, x, y, weak, strong, y_true, threshold=threshold, generator=g, relabel=corrupted)
            tables.append(t.assign(kind=kind, rate=rate))
    return pd.concat(tables, ignore_index=True)
