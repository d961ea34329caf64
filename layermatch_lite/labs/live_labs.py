"""The labs that train, between the page and the training: one at a time, in the background, one frame after the other."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import InputError
from ..system import torch_settings
from . import curves, decisions
from .background import Worker, problem
from .lessons import Trained

FRAME_SECONDS = 0.1  # between two lines about a training


class LiveBench:
    """Trains what the page asks for. make(state) begins a session, watch(state, session, until) trains it and yields frames."""

    def __init__(self, states: type[Trained], send: Callable, make: Callable, watch: Callable):
        self.states, self.send, self.make, self.watch = states, send, make, watch
        self.worker, self.training, self.session, self.closed = Worker(), None, None, False

    def hear(self, message: dict) -> None:
        """{do: "train", link, again}: train to the link's step, from the start where `again`; {do: "stop"}."""
        self.worker.stop()
        if message["do"] == "stop":
            return
        state = self.states.from_link(message["link"])
        name = state.whole().link()
        if message.get("again") or name != self.training or self.session is None or self.session.step > state.step:
            self.training, self.session = name, None
        if not self.worker.wait(5):  # one training at a time
            raise InputError("the step before is still being computed; press Train live again in a moment.")
        told = 0.0

        def frames():
            with torch_settings(1):  # beside a browser two OpenMP threads wait for one another and are slower than one
                if self.session is None:
                    self.session = self.make(state)
                yield from self.watch(state, self.session, state.step)

        def show(frame: tuple[int, bytes | None]) -> None:
            nonlocal told
            step, block = frame
            if block is not None:
                self.send({"training": name, "step": step}, [block])
            if time.monotonic() - told > FRAME_SECONDS:
                told = time.monotonic()
                self.send({"training": name, "progress": step / max(1, state.step), "doing": f"step {step} of {state.step}"})

        def ended(error: BaseException | None, stopped: bool) -> None:
            if self.closed:
                self.session = None
            elif error is not None:
                self.session = None
                self.send(problem(error) | {"training": name})
            else:
                self.send({"done": True, "training": name})

        self.worker.start(frames(), show, ended)

    def block(self, state: Trained) -> bytes:
        """The training up to this state, here and now; what the page asks for next is this very training."""
        self.worker.stop()
        self.worker.wait(5)
        self.training, self.session, block = state.whole().link(), self.make(state), None
        with torch_settings(1):
            for _, frame in self.watch(state, self.session, state.step):
                block = frame or block
        return block

    def close(self) -> None:
        self.closed, self.session = True, None  # the thread lets go of its own at the end of the step
        self.worker.stop()
        curves._data.cache_clear()
        decisions._points.cache_clear()


BENCHES = {
    "decision": lambda states, send: LiveBench(states, send, decisions.DecisionSession, decisions.watch),
    "training": lambda states, send: LiveBench(states, send, curves.CurvesSession, curves.watch),
}
