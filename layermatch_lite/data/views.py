"""Weak and strong views, a whole batch at once, on the device where the batch lies.

`Views(data)` chooses by the kind of data:

    images   weak: flip and reflect-padded crop; strong: weak, two random operations, cutout
    signals  weak: small shift and noise;        strong: shift, stretch, tilt, smooth noise, a gap
    points   weak: small noise;                  strong: larger noise

The image recipe is FixMatch's; the signal and point recipes are our formulation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .image_operations import COLOR_OPERATIONS, GREY_OPERATIONS, cutout, flip_and_crop, operate, rand_augment, uniform


def warp(x: Tensor, shift: Tensor, stretch: Tensor) -> Tensor:
    """Read each signal of (N, C, L) at stretched and shifted times, around its end, between samples linearly.

    shift (N,) in samples, to the right; stretch (N,), above 1 makes the signal longer, about its middle.
    """
    n, c, length = x.shape
    middle = (length - 1) / 2
    t = (torch.arange(length, device=x.device) - middle - shift.view(-1, 1)) / stretch.view(-1, 1) + middle
    before = t.floor()
    part = (t - before).unsqueeze(1)
    before = (before.long() % length).unsqueeze(1).expand(n, c, length)
    return torch.lerp(x.gather(2, before), x.gather(2, (before + 1) % length), part)


def smooth_noise(x: Tensor, g: Generator) -> Tensor:
    """Noise like x with unit variance, correlated over about five samples."""
    kernel = torch.exp(-0.5 * (torch.arange(-4, 5, device=x.device) / 2) ** 2)
    kernel = (kernel / kernel.square().sum().sqrt()).view(1, 1, -1)
    n, c, length = x.shape
    noise = torch.randn(n * c, 1, length + 8, generator=g, device=x.device)
    return F.conv1d(noise, kernel).view(n, c, length)


def weak_signal(x: Tensor, g: Generator) -> Tensor:
    """A shift of up to two samples and a little noise."""
    shift = uniform(len(x), -2, 2, x, g)
    return warp(x, shift, torch.ones_like(shift)) + 0.05 * torch.randn(x.shape, generator=g, device=x.device)


def strong_signal(x: Tensor, g: Generator) -> Tensor:
    """Shift, stretch, scale, tilt, smooth noise and a gap: what a recorded signal of unit variance may suffer."""
    n, _, length = x.shape
    x = warp(x, uniform(n, -length / 2, length / 2, x, g), 2 ** uniform(n, -0.2, 0.2, x, g))
    x = x * uniform(n, 0.7, 1.3, x, g).view(n, 1, 1)
    ramp = torch.linspace(-1, 1, length, device=x.device)
    x = x + uniform(n, -0.8, 0.8, x, g).view(n, 1, 1) * ramp + 0.3 * smooth_noise(x, g)
    start = uniform(n, 0, length, x, g).view(n, 1, 1)
    time = torch.arange(length, device=x.device)
    return x.masked_fill((time >= start) & (time < start + 0.15 * length), 0.0)


def jitter(x: Tensor, g: Generator, spread: float) -> Tensor:
    """Points moved by Gaussian noise."""
    return x + spread * torch.randn(x.shape, generator=g, device=x.device)


class Views:
    """The views of one data set: `plain(x)`, `weak(x, g)`, `strong(x, g)`.

    Each takes a batch as the data set stores it and returns normalised float32 of the same shape. A strong view of an
    image starts from a weak one of its own; side lengths scale the recipe (32 pixels: crop 4, cutout 16). Grey images
    are taken for drawings: no colour operations, edges repeated instead of reflected, a smaller cutout.
    """

    def __init__(self, data, operate: Callable = operate):
        """operate: for images, `operate` or a compiled form of it."""
        self.kind, self.flip, self.operate = data.kind, data.flip, operate
        shape = (1, -1, *[1] * (len(data.sample_shape) - 1))
        self.mean, self.std = data.mean.view(shape), data.std.view(shape)

    def plain(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def weak(self, x: Tensor, g: Generator) -> Tensor:
        if self.kind == "image":
            return self.plain(self._crop(x, g))
        x = self.plain(x)
        return weak_signal(x, g) if self.kind == "signal" else jitter(x, g, 0.05)

    def strong(self, x: Tensor, g: Generator) -> Tensor:
        if self.kind == "image":
            colour, side = x.shape[1] == 3, min(x.shape[2:])
            operations = COLOR_OPERATIONS if colour else GREY_OPERATIONS
            x = rand_augment(self._crop(x, g), g, operations, operate=self.operate)
            return self.plain(cutout(x, g, side // 2 if colour else side // 3))
        x = self.plain(x)
        return strong_signal(x, g) if self.kind == "signal" else jitter(x, g, 0.3)

    def _crop(self, x: Tensor, g: Generator) -> Tensor:
        return flip_and_crop(x, g, pad=min(x.shape[2:]) // 8, flip=self.flip, reflect=x.shape[1] == 3)
