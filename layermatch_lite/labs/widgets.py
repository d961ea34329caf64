"""The labs as a notebook sees them: each bench in its frame, with the buttons it needs beyond the controls."""

from __future__ import annotations

import time
from urllib.parse import unquote_plus

import ipywidgets as widgets

from ..figures.screen import Message
from ..runs.recording import Recording
from . import recorded
from .decision_lab import DecisionBench, moved, places_of
from .frame import Lab
from .noise_lab import NoiseBench
from .session import Session
from .threshold_lab import EVERY, ThresholdBench
from .timemachine import TimeMachineBench, next_wrong
from .training_lab import TrainingBench

FRAME_SECONDS = 0.2  # between two pictures of a running training


class NoiseLab(Lab):
    """Spoil pseudo-labels and see what that does to each layer, with and without Grad-ReLU and Avg-Clustering."""

    def __init__(self, link: str | None = None, **settings):
        super().__init__(NoiseBench(), link, **settings)


class RecordedLab(Lab):
    """A lab that looks at a recorded run, whose number of snapshots and samples bounds the sliders."""

    def draw(self) -> None:
        super().draw()
        r = recorded.load_run(self.state.run, self.state.seed)
        self._syncing = True
        try:
            self.adapt(r)
        finally:
            self._syncing = False

    def adapt(self, r: Recording) -> None:
        """Bring the controls in line with the recording."""
        self.controls["snapshot"].max = len(r.steps) - 1

    def change(self, **settings) -> None:
        """Another run may have fewer snapshots and samples: the last ones are shown then."""
        state = self.state.but(**settings)
        if "run" in settings and self.bench.missing(state) is None:
            state = self.bench.within(state)
        self.set(state)


class ThresholdLab(RecordedLab):
    """Slide τ over a recorded run: mask rate, pseudo-label accuracy and their product, for all samples and per class.

    run: a name of `list_recorded`, or the path of a recording of your own.
    """

    def __init__(self, link: str | None = None, **settings):
        super().__init__(ThresholdBench(), link, **settings)

    def adapt(self, r: Recording) -> None:
        super().adapt(r)
        options = (EVERY, *r.classes)
        if self.controls["label"].options != options:
            self.controls["label"].options = options
        self.controls["label"].value = self.state.label


class TimeMachine(RecordedLab):
    """Scrub through a recorded run; follow one sample to the moment when it went wrong.

    run: a name of `list_recorded`, or the path of a recording of your own.
    """

    def __init__(self, link: str | None = None, **settings):
        super().__init__(TimeMachineBench(), link, **settings)

    def panel(self) -> widgets.Widget:
        box = super().panel()
        box.children += (self.button("Next wrong one", self.next_wrong),)
        return box

    def adapt(self, r: Recording) -> None:
        super().adapt(r)
        self.controls["sample"].max = len(r.y_true) - 1

    def next_wrong(self) -> None:
        """Go to the next sample whose label over τ is wrong at this moment."""
        r = recorded.load_run(self.state.run, self.state.seed)
        self.set(self.state.but(sample=next_wrong(r, self.state.snapshot, self.state.sample)))


