"""The widget in which a student commits to a prediction before running the cells below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from ..errors import InputError, check_range, takes
from ..figures.screen import Message, Picture, title
from ..labs.cells import close_parts, closed_with_its_cell
from . import predictions
from .prediction_pictures import draw, draw_into
from .questions import Question, judge, listed


class Predict(widgets.VBox):
    """Ask; take a prediction; show it beside the result. Made by `predict_value`, `predict_curve` and `predict_order`.

    `reveal` is called in a later cell with the result. A student's mistake, here or there, never stops the notebook.
    """

    def __init__(self, question: Question, path: Path | None = None, step: float | None = None):
        self.question, self.path = question, path or predictions.own_file()
        self.fields = _fields(question, step)
        self.commit_button = self._button("Commit", self.commit, button_style="primary")
        self.again_button = self._button("Start over", self.start_over)
        self.message, self.alert = Message(), Message(role="alert")
        self.sketch = Picture(width=900, height=440)
        self.sketch.add_class("lml-sketch")
        for field in self.fields:
            field.observe(lambda _: self._draw(), "value")
        inputs = widgets.Box(self.fields)
        inputs.add_class("lml-controls")
        buttons = widgets.HBox([self.commit_button, self.again_button])
        super().__init__([title("Predict", question.text), inputs, self.sketch, buttons, self.alert, self.message])
        self.add_class("lml-form")
        closed_with_its_cell(self)
        try:
            entry = predictions.load(self.path).get(question.name)
            attempts = entry["attempts"] if entry and predictions.question_of(entry) == question else []
            if attempts:
                last = attempts[-1]
                self._put(last["prediction"])
                self._lock(f"Committed on {last['at'][:10]} (in {self.path.name}). Now run the cells below.")
            else:
                self._say("Commit, then run the cells below. Your prediction stays in your own file; nothing is sent anywhere.")
        except InputError as error:  # a damaged file
            self._say("", str(error))
        self._draw()

    def close(self) -> None:
        close_parts(self)
        super().close()

    @property
    def prediction(self):
        """What the fields hold: a float, a list of floats or a list of items."""
        values = [f.value for f in self.fields]
        if self.question.kind == "order":
            return values
        # A logarithmic slider rounds its powers of ten, which may then lie just outside.
        values = [min(max(v, self.question.low), self.question.high) for v in values]
        return values[0] if self.question.kind == "value" else values

    def commit(self) -> None:
        """Save the prediction and lock the fields."""
        entry = predictions.keep(self.path, self.question, prediction=self.prediction)
        blind = entry["attempts"][-1]["blind"]
        late = "" if blind else " The result was already known, so the class's picture leaves this prediction out."
        self._lock(f"Committed, saved in {self.path.name}.{late} Now run the cells below.")

    def start_over(self) -> None:
        """Unlock the fields for another attempt; earlier ones stay in the file."""
        for widget in (*self.fields, self.commit_button):
            widget.disabled = False
        self._say("Another attempt. Earlier ones stay in your file; the class's picture shows everybody's first.")

    def reveal(self, result, on: tuple | None = None, panel: int | None = None) -> None:
        """Show the result with the last prediction, the score and a sentence. Never raises for what a student did.

        result: a number; a list of numbers, one for each x; or {item: number}, of which the highest is first.
        on: the (figure, alt text) that shows the result; without it a prediction has a picture of its own.
        panel: the number of the panel of `on` that has the question's axes: there the prediction is drawn, too.
        """
        from IPython.display import Markdown, display

        from ..figures.output import show

        said = None
        try:
            result = self.question.check_result(_plain(result))
            attempts = predictions.keep(self.path, self.question, result=result)["attempts"]
            said = attempts[-1] if attempts else None
            came = f"Result: {listed(self.question, result)}."
            sentence = f"{came} No prediction was committed. Next time: enter one above, press **Commit**, then run this cell."
        except (InputError, OSError) as error:  # a lock that another notebook holds is an OSError, too
            sentence = f"Nothing can be compared: {error}"
        if said is not None:
            score, judged = judge(self.question, said["prediction"], result)
            late = "" if said["blind"] else " (Committed after the result was shown.)"
            sentence = f"{judged} Score: {score} of 100.{late}"
        if on is not None:
            show(on if said is None or panel is None else draw_into(on, panel, self.question, said["prediction"]))
        elif said is not None:
            show(draw(self.question, [said["prediction"]], result))
        display(Markdown(f"*Your prediction.* {sentence}"))

    def _repr_mimebundle_(self, **kwargs):
        """The live widget, and the question for a reader of a saved notebook."""
        data = super()._repr_mimebundle_(**kwargs)
        live = data[0] if isinstance(data, tuple) else data
        text = f"Predict: {self.question.text} (Needs a running kernel.)"
        return data if live is None else {**live, "text/plain": text}

    # --- the fields ------------------------------------------------------------------------------------------------------

    def _button(self, label: str, action, **settings) -> widgets.Button:
        button = widgets.Button(description=label, **settings)

        def pressed(_):
            try:
                action()
            except Exception as error:  # nobody would see a callback's error
                self._say("", str(error))

        button.on_click(pressed)
        return button

    def _put(self, prediction) -> None:
        for field, value in zip(self.fields, [prediction] if self.question.kind == "value" else prediction):
            field.value = value

    def _lock(self, message: str) -> None:
        for widget in (*self.fields, self.commit_button):
            widget.disabled = True
        self._say(message)

    def _say(self, message: str, error: str = "") -> None:
        self.message.say(message)
        self.alert.say(error)

    def _draw(self) -> None:
        from ..figures.output import as_png

        if self.question.kind != "curve":
            self.sketch.layout.display = "none"
            self.sketch.alt = f"One number or an order needs no drawing. {self.question.text}"
            return
        figure, alt = draw(self.question, [self.prediction])
        with self.sketch.hold_sync():
            self.sketch.png, self.sketch.alt = as_png(figure, small=False), alt  # while a slider moves


def predict_value(
    name: str,
    text: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    label: str = "your value",
    unit: str = "",
    step: float | None = None,
    log: bool = False,
) -> Predict:
    """Ask for one number between low and high; log: distances are factors.

    step: of the slider; by default the power of ten that divides the range into 100 to 1000 steps.
    """
    if step is not None:
        check_range("step", step, 0, open_low=True)
    return Predict(Question(name, text, "value", low, high, label, unit, log), step=step)


@takes(x="list")
def predict_curve(
    name: str, text: str, x: Sequence, *, xlabel: str = "", low: float = 0.0, high: float = 1.0, label: str = ""
) -> Predict:
    """Ask for a curve: one slider for each x, drawn as they move."""
    return Predict(Question(name, text, "curve", low, high, label, x=tuple(map(str, x)), xlabel=xlabel))


@takes(items="list")
def predict_order(name: str, text: str, items: Sequence[str], *, label: str = "") -> Predict:
    """Ask for an order of the items, the highest first."""
    return Predict(Question(name, text, "order", label=label, items=tuple(items)))


def _fields(q: Question, step: float | None = None) -> list[widgets.Widget]:
    style = {"description_width": "initial"}
    if q.kind == "order":
        places = [f"place {k + 1}" + (" (highest)" if k == 0 else "") for k in range(len(q.items))]
        return [
            widgets.Dropdown(options=q.items, value=item, description=place, style=style, layout={"width": "auto"})
            for place, item in zip(places, q.items)
        ]
    labels = [q.label] if q.kind == "value" else [f"{q.xlabel} {x}".strip() for x in q.x]
    if q.log:
        low, high = math.log10(q.low), math.log10(q.high)
        return [
            widgets.FloatLogSlider(
                value=10 ** ((low + high) / 2), min=low, max=high, step=0.05, description=label, style=style,
                readout_format=",.3g", layout={"width": "480px"},
            )
            for label in labels
        ]  # fmt: skip
    step = step or 10 ** (math.floor(math.log10(q.high - q.low)) - 2)
    middle = q.low + round((q.high - q.low) / 2 / step) * step
    return [
        widgets.FloatSlider(
            value=middle, min=q.low, max=q.high, step=step, description=label, style=style, readout_format=".3g",
            layout={"width": "480px"},
        )
        for label in labels
    ]  # fmt: skip


def _plain(result):
    """Python's own numbers, whatever held them: a tensor, an array, a table's column."""
    if isinstance(result, dict):
        return {item: _plain(v) for item, v in result.items()}
    if isinstance(result, list | tuple):
        return [_plain(v) for v in result]
    return result.tolist() if hasattr(result, "tolist") else result
