"""Several runs side by side, trained in parallel."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import statistics
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from ..errors import InputError, check_range
from ..system import usable_cores
from .config import TrainConfig
from .train import data_of, train_steps


@dataclass(frozen=True)
class Outcome:
    """What is left of a finished run once its weights are gone; plain data, so it travels between processes."""

    config: TrainConfig
    history: list[dict]
    seconds: float
    environment: dict
    seen: list[dict] = field(default_factory=list)  # what `watch` returned

    @property
    def accuracy(self) -> float:
        return self.history[-1]["accuracy"]

    @property
    def median_accuracy(self) -> float:
        """Median over the last 20 records."""
        return statistics.median(r["accuracy"] for r in self.history[-20:])

    def late(self, key: str) -> float | None:
        """Mean of a quantity over the last quarter of the run, where it is defined."""
        values = [r[key] for r in self.history if r["step"] > 0.75 * self.config.steps and r.get(key) is not None]
        return statistics.fmean(values) if values else None


def paired(base: TrainConfig, methods: Sequence[str], seeds: Iterable[int]) -> list[TrainConfig]:
    """One config per method and seed. Runs of one seed share labels, initial weights and labelled batches."""
    return [replace(base, method=method, seed=seed) for seed in seeds for method in methods]


def run_all(
    configs: Sequence[TrainConfig],
    *,
    watch: Callable | None = None,
    each: Callable[[int, Outcome], None] | None = None,
    workers: int | None = None,
    progress: bool = True,
    title: str = "training",
) -> list[Outcome]:
    """Train every config, one process per core and one thread per process; the outcomes come in the order of the configs.

    watch: watch(run, data, memory) is called before the first step and after every step, with a dict of its own for each run;
    what it returns, unless None, is kept in `Outcome.seen`. A function of a module, so that other processes find it.

    each: each(i, outcome) is called here as soon as config i has been trained.

    Ctrl-C (or a kernel interrupt) stops all of them within a step and raises KeyboardInterrupt.
    """
    from tqdm import tqdm

    if workers is not None:
        check_range("workers", workers, 1, whole=True)
    context = process_context()
    done, stop = context.Queue(), context.RawValue("b", False)  # without a lock, which a dying worker could take along
    workers = max(1, min(workers or usable_cores(), len(configs)))
    outcomes: dict[int, Outcome] = {}
    with (
        ProcessPoolExecutor(workers, context, _start_worker, (done, stop)) as pool,
        tqdm(total=sum(c.steps for c in configs), desc=title, unit=" steps", disable=not progress) as bar,
    ):
        try:
            with _interrupts_held_back():
                futures = {pool.submit(_train_one, config, watch): i for i, config in enumerate(configs)}
            while len(outcomes) < len(configs):
                for future in [f for f in futures if f.done()]:
                    i = futures.pop(future)
                    outcomes[i] = future.result()
                    if each is not None:
                        each(i, outcomes[i])
                try:
                    bar.update(done.get(timeout=0.1))
                except queue.Empty:
                    pass
            while not done.empty():
                bar.update(done.get())
        except BrokenProcessPool as error:
            raise InputError("a worker process died, perhaps for lack of memory; try fewer (--workers 1).") from error
        finally:
            stop.value = True
            pool.shutdown(cancel_futures=True)  # waits for workers that are still starting, too
    return [outcomes[i] for i in range(len(configs))]


def process_context() -> multiprocessing.context.BaseContext:
    """How workers start: from a clean server process that has imported torch once and shares its memory, where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["layermatch_lite.runs.compare", "torch._dynamo"])  # torch's optimizers import the latter
    return context


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and processes that start inside never hear it: none is lost halfway through."""
    here = threading.current_thread() is threading.main_thread()  # the only one that Python interrupts
    masks = hasattr(signal, "pthread_sigmask")  # inherited by what starts inside; not on Windows
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True)) if here else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if here:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: set by something that is not Python
    if heard:
        raise KeyboardInterrupt


def _start_worker(done, stop) -> None:
    global _done, _stop
    _done, _stop = done, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and tells the workers
    torch.set_num_threads(1)


def _train_one(config: TrainConfig, watch: Callable | None) -> Outcome | None:
    told, seen, memory = 0, [], {}
    data = data_of(config)
    for run in train_steps(config, data):
        if _stop.value:
            return None
        if watch is not None and (found := watch(run, data, memory)) is not None:
            seen.append(found)
        if run.step - told >= 10 or run.finished:
            _done.put(run.step - told)
            told = run.step
    return Outcome(config, run.history, run.seconds, run.environment, seen)


def as_record(outcome: Outcome) -> dict:
    """An outcome as plain JSON data."""
    return {
        "config": outcome.config.as_dict(),
        "seconds": outcome.seconds,
        "environment": outcome.environment,
        "history": outcome.history,
    }
