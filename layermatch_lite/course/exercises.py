"""Exercises that check themselves: by values and gradients on fresh random inputs, never by the wording.

In a notebook one cell defines a function, the next one says `fixmatch = check("fixmatch")`. Whatever the function does, the
notebook continues: with the student's version if it is right, else with the library's. The exercises are in `tasks/`.
"""

from __future__ import annotations

import functools
import secrets
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import check_choice
from .review import Exercise, draw, look_at
from .tasks import TASKS


class Checked:
    """What the notebook continues with: the student's function if it is right, else the library's version.

    It remembers the student's, so that a second check of an unchanged cell repeats the verdict and says that it is unchanged.
    """

    def __init__(self, works: Callable, answer: object, form: object):
        """form: a result of the library's version; results are converted to its form, which the cells below rely on."""
        functools.update_wrapper(self, works)
        self.works, self.answer, self.form = works, answer, form

    def __call__(self, *arguments, **named):
        return in_form(self.works(*arguments, **named), self.form)


def in_form(result: object, form: object) -> object:
    """A right result in the library's form: a tensor, a Python number or a list."""
    if isinstance(form, tuple):
        return tuple(in_form(r, f) for r, f in zip(result, form))
    if isinstance(form, Tensor):
        result = torch.as_tensor(result)
        return result if form.ndim else result.reshape(())
    result = torch.as_tensor(result, dtype=torch.float64)
    return result.tolist() if isinstance(form, list) else result.item()


def check(name: str, seed: int | None = None) -> Checked:
    """Print whether the function `name` of the calling notebook is right, and return what the notebook should continue with.

    That is the function itself if it is right, else the library's version. Errors of the function are shown, not raised (an
    endless loop needs the stop button).

    Args:
        name: an exercise; for an unknown one, InputError lists them all.
        seed: of the random inputs, to see the same ones again; without it they are fresh.
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
        print(f"Until it is right, the cells below use the library's {name}.")
    if unchanged and review.outcome != "blank":
        print("(Unchanged since the last check: the cell above has not been run again, or it failed.)")
    form = exercise.right(*draw(name, exercise, seed)[0])
    return Checked(answer if review.outcome == "right" else exercise.right, answer, form)


def hint(name: str, number: int = 1) -> None:
    """Print the hint of this number, from a nudge (1) to nearly the answer, and how to get the next."""
    exercise = find(name)
    solution = f"The solution is in solved/{exercise.notebook}.ipynb, which `layermatch-lite course solved --solved` writes."
    if number not in range(1, len(exercise.hints) + 1):
        print(f"There are {len(exercise.hints)} hints for {name}, from 1 to {len(exercise.hints)}. {solution}")
        return
    then = solution if number == len(exercise.hints) else f'Next: hint("{name}", {number + 1})'
    print(f"Hint {number} of {len(exercise.hints)}. {exercise.hints[number - 1]} {then}")


def find(name: str) -> Exercise:
    check_choice("exercise", name, TASKS)
    return TASKS[name]
