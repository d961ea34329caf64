"""A student's predictions and what came out, kept in one file; and the files of a class, drawn together.

The file (`my_predictions.json` in the folder of the notebooks, or $LAYERMATCH_PREDICTIONS) is handed in by the student; nothing
leaves the machine by itself. `layermatch-lite predictions FOLDER` draws one picture for each question of all files in a folder.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock
from matplotlib.figure import Figure

from ..errors import InputError
from ..system import check_checksum, checksum, read_json, reading, write_atomically
from .prediction_pictures import draw
from .questions import Question


def own_file() -> Path:
    """Where this machine's student keeps predictions."""
    return Path(os.environ.get("LAYERMATCH_PREDICTIONS") or "my_predictions.json").resolve()


def load(path: Path) -> dict[str, dict]:
    """Question's name -> {"question": ..., "attempts": [...]}; empty if there is no file yet. InputError for a damaged one."""
    if not os.path.lexists(path):
        return {}
    with reading(path, "a file of predictions", "rename it, and a new one will be started; nothing in it has been changed"):
        content = read_json(path, limit=5_000_000)
        if type(content["format"]) is not int or content["format"] != 1:
            raise ValueError(f"format {content['format']!r}")
        if not content.keys() <= {"format", "predictions", "checksum"} or len(content["predictions"]) > 200:
            raise ValueError("it holds more than this package writes")
        check_checksum(content)
        for name, entry in content["predictions"].items():
            _check(name, entry)
    return content["predictions"]


def _check(name: str, entry: dict) -> None:
    """Raise for an entry that this module would not have written; it would otherwise fail later, halfway through a picture."""
    question = question_of(entry)
    attempts, older = entry["attempts"], entry.get("older", [])
    sound = (
        question.name == name
        and entry.keys() <= {"question", "attempts", "result", "older"}
        and isinstance(attempts, list)
        and (0 < len(attempts) <= 1000 or "result" in entry)
        and isinstance(older, list)
        and all(isinstance(one, dict) and "older" not in one for one in older)
    )
    for attempt in attempts if sound else ():
        sound = sound and attempt.keys() == {"prediction", "at", "blind"} and isinstance(attempt["blind"], bool)
        sound = sound and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", attempt["at"])
        sound = sound and datetime.fromisoformat(attempt["at"])
        attempt["prediction"] = question.check(attempt["prediction"])
    blind = [attempt["blind"] for attempt in attempts] if sound else []
    if not sound or blind != sorted(blind, reverse=True) or not (all(blind) or "result" in entry):
        raise ValueError(f"the entry {name!r}")
    if "result" in entry:
        entry["result"] = question.check_result(entry["result"])


def question_of(entry: dict) -> Question:
    return Question(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry["question"].items()})


def keep(path: Path, question: Question, *, prediction: object = None, result: object = None) -> dict:
    """Add a prediction, or what came out, to the file; returns the question's entry.

    A prediction is blind if no result of the same question had been shown before. Nothing is removed: a second attempt
    follows the first, and the entry of an older version of the question moves to "older".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):  # two notebooks may write at once
        entries = load(path)
        entry = entries.get(question.name)
        if entry is None or question_of(entry) != question:
            older = {"older": [*entry.pop("older", []), entry]} if entry else {}
            entry = entries[question.name] = {"question": asdict(question), "attempts": [], **older}
        if prediction is not None:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            attempt = {"prediction": question.check(prediction), "at": now, "blind": "result" not in entry}
            entry["attempts"].append(attempt)
        if result is not None:
            entry["result"] = question.check_result(result)
        content = {"format": 1, "predictions": entries}
        content["checksum"] = checksum(content)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(path, lambda f: f.write(text.encode("utf-8")))
    return entry


# --- a class -----------------------------------------------------------------------------------------------------------


def collect(folder: Path) -> tuple[dict[str, dict[str, dict]], list[str]]:
    """(question -> student -> entry, for all *.json files in a folder; what was left out). The student is the file's name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; put the students' files (*.json) into one and give its path.")
    questions, left_out = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            entries = load(path)
        except InputError as error:
            left_out.append(str(error))
            continue
        for name, entry in entries.items():
            questions.setdefault(name, {})[path.stem] = entry
    for name, entries in questions.items():
        asked = {student: question_of(e) for student, e in entries.items()}
        usual = max(asked.values(), key=list(asked.values()).count)  # what most were asked
        for student in [s for s, question in asked.items() if question != usual]:
            left_out.append(f"{student}'s answer to {name}, which was asked in another version of the notebook")
            del entries[student]
    if not questions:
        raise InputError(f"no predictions in {folder}; put the students' files there, named for them: ada.json, ...")
    return dict(sorted(questions.items())), left_out


def first_blind(entry: dict):
    return next((a["prediction"] for a in entry["attempts"] if a["blind"]), None)


def class_picture(entries: dict[str, dict]) -> tuple[Figure, str]:
    """All students' first blind predictions of one question. entries: student -> the question's entry of their file.

    The result is the median over the files that hold one: runs differ a little between machines.
    """
    question = question_of(next(iter(entries.values())))
    said = [first for e in entries.values() if (first := first_blind(e)) is not None]
    results = [e["result"] for e in entries.values() if "result" in e]
    if not results:
        result = None
    elif question.kind == "value":
        result = statistics.median(results)
    elif question.kind == "curve":
        result = [statistics.median(v) for v in zip(*results)]
    else:
        result = {i: statistics.median(r[i] for r in results) for i in question.items}
    return draw(question, said, result)


def draw_class(folder: Path, out: Path) -> Iterator[str]:
    """Write one PNG for each question; yields what it shows, then a line for everything that was left out."""
    from ..figures.output import save

    questions, left_out = collect(folder)
    for name, entries in questions.items():
        if all(first_blind(e) is None for e in entries.values()):
            yield f"{name}: nobody predicted before seeing the result."
            continue
        figure, alt = class_picture(entries)
        save(figure, out / f"{name}.png")
        yield f"{out / f'{name}.png'}: {alt}"
    yield from (f"left out: {why}" for why in left_out)
