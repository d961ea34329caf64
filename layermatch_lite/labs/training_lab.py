"""Training lab, without its widgets: one or two methods in training on the same data and seed, watched step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.lines import Line2D

from ..data.sets import EMBEDDED, SSLData
from ..errors import InputError
from ..figures.style import STYLE
from ..runs.config import METHODS, TrainConfig
from ..runs.train import data_of
from ..studies.report import NAMES
from ..variants.noise import KINDS
from .drawing import Canvas, Look
from .session import FIXED_TAU, NONE, NUM_CLASSES, RunningBench, Session
from .state import LabState, choice, hidden, number, seed

RECORDS = 30  # points on a curve


@dataclass(frozen=True)
class TrainingState(LabState):
    """Which data, which methods, and how many steps they have trained."""

    lab = "training"

    dataset: str = choice("mnist1d", "data", EMBEDDED)
    per_class: int = choice(2, "labels per class", (1, 2, 4))
    method_a: str = choice("fixmatch", "first method", FIXED_TAU)
    method_b: str = choice("layermatch", "second method", (*FIXED_TAU, NONE))
    tau: float = number(0.8, "threshold τ")
    noise: str = choice(NONE, "corrupt pseudo-labels", (NONE, *KINDS))
    rate: float = number(0.2, "noise rate")
    steps: int = choice(300, "steps", (150, 300, 600))
    seed: int = seed()
    step: int = hidden(0, 0, 600)

    def __post_init__(self):
        super().__post_init__()
        if self.step > self.steps:
            raise InputError(f"step={self.step} lies beyond steps={self.steps}; give a step of at most {self.steps}.")

    @property
    def last_step(self) -> int:
        return self.steps

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys([self.method_a] + [self.method_b] * (self.method_b != NONE)))

    def config(self, method: str) -> TrainConfig:
        """The very settings that `train` would take for the same run."""
        noisy = self.noise != NONE and METHODS[method].unlabelled
        every = self.steps // RECORDS
        return TrainConfig.preset(
            "demo_cpu", dataset=self.dataset, num_labels=self.per_class * NUM_CLASSES[self.dataset], method=method,
            seed=self.seed, threshold=self.tau, steps=self.steps, log_every=every, probe_every=every,
            noise=self.noise if noisy else None, noise_rate=self.rate if noisy else None,
        )  # fmt: skip


@lru_cache(maxsize=4)
def _data(dataset: str, num_labels: int, seed: int) -> SSLData:
    return data_of(TrainConfig(dataset=dataset, num_labels=num_labels, seed=seed))


def about(state: TrainingState) -> str:
    """The setting in words."""
    noise = "" if state.noise == NONE else f", {state.rate:.0%} {state.noise} noise"
    labels = f"{state.per_class} label{'s' * (state.per_class > 1)} per class"
    return f"{state.dataset}, {labels}, τ = {state.tau:.2f}{noise}, seed {state.seed}"


def reading(state: TrainingState, histories: dict[str, list[dict]]) -> str:
    """The reading."""
    if not any(histories.values()):
        names = " and ".join(NAMES[m] for m in state.methods)
        return f"Press Start: {names} will train side by side, on the same labels and seed."
    parts = []
    for method, history in histories.items():
        last, over = history[-1], ""
        if last.get("mask_rate") is not None:
            right = last["pseudo_label_accuracy"]
            over = f", {last['mask_rate']:.0%} over τ" + (
                f" and {right:.0%} of these right" if right is not None else ""
            )
        parts.append(f"{NAMES[method]} {last['accuracy']:.3f}{over}")
    end = "This is one seed: a difference between two runs proves nothing yet." if state.step == state.steps else ""
    return f"Step {state.step} of {state.steps}, test accuracy: {'; '.join(parts)}. {end}".strip()


class TrainingBench(RunningBench):
    """See `frame` for what a bench is."""

    title, question = "Training lab", "Watch two methods learn from the same labels."
    State = TrainingState

    def begin(self, state: TrainingState) -> Session:
        configs = [state.config(m) for m in state.methods]
        return Session(state, configs, lambda: _data(configs[0].dataset, configs[0].num_labels, state.seed))

    def look(self, state: TrainingState) -> Look:
        session = self.reached(state)
        histories = {run.config.method: list(run.history) for run in session.runs} if session.step else {}
        if self._picture is None or self._picture.steps != state.steps:
            self._picture = TrainingPicture(state.steps)
        text = reading(state, histories)
        benefits = []
        for method, history in histories.items():
            rows = history[-1]["layer_benefit"] if history else None
            if rows and not rows[-1]["empty"]:
                first, last = rows[0], rows[-1]
                benefits.append(
                    f"{NAMES[method]} {first['benefit']:+.2f} in {first['layer']}, {last['benefit']:+.2f} in {last['layer']}"
                )
        alt = f"Curves of {about(state)}. {text}" + (f" Layer benefit: {'; '.join(benefits)}." if benefits else "")
        png = self._picture.png(about(state), {m: histories.get(m, []) for m in state.methods})
        return Look(png, alt, text)


PANELS = {
    "accuracy": "Test accuracy",
    "mask_rate": "Mask rate (share over τ)",
    "pseudo_label_accuracy": "Right among them",
    "benefit": "Layer benefit",
}


class TrainingPicture:
    """Four panels over training steps; two lines each, and in the last the first layer (thin) and the classifier (thick)."""

    def __init__(self, steps: int):
        self.steps, self.canvas = steps, Canvas()
        grid = dict(left=0.045, right=0.985, bottom=0.24, top=0.82, wspace=0.25)
        axes = self.canvas.figure.subplots(1, 4, gridspec_kw=grid)
        self.lines = {}
        for ax, (key, title) in zip(axes, PANELS.items()):
            ax.set_title(title, fontsize=15)
            ax.set_xlabel("training step", fontsize=13)
            ax.tick_params(labelsize=12.5)
            ax.grid(alpha=0.3)
            ax.set(xlim=(0, steps * 1.03), ylim=(-0.02, 1.02) if key != "benefit" else (-0.6, 1.4))
            for slot in range(2):
                for layer in (0, 1) if key == "benefit" else (0,):
                    width = 1.5 if key == "benefit" and layer == 0 else 3.2
                    self.lines[key, slot, layer] = ax.plot([], [], linewidth=width, markersize=7)[0]
        axes[3].axhline(0, color="black", linewidth=1.2)
        axes[3].axhline(1, color="black", linewidth=1.2, linestyle=":")
        axes[3].set_yticks([-0.5, 0, 0.5, 1])
        figure = self.canvas.figure
        self.names = [figure.text(0.1 + 0.22 * i, 0.045, "", fontsize=15, fontweight="bold") for i in range(2)]
        self.samples = [Line2D([x, x + 0.02, x + 0.04], [0.06] * 3, transform=figure.transFigure) for x in (0.05, 0.27)]
        self.canvas.figure.text(
            0.985, 0.045, "layer benefit: thin the first layer, thick the classifier", fontsize=13, ha="right"
        )
        self.heading = figure.text(0.045, 0.935, "", fontsize=14.5)
        self.canvas.move(self.lines.values(), self.names, self.samples, self.heading)

    def png(self, heading: str, histories: dict[str, list[dict]]) -> bytes:
        """The picture of one or two methods' histories."""
        self.heading.set_text(heading)
        methods = list(histories)
        for slot in range(2):
            method = methods[slot] if slot < len(methods) else None
            history = histories.get(method, [])
            self.names[slot].set_text(NAMES[method] if method else "")
            self.samples[slot].set_visible(method is not None)
            if method:
                look = dict(zip(("color", "marker", "linestyle"), STYLE[method]))
                self.names[slot].set_color(look["color"])
                self.samples[slot].set(linewidth=3.2, markersize=9, markevery=[1], **look)
            for (key, of, layer), line in self.lines.items():
                if of != slot:
                    continue
                if method:
                    line.set(**look, markevery=max(1, len(history) // 6))
                points = list(_points(history, key, layer))
                line.set_data(*np.array(points).T if points else ([], []))
        return self.canvas.png()


def _points(history: list[dict], key: str, layer: int) -> Iterator[tuple[int, float]]:
    """(step, value) of one line; records without a value (an empty mask, or not measured) are left out."""
    for record in history:
        if key == "benefit":
            rows = record.get("layer_benefit")
            if rows and not rows[-1 if layer else 0]["empty"]:
                yield record["step"], rows[-1 if layer else 0]["benefit"]
        elif record.get(key) is not None:
            yield record["step"], record[key]
