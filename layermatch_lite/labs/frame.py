"""The frame that every lab shares: controls, picture, reading, progress, errors, Reset and the lesson link.

A lab is a bench, which knows nothing of widgets, in this frame. A bench has

    title, question      what stands above it
    State                its settings (`state.LabState`)
    missing(state)       what this state needs and is slow to get, as a key, or None where everything is available
    prepare(state)       an iterator that gets it, yielding (share done, what is being done)
    look(state)          the picture, its alt text and the reading (`drawing.Look`), in milliseconds
"""

from __future__ import annotations

import html
import threading
import traceback
from collections.abc import Callable

import ipywidgets as widgets

from ..errors import InputError
from ..figures.output import shrink
from ..figures.screen import Message, Picture, title
from ..system import cache_dir
from .background import Worker
from .drawing import HEIGHT, WIDTH
from .state import Control, LabState


class Lab(widgets.VBox):
    """A bench on the screen. Give a lesson link, or settings by name; `Lab.state` is what is shown."""

    def __init__(self, bench, link: str | None = None, **settings):
        self.bench, self._lock, self._syncing = bench, threading.RLock(), False
        self.worker, self._job, self._preparing = Worker(), None, None
        self.start_state = bench.State.from_link(link) if link else bench.State()
        if settings:
            self.start_state = self.start_state.but(**settings)
        self.state = self._drawn = self.start_state
        self.controls = {name: _widget(c, getattr(self.state, name)) for name, c in bench.State.controls().items()}
        for widget in self.controls.values():
            widget.observe(self._moved, "value")
        self.picture = Picture(width=WIDTH, height=HEIGHT)
        self.reading, self.error = Message(), Message(role="alert")
        self.progress = widgets.FloatProgress(max=1, layout={"width": "260px"})
        self.doing = widgets.Label()
        self.cancel = self.button("Cancel", self.worker.stop)
        self.waiting = widgets.HBox([self.progress, self.doing, self.cancel], layout={"display": "none"})
        self.link = widgets.Text(
            description="lesson link", continuous_update=False, style={"description_width": "90px"},
            layout={"flex": "1 1 400px"},
        )  # fmt: skip
        self.link.observe(self._linked, "value")
        foot = widgets.HBox([self.button("Reset", self.reset), self.link], layout={"flex_flow": "row wrap"})
        super().__init__([self.title(), self.panel(), self.waiting, self.error, self.reading, self.picture, foot])
        self.add_class("lml-lab")
        self._prepare_now()
        self.set(self.state)

    # --- what a lab may change -------------------------------------------------------------------------------------------

    def title(self) -> widgets.Widget:
        return title(self.bench.title, self.bench.question)

    def panel(self) -> widgets.Widget:
        """The controls; a lab with buttons puts them here, too."""
        box = widgets.Box(list(self.controls.values()))
        box.add_class("lml-controls")
        return box

    # --- what happens ----------------------------------------------------------------------------------------------------

    def set(self, state: LabState) -> None:
        """Show another state; what is slow is prepared in the background first."""
        with self._lock:
            missing = self.bench.missing(state)
            self.state = state
            self.show_state()
            if missing is None:
                self.retire()
                self.draw()
            elif self._preparing != missing:  # else it is on its way, and the state is drawn when it is there
                self._prepare(missing)

    def change(self, **settings) -> None:
        """A control has been moved."""
        self.set(self.state.but(**settings))

    def reset(self) -> None:
        """Back to where the lab started."""
        self.set(self.start_state)

    def draw(self) -> None:
        """Look at the state and show what is seen."""
        with self._lock:
            look = self.bench.look(self.state)
            self._drawn = self.state
            with self.picture.hold_sync():
                self.picture.png, self.picture.alt = look.png, look.alt
            self.reading.say(look.reading)

    def show_state(self) -> None:
        """Bring the controls and the link in line with the state."""
        self._syncing = True
        try:
            for name, control in self.controls.items():
                value = getattr(self.state, name)
                if isinstance(control, widgets.Dropdown) and value not in control.options:
                    # Your own file, beside the runs that come with the package.
                    control.options = (*control.options, value)
                if control.value != value:
                    control.value = value
            self.link.value = self.state.link()
        finally:
            self._syncing = False

    def button(self, label: str, action: Callable[[], None], **settings) -> widgets.Button:
        """A button whose errors are seen."""
        b = widgets.Button(description=label, **settings)
        b.on_click(lambda _: self.guarded(action))
        return b

    def guarded(self, action: Callable, *arguments) -> None:
        """Do what a person asked for; an error is shown in the panel, and the lab returns to the state before."""
        with self._lock:
            before = self.state
            try:
                action(*arguments)
            except Exception as error:  # a callback's error would be seen by nobody
                self.fault(error)
                self.state = self._drawn if self._preparing is None else before
                self.show_state()
            else:
                self.error.say("")  # only now: a slider that is dragged through errors must not make them blink

    def fault(self, error: BaseException) -> None:
        """Show an error. An InputError is one sentence for the reader; anything else comes with its traceback."""
        if isinstance(error, InputError):
            self.error.say(str(error))
            return
        lines = "".join(traceback.format_exception(error))
        self.error.value = (
            f"<b>{html.escape(type(error).__name__)}: {html.escape(str(error))}</b><br>The lab keeps its last state; press "
            f"Reset to start over.<details><summary>details</summary><pre>{html.escape(lines)}</pre></details>"
        )

    def _moved(self, change) -> None:
        name = next(n for n, w in self.controls.items() if w is change["owner"])
        new = change["new"]
        new = round(new, 9) if isinstance(new, float) else new  # a browser's 0.8 may be 0.8000000000000002
        self.on_screen(lambda: self.change(**{name: new}))

    def _linked(self, change) -> None:
        self.on_screen(lambda: self.set(self.bench.State.from_link(change["new"])))

    def on_screen(self, action: Callable[[], None]) -> None:
        """A person has moved something: act, unless it is only `show_state` that moves it."""
        with self._lock:  # a worker may be at it in this moment; then wait, and do not take the person for an echo
            if not self._syncing:
                self.guarded(action)

    # --- slow things -----------------------------------------------------------------------------------------------------

    def _prepare_now(self) -> None:
        """In the cell that makes the lab, where a progress bar belongs and Ctrl-C works."""
        from tqdm import tqdm

        if self.bench.missing(self.state) is None:
            return
        with tqdm(total=100, bar_format="{desc}: {percentage:.0f}% |{bar}| {elapsed}", leave=False, delay=0.5) as bar:
            for share, doing in self.bench.prepare(self.state):
                bar.set_description_str(f"{doing} (once)", refresh=False)
                bar.update(100 * share - bar.n)

    def _prepare(self, missing: object) -> None:
        """In the background, while the last picture stays."""
        self.retire()
        self._preparing, mine = missing, object()
        self._job = mine

        def show(item: tuple[float, str]) -> None:
            with self._lock:
                if self._job is mine:
                    self.progress.value, self.doing.value = item[0], f"{item[1]} (once) …"

        def done(error: BaseException | None, stopped: bool) -> None:
            with self._lock:
                if self._job is not mine:
                    return  # something else is wanted by now
                self.retire()
                if error is None and not stopped:
                    self.guarded(self._prepared, missing)
                    return
                self.state = self._drawn
                self.show_state()
                if error is not None:
                    self.fault(error)
                else:
                    self.error.say("Stopped: this is the state before.")

        self.doing.value, self.progress.value = "preparing …", 0
        self.waiting.layout.display = "flex"
        self.worker.start(self.bench.prepare(self.state), show, done)

    def _prepared(self, missing: object) -> None:
        if self.bench.missing(self.state) == missing:  # never the same work twice in a row
            raise InputError(
                f"{missing} was prepared but is not in {cache_dir()}; make this folder writable, or set LAYERMATCH_CACHE to "
                "another one."
            )
        self.set(self.state)

    def retire(self) -> None:
        """End the work in the background, if there is any, and ignore what it still reports."""
        self.worker.stop()
        self._job = self._preparing = None
        self.waiting.layout.display = "none"

    # --- where there are no widgets ----------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs):
        """The live lab, and its picture for a reader of a saved notebook."""
        data = super()._repr_mimebundle_(**kwargs)
        live = data[0] if isinstance(data, tuple) else data
        if live is None or not self.picture.png:
            return data
        alt = self.picture.alt
        return {**live, "text/plain": alt, "image/png": shrink(self.picture.png)}, {"image/png": {"alt": alt}}

    def close(self) -> None:
        self.worker.stop()
        super().close()


def _widget(control: Control, value) -> widgets.Widget:
    """The control that fits a setting: buttons or a list for a choice, a slider or a box for a number."""
    style = {"description_width": "initial"}
    if control.options:
        short = len(control.options) <= 4
        kind = widgets.ToggleButtons if short else widgets.Dropdown
        if short:
            style |= {"button_width": "auto"}
        layout = {"width": "auto"}
        others = (value,) * (value not in control.options)
        return kind(
            options=(*control.options, *others), value=value, description=control.label, style=style, layout=layout
        )
    bounds = {"min": control.low, "max": control.high, "step": control.step}
    common = {"value": value, "description": control.label, "style": style}
    if isinstance(value, float):
        return widgets.FloatSlider(**bounds, **common, readout_format=".2f", layout={"width": "330px"})
    if control.box:
        return widgets.BoundedIntText(**bounds, **common, layout={"width": "150px"})
    return widgets.IntSlider(**bounds, **common, layout={"width": "330px"})
