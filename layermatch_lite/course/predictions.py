"""Predictions: what was asked, what was said, what came out, how far off; kept in one file, drawn alone or for a class.

A student's file (`my_predictions.json` in the folder of the notebooks, or $LAYERMATCH_PREDICTIONS) is handed in by hand; nothing
leaves the machine by itself. `layermatch-lite predictions FOLDER` draws one picture for each question of all files in a folder.
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from textwrap import fill

from filelock import FileLock
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import InputError, check_choice, check_range
from ..system import write_atomically

KINDS = ("value", "curve", "order")
LIMIT = 1e100  # of a result: far enough, and a picture of it can still be drawn
SAID, CAME = "#D55E00", "#0072B2"  # with a marker of its own each: told apart without colour, too


@dataclass(frozen=True)
class Question:
    """What is to be predicted: one value, a curve (a value at every x), or an order of items, the highest first."""

    name: str  # unique in the course: "02-pair-errors"
    text: str
    kind: str
    low: float = 0.0  # of the values; an order has none
    high: float = 1.0
    label: str = ""  # what the values are, for an axis
    unit: str = ""  # written behind each value
    log: bool = False  # are distances factors?
    x: tuple[str, ...] = ()  # where the curve is asked for
    xlabel: str = ""
    items: tuple[str, ...] = ()

    def __post_init__(self):
        texts = (self.name, self.text, self.label, self.unit, self.xlabel, *self.x, *self.items)
        # They may come from a student's file, and go into pictures, where $ begins a formula, and onto a teacher's screen.
        if not all(isinstance(t, str) and len(t) <= 300 and t.isprintable() and "$" not in t for t in texts):
            raise InputError("a question's texts are up to 300 characters of plain text each, in one line and without $.")
        if not re.fullmatch(r"[\w-]{1,60}", self.name):  # it becomes a file's name
            raise InputError(f"name={self.name!r} is not allowed; give up to 60 letters, digits, - and _.")
        check_choice("kind", self.kind, KINDS)
        if len(self.x) > 50 or len(self.items) > 12:
            raise InputError(f"{self.name}: a curve has up to 50 places, an order up to 12 items.")
        if self.kind == "order" and (len(set(self.items)) < 2 or len(set(self.items)) != len(self.items)):
            raise InputError(f"items={self.items!r}: an order needs at least two items, each once.")
        if self.kind == "curve" and len(self.x) < 2:
            raise InputError(f"x={self.x!r}: a curve needs at least two places.")
        check_range("low", self.low, 0 if self.log else -LIMIT, LIMIT, open_low=self.log)
        check_range("high", self.high, self.low, LIMIT, open_low=True)

    def check(self, prediction: object) -> object:
        """The prediction in its plain form (a float, a list of floats, a list of items); InputError where it is none."""
        if self.kind != "order":
            return self._numbers("prediction", prediction, self.low, self.high)
        given = list(prediction) if isinstance(prediction, list | tuple) else []
        if sorted(given, key=str) != sorted(self.items):
            twice = [p for p in given if given.count(p) > 1]
            why = f"{twice[0]} stands twice" if twice else f"{prediction!r} is not an order of them"
            raise InputError(f"{why}; give each of {', '.join(self.items)} one place.")
        return given

    def check_result(self, result: object) -> object:
        """What came out in its plain form: a finite float, one for each x, or {item: float}; InputError where it is none."""
        if self.kind != "order":
            return self._numbers("result", result, -LIMIT, LIMIT)
        if not isinstance(result, dict) or set(result) != set(self.items):
            raise InputError(f"{result!r} is no result; give a number for each of {', '.join(self.items)}.")
        for v in result.values():
            check_range("result", v, -LIMIT, LIMIT)
        return {item: float(result[item]) for item in self.items}

    def _numbers(self, name: str, given: object, low: float, high: float) -> float | list[float]:
        """One number, or one for each x."""
        values = [given] if self.kind == "value" else given
        if self.kind == "curve" and (not isinstance(given, list | tuple) or len(given) != len(self.x)):
            raise InputError(f"{given!r} is no {name}; give {len(self.x)} numbers, one for each of {', '.join(self.x)}.")
        for v in values:
            check_range(name, v, low, high)
        return float(given) if self.kind == "value" else [float(v) for v in given]

    def gap(self, said: float, came: float) -> float:
        """How far apart, as a share of the range: 0 the same, 1 from end to end."""
        scale = math.log if self.log else float
        reach = lambda v: scale(min(max(v, self.low), self.high))
        return abs(reach(said) - reach(came)) / (scale(self.high) - scale(self.low))


def value_text(question: Question, value: float) -> str:
    return f"{value:,.3g}" + (f" {question.unit}" if question.unit else "")


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
        if prediction == result:
            return score, f"You said {value_text(question, prediction)}, and so it is."
        side = "more" if result > prediction else "less"
        factor = (
            max(result, prediction) / min(result, prediction) if question.log and min(result, prediction) > 0 else None
        )
        off = f"by a factor of {factor:.2g}" if factor else f"by {value_text(question, abs(result - prediction))}"
        return (
            score,
            f"You said {value_text(question, prediction)}; it is {value_text(question, result)}, {side} {off}.",
        )
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
    top = ranked(result)[0]
    first = (
        "the first place is right"
        if result[prediction[0]] == result[top]
        else f"first is {top}, you said {prediction[0]}"
    )
    return round(100 * right / len(pairs)), f"{right} of {len(pairs)} pairs are in the right order; {first}."


# --- the file --------------------------------------------------------------------------------------------------------


def own_file() -> Path:
    """Where the predictions of this machine's student stand."""
    return Path(os.environ.get("LAYERMATCH_PREDICTIONS") or "my_predictions.json").resolve()


