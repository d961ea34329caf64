"""Decision lab, without its widgets: two methods learn the same points in the plane from the same few labels, step by step.

The networks have two features (`MLP(plane=True)`), so features and centres are drawn as they are. A state says everything: the
same state gives the same picture, whichever way one came to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import sklearn.datasets  # noqa: F401  makes the points; imported here so that the lab itself appears at once
import torch
from torch import nn

from ..core.centers import AvgClustering
from ..core.losses import pseudo_label
from ..core.seeding import generator
from ..core.theory import feature_gradient
from ..data.sets import SSLData, load_data
from ..data.views import Views
from ..errors import InputError
from ..figures.style import class_styles
from ..models import build_model
from ..runs.config import METHODS, TrainConfig
from ..studies.report import NAMES
from .drawing import Canvas, Look
from .session import FIXED_TAU, NONE, NUM_CLASSES, RunningBench, Session
from .state import LabState, choice, hidden, number, seed

STEPS, SHOWN, GRID, PULLED = 300, 300, 56, 60


@dataclass(frozen=True)
class DecisionState(LabState):
    """Which points, which labels, which methods, and how many steps they have trained."""

    lab = "decision"

    dataset: str = choice("two_moons", "points", ("two_moons", "blobs"))
    per_class: int = choice(1, "labels per class", (1, 2, 4))
    method_a: str = choice("fixmatch", "left", FIXED_TAU)
    method_b: str = choice("layermatch", "right", (*FIXED_TAU, NONE))
    tau: float = number(0.8, "threshold τ")
    seed: int = seed()
    places: str = hidden("")  # "x,y;x,y;..." of the labelled points; empty: drawn by the seed
    step: int = hidden(0, 0, STEPS)

    @property
    def last_step(self) -> int:
        return STEPS

    @property
    def methods(self) -> list[str]:
        return [self.method_a] + [self.method_b] * (self.method_b != NONE)

    @property
    def num_classes(self) -> int:
        return NUM_CLASSES[self.dataset]


def places_of(state: DecisionState) -> np.ndarray:
    """(n, 2) where the labelled points lie, class by class; raises InputError for a text that says something else."""
    n = state.per_class * state.num_classes
    if not state.places:
        data = _points(state.dataset, n, state.seed)
        return data.x_labelled[data.y_labelled.argsort(stable=True)].double().numpy().round(2)
    try:
        found = np.array([[float(v) for v in point.split(",")] for point in state.places.split(";")])
    except ValueError as error:
        raise InputError(
            f"places={state.places[:60]!r} is garbled ({error}); it reads x,y;x,y;... one for each label."
        ) from error
    if found.shape != (n, 2) or not (np.abs(found) <= 10).all():
        raise InputError(
            f"places={state.places[:60]!r} does not hold {n} points x,y within 10 of the middle; press Reset."
        )
    return found


@lru_cache(maxsize=8)
def _points(dataset: str, num_labels: int, seed: int) -> SSLData:
    return load_data(dataset, num_labels, seed=seed)


def write_places(places: np.ndarray) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in places)


def moved(state: DecisionState, k: int, x: float, y: float) -> DecisionState:
    """The state with labelled point k put to (x, y); training starts over, since its data have changed."""
    places = places_of(state).copy()
    places[k] = x, y
    return state.but(places=write_places(places), step=0)


def labelled_data(state: DecisionState) -> SSLData:
    """The points, with the labelled ones where the state puts them."""
    n = state.per_class * state.num_classes
    data = _points(state.dataset, n, state.seed)
    y = torch.arange(state.num_classes).repeat_interleave(state.per_class)
    return replace(data, x_labelled=torch.from_numpy(places_of(state).astype(np.float32)), y_labelled=y)


class DecisionSession(Session):
    """With averaged centres to draw for every method; those with Avg-Clustering use them, too."""

    def __init__(self, state: DecisionState):
        data = labelled_data(state)
        config = TrainConfig(
            dataset=state.dataset, num_labels=len(data.x_labelled), threshold=state.tau, seed=state.seed, steps=STEPS,
            log_every=STEPS, model="mlp_plane", device="cpu",
        )  # fmt: skip
        super().__init__(state, [replace(config, method=m) for m in state.methods], lambda: data)
        self._config, self._averages = config, []
        g = generator(state.seed, "init")
        self._start = build_model("mlp_plane", data.sample_shape, len(data.classes), generator=g)

    def now(self, k: int) -> tuple[nn.Module, AvgClustering]:
        """Network and averaged centres of method k. Before the first step all networks are one, and no run is needed."""
        if self.step:
            return self.runs[k].model, self._averages[k]
        return self._start, AvgClustering(self._start.classifier)

    def advance(self) -> None:
        if not self._averages:
            momentum = self._config.center_momentum
            self._averages = [run.centers or AvgClustering(run.model.classifier, momentum) for run in self.runs]
        super().advance()
        for run, average in zip(self.runs, self._averages):
            if average is not run.centers:
                average.update(run.model.classifier)


class View:
    """What one method's network makes of the points: everything that is drawn, as arrays."""

    def __init__(self, session: DecisionSession, k: int):
        data, tau, views = session.data, session.state.tau, Views(session.data)
        u, self.y = data.x_unlabelled[:SHOWN], data.y_unlabelled[:SHOWN].numpy()
        low, high = data.x_unlabelled.amin(dim=0) - 0.6, data.x_unlabelled.amax(dim=0) + 0.6
        with session.lock, torch.no_grad():
            model, average = session.now(k)
            model.eval()
            self.extent, grid = _grid(low, high)
            self.regions = model(views.plain(grid)).argmax(dim=1).view(GRID, GRID).numpy()
            z = model.features(views.plain(u))
            W, b = model.classifier.weight.clone(), model.classifier.bias.clone()
            V, v = average.weight.clone(), average.bias.clone()
            model.train()
        labels, mask, _ = pseudo_label(z @ W.T + b, tau)
        self.x, self.z = u.numpy(), z.numpy()
        self.labels, self.mask = labels.numpy(), mask.numpy()
        self.wrong = self.mask & (self.labels != self.y)
        reach = z.abs().amax().clamp(min=1e-6) * 1.15
        self.z_extent, grid = _grid(-reach.expand(2), reach.expand(2))
        self.z_regions = (grid @ W.T + b).argmax(dim=1).view(GRID, GRID).numpy()
        # Centres are directions: drawn with one common factor, so that the longest fits.
        scale = 0.8 * float(reach) / max(float(W.norm(dim=1).max()), 1e-6)
        self.W, self.W_bar = (W * scale).numpy(), (V * scale).numpy()
        self.pull = np.zeros_like(self.z)
        switches = METHODS[session.state.methods[k]]
        if switches.unlabelled:
            taught, bias = (V, v) if switches.avg_clustering else (W, b)
            pull = -feature_gradient(taught, (z @ taught.T + bias).softmax(dim=1), labels, mask)
            longest = float(pull.norm(dim=1).max())
            self.pull = (pull * (0.35 * float(reach) / longest)).numpy() if longest > 0 else self.pull

    @property
    def tally(self) -> str:
        over, wrong = int(self.mask.sum()), int(self.wrong.sum())
        return f"{over} over τ, {wrong} of these labels wrong" if over else "none over τ"

    @property
    def right(self) -> float:
        return float((self.labels == self.y).mean())


