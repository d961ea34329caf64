"""Studies: many runs behind one question, fixed before the first of them starts, and kept in one small file.

A `Study` says which rows (a name and a config each) are trained in which settings, with which seeds, and which differences
decide. `carry_out` trains what its file does not hold yet, on every core, and saves after each run; `files.load` reads a file
back. The statistics are in `stats`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from ..errors import InputError, check_kinds, check_range, takes
from ..runs.compare import Outcome, run_all
from ..runs.config import TrainConfig
from ..runs.device import pick_device
from ..runs.recording import Recorder, recording_of
from ..runs.run import environment
from ..runs.train import data_of
from ..system import check_writable, reserved, write_atomically
from .files import FORMAT, VERSION, as_json, load
from .report import columns, early_and_late, layer_benefits

LATE = ("pseudo_label_accuracy", "mask_rate", "confident_half_accuracy")


@dataclass(frozen=True)
class Study:
    """What is trained and compared, decided beforehand.

    plan: {setting: {row: config}}; every row runs once per seed (the configs' own seed does not count).
    families: {question: [(setting, row, other row), ...]}: differences of paired seeds that answer one question together, and
    are corrected for their number together.
    watch: looks into every run as in `run_all`, and returns {table: its new rows} or None; the tables are kept with the run, and
    `report.watched` reads them. A function of a module.
    curves: quantities of the history to keep at every record, as the table "history".
    recorded: record the first seed's runs (in place of a watch), those of rows that are methods.
    """

    name: str
    question: str
    seeds: tuple[int, ...]
    plan: dict[str, dict[str, TrainConfig]]
    families: dict[str, list[tuple[str, str, str]]]
    watch: Callable | None = None
    curves: tuple[str, ...] = ()
    recorded: bool = False

    def __post_init__(self):
        check_kinds({
            "name": ("text", self.name), "question": ("text", self.question), "seeds": (Sequence, self.seeds),
            "plan": ("dict", self.plan), "families": ("dict", self.families), "curves": ("list", self.curves),
            "recorded": ("flag", self.recorded), "watch": (object if callable(self.watch) else type(None), self.watch),
        })  # fmt: skip
        for seed in self.seeds:
            check_range("seed", seed, 0, whole=True)
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds={self.seeds!r} holds one twice; paired differences need each once.")
        for rows in self.plan.values():
            check_kinds({"rows of the plan": ("dict", rows)} | {f"row {row!r}": (TrainConfig, c) for row, c in rows.items()})
        if not self.seeds or not any(self.plan.values()):
            raise InputError(f"the study {self.name!r} has no seeds or no rows; give at least one of each.")
        if self.recorded and self.watch:
            raise InputError(f"the study {self.name!r} is recorded, which takes the place of its watch; leave one of them out.")
        for question, family in self.families.items():
            for setting, row, other in family:
                for one in (row, other):
                    if one not in self.plan.get(setting, {}):
                        raise InputError(f"{question!r} compares {one!r} in {setting!r}, which the plan does not train.")
                if row == other:
                    raise InputError(f"{question!r} compares {row!r} in {setting!r} with itself; give two different rows.")

    def jobs(self) -> list[tuple[str, str, TrainConfig]]:
        """(setting, row, config) of every run, all of one seed before the next: a stopped study has whole seeds."""
        return [
            (setting, row, replace(config, seed=seed))
            for seed in self.seeds
            for setting, rows in self.plan.items()
            for row, config in rows.items()
        ]

    def described(self) -> dict:
        """The plan as plain JSON data: the package's defaults, and of each config what differs from them."""
        defaults = TrainConfig().as_dict()
        del defaults["seed"]
        short = lambda config: {k: v for k, v in config.as_dict().items() if k != "seed" and v != defaults[k]}
        return {
            "name": self.name,
            "question": self.question,
            "seeds": list(self.seeds),
            "defaults": defaults,
            "plan": {setting: {row: short(c) for row, c in rows.items()} for setting, rows in self.plan.items()},
            "families": {question: [list(c) for c in family] for question, family in self.families.items()},
        }


@takes(study=Study, path="path", recordings="path or None", progress="flag")
def carry_out(
    study: Study,
    path: str | PathLike,
    *,
    others: Sequence[str | PathLike] = (),
    recordings: str | PathLike | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """Train what is missing from the study's file and return its content.

    others: files of studies whose runs are reused where config, seed, versions and device are the same: the same run would
    come out. A study that watches its runs, or keeps curves or recordings of them, reuses none.
    recordings: the folder for a recorded study's recordings, DATASET_LABELS_METHOD.npz (default: that of the study's file).
    Stopped halfway (Ctrl-C, a crash), the file keeps every finished run, and the next call trains the others. In a study without
    a watch, runs longer than half a minute are saved as they go, in a folder beside the file, and continue from there.

    Raises:
        InputError: where the file holds another study, another plan, comes from another version, or cannot be written.
    """
    path = Path(path).absolute()
    with reserved(path):
        return _carry_out(study, path, others, recordings, workers, progress)


def _carry_out(
    study: Study,
    path: Path,
    others: Sequence[str | PathLike],
    recordings: str | PathLike | None,
    workers: int | None,
    progress: bool,
) -> dict:
    content = {"format": FORMAT, "version": VERSION, **study.described(), "environment": {}, "runs": []}
    jobs = study.jobs()
    device = pick_device(jobs[0][2].device)
    here = environment(device) | {"threads": 1}
    workers = workers or (1 if device.type == "cuda" else None)
    if path.exists():
        found = load(path)
        if differs := _difference(found, content):
            raise InputError(f"{path} holds a study with {differs}; move it away, or give another place (--out).")
        if found["environment"] and (differs := _elsewhere(found["environment"], here)):
            warnings.warn(f"{path} was started with {differs}: runs may differ in their last bits, or in more", stacklevel=2)
        content = found
    content["environment"] = content["environment"] or here

    def keep() -> None:
        write_atomically(path, lambda f: f.write(as_json(content)))

    def keep_or_warn() -> bool:
        """Is everything in the file? A disk that is full for a while ends no study: the next run is written with the others."""
        try:
            keep()
            return True
        except InputError as error:
            warnings.warn(f"{error} The study goes on, and its file lacks the newest runs until it can be written.", stacklevel=2)
            return False

    done = {(r["setting"], r["row"], r["seed"]) for r in content["runs"]}
    missing = [job for job in jobs if (job[0], job[1], job[2].seed) not in done]
    recordings = path.parent if recordings is None else Path(recordings)
    watch = Recorder(seed=study.seeds[0]) if study.recorded else study.watch
    known = {} if watch or study.curves else _known_runs(others, content["environment"])
    for setting, row, config in list(missing):
        if (key := _key(config)) in known:
            content["runs"].append({"setting": setting, "row": row, "seed": config.seed} | known[key])
            missing.remove((setting, row, config))
    configs = {_key(config): config for _, _, config in missing}
    places: dict[str, list[tuple[str, str]]] = {}  # rows of several settings may be one and the same run
    for setting, row, config in missing:
        places.setdefault(_key(config), []).append((setting, row))

    def record(_: int, outcome: Outcome) -> bool:
        config = outcome.config
        kept = summary(outcome, study.curves, tables=not study.recorded)
        for setting, row in places[_key(config)]:
            content["runs"].append({"setting": setting, "row": row, "seed": config.seed} | kept)
            if study.recorded and outcome.seen and row == config.method:
                name = f"{Path(config.dataset).name}_{config.labels}_{row}.npz"
                recording_of(outcome, data_of(config)).save(recordings / name)
        return keep_or_warn()

    keep()  # now, so that a place that cannot be written is known before anything is trained
    if study.recorded:
        check_writable(recordings, "recordings=")
    if missing:
        run_all(
            list(configs.values()),
            watch=watch,
            each=record,
            keep=None if study.watch else path.with_suffix(".runs"),  # a watch may remember what no file holds
            workers=workers,
            progress=progress,
            title=study.name,
        )
    order = {(setting, row, config.seed): n for n, (setting, row, config) in enumerate(jobs)}
    content["runs"].sort(key=lambda r: order[r["setting"], r["row"], r["seed"]])
    keep_or_warn()
    return content


def summary(outcome: Outcome, curves: Sequence[str] = (), tables: bool = True) -> dict:
    """What a study keeps of a run: final and median accuracy (EMA model, test), means over the last quarter, curves, and what
    was watched, where that is tables."""
    kept = {
        "accuracy": outcome.accuracy,
        "median_of_last_20": outcome.median_accuracy if len(outcome.history) >= 20 else None,
        **{key: outcome.late(key) for key in LATE},
        "seconds": outcome.seconds,
        "precision": outcome.environment.get("precision"),
    }
    if readout := outcome.history[-1].get("readout"):
        kept["readout"] = readout
    benefits = layer_benefits([outcome])
    if len(benefits):
        late = early_and_late(benefits).query("phase == 'late'")
        kept["late_benefit"] = {
            r["layer"]: {q: None if r[q] != r[q] else r[q] for q in ("benefit", "alignment")} for r in late.to_dict("records")
        }
    found: dict[str, list[dict]] = {}
    for part in outcome.seen if tables else ():
        for name, rows in part.items():
            found.setdefault(name, []).extend(rows)
    if curves:
        found["history"] = [{"step": r["step"]} | {key: r.get(key) for key in curves} for r in outcome.history]
    if found:
        kept["tables"] = {name: columns(rows) for name, rows in found.items()}
    return kept


def _key(config: TrainConfig) -> str:
    return json.dumps(config.as_dict(), sort_keys=True)


def _elsewhere(theirs: dict, ours: dict) -> str:
    """What makes the same run come out differently, in words: versions, device, threads. Empty where nothing does."""
    keys = ("torch", "layermatch_lite", "device", "device_name", "threads")
    return ", ".join(f"{key} {theirs.get(key)}, not {ours[key]}" for key in keys if theirs.get(key) != ours[key])


def _known_runs(paths: Sequence[str | PathLike], here: dict) -> dict[str, dict]:
    """{config: run} of other studies' files, where they were made as here."""
    known = {}
    for path in paths:
        if not Path(path).exists():
            continue
        other = load(path)
        if _elsewhere(other["environment"], here):
            continue
        for r in other["runs"]:
            config = TrainConfig.from_dict(other["defaults"] | other["plan"][r["setting"]][r["row"]] | {"seed": r["seed"]})
            known[_key(config)] = {k: v for k, v in r.items() if k not in ("setting", "row", "seed", "tables")}
    return known


def _difference(found: dict, wanted: dict) -> str:
    """How a file's plan differs from the wanted one, in words; empty where it does not."""
    for key in ("name", "seeds"):
        if found[key] != wanted[key]:
            return f"{key} {found[key]!r}, not {wanted[key]!r}"
    for setting in dict.fromkeys([*found["plan"], *wanted["plan"]]):
        theirs, ours = found["plan"].get(setting, {}), wanted["plan"].get(setting, {})
        for row in dict.fromkeys([*theirs, *ours]):
            if row not in theirs or row not in ours:
                return f"{'another' if row in theirs else 'no'} row {row!r} in {setting!r}"
            a, b = ({**content["defaults"], **content["plan"][setting][row]} for content in (found, wanted))
            for name in b:
                a.setdefault(name, wanted["defaults"][name])  # a setting that came later
                if a[name] != b[name]:
                    return f"{name}={a[name]!r} in {setting!r}, {row!r}, not {b[name]!r}"
    return "" if found["families"] == wanted["families"] else "other comparisons"