class RunningLab(Lab):
    """A lab that trains in the background. Start resumes where it was; a changed setting starts over."""

    def panel(self) -> widgets.Widget:
        self.status = widgets.Label()
        box = super().panel()
        box.children += (widgets.HBox([*self.buttons(), self.status], layout={"flex_flow": "row wrap"}),)
        return box

    @property
    def training(self) -> bool:
        """Is a training under way, or about to end?"""
        return self._job is not None and self._preparing is None

    def start(self) -> None:
        """Train to the last step."""
        if self.training and self.worker.running:
            self.status.value = "It is running already."
        elif self.state.step >= self.state.last_step and self._preparing is None:
            self.status.value = f"All {self.state.last_step} steps are done; Reset starts over."
        else:
            self.train(self.state.last_step)

    def pause(self) -> None:
        """Hold after the current step; Start resumes."""
        if self.training:
            self.worker.stop()

    def change(self, **settings) -> None:
        running = self.training and self.worker.running
        super().change(**settings, step=0)
        if running:
            self.start()

    def set(self, state) -> None:
        with self._lock:
            if self._job is not None and self._preparing != state:
                self.retire()
            super().set(state)

    def retire(self) -> None:
        if self.worker.running or self.training:
            self.bench.session = None  # its thread may still be in a step: nobody else may use it
            self.status.value = ""
        super().retire()

    def train(self, steps: int) -> None:
        """Train so many steps further (at most to the last one) in the background, and show a picture now and then."""
        session = self.bench.session if self._job is not None else self.bench.at(self.state)
        self.worker.stop()  # what is running continues as this training
        self._preparing, self.waiting.layout.display = None, "none"
        self._job = mine = object()
        first, began, drawn = session.step, time.monotonic(), 0.0
        until = min(first + steps, self.state.last_step)

        def show(step: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn < FRAME_SECONDS and step < until:
                return
            with self._lock:
                if self._job is not mine:
                    return  # something else is on the screen by now
                self._catch_up(session)
                left = (until - step) * (now - began) / (step - first)
                self.status.value = f"step {step} of {until}, about {left:.0f} s left" if step < until else ""
            drawn = time.monotonic()

        def done(error: BaseException | None, stopped: bool) -> None:
            with self._lock:
                if self._job is not mine:
                    return
                self._job = None
                if error is None:
                    self.guarded(self._catch_up, session)
                else:
                    self.fault(error)
                    self.state = self._drawn
                    self.show_state()
                self.status.value = f"{'held' if stopped else 'ended'} at step {session.step}"

        self.status.value = "starting"
        self.worker.start(session.until(until), show, done)

    def _catch_up(self, session: Session) -> None:
        """Show the step that the session has reached, while it holds still."""
        with session.lock:
            self.state = session.state.but(step=session.step)
            self.draw()
            self.show_state()


class TrainingLab(RunningLab):
    """Live curves of one or two methods; the notebook stays free while they train."""

    def __init__(self, link: str | None = None, **settings):
        self._ended = False
        super().__init__(TrainingBench(), link, **settings)

    def buttons(self) -> list[widgets.Button]:
        return [self.button("Start", self.start), self.button("Pause", self.pause), self.button("Stop", self.stop)]

    def start(self) -> None:
        """Begin, or resume after a pause; after Stop a new training begins."""
        if self._ended:
            self.set(self.state.but(step=0))
        super().start()

    def stop(self) -> None:
        """End this training: the curves stay, and Start begins a new one."""
        self.pause()
        self._ended = True

    def set(self, state) -> None:
        self._ended = False
        super().set(state)


class DecisionLab(RunningLab):
    """Points in the plane, a few labels to place by clicking or with sliders, and two methods that learn from them."""

    def __init__(self, link: str | None = None, **settings):
        super().__init__(DecisionBench(), link, **settings)
        self.picture.clickable = True
        self.picture.observe(self._clicked, "clicked")

    def buttons(self) -> list[widgets.Button]:
        return [
            self.button("Start", self.start),
            self.button("Pause", self.pause),
            self.button("1 step", lambda: self.train(1)),
            self.button("10 steps", lambda: self.train(10)),
        ]

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
            places, each = places_of(self.state), self.state.per_class
            names = tuple((f"{k + 1}, class {k // each + 1} {MARKS[k // each]}", k) for k in range(len(places)))
            if self.which.options != names:
                self.which.options = names
            for slider, value in zip((self.x, self.y), places[self.which.value].tolist()):
                slider.min, slider.max = min(-4.0, value), max(4.0, value)
                slider.value = value
        finally:
            self._syncing = False

    def change(self, **settings) -> None:
        """With other points, or another number of labels, the places of the labels are drawn again."""
        if {"dataset", "per_class"} & settings.keys():
            settings["places"] = ""
        super().change(**settings)

    def place(self, k: int, x: float, y: float) -> None:
        """Put labelled point k to (x, y)."""
        self.change(places=moved(self.state, k, x, y).places)

    def _placed(self, change) -> None:
        def act() -> None:
            k = self.which.value
            x, y = (change["new"] if s is change["owner"] else s.value for s in (self.x, self.y))
            # A slider on the screen answers with its value rounded to its step: that moves nothing.
            if abs(places_of(self.state)[k] - (x, y)).max() > 0.005:
                self.place(k, x, y)

        self.on_screen(act)

    def _clicked(self, change) -> None:
        def act() -> None:
            at = self.bench.point_at(*change["new"][:2])
            if at is not None:
                k = self.which.value
                self.place(k, *at)
                self.which.value = (k + 1) % len(self.which.options)  # the next click places the next one

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

    A link that fits none of the labs is an error above the tabs.
    """
    # A lesson link holds & and = itself, so it is everything that follows; a browser may have encoded it.
    link = unquote_plus(query.partition("lesson=")[2])
    labs = [make() for make in LABS.values()]
    tabs = widgets.Tab(labs, titles=list(LABS))
    named = [lab.state.lab for lab in labs]
    if not link:
        return tabs
    name = link.partition("?")[0].strip()
    if name not in named:
        message = Message(role="alert")
        message.say(f"{link[:80]} is not a lesson link; a lesson link starts with one of {', '.join(named)}.")
        return widgets.VBox([message, tabs])
    tabs.selected_index = named.index(name)
    labs[tabs.selected_index].link.value = link
    return tabs