def _grid(low, high) -> tuple[tuple, torch.Tensor]:
    xs, ys = (torch.linspace(float(a), float(b), GRID) for a, b in zip(low, high))
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return (float(low[0]), float(high[0]), float(low[1]), float(high[1])), torch.stack([x, y], dim=-1).view(-1, 2)


def reading(state: DecisionState, views: list[View]) -> str:
    """The reading."""
    parts = [
        f"{NAMES[m]}: {v.tally}, {v.right:.0%} called right" + (" (and learns nothing from them)" * (m == "supervised"))
        for m, v in zip(state.methods, views)
    ]
    return f"Step {state.step} of {STEPS}, {len(views[0].y)} unlabelled points shown. {'. '.join(parts)}."


class DecisionBench(RunningBench):
    """See `frame` for what a bench is."""

    title, question = "Decision lab", "Where do few labels lead?"
    State = DecisionState

    def begin(self, state: DecisionState) -> DecisionSession:
        return DecisionSession(state)

    def look(self, state: DecisionState) -> Look:
        session = self.reached(state)
        views = [View(session, k) for k in range(len(state.methods))]
        if self._picture is None or self._picture.made_for != (state.num_classes, len(views)):
            self._picture = DecisionPicture(state.num_classes, len(views))
        text = reading(state, views)
        png = self._picture.png(state, session.data, views)
        given = zip(session.data.x_labelled.tolist(), session.data.y_labelled.tolist())
        at = "; ".join(f"class {c + 1} at {x:.2f}, {y:.2f}" for (x, y), c in given)
        return Look(png, f"{state.dataset}, τ = {state.tau:.2f}, seed {state.seed}; labelled: {at}. {text}", text)

    def point_at(self, fx: float, fy: float) -> tuple[float, float] | None:
        """Where in the plane of the points a click at these shares of the picture lies; None beside it."""
        return None if self._picture is None else self._picture.point_at(fx, fy)


