"""Batches for a training step, drawn with replacement, each with its own random stream."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..core.loop import Batch


def labelled_batch(data, views, config, g: Generator) -> tuple[Tensor, Tensor]:
    """(B, ...) views and (B,) labels; the first share `strong_labelled` in the strong view."""
    i = torch.randint(len(data.x_labelled), (config.batch_size,), generator=g, device=g.device)
    x, k = data.x_labelled[i], round(config.strong_labelled * config.batch_size)
    parts = [views.strong(x[:k], g)] if k else []  # no views of no samples: compiled code would compile for them
    if k < len(x):
        parts.append(views.weak(x[k:], g))
    return torch.cat(parts), data.y_labelled[i]


def unlabelled_batch(data, views, n: int, g: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(n, ...) weak and strong views of the same samples, and where in the unlabelled pool these samples are: (n,) int64."""
    i = torch.randint(len(data.x_unlabelled), (n,), generator=g, device=g.device)
    u = data.x_unlabelled[i]
    return views.weak(u, g), views.strong(u, g), i


def draw_batch(data, views, config, generators: dict[str, Generator]) -> Batch:
    """What one step of a run sees."""
    x, y = labelled_batch(data, views, config, generators["labelled"])
    if not config.switches.unlabelled:
        return Batch(x, y, None, None, None)
    return Batch(x, y, *unlabelled_batch(data, views, config.mu * config.batch_size, generators["unlabelled"]))
