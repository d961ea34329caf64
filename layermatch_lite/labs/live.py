"""One training that is saved to a file, with live curves: start it, stop it, resume it, today or tomorrow."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import ipywidgets as widgets
from torch import nn

from ..data.sets import SSLData
from ..errors import InputError, check_kinds
from ..figures.output import as_png
from ..figures.screen import Message, Picture, title
from ..figures.style import STYLE, dress, panels
from ..runs.config import TrainConfig
from ..runs.run import Run
from ..runs.train import train_steps
from ..studies.report import NAMES
from ..system import reserved
from .background import Worker
from .cells import close_parts, closed_with_its_cell

WIDTH, HEIGHT = 1100, 420  # of the picture, in pixels
FRAME_SECONDS = 0.5  # between two lines about a running training


_training: weakref.WeakValueDictionary[Path, LiveRun] = weakref.WeakValueDictionary()  # who trains into which file


class LiveRun(widgets.VBox):
    """A run of `train` in the background of a notebook, saved to `path` at every record of its history.

    Start begins it, or resumes it from the file if there is one, and ends exactly as an uninterrupted run would. Stop acts after
    the current step; only the steps since the last record are lost. `run` is the run itself, once there is one.
    """

    def __init__(
        self, config: TrainConfig, path: str | PathLike, data: SSLData | None = None, model: nn.Module | None = None
    ):
        """config: give it a probe_every to see the layer benefit. data, model: as for `train`; data=None is loaded at the start.

        A run of your own network needs a network of the same shapes to be resumed.
        """
        self.worker, self.run = Worker(), None  # first, for whatever fails below: `close` asks for them
        check_kinds({"config": (TrainConfig, config), "path": ("path", path), "data": (SSLData | None, data)})
        self.config, self.data, self.model = config, data, model
        self.path, self.place = Path(path).expanduser().absolute(), str(path)  # where the file is, and how it was called
        self.status, self.error = Message(), Message(role="alert")
        self.progress = widgets.IntProgress(max=config.steps, layout={"width": "260px"})
        self.picture = Picture(width=WIDTH, height=HEIGHT)
        start, stop = widgets.Button(description="Start"), widgets.Button(description="Stop")
        start.on_click(lambda _: self.start())
        stop.on_click(lambda _: self.stop())
        super().__init__(
            [
                title("Live run", self.heading),
                widgets.HBox([start, stop, self.progress], layout={"flex_flow": "row wrap"}),
                self.error,
                self.status,
                self.picture,
            ]
        )
        self.add_class("lml-form")
        closed_with_its_cell(self)
        self._look_into_file()
        self._draw()

    @property
    def heading(self) -> str:
        c = self.config
        return f"{NAMES[c.method]}, {Path(c.dataset).name}, {c.labels} labels, {c.steps} steps, seed {c.seed}"

    @property
    def history(self) -> list[dict]:
        return self.run.history if self.run is not None else []

    def start(self) -> None:
        """Train in the background, resuming from the file if there is one."""
        if self.worker.running:
            return
        other = _training.get(self.path.resolve())
        if other is not None and other is not self and not other.worker.wait(0):
            other.stop()  # the cell was run again: one file has one training
            self.error.say("This run was under way in another widget, which has been stopped; press Start again.")
            return
        _training[self.path.resolve()] = self
        if not self.worker.wait(0):
            self.status.say("the step before is still ending; press Start again")
            return
        self.error.say("")
        self._began = self._shown = None
        self.status.say("loading data, building the network ...")
        self.worker.start(self._steps(), self._stepped, self._ended)

    def stop(self) -> None:
        """End after the current step; the file holds the last record."""
        self.worker.stop()

    def close(self) -> None:
        """Stop, and free everything; the file stays."""
        self.stop()
        if not self.worker.running and self.worker.wait(0):
            self.run = self.data = self.model = None
        close_parts(self)
        super().close()

    def _look_into_file(self) -> None:
        if not self.path.exists():
            self.status.say("Start begins a new run.")
            return
        try:
            self.run = Run.load(self.path, model=self.model)
            if changed := self.run.config.differences(self.config):
                raise InputError(f"{self.place} holds a run with other settings ({', '.join(changed)}); choose another path.")
        except InputError as error:
            self.run = None
            self.error.say(str(error))
            return
        self.progress.value = self.run.step
        found = f"{self.place} holds this run at step {self.run.step} of {self.config.steps}"
        self.status.say(f"{found}; it is finished." if self.run.finished else f"{found}: Start resumes it.")

    def _steps(self) -> Iterator[Run]:
        with reserved(self.path):
            resume = self.path if self.path.exists() else None
            for run in train_steps(self.config, self.data, model=self.model, resume=resume):
                if run.step == 0 or run.just_logged:
                    try:
                        run.save(self.path)
                        self.error.say("")
                    except InputError as error:
                        if run.saved is None:
                            raise
                        self.error.say(f"{error} The file holds step {run.saved}; training continues.")
                yield run

    def _stepped(self, run: Run) -> None:
        self.run, now = run, time.monotonic()
        if self._began is None:
            self._began = run.step, now
        first, began = self._began
        if run.just_logged:
            self._draw()
        if self._shown is None or now - self._shown > FRAME_SECONDS:
            self._shown, self.progress.value = now, run.step
            each = (now - began) / max(1, run.step - first)
            left = each * (self.config.steps - run.step)
            speed = f", {1e3 * each:.0f} ms per step, about {left:.0f} s left" if run.step > first else ""
            self.status.say(f"step {run.step} of {self.config.steps} on {run.environment['device']}{speed}")

    def _ended(self, error: BaseException | None, stopped: bool) -> None:
        if self.comm is None:  # closed
            self.run = self.data = self.model = None
            return
        if error is not None:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            self.error.say(f"{kind}{error}")
        if self.run is None:
            return self.status.say("" if error else "stopped before its first step; Start begins again")
        self.progress.value = self.run.step
        self._draw()
        if self.run.finished:
            where = f"kept in {self.place}" if self.run.saved == self.run.step else "but its end could not be saved"
            self.status.say(f"finished: test accuracy {self.run.accuracy:.3f} (EMA model), {where}")
        else:
            held = f"{self.place} holds step {self.run.saved}, and Start resumes there"
            self.status.say(f"stopped at step {self.run.step}; {held}")

    def _draw(self) -> None:
        text = "no record yet"
        if self.history:
            last = self.history[-1]
            keys = {"accuracy": "test accuracy", "mask_rate": "mask rate", "pseudo_label_accuracy": "right among them"}
            values = [f"{name} {last[key]:.3f}" for key, name in keys.items() if last.get(key) is not None]
            if rows := [row for row in last.get("layer_benefit") or () if row["benefit"] is not None]:
                values += [f"layer benefit {row['benefit']:+.2f} in {row['layer']}" for row in (rows[0], rows[-1])]
            text = f"at step {last['step']} of {self.config.steps}: {', '.join(values)}"
        with self.picture.hold_sync():
            self.picture.png = self._drawn()
            self.picture.alt = f"Curves of a live run, {self.heading}; {text}."

    def _drawn(self) -> bytes:
        """Accuracy, and mask rate with the share of right labels over τ, over the steps."""
        figure, axes = panels(2, WIDTH / 200, HEIGHT / 100, title=self.heading)
        color, marker, _ = STYLE[self.config.method]
        over_tau = {"mask_rate": ("mask rate", ":"), "pseudo_label_accuracy": ("right among them", "-")}
        lines = ({"accuracy": ("test accuracy", "-")}, over_tau)
        for ax, keys in zip(axes, lines):
            for key, (name, style) in keys.items():
                points = [(r["step"], r[key]) for r in self.history if r.get(key) is not None]
                look = dict(color=color, marker=marker, markevery=0.2, linewidth=2.4, label=name)
                ax.plot(*zip(*points) if points else ([], []), style, **look)
            dress(ax, " and ".join(name for name, _ in keys.values()), "training step")
            ax.set(xlim=(0, self.config.steps * 1.03), ylim=(-0.02, 1.02))
        axes[1].legend(fontsize=12, loc="lower right")
        return as_png(figure, small=False)
