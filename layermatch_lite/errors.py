"""The one error for input that the user can correct, and the checks that raise most of it."""

from __future__ import annotations

import difflib
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class InputError(ValueError):
    """A wrong value: the message names it, says what is allowed and what to do."""


def check_choice(name: str, value: object, allowed) -> None:
    """Raise InputError unless `value` is one of `allowed`."""
    allowed = list(allowed)
    if value in allowed:
        return
    close = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{name}={value!r} is unknown; choose from {', '.join(map(str, allowed))}.{hint}")


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
    raise InputError(f"{name}={value!r} is not allowed; give {kind} {interval}.")


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
    shape = getattr(threshold, "shape", None)
    if shape is None:
        check_range("threshold", threshold, 0, 1)
    elif num_classes is not None and tuple(shape) != (num_classes,):
        raise InputError(
            f"threshold has shape {tuple(shape)}; give one number, or a vector with one for each of the {num_classes} classes."
        )


def check_batches(x: Tensor, y: Tensor, weak: Tensor, strong: Tensor, y_true: Tensor | None) -> None:
    """Raise InputError unless labelled views x have labels y, and weak and strong views one true label a sample (or None)."""
    if not len(y) or y.shape != x.shape[:1]:
        raise InputError(
            f"x has {len(x)} labelled samples and y is {tuple(y.shape)}; give one label per sample, at least one."
        )
    n = weak.shape[:1]
    true_shape = n if y_true is None else y_true.shape
    if not len(weak) or strong.shape[:1] != n or true_shape != n:
        raise InputError(
            f"weak, strong and y_true have {len(weak)}, {len(strong)} and {tuple(true_shape)} entries; give both views and the "
            "true label of the same samples, at least one."
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
