"""How an answer is compared with the library's: values and gradients on random inputs, and typical mistakes by name."""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.seeding import generator

TRIALS = 6  # inputs drawn for one check


class Exercise(NamedTuple):
    """What is asked, as code."""

    notebook: str  # the notebook's name, for the way to the solution
    inputs: Callable[[torch.Generator, int], tuple]  # the arguments of the k-th trial
    right: Callable  # the library's version
    returns: tuple[str, ...]  # names of the results
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    mistakes: dict[str, Callable] = {}  # what is wrong -> a function that makes this mistake
    gradients: tuple[str, ...] = ()  # arguments whose gradients count, too
    judge: Callable | None = None  # (result, *arguments) -> what is wrong, or None; for exercises with many right results


class Review(NamedTuple):
    """The answer to an answer."""

    outcome: str  # "right" | "wrong" | "blank"
    text: str


class Wrong(Exception):
    """What is wrong, in words for the student."""


class Blank(Exception):
    """Nothing has been attempted yet."""


def look_at(name: str, exercise: Exercise, answer: object, seed: int) -> Review:
    """Compare an answer with the library's version on random inputs."""
    help_ = f'hint("{name}") helps.'
    blank = Review("blank", f"the notebook continues with the library's {name}. {help_}")
    if answer is None:
        return blank
    if not callable(answer):
        return Review("wrong", f"{name} is {answer!r}; it should be a function. {help_}")
    trials = draw(name, exercise, seed)
    try:
        seen = [observe(answer, arguments, exercise) for arguments in trials]
        compare(exercise, seen, trials)
    except Blank:
        return blank
    except Wrong as wrong:
        return Review("wrong", f'{wrong} (Same inputs again: check("{name}", seed={seed}).) {help_}')
    return Review("right", f"{name} agrees with the library on {TRIALS} random inputs.")


def draw(name: str, exercise: Exercise, seed: int) -> list[tuple]:
    """The arguments of all trials."""
    return [exercise.inputs(generator(seed, f"{name} {k}"), k) for k in range(TRIALS)]


def call(function: Callable, arguments: list) -> object:
    """Call the student's function: report whatever it raises, with the line, and notice arguments that it changes."""
    before = copy.deepcopy([a.detach() if isinstance(a, Tensor) else a for a in arguments])
    try:
        result = function(*arguments)
    except (Exception, SystemExit) as error:  # a student's error must not stop the notebook
        if isinstance(error, NotImplementedError) and not error.args:  # PyTorch's own say something
            raise Blank from None
        name = getattr(function, "__name__", "it")
        at = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == name]
        where = f" in line {at[-1]} of its cell" if at else ""
        raise Wrong(f"{name} raises {type(error).__name__}{where}: {error}.") from None
    for then, now in zip(before, arguments):
        same = np.array_equal(then, now.detach() if isinstance(now, Tensor) else now)
        if not same:
            raise Wrong("it changes its arguments, which the notebook still needs: work on a copy (x.clone(), list(x)).")
    return result


def observe(function: Callable, arguments: tuple, exercise: Exercise) -> object:
    """Call a function on copies of the arguments: all results and gradients that count, by name, as float64 tensors.

    The gradients are those of all differentiable results, summed with fixed weights; 0 where none arrives. If a judge decides,
    the result itself. Raises Blank if the result is still the `...` of the empty exercise.
    """
    names = list(inspect.signature(exercise.right).parameters)
    copies = copy.deepcopy(list(arguments))
    for name, c in zip(names, copies):
        if name in exercise.gradients:
            c.requires_grad_()
    result = call(function, copies)
    parts = result if len(exercise.returns) > 1 else (result,)
    if result is ... or (isinstance(parts, tuple | list) and any(part is ... for part in parts)):
        raise Blank
    if result is None:
        raise Wrong("it returns nothing (None): is the `return` missing?")
    if exercise.judge is not None:
        return result
    if not isinstance(parts, tuple | list) or len(parts) != len(exercise.returns):
        raise Wrong(f"it returns {describe(result)}; {' and '.join(exercise.returns)} are expected, in this order.")
    seen, total = {}, None
    for name, part in zip(exercise.returns, parts):
        part = as_tensor(name, part).cpu()
        seen[name] = part.detach().double()
        if part.requires_grad:
            weights = torch.linspace(0.5, 1.5, part.numel(), dtype=part.dtype).reshape(part.shape)
            total = (weights * part).sum() + (0 if total is None else total)
    wanted = {n: c for n, c in zip(names, copies) if n in exercise.gradients}
    reached = [c for c in wanted.values() if c.requires_grad]  # a student may have switched it off
    try:
        grads = torch.autograd.grad(total, reached, allow_unused=True) if reached and total is not None else ()
    except RuntimeError as error:
        raise Wrong(
            f"no gradient can be taken of its result ({str(error).splitlines()[0][:150]}). It should only compute: no backward() "
            "inside, and nothing changed in place."
        ) from None
    arrived = {id(c): g for c, g in zip(reached, grads) if g is not None}
    for name, c in wanted.items():
        seen[f"gradient of {name}"] = arrived.get(id(c), torch.zeros_like(c)).detach().double()
    return seen


