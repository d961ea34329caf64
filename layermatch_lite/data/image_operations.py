"""Operations on images, a whole batch at once, on the device where the batch lies.

Every image gets a draw of its own, all draws come from the generator that is passed in, and no Python loop runs over images.
They stay uint8, so each operation can be compared with torchvision's, value by value. The recipe is FixMatch's (Sohn et al. 2020,
appendix, RandAugment variant, with the ranges of public implementations).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

GRAY_FILL = 127  # the grey of cutout


def uniform(n: int, low: float, high: float, like: Tensor, g: Generator) -> Tensor:
    """(n,) float32 draws from [low, high) on the device of `like`."""
    return torch.rand(n, generator=g, device=like.device) * (high - low) + low


# --- single operations: uint8 (N, C, H, W) and one parameter per sample -> uint8 (N, C, H, W) ------------------------


def _per_image(parameter: Tensor) -> Tensor:
    return parameter.view(-1, 1, 1, 1)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor 1 keeps x, factor 0 gives `other`; rounds down to uint8, as torchvision does."""
    f = _per_image(factor)
    return (f * x + (1 - f) * other).clamp_(0, 255).to(torch.uint8)


def _grey(x: Tensor) -> Tensor:
    """(N, 1, H, W) luma, whole numbers as float."""
    if x.shape[1] != 3:
        return x[:, :1].float()
    r, g, b = x.float().unbind(1)
    return (0.2989 * r + 0.587 * g + 0.114 * b).floor_().unsqueeze(1)


def autocontrast(x: Tensor) -> Tensor:
    """Stretch each channel to the full range 0 ... 255."""
    low, high = x.amin((2, 3), keepdim=True).float(), x.amax((2, 3), keepdim=True).float()
    flat = low == high
    scale = torch.where(flat, 1.0, 255 / (high - low))
    return ((x - torch.where(flat, 0.0, low)) * scale).clamp_(0, 255).to(torch.uint8)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (_per_image(factor) * x).clamp_(0, 255).to(torch.uint8)


def color(x: Tensor, factor: Tensor) -> Tensor:
    return x if x.shape[1] != 3 else _blend(x, _grey(x), factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), factor)


