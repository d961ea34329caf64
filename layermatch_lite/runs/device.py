"""What depends on where a run takes place: its device, precision, compilation, memory, and work done ahead."""

from __future__ import annotations

import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .config import TrainConfig
from .parallel import world_size

T = TypeVar("T")


def pick_device(name: str) -> torch.device:
    """The device a setting names, checked; "auto" takes CUDA, then MPS, then the CPU."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    usable = device is not None and available.get(device.type, False)
    if usable and device.type == "cuda":
        usable = (device.index or 0) < torch.cuda.device_count()
    if not usable:
        raise InputError(
            f"device={name!r} is not available here; choose from auto, "
            f"{', '.join(d for d, there in available.items() if there)}."
        )
    return device


def precision_of(wanted: str, device: torch.device) -> str:
    """What the network is computed in on this device: "bf16" or "float32". wanted: "auto", "bf16" or "float32".

    One warning where bf16 is wanted and the hardware has none. On a CPU "auto" is float32.
    """
    if wanted == "float32" or (wanted == "auto" and device.type != "cuda"):
        return "float32"
    if has_bf16(device):
        return "bf16"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"this machine's {device.type}"
    warnings.warn(f"{name} is not known to compute in bf16: training in float32, more slowly", stacklevel=2)
    return "float32"


@lru_cache
def has_bf16(device: torch.device) -> bool:
    """Does the hardware compute in bf16? On a CPU this is measured, once per process: emulated, it is no faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bf16_speedup() > 1.2


def bf16_speedup() -> float:
    """How many times faster a CPU computes a convolution in bf16 than in float32: about 2 in hardware, 1 or less emulated."""
    x = torch.zeros(32, 64, 16, 16).to(memory_format=torch.channels_last)
    w = torch.zeros(64, 64, 3, 3).to(memory_format=torch.channels_last)
    pairs = [(t.float(), t.bfloat16()) for t in (x, w)]

    def seconds(k: int) -> float:
        start = time.perf_counter()
        F.conv2d(*(pair[k] for pair in pairs), padding=1)
        return time.perf_counter() - start

    return statistics.median(seconds(0) / seconds(1) for _ in range(9))


def autocast(environment: dict) -> torch.autocast:
    """The precision that a run of this environment computes its network in. The losses leave it again (`core.losses.linear`)."""
    on = environment["precision"] == "bf16"
    return torch.autocast(torch.device(environment["device"]).type, torch.bfloat16, enabled=on)


def compiled(function: Callable, *, cuda_graphs: bool = False) -> Callable:
    """torch.compile(function), or the function itself where compiling fails, which one warning says."""
    import torch._functorch.config as lowering

    # Then a backward pass that cannot be compiled fails in the call below, too, not later in the training step.
    at_once = {"force_non_lazy_backward_lowering": True}
    at_once = at_once if all(hasattr(lowering, name) for name in at_once) else {}  # older versions of torch lack it
    torch.compiler.reset()  # what earlier trainings compiled counts against the limit beyond which torch silently stays eager
    # One shape at a time: a step knows few, and code for any shape is slower.
    fast = torch.compile(function, mode="reduce-overhead" if cuda_graphs else None, dynamic=False)

    def call(*args):
        nonlocal fast
        if fast is not function:
            try:
                with lowering.patch(**at_once):
                    return fast(*args)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # a missing compiler, an operator without a kernel, ...: torch has no common class
                result = function(*args)  # an error of the function's own comes out here, as it would uncompiled
                reason = " ".join(str(error).split())[:150]
                name = getattr(function, "__name__", "function")
                warnings.warn(
                    f"torch.compile failed for {name} ({type(error).__name__}: {reason}); training continues without it, "
                    "more slowly",
                    stacklevel=2,
                )
                fast = function
                return result
        return function(*args)

    return call


class SideStream:
    """Work that a GPU does beside its main stream."""

    def __init__(self, device: torch.device):
        self.device, self.stream = device, torch.cuda.Stream(device)

    def start(self, work: Callable):
        """Queue work() behind what the main stream has been given so far, which may still read memory that is free again."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            return work()

    def join(self) -> None:
        """What the main stream is given from now on comes after what was started."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)


def side_stream(device: torch.device) -> SideStream | None:
    return SideStream(device) if device.type == "cuda" else None


def ahead(draw: Callable[[], T], may_run_ahead: Callable[[], bool], side: SideStream | None) -> Iterator[T]:
    """Endless results of draw(), in order; with a side stream the next one is made while the caller works with this one,
    where may_run_ahead(), asked when this one is handed out, says so."""
    waiting = []
    while True:
        if waiting:
            side.join()
        batch = waiting.pop() if waiting else draw()
        if side is not None and may_run_ahead():
            waiting.append(side.start(draw))
        yield batch


def free_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has left for this process, None elsewhere."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def activation_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes per sample of x (n, ...) that the feature extractor's forward pass keeps for the backward pass."""
    kept, own = {}, {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        z = model.features(x)  # kept alive: a place that is freed and used again would be counted once
    assert z.requires_grad
    return sum(n for place, n in kept.items() if place not in own) // len(x)


def out_of_memory(
    config: TrainConfig, model: nn.Module, sample_shape: tuple[int, ...], free: int, bf16: bool
) -> InputError:
    """The error that names what would fit: an estimate from the activations of one sample, with a fifth of `free` to spare.

    model: the run's, or one like it, on the CPU: there is no room on the GPU.
    """
    name = type(model).__name__ if config.model == "auto" else config.model
    each = activation_bytes(model, torch.zeros(2, *sample_shape)) / (2 if bf16 else 1)
    views = 1
    if config.switches.unlabelled:
        views += config.mu * (2 if config.joint_forward else 1)
    n = world_size()  # processes that share a batch
    room = 0.8 * free / (each * views) * n  # labelled samples that fit, with their unlabelled ones
    smaller = min(int(room), config.batch_size - 1) // n * n
    fit = [f"batch_size={smaller}"] if smaller else []
    if wrn := re.fullmatch(r"wrn-(\d+)-(\d+)", config.model):
        width = min(int(int(wrn[2]) * room / config.batch_size), int(wrn[2]) - 1)
        fit += [f"model='wrn-{wrn[1]}-{width}' with this batch size"] if width else []
    return InputError(
        f"out of GPU memory: a step of batch_size={config.batch_size}, mu={config.mu} through {name} keeps about "
        f"{each * views * config.batch_size / n / 1e9:.3g} GB for the backward pass, and {free / 1e9:.3g} GB were free. By the "
        f"same estimate this would fit: {' or '.join(fit) or 'nothing on this GPU; choose another network or device'}."
    )
