"""The demo: three methods with paired seeds; `report` puts them into tables and a figure."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from os import PathLike
from pathlib import Path

from ..errors import InputError, check_range
from ..runs.compare import Outcome, paired, run_all
from ..runs.config import TrainConfig
from ..runs.train import data_of

METHODS = ("supervised", "fixmatch", "layermatch")


def run_demo(
    config: TrainConfig | None = None, *, seeds: int = 3, workers: int | None = None, progress: bool = True
) -> list[Outcome]:
    """Train supervised, FixMatch and LayerMatch with `seeds` paired seeds, measuring the layer benefit about 12 times."""
    check_range("seeds", seeds, 1, whole=True)
    config = config or TrainConfig.preset("demo_cpu")
    # Here once, so that mistakes show at once and a folder is decoded before the workers want it:
    data_of(config, progress)
    often = config.evaluate_every * max(1, round(config.steps / 12 / config.evaluate_every))  # with every few records
    config = replace(config, probe_every=config.probe_every or often)
    return run_all(paired(config, METHODS, range(config.seed, config.seed + seeds)), workers=workers, progress=progress)


def check_writable(out: str | PathLike) -> None:
    """Find out before the training, not after it, that the output folder cannot be written."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise InputError(
            f"out={str(out)!r} cannot be written ({error.strerror or error}); choose another folder with --out."
        ) from error
