"""Networks trained under known noise: the true labels of the pool, corrupted in a known way, serve as pseudo-labels.

They train every layer, the features alone (Grad-ReLU), or the classifier alone. `train_under_noise` trains one such network;
the grid of all of them is the study "known_noise" (benchmarks/studies.py), and `load_maps` returns 2-D maps of one seed's
features. Our formulation.
"""

from __future__ import annotations

import statistics
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.readout import features_of
from ..data.views import Views
from ..errors import InputError, check_choice, check_range, takes
from ..models import in_mode
from ..runs.config import TrainConfig
from ..runs.train import data_of, train
from ..system import read_npz, reading
from ..variants.noise import KINDS
from . import stats
from .files import RECORDED
from .report import READOUTS

# The kinds of wrong labels as figures and labs name them.
ERRORS = {"uniform": "scattered", "pair": "one way", "confusion": "confusions", "low_confidence": "unsure"}
RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
TAUGHT = {"all": {}, "features": dict(grad_relu="block"), "classifier": dict(blocked="all features")}
SEEDS = tuple(range(7000, 7010))
DATASETS = ("digits", "mnist1d")
MAPPED = 400  # test samples on a map; digits have 360


def study_name(dataset: str = "digits") -> str:
    """The study that has this data set's networks."""
    check_choice("dataset", dataset, DATASETS)
    return "known_noise" if dataset == "digits" else f"known_noise_{dataset}"


def maps_file(dataset: str = "digits") -> Path:
    return RECORDED / f"{study_name(dataset)}_maps.npz"


MAPS = maps_file()


class NoisyNetwork(NamedTuple):
    """A network trained under known noise, seen on the test samples."""

    readout: dict[str, float]  # own, probe, few, kmeans, as in `core.readout`
    features: np.ndarray  # (N, D) float64, of the EMA model in eval mode
    predicted: np.ndarray  # (N,) int64, by its own classifier
    y_true: np.ndarray  # (N,) int64


def noise_config(kind: str, rate: float, taught: str = "all", **settings) -> TrainConfig:
    """The config of a network under known noise: by default digits, one label per class, 300 steps.

    kind, rate: of `variants.noise`; "uniform" and "pair" give a sample the same wrong label throughout, the two others follow
    what the network confuses or doubts at the moment. taught: "all" layers, the "features" or the "classifier". settings: of
    TrainConfig.
    """
    check_choice("kind", kind, KINDS)
    check_choice("taught", taught, TAUGHT)
    check_range("noise_rate", rate, 0, 1)
    noise = dict(noise=kind, noise_rate=rate) if rate else {}
    settings = dict(dataset="digits", num_labels=10, steps=300, device="cpu") | settings
    config = TrainConfig.from_dict(dict(method="fixmatch", labels_from="truth") | settings | noise | TAUGHT[taught])
    return config.changed(readout_every=config.steps, log_every=config.log_every or config.steps)


def train_under_noise(kind: str, rate: float, taught: str = "all", **settings) -> NoisyNetwork:
    """Train one network under known noise, and say what its features know and what its classifier says.

    Arguments as for `noise_config`. About three seconds on one core for the default.

    Raises InputError for an unknown kind, a rate outside [0, 1], and a class without a sample in the pool.
    """
    config = noise_config(kind, rate, taught, **settings)
    data = data_of(config)
    run = train(config, data)
    if not run.finished:
        raise KeyboardInterrupt  # `train` returns what it has; half a network is not what was asked for
    with in_mode(run.ema.module, train=False):
        features, predicted = features_of(run.ema.module, Views(data), data.x_test)
    return NoisyNetwork(run.history[-1]["readout"], features, predicted, data.y_test.cpu().numpy())


class Maps(NamedTuple):
    """Features of the test digits in the plane, one map per network of seed SEEDS[0], all in one frame; N digits."""

    networks: list[tuple[str, float, str]]  # M times kind, rate, taught
    points: np.ndarray  # (M, N, 2) float32
    predicted: np.ndarray  # (M, N) int8
    y_true: np.ndarray  # (N,) int8

    def of(self, kind: str, rate: float, taught: str = "all") -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) points and (N,) predicted classes of one network."""
        check_choice("kind", kind, KINDS)
        wanted = (kind if rate else KINDS[0], float(rate), taught)
        if wanted not in self.networks:
            have = f"rates {', '.join(map(str, RATES))}, taught {', '.join(TAUGHT)}"
            raise InputError(f"there is no map of {kind} {rate}, {taught}; choose from {have}.")
        m = self.networks.index(wanted)
        return self.points[m], self.predicted[m]


def mean_readout(study: dict, kind: str, rate: float, what: str = "own") -> float:
    """One of `core.readout`, mean over the networks in which wrong labels taught every layer; InputError for an unknown one."""
    check_choice("kind", kind, KINDS)
    check_choice("rate", rate, RATES)
    check_choice("readout", what, READOUTS)
    return statistics.fmean(stats.values(study, f"{kind} {rate}", "all", f"readout/{what}").values())


def grid() -> list[tuple[str, float, str]]:
    """Kind, rate and what is taught of every network; rate 0 once, for then every kind is the same."""
    return [(k, r, t) for t in TAUGHT for k in KINDS for r in RATES if r or k == KINDS[0]]


@takes(path="path")
def load_maps(path: str | PathLike = MAPS) -> Maps:
    """The maps that come with the package, or those of another file of `maps_file`.

    Raises InputError where the file is missing, damaged or unfinished.
    """
    with reading(path, "a file of maps", "take it from the package again"):
        arrays = read_npz(path)
        networks = [(k, float(r), t) for k, r, t in (str(name).split() for name in arrays["networks"])]
        maps = Maps(networks, arrays["points"].astype(np.float32), arrays["predicted"], arrays["y_true"])
        if not np.isfinite(maps.points).all() or not ((maps.predicted >= 0) & (maps.predicted < 10)).all():
            raise ValueError("a point or a class is out of its range")
    M, N = len(networks), len(maps.y_true)
    if M < len(grid()):
        raise InputError(f"{path} is unfinished: {M} maps of {len(grid())}; draw them again (make recordings).")
    if networks != grid() or maps.points.shape != (M, N, 2) or maps.predicted.shape != (M, N):
        raise InputError(f"{path} holds maps of other networks than this version's; take it from the package again.")
    return maps
