"""Exercises that check themselves: by values and gradients on fresh random inputs, never by the wording.

In a notebook one cell defines a function, the next one says `fixmatch = check("fixmatch")`. Whatever the function does, the
notebook goes on: with the student's version where it is right, else with the library's. The exercises are in `tasks.py`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import secrets
import sys
import traceback
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.seeding import generator
from ..errors import check_choice

TRIALS = 6  # inputs drawn for one check


class Exercise(NamedTuple):
    """What is asked, as code."""

    notebook: str  # the notebook's name, for the way to the solution
    inputs: Callable[[torch.Generator, int], tuple]  # the arguments of the k-th trial
    right: Callable  # the library's version
    returns: tuple[str, ...]  # names of the results
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    mistakes: dict[str, Callable] = {}  # what is off -> a function that makes this mistake
    gradients: tuple[str, ...] = ()  # arguments whose gradients count, too
    judge: Callable | None = None  # (result, *arguments) -> what is off or None, where many results are right


class Review(NamedTuple):
    """The answer to an answer."""

    outcome: str  # "right" | "wrong" | "blank"
    text: str


class Off(Exception):
    """What is off, in words for the student."""


class Blank(Exception):
    """Nothing has been attempted yet."""


class Checked:
    """What the notebook goes on with: the student's function where it is right, else the library's version.

    It remembers the student's, so that a second check of an unchanged cell says the same again, and that it is unchanged.
    """

    def __init__(self, works: Callable, answer: object, form: object):
        """form: a result of the library's version, in whose form results are given: cells below count on it."""
        functools.update_wrapper(self, works)
        self.works, self.answer, self.form = works, answer, form

    def __call__(self, *arguments, **named):
        return in_form(self.works(*arguments, **named), self.form)


def in_form(result: object, form: object) -> object:
    """A right result as the library gives it: as a tensor, as a Python number, as a list."""
    if isinstance(form, tuple):
        return tuple(in_form(r, f) for r, f in zip(result, form))
    if isinstance(form, Tensor):
        result = torch.as_tensor(result)
        return result if form.ndim else result.reshape(())
    result = torch.as_tensor(result, dtype=torch.float64)
    return result.tolist() if isinstance(form, list) else result.item()


def check(name: str, seed: int | None = None) -> Checked:
    """Print how far the function `name` of the calling notebook is right, and return what the notebook should go on with.

    That is the function itself where it is right, else the library's version. Errors of the function are shown, not raised (a
    loop without an end needs the stop button).

    Args:
        name: an exercise; InputError names them all for an unknown one.
        seed: of the random inputs, to see the same ones again; fresh ones without it.
    """
    exercise = find(name)
    answer = sys._getframe(1).f_globals.get(name)
    unchanged = isinstance(answer, Checked)
    answer = answer.answer if unchanged else answer
    seed = secrets.randbelow(10**6) if seed is None else seed
    review = look_at(name, exercise, answer, seed)
    sign = {"right": "✓ Right", "wrong": "✗ Not yet", "blank": "○ Not attempted yet"}[review.outcome]
    print(f"{sign}: {review.text}")
    if review.outcome == "wrong":
        print(f"Until then {name} is the library's version here.")
    if unchanged and review.outcome != "blank":
        print("(This is the version of the last check: the cell above has not been run since, or it failed.)")
    form = exercise.right(*draw(name, exercise, seed)[0])
    return Checked(answer if review.outcome == "right" else exercise.right, answer, form)


def hint(name: str, number: int = 1) -> None:
    """Print the hint of this number, from a nudge (1) to nearly the answer, and how to get the next."""
    exercise = find(name)
    solution = f"The solution is in solutions/{exercise.notebook}.py."
    if number not in range(1, len(exercise.hints) + 1):
        print(f"There are {len(exercise.hints)} hints for {name}, from 1 to {len(exercise.hints)}. {solution}")
        return
    then = solution if number == len(exercise.hints) else f'Next: hint("{name}", {number + 1})'
    print(f"Hint {number} of {len(exercise.hints)}. {exercise.hints[number - 1]} {then}")


def find(name: str) -> Exercise:
    from .tasks import TASKS

    check_choice("exercise", name, TASKS)
    return TASKS[name]


