"""One run on several processes, as `torchrun` starts them: one GPU each, or some cores of a CPU.

Every process draws the same whole batch from the same random streams and works on its own samples of it. Gradients, FreeMatch's
statistics and all that is recorded are means over the processes, so the run is that of one process, but for rounding and,
on CPUs, for what BatchNorm sees (`shared_model`). With one process every function here does nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import InputError
from ..variants.wrapper import Wrapper


def world_size() -> int:
    """How many processes train this run together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is; rank 0 writes files and prints."""
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def processes(device: str = "auto") -> Iterator[None]:
    """Join the processes that torchrun started, if it did. device: the run's, "auto", "cpu" or "cuda"; on GPUs each process takes
    that of its local rank."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not dist.is_available() or not dist.is_torchelastic_launched():
        if size != "1":  # by another launcher, or left behind by one
            warnings.warn(f"WORLD_SIZE={size!r} is set, but torchrun did not start this process: training on one", stacklevel=3)
        size = "1"
    if int(size) < 2:
        yield
        return
    if ":" in device:
        raise InputError(
            f"device={device!r} names one GPU, and torchrun gives each process its own; write device='cuda'."
        )
    gpus = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if gpus:
        local = int(os.environ["LOCAL_RANK"])
        if local >= gpus:
            raise InputError(
                f"local process {local} has no GPU of its own; give torchrun --nproc_per_node={gpus} at most."
            )
        torch.cuda.set_device(local)
    # An hour, for while rank 0 downloads and decodes a data set the others wait.
    dist.init_process_group("nccl" if gpus else "gloo", timeout=timedelta(hours=1))
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def rank_0_first() -> Iterator[None]:
    """The block runs on rank 0 alone, then on the others: a download, say, that they find done."""
    if rank() > 0:
        dist.barrier()
    try:
        yield
    finally:  # if it fails here, it fails on the others, too, and each says so
        if rank() == 0 and world_size() > 1:
            dist.barrier()


def own(batch: Tensor) -> Tensor:
    """This process's samples of a whole batch: every world_size-th one, so that each share is mixed like the whole."""
    return batch[rank() :: world_size()]


def check_shares(batch_size: int) -> None:
    """Raise InputError where the processes cannot have equal shares: the mean of their means would not be the batch's."""
    if batch_size % world_size():
        fit = -(-batch_size // world_size()) * world_size()
        raise InputError(
            f"batch_size={batch_size} cannot be shared equally by {world_size()} processes; give batch_size={fit}, say."
        )


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of every process's x, without a gradient."""
    return sum_over_processes_(x.detach().clone()) / world_size() if world_size() > 1 else x


def sum_over_processes_(x: Tensor) -> Tensor:
    """Add up every process's x, in place."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def min_over_processes_(x: Tensor) -> Tensor:
    """The smallest of every process's x, in place."""
    if world_size() > 1:
        dist.all_reduce(x, dist.ReduceOp.MIN)
    return x


def on_every_process(here: bool, device: torch.device) -> bool:
    """Is something true here and on all the others?"""
    return here if world_size() == 1 else bool(min_over_processes_(torch.tensor(float(here), device=device)))


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's x; a gradient with respect to it reaches the samples of every process."""
    return _Sum.apply(x) if world_size() > 1 else x


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return sum_over_processes_(x.clone())

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:
        return sum_over_processes_(g.clone())


class FeatureExtractor(nn.Module):
    """model.features as a module whose parameters are all of the model's but the classifier's."""

    def __init__(self, model: nn.Module, features: Callable):
        super().__init__()
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, child in model.named_children():
            if child is not model.classifier:
                self.add_module(name, child)
        self.run = features

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def shared_model(model: nn.Module) -> nn.Module:
    """The model with BatchNorm that sees the whole batch: on GPUs, through SyncBatchNorm, which PyTorch has for no CPU.

    On CPUs each process normalises by its own share of the batch, as with ordinary BatchNorm on several GPUs, and the
    running statistics are those of rank 0, which the others take over.
    """
    on_gpu = next(model.parameters()).is_cuda
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if world_size() > 1 and on_gpu else model


def shared_features(model: nn.Module, features: Callable) -> Callable:
    """The feature extractor whose gradients are averaged over the processes during the backward pass (DistributedDataParallel).

    The classifier stays outside, for the gate needs its two gradients averaged one by one: `AveragedGradients`.
    """
    if world_size() == 1:
        return features
    return nn.parallel.DistributedDataParallel(FeatureExtractor(model, features))


def averaged(method):
    """The method itself, or on several processes with averaged gradients."""
    return AveragedGradients(method) if world_size() > 1 else method


class AveragedGradients(Wrapper):
    """A method on several processes: after its backward pass the classifier's gradients are means over the processes."""

    def backward(self, L_s: Tensor, L_u: Tensor) -> None:
        super().backward(L_s, L_u)
        for p in self.base.classifier.parameters():
            p.grad = mean_over_processes(p.grad)
