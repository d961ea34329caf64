"""Noise lab, without its widgets: what do wrong pseudo-labels do to each layer of one network?

A short FixMatch run is stopped at some step. For 400 signals of its pool, the cost of every possible label to every layer is
measured once (`label_costs`); after that the benefit of any noise is a sum.

The networks of seed 0 come with the package. Training enlarges the smallest difference in rounding, so the same training on
another machine ends with other weights: with recorded ones everybody sees the same pictures. Other seeds are trained here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

from ..core.centers import AvgClustering
from ..core.seeding import generator
from ..core.theory import classifier_gradient, split_classifier_gradient, with_bias
from ..data.batches import labelled_batch, unlabelled_batch
from ..data.views import Views
from ..errors import InputError
from ..figures.maps import confusion_counts
from ..figures.style import layer_styles
from ..runs.config import TrainConfig
from ..runs.run import Run
from ..runs.train import data_of, train_steps
from ..system import cached_npz, read_npz, write_atomically
from ..variants.gate import gate
from ..variants.noise import KINDS, corrupt, rows
from .cache import cache_file, file_key, writing
from .drawing import Canvas, Look, Squares, grow
from .label_costs import label_costs
from .state import LabState, choice, number, seed

SAMPLES, STEPS = 400, 600
LABELS, MOMENTS = (10, 20, 40), (60, 200, 600)
NETWORKS = Path(__file__).with_name("noise_networks.npz")  # `make recordings`
# Of the benefit's axis: the same for every state, so that heights can be compared. ▼ and ▲ mark what lies beyond.
LOW, HIGH = -2.0, 1.5
TAUS = tuple(k / 20 for k in range(21))


@dataclass(frozen=True)
class NoiseState(LabState):
    """Which network, which noise, and which of the two strategies."""

    lab = "noise"

    rate: float = number(0.4, "noise rate")
    kind: str = choice("uniform", "kind of noise", KINDS)
    tau: float = number(0.8, "threshold τ", step=0.05)
    grad_relu: str = choice("off", "Grad-ReLU", ("off", "block", "gate"))
    avg_clustering: str = choice("off", "Avg-Clustering", ("off", "on"))
    labels: int = choice(20, "labels", LABELS)
    step: int = choice(200, "trained steps", MOMENTS)
    seed: int = seed()

    def __post_init__(self):
        super().__post_init__()
        if not np.isclose(self.tau, TAUS).any():
            raise InputError(f"tau={self.tau!r} is not among the measured thresholds; give a multiple of 0.05.")


class Prepared(NamedTuple):
    """What is measured once for a network. T thresholds, L layers, N samples, C classes; [0] plain, [1] averaged centres."""

    layers: list[str]
    start: np.ndarray  # (T, 2, L)
    cost: np.ndarray  # (T, 2, L, N, C) float32
    y: torch.Tensor  # (N,) true labels
    p_weak: torch.Tensor  # (N, C)
    z: torch.Tensor  # (N, D+1) features of the strong views, and a 1
    p: torch.Tensor  # (N, C) probabilities of the strong views
    labelled: torch.Tensor  # (C, D+1) gradient of L_s in the classifier
    u: torch.Tensor  # (N,) one uniform number per sample: a higher rate hits the same samples and more


class Seen(NamedTuple):
    """What the lab shows for one state. Benefits are per layer; a label's gradient is split per class."""

    layers: list[str]
    would: np.ndarray  # (L,) benefit in plain FixMatch
    reaches: np.ndarray  # (L,) what of it reaches the layer with the chosen strategies
    network: np.ndarray  # (L,) benefit of the network's own pseudo-labels, without any added noise
    clean: np.ndarray  # (C,) norm of the gradient that true labels give to each w_c (and b_c)
    noise: np.ndarray  # (C,) norm of what wrong labels add
    arrives: np.ndarray  # (C,) norm of what Grad-ReLU lets through
    confusion: np.ndarray  # (C, C) labels over tau: row true class, column label
    labels: np.ndarray  # (N,) the noisy labels
    mask: np.ndarray  # (N,)

    @property
    def wrong(self) -> int:
        return int(self.confusion.sum() - np.trace(self.confusion))

    @property
    def passed(self) -> int:
        return int(self.confusion.sum())


