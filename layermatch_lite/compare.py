"""Several runs side by side: trained in parallel, put into tables."""

from __future__ import annotations

import multiprocessing
import queue
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace

import pandas as pd
import torch

from .config import TrainConfig
from .errors import InputError, check_range
from .system import usable_cores
from .training import train_steps

NAMES = {
    "supervised": "Supervised",
    "fixmatch": "FixMatch",
    "grad_relu": "Grad-ReLU",
    "avg_clustering": "Avg-Clustering",
    "layermatch": "LayerMatch",
}


@dataclass(frozen=True)
class Outcome:
    """What is left of a finished run once its weights are gone; plain data, so it travels between processes."""

    config: TrainConfig
    history: list[dict]
    seconds: float
    environment: dict

    @property
    def accuracy(self) -> float:
        return self.history[-1]["accuracy"]

    def late(self, key: str) -> float | None:
        """Mean of a quantity over the last quarter of the run, where it is defined."""
        values = [r[key] for r in self.history if r["step"] > 0.75 * self.config.steps and r.get(key) is not None]
        return statistics.fmean(values) if values else None


def paired(base: TrainConfig, methods: Sequence[str], seeds: Iterable[int]) -> list[TrainConfig]:
    """One config per method and seed. Runs of one seed share labels, initial weights and labelled batches."""
    return [replace(base, method=method, seed=seed) for seed in seeds for method in methods]


def run_all(
    configs: Sequence[TrainConfig], *, workers: int | None = None, progress: bool = True, title: str = "training"
) -> list[Outcome]:
    """Train every config, one process per core and one thread per process; the outcomes come in the order of the configs.

    Ctrl-C (or a kernel interrupt) stops all of them within a step and raises KeyboardInterrupt.
    """
    from tqdm import tqdm

    if workers is not None:
        check_range("workers", workers, 1, whole=True)
    context = multiprocessing.get_context("spawn")  # the same on every system, and safe beside threads
    done, stop = context.Queue(), context.Event()
    workers = min(workers or usable_cores(), len(configs))
    outcomes: dict[int, Outcome] = {}
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (done, stop)) as pool,
        tqdm(total=sum(c.steps for c in configs), desc=title, unit=" steps", disable=not progress) as bar,
    ):
        futures = {pool.submit(_train_one, config): i for i, config in enumerate(configs)}
        try:
            while len(outcomes) < len(configs):
                for future in [f for f in futures if f.done()]:
                    outcomes[futures.pop(future)] = future.result()
                try:
                    bar.update(done.get(timeout=0.1))
                except queue.Empty:
                    pass
            while not done.empty():
                bar.update(done.get())
        except BrokenProcessPool as error:
            raise InputError("a worker process died, perhaps for lack of memory; try fewer (--workers 1).") from error
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return [outcomes[i] for i in range(len(configs))]


def _start_worker(done, stop) -> None:
    import signal

    global _done, _stop
    _done, _stop = done, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and tells the workers
    torch.set_num_threads(1)


def _train_one(config: TrainConfig) -> Outcome | None:
    told = 0
    for run in train_steps(config):
        if _stop.is_set():
            return None
        if run.step - told >= 10 or run.finished:
            _done.put(run.step - told)
            told = run.step
    return Outcome(config, run.history, run.seconds, run.environment)


# --- tables ----------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def by_method(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.config.method, []).append(outcome)
    return grouped


def accuracy_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row per method: test accuracy with every seed, pseudo-label accuracy and mask rate late in training, seconds."""

    def mean(values: list) -> str:
        values = [v for v in values if v is not None]
        return f"{statistics.fmean(values):.0%}" if values else "–"

    rows = []
    for method, group in by_method(outcomes).items():
        scores = [o.accuracy for o in group]
        rows.append(
            {
                "method": NAMES[method],
                "test accuracy": f"{statistics.fmean(scores):.3f} ± {spread(scores):.3f}",
                "seed by seed": "  ".join(f"{s:.3f}" for s in scores),
                "pseudo-labels right": mean([o.late("pseudo_label_accuracy") for o in group]),
                "mask rate": mean([o.late("mask_rate") for o in group]),
                "seconds": f"{statistics.fmean(o.seconds for o in group):.0f}",
            }
        )
    return pd.DataFrame(rows).set_index("method")


def layer_benefits(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Every measurement of the layer benefit as one tidy table: method, seed, step, layer, benefit, alignment, ..."""
    return pd.DataFrame(
        [
            {"method": o.config.method, "seed": o.config.seed, "step": r["step"], "steps": o.config.steps, **row}
            for o in outcomes
            for r in o.history
            for row in r.get("layer_benefit", [])
        ]
    )


def early_and_late(benefits: pd.DataFrame) -> pd.DataFrame:
    """Per method, seed, layer and phase ("early": first quarter of training, "late": last), means over the measurements.

    Measurements in which no sample passed the threshold say nothing and are left out.
    """
    t = benefits[~benefits["empty"]]
    phase = pd.Series(pd.NA, t.index, dtype="object")
    phase[t["step"] <= 0.25 * t["steps"]] = "early"
    phase[t["step"] > 0.75 * t["steps"]] = "late"
    t = t.assign(phase=phase).dropna(subset="phase")
    keys = ["method", "phase", "layer", "seed"]
    return t.groupby(keys, sort=False)[["benefit", "alignment", "interference"]].mean().reset_index()


def benefit_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Layer benefit, mean ± spread over seeds: one row per layer, one column per method and phase."""
    t = early_and_late(layer_benefits(outcomes))
    cells = (
        t.groupby(["layer", "method", "phase"], sort=False)["benefit"]
        .agg(lambda v: f"{v.mean():+.2f} ± {spread(list(v)):.2f}")
        .unstack(["method", "phase"])
    )
    order = [(m, p) for m in by_method(outcomes) for p in ("early", "late") if (m, p) in cells]
    cells = cells.reindex(columns=pd.MultiIndex.from_tuples(order), index=list(dict.fromkeys(t["layer"]))).fillna("–")
    cells.columns = [f"{NAMES[m]}, {p}" for m, p in order]
    return cells


def paired_differences(outcomes: Sequence[Outcome], method: str, baseline: str) -> list[float]:
    """Accuracy of `method` minus that of `baseline`, seed by seed."""
    groups = by_method(outcomes)
    base = {o.config.seed: o.accuracy for o in groups[baseline]}
    return [o.accuracy - base[o.config.seed] for o in groups[method]]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; needs at least two values."""
    from scipy.stats import t

    half = t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def as_record(outcome: Outcome) -> dict:
    """An outcome as plain JSON data."""
    return {
        "config": asdict(outcome.config),
        "seconds": outcome.seconds,
        "environment": outcome.environment,
        "history": outcome.history,
    }