def load(path: Path) -> dict[str, dict]:
    """Question's name -> {"question": ..., "attempts": [...]}; empty where there is no file yet. InputError for a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}")
        kept = content["predictions"]
        for name, entry in kept.items():
            question = question_of(entry)
            if question.name != name:
                raise ValueError(f"the entry {name!r}")
            if not isinstance(entry["attempts"], list) or not isinstance(entry.get("older", []), list):
                raise ValueError(f"the attempts of {name!r}")
            for attempt in entry["attempts"]:
                question.check(attempt["prediction"])
                if not isinstance(attempt["blind"], bool) or not isinstance(attempt["at"], str):
                    raise ValueError(f"an attempt of {name!r}")
            if "result" in entry:
                question.check_result(entry["result"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(
            f"{path} holds no predictions that can be read ({str(error)[:200]}). Nothing was changed in it; rename it, and a "
            "new file is begun."
        ) from error
    return kept


def question_of(entry: dict) -> Question:
    given = entry["question"]
    return Question(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def keep(path: Path, question: Question, *, prediction: object = None, result: object = None) -> dict:
    """Add a prediction, or what came out, to the file; returns the question's entry.

    A prediction is blind where no result of the same question had been shown before. Nothing is removed: a second attempt
    stands behind the first, and the entry of an older version of the question is put aside under "older".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):  # two notebooks may be at it
        kept = load(path)
        entry = kept.get(question.name, {})
        if not entry or question_of(entry) != question:
            older = [*entry.pop("older", []), entry] if entry else []
            entry = kept[question.name] = {
                "question": asdict(question),
                "attempts": [],
                **({"older": older} if older else {}),
            }
        if prediction is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            attempt = {"prediction": question.check(prediction), "at": now, "blind": "result" not in entry}
            entry["attempts"].append(attempt)
        if result is not None:
            entry["result"] = question.check_result(result)
        text = json.dumps({"format": 1, "predictions": kept}, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, lambda f: f.write(text.encode("utf-8")))
    return entry


# --- pictures --------------------------------------------------------------------------------------------------------


def picture(question: Question, prediction=None, result=None) -> tuple[Figure, str]:
    """Prediction and result in one figure, with an alt text; either may be missing."""
    said = {} if prediction is None else {"you": prediction}
    return _draw(question, said, result)


