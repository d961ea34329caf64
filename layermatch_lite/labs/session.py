"""Training inside a lab: a state says which methods on which data and how many steps, so the same state is the same picture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from ..data.sets import SSLData
from ..runs.config import METHODS, TrainConfig
from ..runs.run import Run
from ..runs.train import train_steps
from .state import LabState

NUM_CLASSES = {"mnist1d": 10, "digits": 10, "two_moons": 2, "blobs": 4}
NONE = "none"  # no second method, no noise
FIXED_TAU = tuple(m for m, s in METHODS.items() if not s.freematch)  # the methods whose threshold a slider can move


class Session:
    """Methods in training on the same data, always at the same step. Built when it is first needed."""

    def __init__(self, state: LabState, configs: Sequence[TrainConfig], data: Callable[[], SSLData]):
        self.state, self.step = state.but(step=0), 0
        self._configs, self._data, self._loops = configs, data, None
        # Held while weights change, and by whoever looks at them from another thread.
        self.lock = threading.RLock()

    @property
    def data(self) -> SSLData:
        return self._data()

    def _begin(self) -> None:
        if self._loops is None:
            data = self.data
            self._loops = [train_steps(c, data) for c in self._configs]
            self._runs = [next(loop) for loop in self._loops]

    @property
    def runs(self) -> list[Run]:
        with self.lock:
            self._begin()
            return self._runs

    def advance(self) -> None:
        """One step of every method."""
        self._begin()
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


class RunningBench:
    """The part of a bench that trains. A subclass has `begin(state)`, which makes a session, and `look`."""

    def __init__(self):
        self.session = self._picture = None

    def at(self, state: LabState) -> Session:
        """The session of this state; a new one where the current one has other settings or is further on."""
        if self.session is None or self.session.state != state.but(step=0) or self.session.step > state.step:
            self.session = self.begin(state)
        return self.session

    def missing(self, state: LabState) -> LabState | None:
        return state if self.at(state).step < state.step else None

    def reached(self, state: LabState) -> Session:
        """The session of this state, which must be at its step: a picture of another one would be a lie."""
        session = self.at(state)
        if session.step != state.step:
            raise RuntimeError(f"the training is at step {session.step}, not at {state.step}")
        return session

    def prepare(self, state: LabState) -> Iterator[tuple[float, str]]:
        session = self.at(state)  # now, not when the thread begins
        return ((step / state.step, f"training to step {state.step}") for step in session.until(state.step))
