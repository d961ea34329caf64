"""The demo: three methods, three paired seeds, two tables and a figure."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from . import plots
from .compare import Outcome, accuracy_table, as_record, benefit_table, paired, paired_differences, run_all, spread
from .config import TrainConfig
from .data import load_data
from .errors import InputError, check_range
from .system import write_atomically

METHODS = ("supervised", "fixmatch", "layermatch")


def run_demo(
    config: TrainConfig | None = None, *, seeds: int = 3, workers: int | None = None, progress: bool = True
) -> list[Outcome]:
    """Train supervised, FixMatch and LayerMatch with `seeds` paired seeds, measuring the layer benefit about 12 times."""
    check_range("seeds", seeds, 1, whole=True)
    config = config or TrainConfig.preset("demo_cpu")
    load_data(
        config.dataset, config.num_labels, num_val=config.num_val, seed=config.seed, progress=progress
    )  # errors, caches
    often = config.evaluate_every * max(1, round(config.steps / 12 / config.evaluate_every))  # with every few records
    config = replace(config, probe_every=config.probe_every or often)
    return run_all(paired(config, METHODS, range(config.seed, config.seed + seeds)), workers=workers, progress=progress)


def what_seeds_say(outcomes: Sequence[Outcome]) -> str:
    """The paired difference LayerMatch - FixMatch, and what so few seeds can and cannot tell."""
    diffs = paired_differences(outcomes, "layermatch", "fixmatch")
    told = ", ".join(f"{d:+.3f}" for d in diffs)
    mean = sum(diffs) / len(diffs)
    text = f"LayerMatch - FixMatch, seed by seed: {told}; mean {mean:+.3f}."
    if len(diffs) == 1:
        return text + " One seed tells nothing about the next one."
    if len(diffs) < 10:
        text += (
            f" {len(diffs)} seeds show the size of the luck (differences spread by {spread(diffs):.3f}), and only a gap far "
            "beyond it; they cannot rank two methods. The study in benchmarks/ uses more."
        )
    return text


def report(outcomes: Sequence[Outcome]) -> str:
    """Both tables as text, with how to read them."""
    config = outcomes[0].config
    return "\n".join(
        [
            f"\n{config.dataset}, {config.labels} labels, {config.steps} steps. Accuracy on the test set; pseudo-labels over "
            f"the threshold in the last quarter.\n",
            accuracy_table(outcomes).to_string(),
            f"\n{what_seeds_say(outcomes)}",
            "\nLayer benefit: 1 as good as true labels, 0 no use, below 0 harm (mean ± spread over seeds).",
            "Measured for plain pseudo-labels in the first and the last quarter, whatever the method lets through.\n",
            benefit_table(outcomes).to_string(),
            "",
        ]
    )


def write(outcomes: Sequence[Outcome], out: str | PathLike) -> tuple[Path, Path]:
    """Write the figure (demo.png) and every number behind it (demo.json) to a folder."""
    picture, numbers = Path(out) / "demo.png", Path(out) / "demo.json"
    figure, alt = plots.comparison_figure(outcomes)
    content = json.dumps({"alt": alt, "runs": [as_record(o) for o in outcomes]}, indent=1)
    write_atomically(numbers, lambda f: f.write(content.encode()))
    plots.save(figure, picture)
    return picture, numbers


def check_writable(out: str | PathLike) -> None:
    """Find out before the training, not after it, that the output folder cannot be written."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise InputError(
            f"out={str(out)!r} cannot be written ({error.strerror or error}); choose another folder with --out."
        ) from error
