"""Image files as they are seen: upright, in 8 bits, transparency on white, in grey or in colour."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..system import printable, size_of

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".avif", ".jp2"}
# What is decoded, whatever a file's name ends with. EPS is not among them: reading it would run a program.
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "GIF", "WEBP", "PPM", "TIFF", "AVIF", "JPEG2000")
ALLOWED = "PNG, JPEG, TIFF, WebP, BMP, GIF, PPM, AVIF and JPEG 2000"
OF_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"}  # and whatever begins with a dot


class Header(NamedTuple):
    """What a file says of itself before its pixels are decoded."""

    width: int
    height: int
    grey: bool
    several: bool  # pictures: of an animation, say, of which the first is read


@lru_cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)  # a Pillow may be built without some


def _open(path: str):
    from PIL import Image

    size_of(path)  # a pipe would be waited for
    return Image.open(path, formats=_formats())


def header(path: str) -> Header:
    """Read a file's header. Raises InputError that names the file where it is no image."""
    from PIL import ExifTags

    try:
        with _open(path) as image:
            width, height = image.size
            if image.getexif().get(ExifTags.Base.Orientation, 1) > 4:  # it lies on its side
                width, height = height, width
            grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
            if image.mode in ("P", "PA"):
                colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
                grey = bool((colours == colours[:, :1]).all())
            return Header(width, height, grey, getattr(image, "is_animated", False))
    except Exception as error:  # Pillow has no common base class for a broken file
        raise _unreadable(path, error) from error


def read(path: str, grey: bool, size: int | None = None) -> np.ndarray:
    """uint8 (1, H, W) or (3, H, W) of an image file, of size x size pixels where a size is given: scaled until its shorter side
    has so many, then cropped to the middle.

    Raises InputError that names the file where it cannot be decoded, or holds numbers whose range nothing tells.
    """
    from PIL import ImageOps

    try:
        with _open(path) as image:
            if size is not None:
                image.draft(image.mode, (2 * size, 2 * size))  # a large JPEG need not be decoded to its last pixel
            sixteen = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")  # "I" of others: who knows how many bits
            ImageOps.exif_transpose(image, in_place=True)
            image = _eight_bits(image, sixteen).convert("L" if grey else "RGB")
            if size is not None and image.size != (size, size):
                image = ImageOps.fit(image, (size, size))
            pixels = np.asarray(image)
    except Exception as error:
        raise _unreadable(path, error) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _eight_bits(image, sixteen: bool):
    """In 8 bits, and without transparency. sixteen: do whole numbers range from 0 to 65535?"""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits; without this, all above 255 would be white
        a = np.asarray(image).astype(np.int64)
        if not sixteen or a.min() < 0 or a.max() > 65535:
            raise ValueError(f"numbers from {a.min()} to {a.max()} in 32 bits, of an unknown range; save it with 8 or 16 bits")
        return Image.fromarray((a / 257).round().astype(np.uint8))
    if image.mode == "F":
        a = np.asarray(image)
        if not (0 <= a.min() and a.max() <= 1):  # false for NaN, too
            raise ValueError(f"floats from {a.min():g} to {a.max():g}; give floats from 0 to 1, or save it with 8 or 16 bits")
        return Image.fromarray((a * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image


def _unreadable(path: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"{path} cannot be read ({error.strerror}); repair or remove it.")
    return InputError(f"{path} is not a readable image ({type(error).__name__}: {error}); replace or remove it.")


def files_below(folder: str | os.PathLike) -> Iterator[str]:
    """Every file below a folder, in the order of names, without what operating systems put there. Links are followed, once."""
    seen = set()

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); allow it to be read, or move it away.") from error

    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        folders[:] = sorted(f for f in folders if not of_system(f))
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (os.path.join(place, f) for f in sorted(files) if not of_system(f))


def of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def some(names: Sequence[str]) -> str:
    """ "3 files: a.txt, b.txt, ..." """
    shown = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
    heic = "; convert HEIC to JPEG" if any(name.lower().endswith((".heic", ".heif")) for name in names) else ""
    return f"{len(names)} file{'s' * (len(names) > 1)}: {shown}{heic}"


def named_as_image(path: str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES
