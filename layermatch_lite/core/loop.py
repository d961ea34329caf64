"""The training loop.

`layermatch_lite.train` runs it to the end, saves and shows progress; `train_steps` yields after every step. Both draw the
batches and keep the history outside, in `layermatch_lite.runs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .losses import PseudoLabels, linear


class Batch(NamedTuple):
    """What one step sees: B labelled samples, and mu B unlabelled ones in two views (None without a method that uses them)."""

    x: Tensor  # (B, ...) labelled views
    y: Tensor  # (B,) int64
    weak: Tensor | None  # (mu B, ...) weak and
    strong: Tensor | None  # (mu B, ...) strong views of the same samples
    i: Tensor | None  # (mu B,) int64: which samples of the pool these are


class Step(NamedTuple):
    """What one step produced."""

    L_s: Tensor  # scalar
    L_u: Tensor  # scalar
    q: PseudoLabels | None
    i: Tensor | None  # (mu B,) the samples that q belongs to


def joint_features(features: Callable, batch: Batch) -> list[Tensor | None]:
    """Features of the labelled, the weak and the strong views, from one pass over all of them: BN sees them together."""
    views = [batch.x] if batch.weak is None else [batch.x, batch.weak, batch.strong]
    parts = features(torch.cat(views)).split([len(v) for v in views])
    return [*parts, None, None][:3]


def training_loop(run, method, batches: Iterator[Batch], forward: Callable) -> Iterator[Step]:
    """Train a run's model step by step, until `run.config.steps`.

    Args:
        run: holds `model`, `ema`, `optimizer`, `schedule`, `step` and `config` (`layermatch_lite.Run`).
        method: what to do with the unlabelled samples (`core.methods.FixMatch` or `Supervised`).
        batches: one batch a step.
        forward: batch -> features of the labelled, weak and strong views (`joint_features`).

    Yields:
        A Step after every step.
    """
    classifier = run.model.classifier
    while run.step < run.config.steps:
        batch = next(batches)
        z_x, z_weak, z_strong = forward(batch)

        L_s = F.cross_entropy(linear(z_x, classifier.weight, classifier.bias), batch.y)
        q = method.pseudo_label(z_weak, batch.i)
        L_u = method.loss(z_strong, q)

        run.optimizer.zero_grad()
        method.backward(L_s, L_u)  # of L_s + lambda_u L_u
        run.optimizer.step()
        run.schedule.step()
        run.ema.update_parameters(run.model)
        method.after_step()

        run.step += 1
        yield Step(L_s.detach(), L_u.detach(), q, batch.i)