def train_network(labels: int, seed: int) -> Iterator[tuple[Run, AvgClustering]]:
    """The FixMatch run that is looked at, before its first step and after each, with averaged centres kept beside it."""
    settings = dict(method="fixmatch", threshold=0.8, steps=STEPS, log_every=STEPS, device="cpu")
    config = TrainConfig(num_labels=labels, seed=seed, **settings)
    for run in train_steps(config):
        if run.step == 0:
            centers = AvgClustering(run.model.classifier, config.center_momentum)
        else:
            centers.update(run.model.classifier)
        yield run, centers


def record_networks() -> None:
    """Train the networks that come with the package (seed 0) and write their weights to `NETWORKS`."""
    networks = {}
    for labels in LABELS:
        for run, centers in train_network(labels, seed=0):
            if run.step in MOMENTS:
                weights = run.model.state_dict() | {f"centers.{k}": v for k, v in centers.named_buffers()}
                networks |= {f"{labels}_{run.step}/{name}": w.clone().numpy() for name, w in weights.items()}
    write_atomically(NETWORKS, lambda f: np.savez_compressed(f, **networks))


def recorded_network(labels: int, step: int) -> tuple[Run, AvgClustering]:
    """The run of seed 0 as it starts, with the recorded weights and centres of this step."""
    run, centers = next(train_network(labels, seed=0))
    start = f"{labels}_{step}/"
    weights = {k.removeprefix(start): torch.from_numpy(w) for k, w in read_npz(NETWORKS).items() if k.startswith(start)}
    centers.weight, centers.bias = weights.pop("centers.weight"), weights.pop("centers.bias")
    run.model.load_state_dict(weights)
    return run, centers


def prepare(labels: int, step: int, seed: int) -> Iterator[tuple[float, str]]:
    """Get the network, measure it and cache the result; yields (share done, what)."""
    if seed == 0:
        run, centers = recorded_network(labels, step)
    else:
        for run, centers in train_network(labels, seed):  # noqa: B007  the last ones are what is looked at
            yield 0.6 * run.step / step, f"training a network: {labels} labels, {step} steps, seed {seed}"
            if run.step == step:
                break
    begun = 0.6 if seed else 0.0
    config, g = run.config, generator(seed, "noise lab")
    data = data_of(config)
    views = Views(data)
    x, y = labelled_batch(data, views, config, g)
    weak, strong, i = unlabelled_batch(data, views, SAMPLES, g)
    y_true, found = data.y_unlabelled[i], []
    averaged = [(centers.weight, centers.bias)]
    for costs in label_costs(run.model, x, y, weak, strong, y_true, thresholds=TAUS, centers=averaged):
        found.append(costs)
        yield begun + (1 - begun) * len(found) / len(TAUS), "measuring what each label would do to each layer"
    content = {
        "layers": np.array(costs.layers),
        "start": np.stack([c.start.numpy() for c in found]),
        "cost": np.stack([c.cost.numpy() for c in found]),
        "y": y_true.numpy(),
        "u": torch.rand(SAMPLES, generator=g).numpy(),
        "z": with_bias(costs.z).numpy(),
        **{name: getattr(costs, name).numpy() for name in ("p_weak", "p", "labelled")},
    }
    with writing():
        write_atomically(_cached(labels, step, seed), lambda f: np.savez(f, **content))


def load_prepared(labels: int, step: int, seed: int) -> Prepared | None:
    """What `prepare` has cached, or None where there is nothing or it is damaged."""
    path = _cached(labels, step, seed)
    return _read(path, path.stat().st_mtime_ns) if path.exists() else None


@lru_cache(maxsize=3)  # 4 MB each
def _read(path: Path, changed: int) -> Prepared | None:
    parts = cached_npz(path, lambda arrays: set(arrays) == set(Prepared._fields))
    if parts is None:
        return None
    as_array = {"start": parts["start"], "cost": parts["cost"]}
    tensors = {name: torch.from_numpy(a) for name, a in parts.items() if name not in ("layers", *as_array)}
    return Prepared(layers=parts["layers"].tolist(), **as_array, **tensors)


def _cached(labels: int, step: int, seed: int) -> Path:
    weights = file_key(NETWORKS) if seed == 0 else None
    return cache_file("noise_lab", f"{labels}_{step}_{seed}", weights)