def class_picture(entries: dict[str, dict]) -> tuple[Figure, str]:
    """All students' first blind predictions of one question. entries: student -> the question's entry of their file.

    The result is the median over the files that hold one: runs differ a little between machines.
    """
    question = question_of(next(iter(entries.values())))
    said = {name: first for name, e in entries.items() if (first := first_blind(e)) is not None}
    results = [e["result"] for e in entries.values() if "result" in e]
    if question.kind == "value":
        result = statistics.median(results) if results else None
    elif question.kind == "curve":
        result = [statistics.median(v) for v in zip(*results)] if results else None
    else:
        result = {i: statistics.median(r[i] for r in results) for i in question.items} if results else None
    return _draw(question, said, result)


def first_blind(entry: dict):
    return next((a["prediction"] for a in entry["attempts"] if a["blind"]), None)


def _draw(question: Question, said: dict[str, object], result) -> tuple[Figure, str]:
    height = {"value": 2.8, "curve": 4.4, "order": 1.4 + 0.6 * len(question.items)}[question.kind]
    figure = Figure(figsize=(9, height), layout="constrained")
    ax = figure.subplots()
    draw = {"value": _value, "curve": _curve, "order": _order}[question.kind]
    told = draw(ax, question, said, result)
    if question.kind != "order":
        ax.legend(loc="best", fontsize=12)
    if result is not None:  # a sketch stands below its question anyway
        figure.suptitle(fill(question.text, 90), fontsize=13)
    ax.tick_params(labelsize=12)
    ax.spines[["top", "right"]].set_visible(False)
    scores = [judge(question, p, result)[0] for p in said.values()] if result is not None else []
    if len(scores) > 1:
        told += f" Mean score {statistics.fmean(scores):.0f} of 100."
    who = "No prediction" if not said else "One prediction" if len(said) == 1 else f"{len(said)} predictions"
    return figure, f"{question.text} {who}. {told}"


def _value(ax, question: Question, said: dict, result) -> str:
    ends = [question.low, question.high]
    if result is not None and (result > 0 or not question.log):
        ends.append(result)  # it may lie outside
    ax.set(xlim=(min(ends), max(ends)), yticks=[], ylim=(-1, 1), xscale="log" if question.log else "linear")
    ax.set_xlabel(" in ".join(filter(None, (question.label, question.unit))), fontsize=13)
    ax.spines["left"].set_visible(False)
    told = []
    if said:
        values = list(said.values())
        # Equal predictions stand above each other.
        stand = lambda i, v: (values[:i].count(v) - (values.count(v) - 1) / 2) / max(1, values.count(v) - 1)
        heights = [1.1 * stand(i, v) for i, v in enumerate(values)]
        ax.plot(
            values,
            heights,
            "D",
            color=SAID,
            markersize=11,
            markerfacecolor="none",
            markeredgewidth=2.5,
            label="predicted",
        )
        told.append(f"Predicted: {_spread(question, values)}.")
    if result is not None:
        ax.plot(result, 0, "o", color=CAME, markersize=13, clip_on=False, label="result")
        told.append(f"Result: {value_text(question, result)}.")
    return " ".join(told)


def _spread(question: Question, values: Sequence[float]) -> str:
    if len(values) == 1:
        return value_text(question, values[0])
    return f"median {value_text(question, statistics.median(values))}, from {min(values):.3g} to {max(values):.3g}"


def _curve(ax, question: Question, said: dict, result) -> str:
    ax.set_xlabel(question.xlabel, fontsize=13)
    ax.set_ylabel(question.label, fontsize=13)
    low, high = min([question.low, *(result or ())]), max([question.high, *(result or ())])
    ax.set_ylim(low, high)
    listed = lambda values: ", ".join(f"{v:.2g} at {x}" for x, v in zip(question.x, values))
    told = []
    for k, values in enumerate(said.values()):
        alone = len(said) == 1
        ax.plot(question.x, values, "D--", color=SAID, markerfacecolor="none", markersize=9, linewidth=2.5 if alone else 1,
                alpha=1 if alone else 0.5, label="predicted" if k == 0 else None)  # fmt: skip
    if said:
        middle = [statistics.median(v) for v in zip(*said.values())]
        if len(said) > 1:
            ax.plot(question.x, middle, "D--", color=SAID, linewidth=3, markersize=9, label="median of the predictions")
        told.append(f"Predicted{' (median)' * (len(said) > 1)}: {listed(middle)}.")
    if result is not None:
        ax.plot(question.x, result, "o-", color=CAME, linewidth=3, markersize=10, clip_on=False, label="result")
        told.append(f"Result: {listed(result)}.")
    return " ".join(told)


