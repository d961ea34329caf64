"""Study files: the recorded ones, which come with the package, and those that `carry_out` writes."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from ..errors import InputError, check_choice, check_file, check_range
from ..runs.config import TrainConfig
from ..system import check_checksum, checksum, read_json, reading

FORMAT, VERSION = "layermatch_lite study", 1
RECORDED = Path(__file__).parent / "recorded"
PARTS = {
    "name": str, "question": str, "seeds": list, "defaults": dict, "plan": dict, "families": dict, "environment": dict,
    "runs": list,
}  # fmt: skip
SHARES = ("accuracy", "median_of_last_20", "pseudo_label_accuracy", "mask_rate", "confident_half_accuracy")
OF_RUN = {"setting", "row", "seed", "seconds", "precision", "readout", "late_benefit", "tables", *SHARES}


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
    with reading(path, "a study's file", "carry out the study again"):
        content = read_json(path)
        check_file(path, content, FORMAT, VERSION, again="carry out the study")
        for key, kind in PARTS.items():
            if not isinstance(content.get(key), kind):
                raise InputError(f"{path} has no {key!r}: the file is incomplete; use another copy or repeat the study.")
        check_checksum(content)
        _check_content(content)
    content.pop("checksum", None)
    return content


def _check_content(study: dict) -> None:
    """Raise an exception for what `carry_out` could not have written."""

    def need(ok: object, what: str) -> None:
        if not ok:
            raise ValueError(what)

    need(study.keys() <= {"format", "version", "checksum", *PARTS}, f"parts {', '.join(study)}")
    seeds, plan, seen = study["seeds"], study["plan"], set()
    for seed in seeds:
        check_range("seed", seed, 0, whole=True)
    need(0 < len(seeds) == len(set(seeds)), "seeds: at least one, each once")
    TrainConfig.from_dict(study["defaults"])
    for row, changes in ((row, c) for rows in plan.values() for row, c in rows.items()):
        need("seed" not in changes, f"a seed of its own in {row!r:.60}")
        TrainConfig.from_dict(study["defaults"] | changes)
    texts = [study["name"], study["question"], *study["families"], *plan, *(row for rows in plan.values() for row in rows)]
    need(all(t and len(t) <= 300 and t.isprintable() for t in texts), "names are texts of 1 to 300 letters in one line")
    planned = {(setting, row) for setting, rows in plan.items() for row in rows}
    for setting, row, other in (c for family in study["families"].values() for c in family):
        need({(setting, row), (setting, other)} <= planned and row != other, f"a comparison of {row!r:.60} with {other!r:.60}")
    need(not study["runs"] or study["environment"].keys() >= {"torch", "device", "layermatch_lite"}, "environment")
    for n, run in enumerate(study["runs"]):
        key = (run["setting"], run["row"], run["seed"])
        need(type(key[2]) is int and key[2] in seeds and key[:2] in planned and key not in seen, f"run {n}: {key!r:.90}")
        seen.add(key)
        need(run.keys() <= OF_RUN and run["accuracy"] is not None, f"run {n}: {sorted(run)}")
        for name, value in ({k: run.get(k) for k in SHARES} | run.get("readout", {})).items():
            if value is not None:
                check_range(f"run {n}: {name}", value, 0, 1)
        check_range(f"run {n}: seconds", run.get("seconds", 0), 0)
        check_choice(f"run {n}: precision", run.get("precision"), (None, "bf16", "float32"))
        for name, value in ((k, v) for found in run.get("late_benefit", {}).values() for k, v in found.items()):
            if value is not None:
                check_range(f"run {n}: late {name}", value, -1e9, 1e9)
        for name, table in run.get("tables", {}).items():
            lengths = {len(column.get("codes", column.get("values"))) for column in table.values()}
            need(len(lengths) == 1, f"run {n}: columns of {name!r:.60} differ in length")
            for column in (c for c in table.values() if "codes" in c):
                fits = all(type(code) is int and 0 <= code < len(column["levels"]) for code in column["codes"])
                need(fits, f"run {n}: a code of {name!r:.60}")


def as_json(content: dict) -> bytes:
    """One line per run, so that changes can be read; floats to six digits; with a checksum of it all."""
    content = content | {"runs": [rounded(run) for run in content["runs"]]}
    content["checksum"] = checksum(content)
    line = lambda run: json.dumps(run, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    rest = {k: v for k, v in content.items() if k != "runs"}
    head = json.dumps(rest, indent=1, ensure_ascii=False, allow_nan=False)
    runs = ",\n".join(map(line, content["runs"]))
    return (head[: head.rindex("}")].rstrip() + f',\n "runs": [\n{runs}\n]}}\n').encode()


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