def compute(prepared: Prepared, state: NoiseState) -> Seen:
    """Spoil the true labels as the state says, and sum up what that does to each layer. Pure; a few milliseconds."""
    P = prepared
    t = round(state.tau * 20)
    mask = P.p_weak.amax(dim=1) >= TAUS[t]
    labels = P.y.clone()
    for part in (mask, ~mask):  # the rate holds among the samples over tau
        if part.any():
            labels[part] = corrupt(P.y[part], rows(state.kind, state.rate, P.y[part], P.p_weak[part]), P.u[part])
    q = labels.numpy()
    benefit = lambda k, q: P.start[t, k] - P.cost[t, k][:, np.arange(len(q)), q].sum(axis=1)

    clean, noise = split_classifier_gradient(P.z, P.p, labels, P.y, mask)
    g_u = clean + noise
    let_through = {
        "off": lambda: g_u,
        "block": lambda: torch.zeros_like(g_u),
        "gate": lambda: gate(g_u.flatten(), P.labelled.flatten()).view_as(g_u),
    }[state.grad_relu]()
    true = classifier_gradient(P.z, P.p, P.y, mask)
    reaches = benefit(int(state.avg_clustering == "on"), q)
    size = float(true.square().sum())
    reaches[P.layers.index("classifier")] = float((let_through * true).sum()) / size if size > 0 else 0.0
    confusion = confusion_counts(P.y[mask], labels[mask], P.p.shape[1])
    norms = [part.norm(dim=1).numpy() for part in (clean, noise, let_through)]
    network = benefit(0, P.p_weak.argmax(dim=1).numpy())
    return Seen(P.layers, benefit(0, q), reaches, network, *norms, confusion, q, mask.numpy())


def reading(seen: Seen, state: NoiseState) -> str:
    """The reading: two sentences."""
    if not seen.passed:
        return (
            f"No signal is as confident as τ = {state.tau:.2f}: there are no pseudo-labels, so no layer learns anything from "
            "them. Lower τ."
        )
    over = f"{seen.passed} of {len(seen.mask)} signals pass τ = {state.tau:.2f}"
    first = f"{over}, and {seen.wrong} of their labels are wrong ({seen.wrong / seen.passed:.0%})."
    if not seen.wrong:
        return f"{first} Every layer gets exactly what the true labels give: benefit 1 (before any strategy acts)."
    least, most = int(seen.would.argmin()), int(seen.would.argmax())
    worst = f"{seen.layers[least]} ({seen.would[least]:+.2f})"
    best = f"{seen.layers[most]} ({seen.would[most]:+.2f}; true labels: +1)"
    if seen.would[most] < 0:
        second = f"Their gradient does harm in every layer, most in {worst}, least in {best}"
    elif seen.would[least] < 0:
        second = f"Their gradient does harm in {worst} and is worth most in {best}"
    else:
        second = f"Their gradient is worth least in {worst} and most in {best}"
    last = seen.layers.index("classifier")
    strategy = {
        "off": ".",
        "block": f"; Grad-ReLU keeps it out of the classifier ({seen.would[last]:+.2f} → 0).",
        "gate": f"; the gate changes {seen.would[last]:+.2f} in the classifier to {seen.reaches[last]:+.2f}.",
    }[state.grad_relu]
    return f"{first} {second}{strategy}"


class NoiseBench:
    """See `frame` for what a bench is."""

    title, question = "Noise lab", "What do wrong pseudo-labels do to each layer?"
    State = NoiseState

    def __init__(self):
        self._picture = None

    def missing(self, state: NoiseState) -> tuple | None:
        network = (state.labels, state.step, state.seed)
        return None if load_prepared(*network) is not None else network

    def prepare(self, state: NoiseState) -> Iterator[tuple[float, str]]:
        return prepare(state.labels, state.step, state.seed)

    def look(self, state: NoiseState) -> Look:
        seen = compute(load_prepared(state.labels, state.step, state.seed), state)
        self._picture = self._picture or NoisePicture(seen.layers, len(seen.clean))
        text = reading(seen, state)
        listed = lambda values: ", ".join(f"{name} {b:+.2f}" for name, b in zip(seen.layers, values))
        sizes = [float(np.linalg.norm(part)) for part in (seen.clean, seen.noise, seen.arrives)]
        alt = (
            f"MNIST-1D, {state.labels} labels, step {state.step}, seed {state.seed}; {state.kind} noise, rate {state.rate:.2f}. "
            f"Layer benefit: {listed(seen.would)}; arriving with Grad-ReLU {state.grad_relu} and Avg-Clustering "
            f"{state.avg_clustering}: {listed(seen.reaches)}; of the network's own labels: {listed(seen.network)}. Size of "
            f"the classifier's gradient: {sizes[0]:.2f} from true labels, {sizes[1]:.2f} added by wrong ones, {sizes[2]:.2f} "
            f"arrives. {text}"
        )
        return Look(self._picture.png(seen), alt, text)


