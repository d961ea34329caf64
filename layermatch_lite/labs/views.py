"""The labs as a notebook sees them: each bench in its frame, with the buttons it needs beyond the controls."""

from __future__ import annotations

import html
import time
from urllib.parse import parse_qsl

import ipywidgets as widgets

from . import recorded
from .decision import DecisionBench, moved, places_of
from .frame import Lab
from .noise import NoiseBench
from .threshold import ThresholdBench
from .timemachine import TimeMachineBench, next_wrong
from .training import TrainingBench

FRAME_SECONDS = 0.2  # between two pictures of a running training


class NoiseLab(Lab):
    """Spoil pseudo-labels and see what that does to each layer, with and without Grad-ReLU and Avg-Clustering."""

    def __init__(self, link: str | None = None, **settings):
        super().__init__(NoiseBench(), link, **settings)


class ThresholdLab(Lab):
    """Slide τ over a recorded run: mask rate, pseudo-label accuracy and their product, for all samples and per class.

    run: a name of `list_recorded`, or the path of a recording of your own.
    """

    def __init__(self, link: str | None = None, **settings):
        super().__init__(ThresholdBench(), link, **settings)


class TimeMachine(Lab):
    """Scrub through a recorded run; follow one sample to the moment when it went wrong.

    run: a name of `list_recorded`, or the path of a recording of your own.
    """

    def __init__(self, link: str | None = None, **settings):
        super().__init__(TimeMachineBench(), link, **settings)

    def panel(self) -> widgets.Widget:
        box = super().panel()
        box.children += (self.button("Next wrong one", self.next_wrong),)
        return box

    def next_wrong(self) -> None:
        """Go to the next sample whose label over τ is wrong at this moment."""
        r = recorded.load(self.state.run, self.state.seed)
        s = min(self.state.snapshot, len(r.steps) - 1)
        self.set(self.state.but(sample=next_wrong(r, s, self.state.sample)))


