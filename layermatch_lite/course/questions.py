"""What a student is asked to predict, what counts as a prediction or a result, and how far apart the two are."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from itertools import combinations

from ..errors import InputError, check_choice, check_range

KINDS = ("value", "curve", "order")
LIMIT = 1e100  # of a result: large enough, and a picture of it can still be drawn


@dataclass(frozen=True)
class Question:
    """What is to be predicted: one value, a curve (a value at every x), or an order of items, the highest first."""

    name: str  # unique in the course: "02-pair-errors"
    text: str
    kind: str
    low: float = 0.0  # range of the values; an order has none
    high: float = 1.0
    label: str = ""  # what the values are, for an axis
    unit: str = ""  # written after each value
    log: bool = False  # are distances factors?
    x: tuple[str, ...] = ()  # where the curve is asked for
    xlabel: str = ""
    items: tuple[str, ...] = ()

    def __post_init__(self):
        texts = (self.name, self.text, self.label, self.unit, self.xlabel, *self.x, *self.items)
        # They may come from a student's file, and go into pictures, where $ begins a formula, and onto a teacher's screen.
        if not all(isinstance(t, str) and len(t) <= 300 and t.isprintable() and "$" not in t for t in texts):
            raise InputError("a question's texts must be plain text of up to 300 characters, in one line and without $.")
        if not re.fullmatch(r"[\w-]{1,60}", self.name, re.ASCII):  # it becomes a file's name
            raise InputError(f"name={self.name!r} is not allowed; give up to 60 letters, digits, - and _.")
        check_choice("kind", self.kind, KINDS)
        tuples = isinstance(self.x, tuple) and isinstance(self.items, tuple) and len(set(self.x)) == len(self.x)
        if not tuples or not isinstance(self.log, bool) or (bool(self.x), bool(self.items)) != (
            self.kind == "curve",
            self.kind == "order",
        ):
            raise InputError(f"{self.name}: places x, each once, are for a curve, items for an order, and log is True or False.")
        if len(self.x) > 50 or len(self.items) > 12:
            raise InputError(f"{self.name}: a curve has up to 50 places, an order up to 12 items.")
        if self.kind == "order" and (len(set(self.items)) < 2 or len(set(self.items)) != len(self.items)):
            raise InputError(f"items={self.items!r}: an order needs at least two items, each once.")
        if self.kind == "curve" and len(self.x) < 2:
            raise InputError(f"x={self.x!r}: a curve needs at least two places.")
        check_range("low", self.low, 0 if self.log else -LIMIT, LIMIT, open_low=self.log)
        check_range("high", self.high, self.low, LIMIT, open_low=True)
        for name in ("low", "high"):
            object.__setattr__(self, name, float(getattr(self, name)))

    def check(self, prediction: object) -> object:
        """The prediction in its plain form (a float, a list of floats, a list of items); InputError if it is not one."""
        if self.kind != "order":
            return self._numbers("prediction", prediction, self.low, self.high)
        given = list(prediction) if isinstance(prediction, list | tuple) else []
        if sorted(given, key=str) != sorted(self.items):
            twice = [p for p in given if given.count(p) > 1]
            why = f"{twice[0]} stands twice" if twice else f"{prediction!r} is not an order of them"
            raise InputError(f"{why}; give each of {', '.join(self.items)} one place.")
        return given

    def check_result(self, result: object) -> object:
        """The result in its plain form: a finite float, one for each x, or {item: float}; InputError if it is not one."""
        if self.kind != "order":
            return self._numbers("result", result, -LIMIT, LIMIT)
        if not isinstance(result, dict) or set(result) != set(self.items):
            raise InputError(f"{result!r} is not a result; give a number for each of {', '.join(self.items)}.")
        for v in result.values():
            check_range("result", v, -LIMIT, LIMIT)
        return {item: float(result[item]) for item in self.items}

    def _numbers(self, name: str, given: object, low: float, high: float) -> float | list[float]:
        """One number, or one for each x."""
        values = [given] if self.kind == "value" else given
        if self.kind == "curve" and (not isinstance(given, list | tuple) or len(given) != len(self.x)):
            raise InputError(f"{given!r} is not a {name}; give {len(self.x)} numbers, one for each of {', '.join(self.x)}.")
        for v in values:
            check_range(name, v, low, high)
        return float(given) if self.kind == "value" else [float(v) for v in given]

    def gap(self, said: float, came: float) -> float:
        """How far apart, as a share of the range: 0 the same, 1 from end to end."""
        scale = math.log if self.log else float
        place = lambda v: scale(min(max(v, self.low), self.high))
        return abs(place(said) - place(came)) / (scale(self.high) - scale(self.low))


def value_text(question: Question, value: float) -> str:
    return f"{value:,.3g}" + (f" {question.unit}" if question.unit else "")


def listed(question: Question, values) -> str:
    """A prediction or a result in words: a value, a curve's values at their places, or an order's items, the highest first."""
    if question.kind == "value":
        return value_text(question, values)
    if question.kind == "curve":
        return ", ".join(f"{v:.2g} at {x}" for x, v in zip(question.x, values))
    return ", ".join(ranked(values) if isinstance(values, dict) else values)


def ranked(result: dict[str, float]) -> list[str]:
    """The items, the highest first."""
    return sorted(result, key=lambda item: -result[item])


def judge(question: Question, prediction, result) -> tuple[int, str]:
    """A score from 0 to 100 and one sentence on the gap.

    Value and curve: 100 minus the mean gap in percent of the range. Order: the share of pairs in the right order (a tie in
    the result counts as right). Our formulation; it is meant to start a conversation, not to grade.
    """
    if question.kind == "value":
        score = round(100 * (1 - question.gap(prediction, result)))
        said, came = value_text(question, prediction), value_text(question, result)
        if prediction == result:
            return score, f"You said {said}, and so it is."
        low, high = sorted((prediction, result))
        by = f"a factor of {high / low:.2g}" if question.log and low > 0 else value_text(question, high - low)
        return score, f"You said {said}; it is {came}, {'more' if result > prediction else 'less'} by {by}."
    if question.kind == "curve":
        gaps = [question.gap(p, r) for p, r in zip(prediction, result)]
        worst = max(range(len(gaps)), key=gaps.__getitem__)
        off = statistics.fmean(abs(p - r) for p, r in zip(prediction, result))
        return round(100 * (1 - statistics.fmean(gaps))), (
            f"On average off by {off:.3g}; most at {question.xlabel} {question.x[worst]}, where you said "
            f"{prediction[worst]:.3g} and it is {result[worst]:.3g}."
        )
    pairs = list(combinations(prediction, 2))
    right = sum(result[a] >= result[b] for a, b in pairs)
    top, first = ranked(result)[0], prediction[0]
    place = "the first place is right" if result[first] == result[top] else f"first is {top}, you said {first}"
    return round(100 * right / len(pairs)), f"{right} of {len(pairs)} pairs are in the right order; {place}."
