"""What recipes.py, cifar_recipe.py and gpu.py share: results kept run by run, and candidates judged by validation samples."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from layermatch_lite import TrainConfig
from layermatch_lite.system import write_atomically

CHOSEN = Path(__file__).parents[1] / "layermatch_lite" / "runs" / "recipes.json"


class Kept(dict):
    """Results in a JSON file: what it holds already, to be saved after every run."""

    def __init__(self, path: Path, **start):
        super().__init__(json.loads(path.read_text()) if path.exists() else start)
        self.path = path

    def save(self) -> None:
        write_atomically(self.path, lambda f: f.write(json.dumps(self, indent=1).encode()))


def search(kept: Kept, part: dict, plan: dict[str, dict[str, TrainConfig]], train: Callable) -> None:
    """Train what is missing of a plan, {candidate: {run: config}}, and note the validation accuracies in part["rows"].

    part["chosen"]: the candidate with the highest mean.
    train(configs, each) calls each(i, run or outcome) after every run.
    """
    rows = part.setdefault("rows", {})
    jobs = [(name, run, c) for name, runs in plan.items() for run, c in runs.items() if run not in rows.get(name, {})]

    def each(i: int, trained) -> None:
        name, run, _ = jobs[i]
        rows.setdefault(name, {})[run] = trained.history[-1]["val_accuracy"]
        kept.save()

    if jobs:
        train([config for *_, config in jobs], each)
    part["chosen"] = best(rows)
    kept.save()


def best(rows: dict[str, dict[str, float]]) -> str:
    """The candidate with the highest mean."""
    return max(rows, key=lambda name: statistics.fmean(rows[name].values()))


def cells(rows: dict[str, dict[str, float]]) -> str:
    """Every candidate with its mean, the chosen one in bold."""
    mean = {name: f"{name}: {statistics.fmean(runs.values()):.3f}" for name, runs in rows.items()}
    return ", ".join(f"**{text}**" if name == best(rows) else text for name, text in mean.items())


def write_chosen(own: dict[str, dict]) -> None:
    """Write {data set: its recipes} where `TrainConfig` finds them, beside those of other data sets."""
    content = json.dumps(json.loads(CHOSEN.read_text()) | own, indent=1)
    write_atomically(CHOSEN, lambda f: f.write(content.encode()))
