"""The demo: three methods with paired seeds, each with its own recipe; `report` puts them into tables and a figure."""

from __future__ import annotations

from ..core.readout import readout
from ..errors import check_range
from ..runs.compare import Outcome, run_all
from ..runs.config import TrainConfig

METHODS = ("supervised", "fixmatch", "layermatch")
# One label per class: where pseudo-labels are worst.
TELLING = dict(dataset="digits", num_labels=10)


def demo_config(method: str = "fixmatch", **settings) -> TrainConfig:
    """A run of the demo: digits, one label per class, unless settings say otherwise; settings left out are the method's own."""
    settings = dict(log_every=60, probe_every=60, **TELLING if "dataset" not in settings else {}) | settings
    config = TrainConfig.preset("demo_cpu", **settings | dict(method=method))
    return config if config.readout_every else config.changed(readout_every=config.steps)


def run_demo(seeds: int = 3, *, workers: int | None = None, progress: bool = True, **settings) -> list[Outcome]:
    """Train supervised, FixMatch and LayerMatch with `seeds` paired seeds, from settings["seed"] (default 0) upwards.

    settings: of TrainConfig, for all three alike.
    """
    check_range("seeds", seeds, 1, whole=True)
    if workers is not None:
        check_range("workers", workers, 1, whole=True)
    first = demo_config(**settings).seed
    every = range(first, first + seeds)
    configs = [demo_config(method, **settings | dict(seed=seed)) for seed in every for method in METHODS]
    return run_all(configs, watch=untrained, workers=workers, progress=progress)


def untrained(run, data, memory) -> dict | None:
    """The readout before the first step. Runs of one seed start alike, so it is taken in the supervised one with few labels."""
    if run.step or run.config.method != "supervised" or len(data.y_labelled) == len(data.x_unlabelled):
        return None
    return {"untrained": [readout(run.model, data)]}
