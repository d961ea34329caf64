"""Decision lab: two methods learn the same points in the plane from the same few labels, step by step.

The networks have two features (`MLP(plane=True)`), so features and centres are drawn as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from ..core.centers import AvgClustering
from ..core.losses import pseudo_label
from ..data.sets import SSLData, load_data
from ..data.views import Views
from ..errors import InputError
from ..models import in_mode
from ..runs.config import TrainConfig
from ..studies.report import NAMES
from . import packs
from .lessons import DecisionState
from .session import Session

SHOWN, GRID, EVERY = 300, 48, 10


def methods(state) -> list[str]:
    """The one or two methods of a state, each once."""
    return list(dict.fromkeys(m for m in (state.method_a, state.method_b) if m != "none"))


@lru_cache(maxsize=8)
def _points(dataset: str, num_labels: int, seed: int) -> SSLData:
    return load_data(dataset, num_labels, seed=seed)


def labelled_data(state: DecisionState) -> SSLData:
    """The points, with the labelled ones where the state puts them. Raises InputError for places that are none."""
    classes = len(_points(state.dataset, None, 0).classes)
    n = state.per_class * classes
    data = _points(state.dataset, n, state.seed)
    order = data.y_labelled.argsort(stable=True)
    data = replace(data, x_labelled=data.x_labelled[order], y_labelled=data.y_labelled[order])
    if not state.places:
        return data
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
    return replace(data, x_labelled=torch.from_numpy(found.astype(np.float32)))


class DecisionSession(Session):
    """With averaged centres to draw for every method; those with Avg-Clustering use them, too."""

    def __init__(self, state: DecisionState):
        data = labelled_data(state)
        self.config = TrainConfig(
            dataset=state.dataset, num_labels=len(data.x_labelled), threshold=state.tau, seed=state.seed, steps=state.last_step,
            log_every=state.last_step, model="mlp_plane", device="cpu",
        )  # fmt: skip
        super().__init__([replace(self.config, method=m) for m in methods(state)], lambda: data)
        self.averages = [
            run.centers or AvgClustering(run.model.classifier, self.config.center_momentum) for run in self.runs
        ]

    def advance(self) -> None:
        super().advance()
        for run, average in zip(self.runs, self.averages):
            if average is not run.centers:
                average.update(run.model.classifier)

    def frame(self) -> dict[str, np.ndarray]:
        """What M networks make of N points now: M x regions (G*G), labels (N), mask (N), z (N, 2), W, V (C, 2), b (C), reach."""
        with self.lock:
            found = [self._one(run, average) for run, average in zip(self.runs, self.averages)]
        return {name: np.stack([f[name] for f in found]) for name in found[0]}

    @torch.no_grad()
    def _one(self, run, average) -> dict[str, np.ndarray]:
        views, classifier = Views(self.data), run.model.classifier
        with in_mode(run.model, train=False):
            regions = run.model(views.plain(self.grid())).argmax(dim=1)
            z = run.model.features(views.plain(self.data.x_unlabelled[:SHOWN]))
            labels, mask, _ = pseudo_label(classifier(z), self.config.threshold)
        reach = float(z.abs().max().clamp(min=1e-6))
        small = lambda t, dtype: t.numpy().astype(dtype)
        return {
            "regions": small(regions, np.uint8), "labels": small(labels, np.uint8), "mask": small(mask, np.uint8),
            "z": small((z / reach * 32767).round(), np.int16), "W": small(classifier.weight, np.float32),
            "V": small(average.weight, np.float32), "b": small(classifier.bias, np.float32), "reach": np.float32(reach),
        }  # fmt: skip

    def box(self) -> list[float]:
        """x and y from and to of what is drawn."""
        x = torch.cat([self.data.x_unlabelled, self.data.x_labelled])
        low, high = (x.amin(dim=0) - 0.4).tolist(), (x.amax(dim=0) + 0.4).tolist()
        return [low[0], high[0], low[1], high[1]]

    def grid(self) -> torch.Tensor:
        """(G*G, 2) the middles of the squares that are coloured, row by row from below."""
        left, right, bottom, top = self.box()
        at = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(bottom + at * (top - bottom), left + at * (right - left), indexing="ij")
        return torch.stack([x, y], dim=-1).view(-1, 2)

    def pack(self, steps: list[int], frames: list[dict[str, np.ndarray]]) -> bytes:
        """Frames of these steps for the page."""
        parts = {name: np.stack([f[name] for f in frames]) for name in frames[0]}
        d, reach = self.data, parts.pop("reach")
        fixed = lambda x: (x.numpy() * 1000).round().astype(np.int16)
        about = {
            "steps": steps, "names": [NAMES[run.config.method] for run in self.runs], "classes": len(d.classes), "grid": GRID,
            "extent": self.box(),
            "reach": reach.flatten().astype(float).tolist(),
        }  # fmt: skip
        return packs.pack(
            about, x=fixed(d.x_unlabelled[:SHOWN]), y=d.y_unlabelled[:SHOWN].numpy().astype(np.uint8), given=fixed(d.x_labelled),
            given_y=d.y_labelled.numpy().astype(np.uint8), **parts,
        )  # fmt: skip


def watch(state: DecisionState, session: DecisionSession, until: int) -> Iterator[tuple[int, bytes | None]]:
    """Train to a step; (step, the block of a frame), or (step, None) where nothing is to be shown."""
    if session.step == 0 or session.step >= until:
        yield session.step, session.pack([session.step], [session.frame()])
    for step in session.until(until):
        shown = step % EVERY == 0 or step == until
        yield step, session.pack([step], [session.frame()]) if shown else None


def record(state: DecisionState) -> bytes:
    """The whole training of a state, every tenth step."""
    session = DecisionSession(state)
    steps, frames = [0], [session.frame()]
    for step in session.until(state.last_step):
        if step % EVERY == 0:
            steps.append(step)
            frames.append(session.frame())
    return session.pack(steps, frames)