class RunningLab(Lab):
    """A lab that trains in the background. Start goes on from where it is; a changed setting starts over."""

    def panel(self) -> widgets.Widget:
        self._training, self.told = None, widgets.Label()
        box = super().panel()
        box.children += (widgets.HBox([*self.buttons(), self.told], layout={"flex_flow": "row wrap"}),)
        return box

    def start(self) -> None:
        """Train to the last step."""
        if self._training and self.worker.running:
            self.told.value = "It is running already."
        elif self.state.step >= self.state.last_step:
            self.told.value = f"All {self.state.last_step} steps are done; Reset starts over."
        else:
            self.train(self.state.last_step)

    def pause(self) -> None:
        """Hold after the step at hand; Start goes on."""
        if self._training:
            self.worker.stop()

    def change(self, **settings) -> None:
        goes_on = self._training and self.worker.running
        super().change(**settings, step=0)
        if goes_on:
            self.start()

    def set(self, state) -> None:
        with self._lock:
            if self._training:
                self.worker.stop()
                self._training, self.told.value = None, ""
            super().set(state)

    def train(self, until: int) -> None:
        """Train up to a step in the background, and show a picture now and then."""
        session = self.bench.at(self.state)
        self._training = mine = object()
        first, began, drawn = session.step, time.monotonic(), 0.0

        def show(step: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn < FRAME_SECONDS and step < until:
                return
            with self._lock:
                if self._training is not mine:
                    return  # something else is on the screen by now
                self.state = session.state.but(step=step)
                self.draw()
                self.show_state()
                left = (until - step) * (now - began) / (step - first)
                self.told.value = f"step {step} of {until}, about {left:.0f} s left" if step < until else ""
            drawn = time.monotonic()

        def done(error: BaseException | None, stopped: bool) -> None:
            with self._lock:
                if self._training is not mine:
                    return
                self._training = None
                self.state = session.state.but(step=session.step)
                self.draw()
                self.show_state()
                self.told.value = f"{'held' if stopped else 'ended'} at step {session.step}"
                if error is not None:
                    self.fault(error)

        self.told.value = "starting"
        self.worker.start(session.until(until), show, done)


class TrainingLab(RunningLab):
    """Live curves of one or two methods; the notebook stays free while they train."""

    def __init__(self, link: str | None = None, **settings):
        super().__init__(TrainingBench(), link, **settings)

    def buttons(self) -> list[widgets.Button]:
        return [self.button("Start", self.start), self.button("Pause", self.pause), self.button("Stop", self.stop)]

    def start(self) -> None:
        if self._ended and not (self._training and self.worker.running):
            self.set(self.state.but(step=0))
        self._ended = False
        super().start()

    def stop(self) -> None:
        """End this training: the curves stay, and Start begins a new one."""
        self.pause()
        self._ended = True

    def panel(self) -> widgets.Widget:
        self._ended = False
        return super().panel()


class DecisionLab(RunningLab):
    """Points in the plane, a few labels to place by clicking or with sliders, and two methods that learn from them."""

    def __init__(self, link: str | None = None, **settings):
        super().__init__(DecisionBench(), link, **settings)
        self.picture.clickable = True
        self.picture.observe(self._clicked, "clicked")

    def buttons(self) -> list[widgets.Button]:
        step = lambda n: lambda: self.train(min(self.state.step + n, self.state.last_step))
        return [
            self.button("Start", self.start), self.button("Pause", self.pause), self.button("1 step", step(1)),
            self.button("10 steps", step(10)),
        ]  # fmt: skip

    def panel(self) -> widgets.Widget:
        box = super().panel()
        style, layout = {"description_width": "initial"}, {"width": "250px"}
        self.which = widgets.Dropdown(
            description="place label", options=[("", 0)], style=style, layout={"width": "auto"}
        )
        self.x, self.y = (
            widgets.FloatSlider(description=d, min=-4, max=4, step=0.01, style=style, layout=layout) for d in ("x", "y")
        )
        self.which.observe(lambda change: self.guarded(self.show_state), "value")
        for slider in (self.x, self.y):
            slider.observe(self._placed, "value")
        box.children += (widgets.HBox([self.which, self.x, self.y], layout={"flex_flow": "row wrap"}),)
        return box

    def show_state(self) -> None:
        super().show_state()
        self._syncing = True
        try:
            places = places_of(self.state)
            names = tuple(
                (f"{k + 1}, class {k // self.state.per_class + 1} {MARKS[k // self.state.per_class]}", k)
                for k in range(len(places))
            )
            if self.which.options != names:
                self.which.options = names
            for slider, value in zip((self.x, self.y), places[self.which.value].tolist()):
                slider.min, slider.max = min(-4.0, value), max(4.0, value)
                slider.value = value
        finally:
            self._syncing = False

    def place(self, k: int, x: float, y: float) -> None:
        """Put labelled point k to (x, y)."""
        self.change(places=moved(self.state, k, x, y).places)

    def _placed(self, change) -> None:
        k, x, y = self.which.value, self.x.value, self.y.value
        # A slider on the screen answers with its value rounded to its step: that moves nothing.
        if not self._syncing and abs(places_of(self.state)[k] - (x, y)).max() > 0.005:
            self.guarded(self.place, k, x, y)

    def _clicked(self, change) -> None:
        def act() -> None:
            at = self.bench.point_at(*change["new"][:2])
            if at is not None:
                self.place(self.which.value, *at)
                self.which.value = (self.which.value + 1) % len(
                    self.which.options
                )  # the next click places the next one

        self.guarded(act)


MARKS = "●■▲◆"  # of the classes, as in the picture

LABS = {
    "Noise": NoiseLab,
    "Decision": DecisionLab,
    "Training": TrainingLab,
    "Time machine": TimeMachine,
    "Threshold": ThresholdLab,
}


def classroom(query: str = "") -> widgets.Widget:
    """All labs, one tab each. query: of the page's address; with ?lesson=LINK the lab of this lesson link is open and set to it.

    A link that fits no lab is said above the tabs.
    """
    link = dict(parse_qsl(query)).get("lesson", "")
    labs = [make() for make in LABS.values()]
    tabs = widgets.Tab(labs, titles=list(LABS))
    named = [lab.state.lab for lab in labs]
    if not link:
        return tabs
    name = link.partition("?")[0]
    if name not in named:
        return widgets.VBox(
            [
                widgets.HTML(
                    f"{html.escape(link[:80])!r} is no lesson link; it starts with one of {', '.join(named)}."
                ),
                tabs,
            ]
        )
    tabs.selected_index = named.index(name)
    labs[tabs.selected_index].link.value = link
    return tabs