def equalize(x: Tensor) -> Tensor:
    """Flatten each channel's histogram by a look-up table, with PIL's whole-number rounding."""
    n, c, h, w = x.shape
    rows = x.reshape(n * c, h * w).long()
    hist = torch.zeros(n * c, 256, dtype=torch.long, device=x.device)
    hist.scatter_add_(1, rows, torch.ones_like(rows))
    brightest = hist.gather(1, rows.amax(1, keepdim=True))
    step = (h * w - brightest) // 255
    table = (hist.cumsum(1) - hist + step // 2) // step.clamp(min=1)
    out = table.clamp_(max=255).gather(1, rows)
    return torch.where(step == 0, rows, out).to(torch.uint8).view(n, c, h, w)


def posterize(x: Tensor, bits: Tensor) -> Tensor:
    """Keep the `bits` highest bits (0 ... 8) of every value."""
    low_values = 2 ** (8 - bits.long())
    return x & _per_image(256 - low_values).to(torch.uint8)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Invert every value at or above the threshold (0 ... 256)."""
    return torch.where(x >= _per_image(threshold), 255 - x, x)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Blend with a 3x3 smoothed copy; factors below 1 blur. The one-pixel border stays."""
    if min(x.shape[2:]) <= 2:
        return x
    f = x.float()
    # The 3x3 kernel (ones, 5 in the middle) / 13 as two sums of neighbours plus 4 times the centre.
    rows = f[:, :, :-2] + f[:, :, 1:-1] + f[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = f.clone()
    smooth[:, :, 1:-1, 1:-1] = ((box + 4 * f[:, :, 1:-1, 1:-1]) / 13).round_()
    return _blend(f, smooth, factor)


def geometry(x: Tensor, *, degrees=0.0, shear_x=0.0, shear_y=0.0, left=0.0, up=0.0) -> Tensor:
    """Rotate, shear and translate with nearest neighbours, black outside; each amount (N,) or one number for all.

    degrees: counter-clockwise about the centre; shear_x, shear_y: about the top left corner; left, up: parts of the width
    and the height that the content moves by, in whole pixels. RandAugment uses one of them per draw; where several are given,
    their offsets add up.
    """
    n, c, h, w = x.shape
    amounts = (torch.as_tensor(v, device=x.device).expand(n) for v in (degrees, shear_x, shear_y, left, up))
    degrees, shear_x, shear_y, left, up = (v.float().view(n, 1, 1) for v in amounts)
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    # Where the centre of each output pixel lies in the input, pixel centres at .5
    rows = (torch.arange(h, device=x.device) + 0.5).view(1, h, 1)
    cols = (torch.arange(w, device=x.device) + 0.5).view(1, 1, w)
    offset_x = w / 2 - cos * w / 2 + sin * h / 2 + (left * w).trunc()
    offset_y = h / 2 - sin * w / 2 - cos * h / 2 + (up * h).trunc()
    src_x = (cos * cols + (shear_x - sin) * rows + offset_x).floor_().long()
    src_y = ((shear_y + sin) * cols + cos * rows + offset_y).floor_().long()
    inside = (src_x >= 0) & (src_x < w) & (src_y >= 0) & (src_y < h)
    source = src_y.clamp_(0, h - 1) * w + src_x.clamp_(0, w - 1)
    out = x.reshape(n, c, h * w).gather(2, source.view(n, 1, h * w).expand(n, c, h * w))
    return out.view(n, c, h, w) * inside.unsqueeze(1)


# Each operation with its parameter as a function of the level in tenths, 0.1 ... 0.9 (None: it has no parameter).
def _factor(level: Tensor) -> Tensor:
    return 0.9 * level + 0.05


TONES: dict[str, tuple[Callable, Callable | None]] = {
    "Identity": (lambda x: x, None),
    "AutoContrast": (autocontrast, None),
    "Equalize": (equalize, None),
    "Brightness": (brightness, _factor),
    "Color": (color, _factor),
    "Contrast": (contrast, _factor),
    "Sharpness": (sharpness, _factor),
    "Posterize": (posterize, lambda level: (4 * level).floor() + 4),
    "Solarize": (solarize, lambda level: 256 - (256 * level).floor()),
}
# Argument of `geometry` and its largest amount; the sign is random.
MOVES = {
    "Rotate": ("degrees", 30.0),
    "ShearX": ("shear_x", 0.3),
    "ShearY": ("shear_y", 0.3),
    "TranslateX": ("left", 0.3),
    "TranslateY": ("up", 0.3),
}
COLOR_OPERATIONS = (*TONES, *MOVES)
GREY_OPERATIONS = ("Identity", "Brightness", "Contrast", "Sharpness", *MOVES)


# --- what the views do with them --------------------------------------------------------------------------------------


def flip_and_crop(x: Tensor, g: Generator, *, pad: int, flip: bool, reflect: bool = True) -> Tensor:
    """FixMatch's weak view: mirror half of the images, then crop from a border widened by `pad` pixels.

    The border is reflected, or repeats the edge where `reflect` is off: mirrored strokes would change a digit.
    """
    n, c, h, w = x.shape
    dy = torch.randint(-pad, pad + 1, (n, 1), generator=g, device=x.device)
    dx = torch.randint(-pad, pad + 1, (n, 1), generator=g, device=x.device)
    mirrored = torch.rand(n, 1, generator=g, device=x.device) < 0.5
    rows = _border(torch.arange(h, device=x.device) + dy, h, reflect)
    cols = _border(torch.arange(w, device=x.device) + dx, w, reflect)
    if flip:
        cols = torch.where(mirrored, w - 1 - cols, cols)
    source = (rows.unsqueeze(2) * w + cols.unsqueeze(1)).view(n, 1, h * w)
    return x.reshape(n, c, h * w).gather(2, source.expand(n, c, h * w)).view(n, c, h, w)


def _border(index: Tensor, size: int, reflect: bool) -> Tensor:
    """Indices beyond an edge bounce back from it (-1 -> 1, size -> size - 2), or stay at it."""
    if not reflect:
        return index.clamp(0, size - 1)
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


def operate(
    x: Tensor,
    chosen: Tensor,
    level: Tensor,
    sign: Tensor,
    applied: Tensor,
    operations: tuple[str, ...] = COLOR_OPERATIONS,
    everywhere: bool | None = None,
) -> Tensor:
    """Apply operations[chosen[i]] to image i where applied[i]; a pure function of what was drawn.

    everywhere: compute every operation for every image and keep what was chosen, so that nobody has to ask the device which
    images those are: the way of a GPU, which would have to stop for it. A CPU computes each operation where it was chosen.
    """
    everywhere = x.is_cuda if everywhere is None else everywhere
    chosen = torch.where(applied, chosen, -1)
    x = x if everywhere else x.clone()
    moved, amounts = torch.zeros_like(applied), {}
    for k, name in enumerate(operations):
        here = chosen == k
        if name in MOVES:
            argument, largest = MOVES[name]
            amounts[argument] = here * sign * level * largest
            moved = moved | here
        elif name != "Identity":
            operation, parameter = TONES[name]
            x = _where(here, operation, x, everywhere, *([parameter(level)] if parameter else []))
    return _where(moved, lambda x, *v: geometry(x, **dict(zip(amounts, v))), x, everywhere, *amounts.values())


def _where(here: Tensor, operation: Callable, x: Tensor, everywhere: bool, *amounts: Tensor) -> Tensor:
    """operation(x, *amounts) for the images `here`, x for the others; in place unless `everywhere`."""
    if everywhere:
        return torch.where(_per_image(here), operation(x, *amounts), x)
    if len(who := here.nonzero().squeeze(1)):
        x[who] = operation(x[who], *(a[who] for a in amounts))
    return x


def rand_augment(
    x: Tensor, g: Generator, operations: tuple[str, ...] = COLOR_OPERATIONS, draws: int = 2, operate: Callable = operate
) -> Tensor:
    """`draws` operations per image, each applied with probability 0.5 at a level uniform in 1 ... 9 of 10.

    operate: `operate`, or a compiled form of it.
    """
    n = len(x)
    for _ in range(draws):
        chosen = torch.randint(len(operations), (n,), generator=g, device=x.device)
        level = torch.randint(1, 10, (n,), generator=g, device=x.device) / 10
        sign = torch.randint(0, 2, (n,), generator=g, device=x.device) * 2 - 1
        applied = torch.rand(n, generator=g, device=x.device) < 0.5
        x = operate(x, chosen, level, sign, applied, operations)
    return x


def cutout(x: Tensor, g: Generator, size: int) -> Tensor:
    """Grey out one square of `size` pixels around a point uniform in the image; what sticks out is cut off."""
    n, _, h, w = x.shape
    top = (uniform(n, 0, h, x, g) - size / 2).clamp_(min=0).floor_().view(n, 1, 1, 1)
    left = (uniform(n, 0, w, x, g) - size / 2).clamp_(min=0).floor_().view(n, 1, 1, 1)
    rows = torch.arange(h, device=x.device).view(1, 1, h, 1)
    cols = torch.arange(w, device=x.device).view(1, 1, 1, w)
    hole = (rows >= top) & (rows < top + size) & (cols >= left) & (cols < left + size)
    return x.masked_fill(hole, GRAY_FILL)