class DecisionPicture:
    """For each method the points with the decision regions, and the features with the centres."""

    def __init__(self, num_classes: int, methods: int):
        self.made_for, self.canvas = (num_classes, methods), Canvas()
        self.styles = class_styles(num_classes)
        grid = dict(left=0.012, right=0.988, bottom=0.2, top=0.87, wspace=0.07)
        axes = self.canvas.figure.subplots(1, 2 * methods, gridspec_kw=grid)
        self.panels = [self._panel(axes[i], i % 2 == 1) for i in range(2 * methods)]
        self.titles = [
            self.canvas.figure.text(0.012 + k / methods, 0.91, "", fontsize=16, fontweight="bold")
            for k in range(methods)
        ]
        self.canvas.move(*([artist for artist in _flat(panel)] for panel in self.panels), self.titles)
        first = self.panels[0]
        named = {"wrong over τ": first["wrong"], "below τ": first["below"], "labelled": first["given"][0]}
        feature = self.panels[1]
        named |= {"centre w": feature["centers"][0], "averaged centre": feature["averages"][0]}
        where = dict(loc="lower center", bbox_to_anchor=(0.5, 0.01), ncols=len(named))
        self.canvas.figure.legend(named.values(), named.keys(), fontsize=13.5, frameon=False, **where)

    def _panel(self, ax, features: bool) -> dict:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("features (arrows: pulled)" if features else "points", fontsize=13)
        panel = {"ax": ax}
        panel["regions"] = ax.imshow(
            np.zeros((GRID, GRID, 4), np.uint8),
            origin="lower",
            extent=(0, 1, 0, 1),
            aspect="auto",
            interpolation="nearest",
        )
        # Lines of markers, not scatters: the same marks, drawn several times as fast.
        marks = lambda marker, size, **look: ax.plot([], [], marker, markersize=size, **look)[0]
        panel["below"] = marks("o", 3, color="0.4")
        panel["over"] = [
            marks(m, 6, markerfacecolor=c, markeredgecolor="white", markeredgewidth=0.4) for c, m in self.styles
        ]
        hollow = dict(markerfacecolor="none", markeredgecolor="black")
        if features:
            nothing = np.zeros(PULLED)
            panel["arrows"] = ax.quiver(
                nothing, nothing, nothing, nothing, angles="xy", scale_units="xy", scale=1, width=0.006, color="#222222"
            )
        panel["wrong"] = marks("o", 8.7, markeredgewidth=1.4, **hollow)
        if features:
            panel["spokes"] = [ax.plot([], [], color="black", linewidth=2.2)[0] for _ in self.styles]
            panel["averages"] = [marks(m, 18, markeredgewidth=2.4, **hollow) for _, m in self.styles]
            panel["centers"] = [
                marks(m, 12, markerfacecolor=c, markeredgecolor="black", markeredgewidth=1.6) for c, m in self.styles
            ]
        else:
            panel["given"] = [
                marks(m, 16, markerfacecolor=c, markeredgecolor="black", markeredgewidth=2.4) for c, m in self.styles
            ]
        panel["frame"] = list(ax.spines.values())
        return panel

    def png(self, state: DecisionState, data: SSLData, views: list[View]) -> bytes:
        from matplotlib.colors import to_rgb

        tint = np.array([[191 + 64 * part for part in to_rgb(color)] + [255] for color, _ in self.styles], np.uint8)
        for k, (method, view) in enumerate(zip(state.methods, views)):
            self.titles[k].set_text(NAMES[method])
            points, features = self.panels[2 * k : 2 * k + 2]
            for panel, at, regions, extent in (
                (points, view.x, view.regions, view.extent),
                (features, view.z, view.z_regions, view.z_extent),
            ):
                panel["regions"].set_data(tint[regions])
                panel["regions"].set_extent(extent)
                panel["ax"].set(xlim=extent[:2], ylim=extent[2:])
                panel["below"].set_data(*at[~view.mask].T)
                panel["wrong"].set_data(*at[view.wrong].T)
                for c in range(len(self.styles)):
                    panel["over"][c].set_data(*at[view.mask & (view.labels == c)].T)
            features["arrows"].set_offsets(view.z[:PULLED])
            features["arrows"].set_UVC(*view.pull[:PULLED].T)
            for c in range(len(self.styles)):
                points["given"][c].set_data(*data.x_labelled[data.y_labelled == c].T.numpy())
                features["spokes"][c].set_data([0, view.W[c, 0]], [0, view.W[c, 1]])
                features["centers"][c].set_data(*view.W[c : c + 1].T)
                features["averages"][c].set_data(*view.W_bar[c : c + 1].T)
        return self.canvas.png()

    def point_at(self, fx: float, fy: float) -> tuple[float, float] | None:
        width, height = self.canvas.figure.bbox.size
        for panel in self.panels[::2]:
            if panel["ax"].bbox.contains(fx * width, (1 - fy) * height):
                x, y = panel["ax"].transData.inverted().transform((fx * width, (1 - fy) * height))
                return float(x), float(y)
        return None


def _flat(panel: dict) -> Iterator:
    for name, part in panel.items():
        if name != "ax":
            yield from part if isinstance(part, list) else [part]