# A legend between a panel and its title.
_above = dict(
    fontsize=12, ncols=3, loc="lower center", bbox_to_anchor=(0.48, 0.985), frameon=False, columnspacing=1.0,
    handlelength=1.2, handletextpad=0.5, borderpad=0.2,
)  # fmt: skip


class NoisePicture:
    """Left the benefit per layer, in the middle the classifier's gradient per class, right which label goes where."""

    def __init__(self, layers: list[str], num_classes: int):
        self.canvas = Canvas()
        grid = dict(left=0.07, right=0.985, bottom=0.145, top=0.81, wspace=0.2, width_ratios=(1.45, 1.3, 1.0))
        left, middle, right = self.canvas.figure.subplots(1, 3, gridspec_kw=grid)
        x = np.arange(len(layers))
        colors = [layer_styles(layers)[name][0] for name in layers]
        self.reaches = left.bar(x, 0, 0.62, color=colors)
        self.would = left.bar(x, 0, 0.8, facecolor="none", edgecolor="black", linewidth=2)
        self.network = left.scatter(
            x, x * 0, marker="D", s=60, facecolor="white", edgecolor="black", linewidth=1.6, zorder=5
        )
        self.numbers = [left.text(i, 0, "", ha="center", va="bottom", fontsize=14) for i in x]
        left.axhline(0, color="black", linewidth=1.5)
        left.axhline(1, color="black", linewidth=1.3, linestyle=":")
        left.set(xlim=(-0.6, len(layers) - 0.4), ylim=(LOW, HIGH))
        left.set_xticks(x, layers, fontsize=14)
        left.set_ylabel("layer benefit (1: true labels)", fontsize=14)
        names = ["plain FixMatch", "arrives", "own labels"]
        left.legend([self.would, self.reaches, self.network], names, **_above)
        left.set_title("What pseudo-labels do to each layer", fontsize=15, y=1.11)
        c = np.arange(num_classes)
        self.clean = middle.bar(c - 0.2, 0, 0.4, color="#0072B2", edgecolor="black", linewidth=0.8)
        self.noise = middle.bar(c + 0.2, 0, 0.4, color="#D55E00", hatch="//", edgecolor="black", linewidth=0.8)
        self.arrives = middle.plot(c, c * 0.0, "k_", markersize=20, markeredgewidth=3.5)[0]
        middle.set_xticks(c)
        middle.set_xlabel("centre $w_c$ of class", fontsize=14)
        middle.set_title("Size of the classifier's gradient", fontsize=15, y=1.11)
        middle.legend([self.clean, self.noise, self.arrives], ["true labels", "wrong ones add", "arrives"], **_above)
        middle.yaxis.set_major_locator(MaxNLocator(4))
        self.middle = middle
        self.squares = Squares(right, [str(k) for k in c], 420)
        right.set_title("Labels over τ", fontsize=15, y=1.11)
        right.text(0.5, 1.035, "area: how many", ha="center", fontsize=12.5, transform=right.transAxes)
        for ax in (left, middle, right):
            ax.tick_params(axis="y", labelsize=13)
        for ax in (left, right):  # not in the middle, whose axis is drawn every time
            ax.grid(axis="y", alpha=0.25)
        for ax in (middle, right):
            ax.tick_params(axis="x", labelsize=13)
        self.canvas.move(
            list(self.reaches), list(self.would), self.network, self.numbers,
            middle.yaxis, list(self.clean), list(self.noise), self.arrives, self.squares.artist,
        )  # fmt: skip

    def png(self, seen: Seen) -> bytes:
        grow(self.would, seen.would)
        grow(self.reaches, seen.reaches)
        self.network.set_offsets(np.stack([np.arange(len(seen.network)), seen.network.clip(LOW, HIGH)], axis=1))
        for text, value in zip(self.numbers, seen.would):
            text.set_text(f"{value:+.2f}" + ("▼" if value < LOW else "▲" if value > HIGH else ""))
            text.set_y(min(max(0.0, value), HIGH - 0.3) + 0.06)
        grow(self.clean, seen.clean)
        grow(self.noise, seen.noise)
        self.arrives.set_ydata(seen.arrives)
        self.middle.set_ylim(0, _round_up(1.05 * max(seen.clean.max(), seen.noise.max(), seen.arrives.max())))
        self.squares.show(seen.confusion)
        return self.canvas.png()


def _round_up(value: float) -> float:
    """To 1, 1.5, 2, 3, 5 or 7 times a power of ten, so that an axis changes rarely."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return next(float(m * power) for m in (1, 1.5, 2, 3, 5, 7, 10) if m * power >= value)
