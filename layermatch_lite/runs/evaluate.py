"""What is measured of a run while it trains: accuracies, the layer benefit, and sums over the steps since the last record."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..core.loop import Step
from ..core.probe import measure
from ..data.batches import labelled_batch, unlabelled_batch
from ..data.sets import SSLData
from ..data.views import Views
from ..variants.build import injected_noise
from .device import autocast
from .parallel import min_over_processes_, own, sum_over_processes_, world_size
from .run import Run, cosine_schedule


class NonFiniteLoss(FloatingPointError):
    """The loss became NaN or infinite; the message names the step, the learning rate and the last good values."""


def diverged(run: Run, step: int) -> NonFiniteLoss:
    """The error for a run whose numbers are no longer finite at this step."""
    good = "there was no record before"
    if run.history:
        last = run.history[-1]
        good = f"at step {last['step']} they were {last['loss_s']:.4g} and {last['loss_u']:.4g}"
    return NonFiniteLoss(
        f"the loss became NaN or infinite at step {step} (learning rate {run.config.lr:g}, "
        f"{run.config.lr * cosine_schedule(step, run.config.steps):.4g} at that step); last good labelled and unlabelled "
        f"losses: {good}. Try a smaller lr; what was saved before is unharmed."
    )


def evaluate(run: Run, data: SSLData, views: Views) -> dict:
    """Accuracy of the EMA model on the test part, and on the validation part where there is one."""
    with autocast(run.environment):
        result = {"accuracy": accuracy(run.ema.module, views, data.x_test, data.y_test)}
        if data.num_val:
            result["val_accuracy"] = accuracy(run.ema.module, views, data.x_val, data.y_val)
    return result


def accuracy(model: nn.Module, views: Views, x: Tensor, y: Tensor) -> float:
    """Share of right predictions on samples without augmentation; the model must be in eval mode. Processes share the work."""
    right = (predictions(model, views, own(x)) == own(y)).sum()
    return int(sum_over_processes_(right)) / len(y)


@torch.no_grad()
def predictions(model: nn.Module, views: Views, x: Tensor, batch: int = 1000) -> Tensor:
    """(N,) int64: the most probable class of each sample, without augmentation; the model must be in eval mode."""
    return torch.cat([model(views.plain(part)).argmax(dim=1) for part in x.split(batch)])


def measure_layer_benefit(run: Run, data: SSLData, views: Views, g: torch.Generator) -> list[dict]:
    """`probe.measure` of the live model on batches as large as in training, drawn from a stream of their own."""
    config, noise = run.config, injected_noise(run, data)
    x, y = labelled_batch(data, views, config, g)
    weak, strong, i = unlabelled_batch(data, views, config.mu * config.batch_size, g)
    relabel = None if noise is None else lambda labels, p: noise(labels, p, i)
    y_true = data.y_unlabelled[i] if data.truth_known else None
    return measure(run.model, x, y, weak, strong, y_true, threshold=run.threshold, generator=g, relabel=relabel)


class Meter:
    """Sums of what the steps since the last record produced, kept on the device and read once in a while."""

    def __init__(self, num_classes: int, device: torch.device, truth_known: bool = True):
        """truth_known: False where the pool has samples of an unknown class: then no share of right labels is measured."""
        self.num_classes, self.device, self.truth_known = num_classes, device, truth_known
        self.reset()

    def reset(self) -> None:
        self.steps = 0
        self.losses = torch.zeros(2, device=self.device)
        self.masked, self.right, self.right_half = torch.zeros(3, device=self.device).unbind()
        self.counts = torch.zeros(self.num_classes, device=self.device)
        self.first_bad = torch.full((), torch.inf, device=self.device)

    @torch.no_grad()
    def add(self, step: int, seen: Step, y_unlabelled: Tensor) -> None:
        """step: the number of the step, from 0. y_unlabelled: true labels of the pool."""
        losses = torch.stack([seen.L_s, seen.L_u])
        self.first_bad = torch.where(losses.isfinite().all(), self.first_bad, self.first_bad.clamp(max=step))
        self.losses += losses
        self.steps += 1
        if seen.q is None:
            return
        labels, mask, confidence = seen.q
        right = labels == y_unlabelled[seen.i]
        self.masked += mask.sum()
        self.right += (mask & right).sum()
        self.right_half += right[confidence.topk(len(right) // 2).indices].sum()
        self.counts.index_add_(0, labels, mask.to(self.counts.dtype))

    def read(self, run: Run) -> dict:
        """The part of a record that training itself yields; raises NonFiniteLoss; starts the next sums."""
        for total in (self.losses, self.masked, self.right, self.right_half, self.counts):
            sum_over_processes_(total)
        self._check_finite(run)
        L_s, L_u = (self.losses / (self.steps * world_size())).tolist()
        record = {"step": run.step, "lr": run.schedule.get_last_lr()[0], "loss_s": L_s, "loss_u": L_u}
        if run.config.switches.unlabelled:
            n = run.config.mu * run.config.batch_size
            masked, half = float(self.masked), n // world_size() // 2 * world_size()  # each process halves its own share
            record |= {
                "mask_rate": masked / (self.steps * n),
                "pseudo_label_accuracy": float(self.right) / masked if masked and self.truth_known else None,
                "confident_half_accuracy": float(self.right_half) / (self.steps * half) if half and self.truth_known else None,
                "pseudo_label_counts": [int(c) for c in self.counts.tolist()],
            }
            if run.freematch is not None:
                record["thresholds"] = run.freematch.thresholds.tolist()
        self.reset()
        return record

    def _check_finite(self, run: Run) -> None:
        bad = float(min_over_processes_(self.first_bad))
        if math.isinf(bad) and not all(p.isfinite().all() for p in run.model.parameters()):
            bad = run.step  # the last update ruined the weights; the next loss would show it
        if not math.isinf(bad):
            raise diverged(run, int(bad))
