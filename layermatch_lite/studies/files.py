"""Study files: the recorded ones, which come with the package, and those that `carry_out` writes."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from ..errors import InputError, check_choice, check_file

FORMAT, VERSION = "layermatch_lite study", 1
RECORDED = Path(__file__).parent / "recorded"
PARTS = {
    "name": str, "question": str, "seeds": list, "defaults": dict, "plan": dict, "families": dict, "environment": dict,
    "runs": list,
}  # fmt: skip


def load_study(name: str) -> dict:
    """A recorded study by its name, such as "main": what `load` returns. Raises InputError for one that is unfinished."""
    check_choice("study", name, sorted(path.stem for path in RECORDED.glob("*.json")))
    return finished(load(RECORDED / f"{name}.json"))


def finished(study: dict) -> dict:
    """The same study; raises InputError where runs of its plan are missing."""
    wanted = len(study["seeds"]) * sum(len(rows) for rows in study["plan"].values())
    if len(study["runs"]) < wanted:
        raise InputError(
            f"the study {study['name']!r} is unfinished: {len(study['runs'])} of {wanted} runs; continue it "
            f"(python benchmarks/studies.py {study['name']})."
        )
    return study


def load(path: str | PathLike) -> dict:
    """Read a study's file: name, question, seeds, plan, families, environment, and runs (one record each).

    Raises InputError for anything else, and for a file of another version.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give the file of a recorded study.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a study ({error}); give a file written by a study.") from error
    check_file(path, content, FORMAT, VERSION, again="carry out the study")
    for key, kind in PARTS.items():
        if not isinstance(content.get(key), kind):
            raise InputError(f"{path} has no {key!r}: the file is incomplete; use another copy or repeat the study.")
    for n, run in enumerate(content["runs"]):
        for key in ("setting", "row", "seed", "accuracy"):
            if not isinstance(run, dict) or key not in run:
                raise InputError(f"{path}: run {n} has no {key!r}; use another copy or repeat the study.")
    return content


def as_json(content: dict) -> bytes:
    """One line per run, so that changes can be read; floats to six digits."""
    line = lambda run: json.dumps(rounded(run), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    rest = {k: v for k, v in content.items() if k != "runs"}
    head = json.dumps(rest, indent=1, ensure_ascii=False, allow_nan=False)
    runs = ",\n".join(map(line, content["runs"]))
    return (head[: head.rindex("}")].rstrip() + f',\n "runs": [\n{runs}\n]}}\n').encode()


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
