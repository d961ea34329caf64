"""Data for the page: one compressed block of numbers that Python writes and page/core.js unpacks. Nothing in it is executed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from ..errors import InputError

SHIPPED = Path(__file__).with_name("shipped")  # `make recordings`
PLACE, SCALE = 4095, 10_000  # map coordinates in 12 bits, shares in steps of 0.0001


def pack(about: dict, **arrays: np.ndarray) -> bytes:
    """JSON and arrays in one block: the length of the head, the head, then the numbers, each array at a multiple of 8 bytes."""
    body, listed = b"", {}
    for name, a in arrays.items():
        a = np.ascontiguousarray(a)
        if a.dtype.name not in ("uint8", "int8", "uint16", "int16", "float32"):
            raise TypeError(f"{name} is {a.dtype}, which the page does not read")
        listed[name] = {"dtype": a.dtype.name, "shape": list(a.shape), "start": len(body)}
        body += a.tobytes() + bytes(-a.nbytes % 8)
    while True:  # the places of the arrays count from the start, behind a head that holds these places
        head = json.dumps({"about": about, "arrays": listed}, allow_nan=False).encode()
        head += b" " * (-(4 + len(head)) % 8)
        first, shift = min((a["start"] for a in listed.values()), default=0), 4 + len(head)
        if first == shift or not listed:
            return gzip.compress(len(head).to_bytes(4, "little") + head + body, 9, mtime=0)
        for a in listed.values():
            a["start"] += shift - first


def unpack(block: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """What was packed: (about, arrays)."""
    raw = gzip.decompress(block)
    length = int.from_bytes(raw[:4], "little")
    head = json.loads(raw[4 : 4 + length])
    arrays = {}
    for name, a in head["arrays"].items():
        dtype, count = np.dtype(a["dtype"]), int(np.prod(a["shape"]))
        arrays[name] = np.frombuffer(raw, dtype, count, a["start"]).reshape(a["shape"])
    return head["about"], arrays


def shipped(key: str) -> bytes:
    """A block that comes with the package, as it lies on the disk."""
    path = SHIPPED / f"{key}.pack"
    if not path.is_file():
        raise InputError(f"{path.name} is missing in {path.parent}; install the package again.")
    return path.read_bytes()


def on_map(points: np.ndarray) -> np.ndarray:
    """(..., 2) float -> uint16: the smallest square around all points, with x and y from 0 to `PLACE`."""
    flat = points.reshape(-1, 2).astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    side = max(float((high - low).max()), 1e-9)
    return ((points - (low + high) / 2) / side * PLACE + PLACE / 2).round().clip(0, PLACE).astype(np.uint16)


def shares(values) -> np.ndarray:
    """Numbers in [0, 1] -> uint16."""
    return (np.asarray(values, np.float64) * SCALE).round().astype(np.uint16)


def thousandths(values: np.ndarray) -> np.ndarray:
    """Numbers -> int16 thousandths; -32768 where there is none."""
    v = np.asarray(values, np.float64)
    return np.where(np.isnan(v), -32768, (v * 1000).round().clip(-32767, 32767)).astype(np.int16)


def pictures(x: np.ndarray) -> np.ndarray:
    """Samples as uint8 for thumbnails: what is stored already is, as it is; else from the smallest to the largest value."""
    if x.dtype == np.uint8 and x.ndim == 4 and x.shape[1] == 3:
        return x
    x = x.astype(np.float64)
    return ((x - x.min()) / max(np.ptp(x), 1e-9) * 255).round().astype(np.uint8)
