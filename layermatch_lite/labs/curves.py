"""Training lab: one or two methods in training on the same data and seed, and their records."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from ..data.sets import SSLData
from ..runs.config import METHODS, TrainConfig
from ..runs.train import data_of
from ..studies.report import NAMES
from . import packs
from .decisions import methods
from .lessons import TrainingState
from .session import Session

RECORDS = 30  # points on a curve
CLASSES = {"mnist1d": 10, "digits": 10, "two_moons": 2, "blobs": 4}


def config_of(state: TrainingState, method: str) -> TrainConfig:
    """The very settings that `train` would take for the same run."""
    noisy = state.noise != "none" and METHODS[method].unlabelled
    of_labels = dict(noise=state.noise, noise_rate=state.rate) if noisy else {}
    if METHODS[method].unlabelled and not METHODS[method].freematch:
        of_labels["threshold"] = state.tau
    every = state.steps // RECORDS
    return TrainConfig.preset(
        "demo_cpu", dataset=state.dataset, num_labels=state.per_class * CLASSES[state.dataset], method=method, seed=state.seed,
        steps=state.steps, log_every=every, **of_labels,
    )  # fmt: skip


@lru_cache(maxsize=4)
def _data(dataset: str, num_labels: int, seed: int) -> SSLData:
    return data_of(TrainConfig(dataset=dataset, num_labels=num_labels, seed=seed))


class CurvesSession(Session):
    def __init__(self, state: TrainingState):
        configs = [config_of(state, m) for m in methods(state)]
        super().__init__(configs, lambda: _data(configs[0].dataset, configs[0].num_labels, state.seed))

    def pack(self, steps: list[int]) -> bytes:
        """The records so far for the page; steps: the moments at which it may stand."""
        histories = [
            {
                "method": run.config.method,
                "name": NAMES[run.config.method],
                "records": [brief(r) for r in run.history],
            }
            for run in self.runs
        ]
        return packs.pack({"steps": steps, "histories": histories})


def brief(record: dict) -> dict:
    """What the page draws of a record."""
    return {k: record.get(k) for k in ("step", "accuracy", "mask_rate", "pseudo_label_accuracy")}


def watch(state: TrainingState, session: CurvesSession, until: int) -> Iterator[tuple[int, bytes | None]]:
    """Train to a step; (step, the block of the records so far), or (step, None) where nothing is to be shown."""
    every = state.steps // RECORDS
    if session.step == 0 or session.step >= until:
        yield session.step, session.pack([session.step])
    for step in session.until(until):
        yield step, session.pack([step]) if step % every == 0 or step == until else None


def record(state: TrainingState) -> bytes:
    """The whole training of a state."""
    session, every = CurvesSession(state), state.steps // RECORDS
    for _ in session.until(state.steps):
        pass
    return session.pack([0, *range(every, state.steps + 1, every)])
