"""How settings are declared: a dataclass field carries its help text, its bounds or its choices, and one loop checks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields
from numbers import Integral, Real
from os import PathLike, fspath

from ..errors import InputError, check_choice, check_range, shown

KINDS = {"int": (Integral, int), "float": (Real, float), "bool": (bool, bool), "str": ((str, PathLike), fspath)}


def setting(
    default,
    meaning: str,
    low: float | None = None,
    high: float = float("inf"),
    *,
    open_low: bool = False,
    open_high: bool = False,
    choices: Sequence[str] = (),
):
    """A dataclass field with its help text, and either bounds (from low on: a number without them is free) or choices."""
    bounds = None if low is None else dict(low=low, high=high, open_low=open_low, open_high=open_high)
    return field(default=default, metadata={"help": meaning, "bounds": bounds, "choices": choices})


def check_fields(settings) -> None:
    """Turn every setting into plain Python data of its annotated kind, and raise InputError where one is not allowed.

    None passes where the annotation allows it.
    """
    for f in fields(settings):
        if "help" not in f.metadata:
            continue
        value = plain(f.name, getattr(settings, f.name), f.type)
        object.__setattr__(settings, f.name, value)  # settings are frozen
        if value is None:
            continue
        if f.metadata["choices"]:
            check_choice(f.name, value, f.metadata["choices"])
        if f.metadata["bounds"]:
            check_range(f.name, value, **f.metadata["bounds"], whole=f.type.startswith("int"))


def plain(name: str, value: object, kind: str) -> object:
    """The value as plain Python data of the annotated kind ("int", "float | None", ...): what a file can hold safely."""
    if value is None and "None" in kind:
        return None
    allowed, convert = KINDS[kind.split()[0]]
    if not isinstance(value, allowed) or (isinstance(value, bool) and allowed is not bool):
        raise InputError(f"{name}={shown(value)} is not allowed; give {'a whole number' if allowed is Integral else kind}.")
    return convert(value)
