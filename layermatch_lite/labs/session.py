"""Training inside a lab: a state says which methods on which data and how many steps, so the same state is the same training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from ..data.sets import SSLData
from ..runs.config import TrainConfig
from ..runs.run import Run
from ..runs.train import train_steps


class Session:
    """Methods in training on the same data, always at the same step. Built when it is first needed."""

    def __init__(self, configs: Sequence[TrainConfig], data: Callable[[], SSLData]):
        self.step, self._configs, self._data, self._loops = 0, configs, data, None
        self.lock = threading.RLock()  # held while weights change, and by whoever looks at them from another thread

    @property
    def data(self) -> SSLData:
        return self._data()

    @property
    def runs(self) -> list[Run]:
        with self.lock:
            if self._loops is None:
                data = self.data
                self._loops = [train_steps(c, data) for c in self._configs]
                self._runs = [next(loop) for loop in self._loops]
            return self._runs

    def advance(self) -> None:
        """One step of every method."""
        _ = self.runs
        for loop in self._loops:
            next(loop)
        self.step += 1

    def until(self, step: int) -> Iterator[int]:
        """Train up to this step, yielding each step reached. Two threads that do so take turns."""
        while True:
            with self.lock:
                if self.step >= step:
                    return
                self.advance()
                reached = self.step
            yield reached