def _order(ax, question: Question, said: dict, result) -> str:
    """Each item's place: with one prediction as lines from left to right, with many as counts for each place."""
    came = ranked(result) if result is not None else []
    draw = _places if len(said) > 1 else _lines
    return " ".join(
        draw(ax, question, list(said.values()), came, result) + [f"Result: {', '.join(came)}."] * bool(came)
    )


def _lines(ax, question: Question, said: list, came: list, result) -> list[str]:
    """One order beside the result, or either alone."""
    places = said[0] if said else []
    for at, side, title, order, color in ((0, "right", "you", places, SAID), (1, "left", "result", came, CAME)):
        ax.text(at, 0.8, title if order else "", ha=side, fontsize=13, weight="bold", color=color)
        for k, item in enumerate(order):
            value = f"  {value_text(question, result[item])}" if at else ""
            ax.text(at, -k, f"{k + 1}. {item}{value}", ha=side, va="center", fontsize=14, color=color)
    for k, item in enumerate(places if came else ()):
        ax.plot((0.03, 0.97), (-k, -came.index(item)), color="#777777", linewidth=2)
    ax.set(xlim=(-1.2, 2.2), ylim=(0.4 - len(question.items), 1.2))
    ax.axis("off")
    return [f"Predicted: {', '.join(places)}."] if places else []


def _places(ax, question: Question, said: list, came: list, result) -> list[str]:
    """How many gave each item each place."""
    order, n = came or list(question.items), len(question.items)
    counts = [[sum(p[place] == item for p in said) for place in range(n)] for item in order]
    ax.imshow(counts, cmap="Oranges", vmin=0, vmax=max(map(max, counts)) * 1.6, aspect="auto")
    for i, row in enumerate(counts):
        for place, count in enumerate(row):
            ax.text(place, i, str(count), ha="center", va="center", fontsize=15)
        if came:
            ax.add_patch(Rectangle((i - 0.47, i - 0.45), 0.94, 0.9, fill=False, edgecolor=CAME, linewidth=4))
    ax.set_xticks(range(n), [f"place {k + 1}" for k in range(n)])
    ax.set_yticks(range(n), order)
    ax.set_title("Students who gave each place" + ("; framed: where it came" if came else ""), fontsize=13)
    by_item = {item: ", ".join(f"{k + 1} by {c}" for k, c in enumerate(row) if c) for item, row in zip(order, counts)}
    return ["; ".join(f"{item} put at places {places}" for item, places in by_item.items()) + "."]


# --- a class -----------------------------------------------------------------------------------------------------------


def collect(folder: Path) -> tuple[dict[str, dict[str, dict]], list[str]]:
    """(question -> student -> entry of all *.json files in a folder, what could not be read). The student is the file's name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; put the students' files (*.json) into one and give its path.")
    questions, unread = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            entries = load(path)
        except InputError as error:
            unread.append(str(error))
            continue
        for name, entry in entries.items():
            questions.setdefault(name, {})[path.stem] = entry
    for name, entries in questions.items():  # what most were asked
        asked = [question_of(e) for e in entries.values()]
        usual = max(asked, key=asked.count)
        for student in [student for student, e in entries.items() if question_of(e) != usual]:
            unread.append(f"{student}'s answer to {name}, which was asked in another version of the notebook")
            del entries[student]
    if not questions:
        raise InputError(
            f"no predictions in {folder}; it should hold the students' files, named for them: ada.json, ..."
        )
    return dict(sorted(questions.items())), unread


def draw_class(folder: Path, out: Path) -> Iterator[str]:
    """Write one PNG for each question; yields what it shows, then a line for every file that could not be read."""
    from ..figures.output import save

    questions, unread = collect(folder)
    for name, entries in questions.items():
        if all(first_blind(e) is None for e in entries.values()):
            yield f"{name}: nobody predicted before seeing the result."
            continue
        figure, alt = class_picture(entries)
        save(figure, out / f"{name}.png")
        yield f"{out / f'{name}.png'}: {alt}"
    yield from (f"left out: {why}" for why in unread)
