"""Several runs side by side, trained in parallel."""

from __future__ import annotations

import hashlib
import json
import multiprocessing.resource_tracker
import os
import signal
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from ..data.sets import OF_FOLDERS
from ..errors import InputError, check_range
from ..system import memory, torch_settings, usable_cores
from .config import TrainConfig
from .run import Run
from .train import check_fit, data_of, save_or_warn, train_steps

SAVE_EVERY = 30.0  # seconds, at least, between two saves of a run that is kept


@dataclass(frozen=True)
class Outcome:
    """What is left of a finished run once its weights are gone; plain data, so it travels between processes."""

    config: TrainConfig
    history: list[dict]
    seconds: float
    environment: dict
    seen: list[dict] = field(default_factory=list)  # what `watch` returned
    data: dict = field(default_factory=dict)  # `Run.data`

    @property
    def labels(self) -> str:
        """How many labelled samples there were: also where the config takes all there are."""
        return str(self.data.get("num_labels", self.config.labels))

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


def run_all(
    configs: Sequence[TrainConfig],
    *,
    watch: Callable | None = None,
    each: Callable[[int, Outcome], None] | None = None,
    keep: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
    title: str = "training",
) -> list[Outcome]:
    """Train every config, one process per core and one thread per process; the outcomes come in the order of the configs.

    watch: watch(run, data, memory) is called before the first step and after every step, with a dict of its own for each run;
    what it returns, unless None, is kept in `Outcome.seen`.

    each: each(i, outcome) is called here as soon as config i has been trained; False says that it could not keep the outcome.

    keep: a folder where long runs are saved at their records, at most twice a minute. The next call continues them; once `each`
    has kept the outcome, the file goes. A watch must then remember nothing but what it returned (`run.seen`).

    Ctrl-C (or a kernel interrupt) stops all of them at once and raises KeyboardInterrupt. A single worker is this process.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    if workers is not None:
        check_range("workers", workers, 1, whole=True)
    keep = None if keep is None else Path(keep).absolute()
    workers = max(1, min(workers or usable_cores(), len(configs)))
    _check_all(configs, workers, progress)
    settings = dict(return_as="generator_unordered", pre_dispatch=workers, batch_size=1, idle_worker_timeout=60)
    if workers > 1:
        settings |= {"initializer": _end_with, "initargs": (os.getpid(),)}
    pool = Parallel(workers, backend="loky", **settings)
    outcomes: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        steps = np.memmap(Path(folder) / "steps", np.int64, "w+", shape=len(configs) + 1)  # each run's; none is not allowed
        with _bar(steps, sum(c.steps for c in configs), title, progress):
            with _interrupts_held_back():
                found = pool(delayed(_train_one)(i, c, watch, keep, steps.filename) for i, c in enumerate(configs))
            try:
                for i, outcome in found:
                    outcomes[i] = outcome
                    kept = each is None or each(i, outcome) is not False
                    if keep is not None and kept:
                        _place(keep, configs[i], watch).unlink(missing_ok=True)
            except BrokenProcessPool as error:
                raise InputError(f"A worker process died: {_cause_of_death(error)}") from error
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that not every outcome was fetched
                    found.close()
    if keep is not None and keep.is_dir() and not any(keep.iterdir()):
        keep.rmdir()
    if workers > 1:
        get_reusable_executor(reuse=True).shutdown()  # idle workers would keep their memory for five minutes
    return [outcomes[i] for i in range(len(configs))]


def _cause_of_death(error: BrokenProcessPool) -> str:
    """Why a worker died, as far as can be told, and what to do."""
    if "SIGKILL" in str(error):
        return "it was killed, as systems do when memory runs out. Use fewer processes (--workers 1, workers=1)."
    return f"{str(error).splitlines()[0]} See what it printed above; one process alone (--workers 1, workers=1) shows more."


@contextmanager
def _bar(steps: np.ndarray, total: int, title: str, progress: bool) -> Iterator[None]:
    """A progress bar over the steps of all runs, drawn by a thread of its own, for the main one waits."""
    from tqdm import tqdm

    done = threading.Event()
    with tqdm(total=total, desc=title, unit=" steps", disable=not progress) as bar:

        def follow() -> None:
            last = False
            while not last:
                last = done.wait(0.1)
                bar.update(int(steps.sum()) - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and processes started inside never receive it: the parent stops them."""
    here = threading.current_thread() is threading.main_thread()  # the only one that Python interrupts
    masks = hasattr(signal, "pthread_sigmask")  # inherited by what starts inside; not on Windows
    if masks:
        multiprocessing.resource_tracker.ensure_running()  # Python's helper process: while it starts, it lifts the mask
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


def _place(folder: Path, config: TrainConfig, watch: Callable | None) -> Path:
    """Where a run with this config, watched like this, is kept until it is finished."""
    what = json.dumps([config.as_dict(), getattr(watch, "__qualname__", repr(watch))], sort_keys=True)
    return folder / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.pt"


def _check_all(configs: Sequence[TrainConfig], workers: int, progress: bool) -> None:
    """Find out before the first run is trained that a later one cannot be; a folder is decoded here, once, for all workers."""
    data, known = None, None
    of_data = ("dataset", "num_labels", "num_val", "flip", *OF_FOLDERS)
    for config in sorted(configs, key=lambda c: repr([getattr(c, name) for name in of_data])):
        if known != (wanted := [getattr(config, name) for name in of_data]):
            data, known = data_of(config, progress), wanted
            each = 2 * sum(t.nbytes for t in vars(data).values() if isinstance(t, Tensor))  # twice while they are split
            if workers > 1 and each * workers > memory():
                gigabytes = f"{each / 1e9:.2g} GB"
                raise InputError(f"{workers} processes need {gigabytes} each, more than there is; give fewer (--workers 1).")
        check_fit(config, data)


def _end_with(parent: int) -> None:
    """In a worker: end when the parent has ended, whatever ended it and whatever this process is doing then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True, name="layermatch_lite parent").start()


def _train_one(
    i: int, config: TrainConfig, watch: Callable | None, keep: Path | None, counts: str
) -> tuple[int, Outcome]:
    steps, memory = np.memmap(counts, np.int64, "r+"), {}
    path = None if keep is None else _place(keep, config, watch)
    resume = path if path is not None and path.exists() else None
    if resume is not None:
        try:
            Run.load(resume)
        except InputError as error:
            raise InputError(f"{error} Deleting it lets this run start over.") from error
    saved = time.monotonic()
    with torch_settings(1):
        data = data_of(config)
        for n, run in enumerate(train_steps(config, data, resume=resume)):
            watched = n == 0 and resume is not None  # before it was stopped
            if watch is not None and not watched and (found := watch(run, data, memory)) is not None:
                run.seen.append(found)
            if path is not None and run.just_logged and time.monotonic() - saved > SAVE_EVERY:
                save_or_warn(run, path)
                saved = time.monotonic()
            steps[i] = run.step
    return i, Outcome(config, run.history, run.seconds, run.environment, run.seen, run.data)


def as_record(outcome: Outcome) -> dict:
    """An outcome as plain JSON data."""
    return {
        "config": outcome.config.as_dict(),
        "seconds": outcome.seconds,
        "environment": outcome.environment,
        "history": outcome.history,
    }