def look_at(name: str, exercise: Exercise, answer: object, seed: int) -> Review:
    """Compare an answer with the library's version on random inputs."""
    help_ = f'hint("{name}") helps.'
    blank = Review("blank", f"the notebook goes on with the library's {name}. {help_}")
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
    except Off as off:
        return Review("wrong", f'{off} (Same inputs again: check("{name}", seed={seed}).) {help_}')
    return Review("right", f"{name} agrees with the library on {TRIALS} random inputs.")


def draw(name: str, exercise: Exercise, seed: int) -> list[tuple]:
    """The arguments of all trials."""
    return [exercise.inputs(generator(seed, f"{name} {k}"), k) for k in range(TRIALS)]


def call(function: Callable, arguments: list) -> object:
    """The student's call: whatever it raises is said, with its line. Arguments that it changes are noticed."""
    before = copy.deepcopy([a.detach() if isinstance(a, Tensor) else a for a in arguments])
    try:
        result = function(*arguments)
    except (Exception, SystemExit) as error:  # a student's error must not stop the notebook
        if isinstance(error, NotImplementedError) and not error.args:  # PyTorch's own say something
            raise Blank from None
        name = getattr(function, "__name__", "it")
        at = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == name]
        where = f" in line {at[-1]} of its cell" if at else ""
        raise Off(f"{name} raises {type(error).__name__}{where}: {error}.") from None
    for then, now in zip(before, arguments):
        same = np.array_equal(then, now.detach() if isinstance(now, Tensor) else now)
        if not same:
            raise Off("it changes its arguments, which the notebook still needs: work on a copy (x.clone(), list(x)).")
    return result


def observe(function: Callable, arguments: tuple, exercise: Exercise) -> object:
    """Call a function on copies of the arguments: all results and gradients that count, by name, as float64 tensors.

    The gradients are those of all differentiable results, summed with fixed weights; 0 where none arrives. Where a judge decides,
    the result itself. Raises Blank where the result is still the `...` of the empty exercise.
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
        raise Off("it returns nothing (None): is the `return` missing?")
    if exercise.judge is not None:
        return result
    if not isinstance(parts, tuple | list) or len(parts) != len(exercise.returns):
        raise Off(f"it returns {describe(result)}; {' and '.join(exercise.returns)} are expected, in this order.")
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
        raise Off(
            f"no gradient can be taken of its result ({str(error).splitlines()[0][:150]}). It should only compute: no backward() "
            "inside, and nothing changed in place."
        ) from None
    arrived = {id(c): g for c, g in zip(reached, grads) if g is not None}
    for name, c in wanted.items():
        seen[f"gradient of {name}"] = arrived.get(id(c), torch.zeros_like(c)).detach().double()
    return seen


def as_tensor(name: str, value: object) -> Tensor:
    """A result as a real tensor; Off where it is none."""
    try:
        value = value if isinstance(value, Tensor) else torch.as_tensor(value)
        if not value.is_complex():
            return value
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pass
    raise Off(f"{name} is {describe(value)}; a tensor or a number is expected.")


def compare(exercise: Exercise, seen: list, trials: list[tuple]) -> None:
    """Raise `Off` unless what was seen in all trials is right; a known mistake is called by its name."""
    if exercise.judge is not None:
        for result, arguments in zip(seen, trials):
            if off := exercise.judge(result, *arguments):
                raise Off(off)
        return
    right = [observe(exercise.right, arguments, exercise) for arguments in trials]
    if all(map(alike, seen, right)):
        return
    for told, mistake in exercise.mistakes.items():
        if all(alike(s, observe(mistake, arguments, exercise)) for s, arguments in zip(seen, trials)):
            raise Off(told)
    got, want = next((s, r) for s, r in zip(seen, right) if not alike(s, r))
    part = next(part for part in want if not close(got[part], want[part]))
    raise Off(difference(part, got[part], want[part]))


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
        return f"the values are right, but there is a {part}, where none may be: stop it there (detach)."
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
        told = str(value)
    except Exception:  # Python prints no whole number of more than 4300 digits
        told = "that cannot be printed"
    return "nothing (None)" if value is None else f"{type(value).__name__} {told[:60]}"
