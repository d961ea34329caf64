"""How the steps of a run are computed on its device: number format, compilation, work ahead, shares of several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..core.loop import Batch, joint_features
from ..data.batches import draw_batch
from ..data.image_operations import operate
from ..data.sets import SSLData
from ..data.views import Views
from .config import TrainConfig
from .device import ahead, autocast, compiled, side_stream
from .parallel import own, shared_features, shared_model
from .run import Run


def views_of(config: TrainConfig, data: SSLData) -> Views:
    """The views of a run's data, through compiled image operations where it compiles."""
    # Compiled operations of a CPU would compute what `everywhere` does, which takes longer there.
    return Views(data, compiled(operate) if config.compile and data.mean.device.type == "cuda" else operate)


def batches_of(run: Run, data: SSLData, views: Views) -> Iterator[Batch]:
    """The batches of a run's steps: of each, this process's share. On a GPU the next one is drawn beside the step."""

    def draw() -> Batch:
        whole = draw_batch(data, views, run.config, run.generators)
        return Batch(*(part if part is None else own(part) for part in whole))

    # Where a record ends the step, the run may be saved: its random streams must not have run ahead then.
    return ahead(draw, lambda: not run.recorded_at(run.step + 1), side_stream(data.mean.device))


def forward_of(run: Run) -> Callable[[Batch], list[Tensor | None]]:
    """The forward pass of a run's steps, as its config and device have it."""
    config = run.config
    model = shared_model(run.model)
    features = compiled(model.features, cuda_graphs=config.cuda_graphs) if config.compile else model.features
    features = shared_features(model, features)

    def forward(batch: Batch) -> list[Tensor | None]:
        if config.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # both passes of a step keep their outputs until the next step
        with autocast(run.environment):
            if config.joint_forward:
                return joint_features(features, batch)
            with torch.no_grad():
                z_weak = features(batch.weak)
            z_x, z_strong = features(torch.cat([batch.x, batch.strong])).split([len(batch.x), len(batch.strong)])
            return [z_x, z_weak, z_strong]

    return forward