def as_tensor(name: str, value: object) -> Tensor:
    """A result as a real tensor; Wrong if it is not one."""
    try:
        value = value if isinstance(value, Tensor) else torch.as_tensor(value)
        if not value.is_complex():
            return value
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise Wrong(f"{name} is {describe(value)}; a tensor or a number is expected.")


def compare(exercise: Exercise, seen: list, trials: list[tuple]) -> None:
    """Raise `Wrong` unless what was seen in all trials is right; a known mistake is named."""
    if exercise.judge is not None:
        for result, arguments in zip(seen, trials):
            if wrong := exercise.judge(result, *arguments):
                raise Wrong(wrong)
        return
    right = [observe(exercise.right, arguments, exercise) for arguments in trials]
    if all(map(alike, seen, right)):
        return
    for text, mistake in exercise.mistakes.items():
        if all(alike(s, observe(mistake, arguments, exercise)) for s, arguments in zip(seen, trials)):
            raise Wrong(text)
    got, want = next((s, r) for s, r in zip(seen, right) if not alike(s, r))
    part = next(part for part in want if not close(got[part], want[part]))
    raise Wrong(difference(part, got[part], want[part]))


def alike(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(close(a[part], b[part]) for part in b)


def same_shape(a: Tensor, b: Tensor) -> bool:
    """A result of shape (1,) may stand for a number."""
    return a.shape == b.shape or a.numel() == b.numel() == 1


def close(a: Tensor, b: Tensor) -> bool:
    """Equal but for float32 rounding."""
    return same_shape(a, b) and torch.allclose(a.reshape(b.shape), b, rtol=1e-4, atol=1e-6, equal_nan=True)


def difference(part: str, got: Tensor, want: Tensor) -> str:
    """How a result differs from the right one, in words."""
    if not same_shape(got, want):
        return f"{part} has the shape {tuple(got.shape)}; {tuple(want.shape)} is expected."
    if part.startswith("gradient") and not got.any():
        return f"the values are right, but no {part} arrives: something is detached that should not be."
    if part.startswith("gradient") and not want.any():
        return f"the values are right, but there is a {part} where there should be none: stop it there (detach)."
    if part.startswith("gradient"):
        return f"the values are right, but the {part} is not: its length is {got.norm():.4g} where {want.norm():.4g} is right."
    at = (~torch.isclose(got.flatten(), want.flatten(), rtol=1e-4, atol=1e-6, equal_nan=True)).nonzero()[0, 0]
    found, right = got.flatten()[at], want.flatten()[at]
    where = f", entry {int(at)}," if got.numel() > 1 else ""
    digits = 4 if f"{found:.4g}" != f"{right:.4g}" else 9
    return f"{part}{where} is {found:.{digits}g} where {right:.{digits}g} is right."


def describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    try:
        text = str(value)
    except Exception:  # Python refuses to print a whole number of more than 4300 digits
        text = "that cannot be printed"
    return "nothing (None)" if value is None else f"{type(value).__name__} {text[:60]}"
