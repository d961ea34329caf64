"""Random streams: every draw in the package comes from a generator made here, never from the global one."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one named use of a seed ("labels", "init", ...). Streams of one seed are independent."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
