"""The one error for input that the user can correct, and the checks that raise most of it."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Set
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class InputError(ValueError):
    """A wrong value: the message names it, says what is allowed and what to do, in one line."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()) if "\n" in message else message)


def shown(value: object) -> str:
    """A value in a message: its repr, cut where that is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_choice(name: str, value: object, allowed) -> None:
    """Raise InputError unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if any(value is a or (isinstance(value, str | Real) and value == a) for a in allowed):
        return
    close = difflib.get_close_matches(str(value)[:80], [str(a) for a in allowed], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{name}={shown(value)} is unknown; choose from {', '.join(map(str, allowed))}.{hint}")


def check_range(
    name: str,
    value: object,
    low: float,
    high: float = float("inf"),
    *,
    whole: bool = False,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise InputError unless `value` is a finite number in the interval (a whole one where `whole`)."""
    kinds = Integral if whole else Real
    ok = isinstance(value, kinds) and not isinstance(value, bool)
    ok = ok and (value > low if open_low else value >= low)  # NaN fails every comparison
    ok = ok and (value < high if open_high else value <= high) and value not in (float("inf"), float("-inf"))
    if ok:
        return
    kind = "a whole number" if whole else "a number"
    if high == float("inf"):
        interval = f"{'greater than' if open_low else 'of at least'} {low:g}"
    else:
        interval = f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    raise InputError(f"{name}={shown(value)} is not allowed; give {kind} {interval}.")


# --- the arguments of public functions --------------------------------------------------------------------------------

PLAIN = {
    "text": (str, "a text"),
    "path": ((str, os.PathLike), "a path"),
    "flag": (bool, "True or False"),
    "dict": (Mapping, "a dict"),
}
TENSORS = {"float": "a float", "int": "an int64", "label": "an int64", "bool": "a bool", "tensor": "a"}


def takes(**kinds: str | type | UnionType) -> Callable:
    """Check a function's arguments before it begins: whatever is of another kind ends in one InputError that names it.

    kinds: {argument: kind}, one of
        "float (N, D)", "int (N)", "bool (N)", "tensor (N, ...)"  a tensor; a letter is one size in the whole call, and all lie
                           on one device
        "label (N) of C"   an int64 tensor of numbers from 0 to C - 1
        "linear (D, C)"    an nn.Linear with D inputs and C outputs
        "numbers"          a sequence of finite numbers
        "text", "path", "flag", "dict", "list", or a class
    and with " or None" behind it, or a class `| None`, also None.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args, **named):
            given = signature.bind(*args, **named).arguments
            check_kinds({name: (kind, given[name]) for name, kind in kinds.items() if name in given})
            return function(*args, **named)

        return checked

    return decorate


def check_kinds(given: dict[str, tuple[str | type | UnionType, object]]) -> None:
    """Raise InputError unless every value is of its kind, as for `takes`. given: {name: (kind, value)}."""
    sizes: dict[str, tuple[int, str]] = {}  # of each letter: how many, and which argument said so
    places: dict[str, str] = {}  # device: the first tensor on it
    for name, (kind, value) in given.items():
        if not isinstance(kind, str):
            fits, wanted = isinstance(value, kind), f"a {getattr(kind, '__name__', kind)}"
        else:
            if value is None and kind.endswith(" or None"):
                continue
            kind = kind.removesuffix(" or None")
            fits, wanted = _fits(name, kind, value, sizes, places)
        if not fits:
            raise InputError(f"{name} is {_described(value)}; give {wanted}.")


def _fits(name: str, kind: str, value: object, sizes: dict, places: dict) -> tuple[bool, str]:
    """Is the value of this kind, and what is one in words?"""
    if kind in PLAIN:
        return isinstance(value, PLAIN[kind][0]), PLAIN[kind][1]
    if kind in ("list", "numbers"):
        try:
            there = not isinstance(value, str | bytes | Mapping | Set) and len(list(value)) == len(value)  # a set has no order
            fits = kind == "list" or all(isinstance(v, Real) and math.isfinite(v) for v in value)
        except Exception:  # whatever its iteration raises
            there = fits = False
        return there and fits, "a list" if kind == "list" else "a list of finite numbers"
    from torch import Tensor, nn

    what, letters, of = re.fullmatch(r"(\w+) \((.*)\)(?: of (\w))?", kind).groups()
    letters = letters.split(", ")
    if what == "linear":
        there = isinstance(value, nn.Linear)
        shape, tensor = (value.in_features, value.out_features) if there else (), value.weight if there else None
    else:
        there = isinstance(value, Tensor) and not value.is_complex() and not value.is_sparse
        if there and what != "tensor":
            whole = str(value.dtype) in ("torch.int64", "torch.int32")
            there = {"float": value.is_floating_point(), "bool": str(value.dtype) == "torch.bool"}.get(what, whole)
        shape, tensor = tuple(value.shape) if there else (), value
    rest = letters[-1] == "..."
    letters = letters[:-1] if rest else letters
    form = f"({', '.join(letters)}{', ...' * rest})"
    wanted = f"an nn.Linear {form}" if what == "linear" else f"{TENSORS[what]} tensor of shape {form}"
    if not there or len(shape) < len(letters) or (len(shape) > len(letters) and not rest):
        return False, wanted
    for letter, n in zip(letters, shape):
        if sizes.setdefault(letter, (n, name))[0] != n:
            return False, f"{wanted}, with {letter}={sizes[letter][0]} as in {sizes[letter][1]}"
    if places and str(tensor.device) not in places:
        device, other = next(iter(places.items()))
        return False, f"{wanted} on {device}, where {other} is"
    places.setdefault(str(tensor.device), name)
    C = sizes.get(of, (None,))[0]
    if C is None or tensor.device.type != "cpu":  # a GPU would be waited for
        return True, wanted
    return not bool(((value < 0) | (value >= C)).any()), f"{wanted}, whole numbers from 0 to {C - 1}"


def _described(value: object) -> str:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if shape is not None and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')} {type(value).__name__.lower()} of shape {tuple(shape)}"
    return f"{type(value).__name__} {shown(value)}"


# --- checks of one subject each ---------------------------------------------------------------------------------------


def check_file(path: object, content: object, form: str, version: int, *, again: str) -> None:
    """Raise InputError unless `content`, read from `path`, is of this form ("layermatch_lite run") and version.

    again: what to do for a new one, such as "train".
    """
    if not isinstance(content, dict) or content.get("format") != form:
        package, kind = form.split()
        raise InputError(f"{path} is not a {kind} of {package}; give one that this package saved.")
    if type(content.get("version")) is not int or content["version"] != version:
        raise InputError(
            f"{path} has format version {content.get('version')!r}, this package reads {version}; use the package version that "
            f"wrote it, or {again} again."
        )


def check_threshold(threshold: object, num_classes: int | None = None) -> None:
    """Raise InputError unless tau is a number in [0, 1], or a tensor with one for each class."""
    if isinstance(threshold, Real):
        check_range("threshold", threshold, 0, 1)
        return
    check_kinds({"threshold": ("float (C)", threshold)})
    if num_classes is not None and len(threshold) != num_classes:
        raise InputError(
            f"threshold has shape {tuple(threshold.shape)}; give one number, or a vector with one for each of the {num_classes} "
            "classes."
        )


def check_output(output: Tensor, y: Tensor, y_true: Tensor | None) -> None:
    """Raise InputError unless a model's output (N, C) is finite and has a column for each label."""
    C = output.shape[1]
    if C < 2:
        raise InputError("the model has one output; a classifier needs one for each of at least two classes.")
    if bad := int((~output.isfinite()).any(dim=1).sum()):
        raise InputError(
            f"{bad} of {len(output)} outputs are NaN or infinite; look for such values in the views or the weights."
        )
    for name, labels in (("y", y), ("y_true", y if y_true is None else y_true)):
        if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= C:
            raise InputError(
                f"{name} holds labels from {labels.min()} to {labels.max()}; give whole numbers from 0 to {C - 1}, as many as "
                "the model has outputs."
            )


def check_readout(data) -> None:
    """Raise InputError unless a readout can be taken: two classes to fit a linear layer to, and a test sample for each class."""
    for name, labels in (("labelled", data.y_labelled), ("unlabelled", data.y_unlabelled[data.y_unlabelled >= 0])):
        if len(found := labels.unique().tolist()) < 2:
            raise InputError(
                f"all {len(labels)} {name} samples belong to class {data.classes[found[0]]!r}; a readout fits a linear layer to "
                "them, so give at least two classes."
            )
    if len(data.y_test) < len(data.classes):
        raise InputError(
            f"{len(data.y_test)} test samples are too few for a readout of {len(data.classes)} classes; give at least one per "
            "class."
        )
