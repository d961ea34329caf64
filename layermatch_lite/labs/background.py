"""Long work beside the notebook: a thread that can be stopped between two steps."""

from __future__ import annotations

import asyncio
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Generator
from contextlib import closing

from ..errors import InputError


def problem(error: BaseException) -> dict:
    """An error for the page. An InputError is one sentence for the reader; anything else comes with its traceback."""
    if isinstance(error, InputError):
        return {"error": str(error)}
    return {"error": str(error), "kind": type(error).__name__, "details": "".join(traceback.format_exception(error))}


class Worker:
    """Runs a generator in a thread, one item after the other; `stop` acts between two items.

    A kernel interrupt stops it too, whether a cell is running or not. The thread is a daemon: when the kernel goes, it goes.
    """

    def __init__(self):
        self._stop, self._thread = threading.Event(), None
        try:  # a cell runs in the kernel's main loop; a callback may come from another thread
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    @property
    def running(self) -> bool:
        """Is there work that nobody has stopped?"""
        return self._thread is not None and self._thread.is_alive() and not self._stop.is_set()

    def start(self, items: Generator, on_item: Callable, on_end: Callable[[BaseException | None, bool], None]) -> None:
        """Iterate in a new thread: on_item(item) for each, on_end(error or None, was it stopped?) at the end, both in the thread.

        Whatever ran before is stopped first, without waiting for it. The generator is closed in the thread.
        """
        self.stop()
        stop = self._stop = threading.Event()

        def work() -> None:
            error, nothing = None, object()
            try:
                with closing(items) as iterator:
                    while not stop.is_set() and (item := next(iterator, nothing)) is not nothing:
                        if not stop.is_set():
                            on_item(item)
            except BaseException as caught:  # shown by on_end: an error in a thread would be seen by nobody
                error = caught
            stopped = stop.is_set()
            stop.set()
            on_end(error, stopped)

        self._thread = threading.Thread(target=work, daemon=True, name="layermatch_lite lab")
        _stop_on_interrupt(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to stop after the current item, and return at once."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended; returns whether it has."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()


# An interrupt is a signal, which a process receives as a whole: so the workers to stop are known to the whole process, too.
_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _stop_all() -> None:
    for worker in list(_workers):
        worker.stop()


def _stop_on_interrupt(worker: Worker) -> None:
    """Between cells a kernel ignores SIGINT, and during one the cell receives it: listen in both places."""
    _workers.add(worker)
    if worker._loop is not None and not worker._loop.is_closed():
        worker._loop.call_soon_threadsafe(_listen)
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and _cell_ended not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _cell_ended)


def _cell_ended(result) -> None:
    if isinstance(result.error_in_exec, KeyboardInterrupt):
        _stop_all()


def _listen() -> None:
    """In the main thread, between two messages: the kernel puts its own handler in place only while it handles one."""
    before = signal.getsignal(signal.SIGINT)
    if getattr(before, "stops_labs", False):
        return

    def interrupted(number, frame) -> None:
        _stop_all()
        if callable(before):
            before(number, frame)

    interrupted.stops_labs = True
    signal.signal(signal.SIGINT, interrupted)
