"""Your own arrays in the form of `SSLData`: converted where their layout can be told without guessing, refused elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError


def samples(name: str, x) -> Tensor:
    """Samples in the form of `SSLData`, from a tensor or an array in any form that can be told without guessing."""
    x = as_tensor(name, x)
    like = f"{name} is {tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"
    wanted = "give uint8 images (N, C, H, W), float signals (N, C, L) or float points (N, F), at least one"
    if x.dim() == 4 or (x.dim() == 3 and x.dtype == torch.uint8 and min(x.shape[1:]) > 4):
        if x.dtype != torch.uint8:
            raise InputError(f"{like}; images are uint8, from 0 to 255: (255 * {name}).round() for floats from 0 to 1, say.")
        first, last = (x.dim() == 4 and x.shape[k] in (1, 3, 4) for k in (1, 3))
        if x.dim() == 3:
            x = x.unsqueeze(1)
        elif last and not first:
            x = x.permute(0, 3, 1, 2).contiguous()
    elif x.dim() in (2, 3) and not x.is_complex():
        x = x.float()
    else:
        raise InputError(f"{like}; {wanted}.")
    if not x.numel():
        raise InputError(f"{like}, without a value; {wanted}.")
    if bad := int((~x.flatten(1).isfinite()).any(dim=1).sum()) if x.is_floating_point() else 0:
        raise InputError(
            f"{bad} of {len(x)} samples of {name} hold NaN, infinity or values beyond float32; correct them, or leave them out."
        )
    return x


def class_numbers(name: str, y, num_classes: int, unknown: bool = False) -> Tensor:
    """(N,) int64 classes, from whole numbers (N,) or (N, 1), or from one-hot rows (N, C). unknown: is -1 allowed?"""
    y = as_tensor(name, y)
    wanted = f"give one whole number from 0 to {num_classes - 1} per sample" + (", or -1 where it is unknown" if unknown else "")
    if y.dim() == 2 and y.shape[1] == num_classes > 1 and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all()):
        y = y.long().argmax(dim=1)
    elif y.dim() == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dim() != 1 or y.is_complex() or (y.is_floating_point() and not bool((y == y.round()).all())):
        raise InputError(f"{name} is {tuple(y.shape)} {str(y.dtype).removeprefix('torch.')}; {wanted}.")
    y = y.long()
    if len(y) and (y.min() < (-1 if unknown else 0) or y.max() >= num_classes):
        raise InputError(f"{name} holds labels from {y.min()} to {y.max()}; {wanted}.")
    return y


def as_tensor(name: str, given) -> Tensor:
    """A tensor on the CPU, without a gradient, of a tensor, an array or a list."""
    try:
        if not isinstance(given, Tensor):
            array = np.ascontiguousarray(given)
            given = torch.from_numpy(array if array.flags.writeable else array.copy())
        return given.detach().cpu().to_dense()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error)[:80]
        raise InputError(f"{name} is {type(given).__name__}, not an array of numbers ({reason}); give one of numbers.") from error


def real_array(name: str, given, shape: tuple[int | None, ...]) -> np.ndarray:
    """A float64 array for a measurement or a picture, of this shape (None: any length).

    Raises InputError for other shapes, and for NaN, infinity and values beyond 1e15, whose squares float32 could not hold.
    """
    a = as_tensor(name, given)
    if a.is_complex():
        raise InputError(f"{name} holds complex numbers; give real ones.")
    a = a.double().numpy()
    if a.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, a.shape)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{name} of shape {a.shape} does not fit; give ({wanted}).")
    far = ~(np.abs(a) <= 1e15)
    if bad := int(far.reshape(len(a), -1).any(axis=1).sum()):
        raise InputError(
            f"{bad} of {len(a)} rows of {name} hold NaN, infinity or values beyond 1e15; training diverged, or they were never "
            "filled in."
        )
    return a
