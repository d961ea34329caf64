"""Data sets, split for semi-supervised learning, and their views."""

from .sets import SSLData, load_data, split

__all__ = ["SSLData", "load_data", "split"]
