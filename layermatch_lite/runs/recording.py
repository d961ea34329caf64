"""Recorded runs: about 20 snapshots of one training, in one small file that figures and labs read.

A fixed sample of the unlabelled pool is looked at again and again: what would the network label it now, how sure is it, and
where do its features lie? Features are reduced to their first principal components over the whole run, in float16.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.losses import linear, pseudo_label
from ..core.seeding import generator
from ..data.sets import SSLData
from ..data.views import Views
from ..errors import InputError, check_choice, check_file, check_range, takes
from ..models import in_mode
from ..system import read_npz, reading, write_atomically
from .config import TrainConfig
from .device import autocast
from .evaluate import diverged, measure_layer_benefit, predictions
from .run import Run
from .train import data_of, train_steps

if TYPE_CHECKING:
    from .compare import Outcome

FORMAT, VERSION = "layermatch_lite recording", 1
SHIPPED = Path(__file__).with_name("recorded")


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded run. S snapshots of N samples; d reduced features of D; C classes.

    Labels, confidences and features are those of the live model in eval mode on the plain sample, so that they are the same
    whenever one looks; in training, labels come from weak views in train mode. W and W_bar are the live and the averaged
    centres (equal without Avg-Clustering), biases left out.
    """

    config: TrainConfig
    about: dict  # name, classes, ... of the data, and the environment of the run
    history: list[dict]  # every record of the run
    layer_benefit: list[dict]  # one record per snapshot and layer
    steps: np.ndarray  # (S,) int32
    sample: np.ndarray  # (N,) int32: which samples of the unlabelled pool
    y_true: np.ndarray  # (N,) int16; -1 where nobody knows the class
    labels: np.ndarray  # (S, N) int16: pseudo-labels
    mask: np.ndarray  # (S, N) bool: does the confidence reach tau?
    confidence: np.ndarray  # (S, N) float16
    features: np.ndarray  # (S, N, d) float16
    explained: np.ndarray  # (d,) float32: share of the features' variance on each component
    W: np.ndarray  # (S, C, D) float32
    W_bar: np.ndarray  # (S, C, D) float32
    confusion: np.ndarray  # (S, C, C) int32: EMA model on the test set, row true class, column predicted
    prints: np.ndarray | None = None  # (N, 48) uint8, of photographs: what `find_images` knows them by

    @property
    def accuracy(self) -> float:
        """Of the EMA model on the test set, at the end."""
        return float(np.trace(self.confusion[-1]) / self.confusion[-1].sum())

    @property
    def truth_known(self) -> bool:
        """Is the true class of every sample known?"""
        return bool((self.y_true >= 0).all())

    @property
    def right(self) -> np.ndarray:
        """(S, N) bool: is the pseudo-label the true one? InputError where a true class is unknown."""
        if not self.truth_known:
            raise InputError(f"{(self.y_true < 0).sum()} of the {len(self.y_true)} recorded samples have no known class.")
        return self.labels == self.y_true

    @property
    def classes(self) -> list[str]:
        return self.about["classes"]

    @property
    def data_name(self) -> str:
        """The data set, and which copy of it: "cifar10 (JPEG copy)"."""
        return self.about["name"] + (f" ({self.about['copy']})" if "copy" in self.about else "")

    @takes(path="path")
    def save(self, path: str | PathLike) -> None:
        """Write everything to one compressed .npz file, atomically; there is nothing in it but numbers and JSON text."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays = {k: v for k, v in plain.items() if isinstance(v, np.ndarray)}
        text = {k: v for k, v in plain.items() if k not in arrays and v is not None} | {"config": self.config.as_dict()}
        meta = json.dumps({"format": FORMAT, "version": VERSION, **text}, allow_nan=False)
        write_atomically(path, lambda f: np.savez_compressed(f, meta=np.array(meta), **arrays))

    @classmethod
    @takes(path="path")
    def load(cls, path: str | PathLike) -> Recording:
        """Read a recording back. Never executes code from the file; raises InputError for anything else."""
        with reading(path, "a recording", "record the run again"):
            content = read_npz(path)
            meta = json.loads(str(content.pop("meta")))
            check_file(path, meta, FORMAT, VERSION, again="record the run")
            config = TrainConfig.from_dict(meta["config"])
            found = cls(config, meta["about"], meta["history"], meta["layer_benefit"], **content)
            found._check()
        return found

    def _check(self) -> None:
        """Raise ValueError where the parts do not fit together."""
        S, N, C, d = len(self.steps), len(self.sample), len(self.classes), len(self.explained)
        D = self.W.shape[-1]
        expected = {
            "steps": ((S,), np.int32), "sample": ((N,), np.int32), "y_true": ((N,), np.int16), "labels": ((S, N), np.int16),
            "mask": ((S, N), np.bool_), "confidence": ((S, N), np.float16), "features": ((S, N, d), np.float16),
            "explained": ((d,), np.float32), "W": ((S, C, D), np.float32), "W_bar": ((S, C, D), np.float32),
            "confusion": ((S, C, C), np.int32),
        }  # fmt: skip
        if self.prints is not None:
            expected["prints"] = ((N, 48), np.uint8)
        for name, (shape, dtype) in expected.items():
            a = getattr(self, name)
            if a.shape != shape or a.dtype != dtype:
                raise ValueError(f"{name} is {a.shape} {a.dtype}, not {shape} {np.dtype(dtype)}")
        if not S or not N or not d or C < 2 or not all(isinstance(name, str) for name in (self.about["name"], *self.classes)):
            raise ValueError(f"{S} snapshots of {N} samples, {d} features, {C} classes")
        for labels, low in ((self.y_true, -1), (self.labels, 0)):
            if labels.min() < low or labels.max() >= C:
                raise ValueError(f"labels from {labels.min()} to {labels.max()}, of {C} classes")
        if (np.diff(self.steps) <= 0).any() or self.steps[0] < 0 or self.steps[-1] > self.config.steps:
            raise ValueError(f"steps from {self.steps[0]} to {self.steps[-1]} of {self.config.steps}")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all() or (self.confusion < 0).any():
            raise ValueError("a confidence or a count is out of its range")
        if not all(np.isfinite(a).all() for a in (self.features, self.explained, self.W, self.W_bar)):
            raise ValueError("a feature or a centre is NaN or infinite")
        possible = range(self.config.steps + 1)
        if not all(isinstance(r, dict) and r.get("step") in possible for r in self.history + self.layer_benefit):
            raise ValueError("a record has no step of the run")


def list_recorded() -> list[str]:
    """Names of the recordings that come with the package, for `load_recorded`."""
    return sorted(p.stem for p in SHIPPED.glob("*.npz"))


def load_recorded(name: str) -> Recording:
    """A recording that comes with the package: "mnist1d_fixmatch", say; `list_recorded` names them all."""
    check_choice("recording", name, list_recorded())
    return Recording.load(SHIPPED / f"{name}.npz")


@takes(config=TrainConfig, data=SSLData | None, model=nn.Module | None, progress="flag")
def record(
    config: TrainConfig,
    data: SSLData | None = None,
    *,
    model: nn.Module | None = None,
    snapshots: int = 20,
    sample: int = 400,
    components: int = 16,
    progress: bool = False,
) -> Recording:
    """Train and record. The run comes out exactly as `train` gives it: nothing here draws from its random streams.

    Ctrl-C ends it early: the recording comes back with the snapshots so far.

    Args:
        config, data, model: as for `train`.
        snapshots: how many after the one before training, at most one per step, evenly spread; the last one is at the end.
        sample: N, size of the fixed sample of the unlabelled pool (all of it where it is smaller), chosen by config.seed.
        components: d, features to keep; all D where there are fewer.
        progress: show a bar.
    """
    from tqdm import tqdm

    if data is None:
        data = data_of(config, progress)
    work = record_steps(config, data, model=model, snapshots=snapshots, sample=sample, components=components)
    with tqdm(total=config.steps, unit=" steps", disable=not progress, desc=f"recording {config.method}") as bar:
        try:
            while True:
                try:
                    bar.update(next(work).step - bar.n)
                except KeyboardInterrupt:
                    work.throw(KeyboardInterrupt)  # outside a step; inside of one it has been caught already
        except StopIteration as end:
            return end.value


def record_steps(
    config: TrainConfig,
    data: SSLData | None = None,
    *,
    model: nn.Module | None = None,
    snapshots: int = 20,
    sample: int = 400,
    components: int = 16,
) -> Generator[Run, None, Recording]:
    """`record` step by step, for whoever wants to watch or stop it: yields as `train_steps`, and returns the recording."""
    check_range("components", components, 1, whole=True)
    recorder = Recorder(snapshots, sample)
    check_range("snapshots", snapshots, 1, config.steps, whole=True)
    if data is None:
        data = data_of(config)
    run, memory = None, {}
    try:
        for run in train_steps(config, data, model=model):
            if (snapshot := recorder(run, data, memory)) is not None:
                run.seen.append(snapshot)
            yield run
    except KeyboardInterrupt:
        if run is None or not run.seen:
            raise
    return recording_of(run, data, components)


@dataclass(frozen=True)
class Recorder:
    """A watch for `compare.run_all`: called before the first step and after every step, it returns a snapshot when one is due.

    snapshots, sample: as for `record`. seed: the runs of this seed alone (None: all).
    """

    snapshots: int = 20
    sample: int = 400
    seed: int | None = None

    def __post_init__(self):
        for name in ("sample", "snapshots"):
            check_range(name, getattr(self, name), 1, whole=True)

    def __call__(self, run: Run, data: SSLData, memory: dict) -> dict | None:
        config, n = run.config, min(self.snapshots, run.config.steps)
        if run.step not in {round(config.steps * k / n) for k in range(n + 1)} or self.seed not in (None, config.seed):
            return None
        if not memory:
            data = data.to(run.environment["device"])
            g = generator(config.seed, "recorded benefit", data.x_unlabelled.device)
            if run.seen:  # a resumed run
                g.set_state(run.seen[-1]["generator"])
            order = torch.randperm(len(data.x_unlabelled), generator=generator(config.seed, "recorded sample"))
            memory.update(data=data, views=Views(data), g=g, sample=order[: self.sample].sort().values)
        return _snapshot(run, **memory)


def _snapshot(run: Run, data: SSLData, views: Views, g: torch.Generator, sample: Tensor) -> dict:
    model, centers = run.model, run.model.classifier if run.centers is None else run.centers
    with in_mode(model, train=False), autocast(run.environment):
        z = torch.cat(list(_features(model, views, data.x_unlabelled[sample.to(data.mean.device)])))
        if not z.isfinite().all():
            raise diverged(run, run.step)
        labels, mask, confidence = pseudo_label(linear(z, model.classifier.weight, model.classifier.bias), run.threshold)
        predicted = predictions(run.ema.module, views, data.x_test)
    C = len(data.classes)
    seen = {
        "z": z,
        "labels": labels,
        "mask": mask,
        "confidence": confidence,
        "W": model.classifier.weight.detach().clone(),
        "W_bar": centers.weight.detach().clone(),
        "confusion": torch.bincount(data.y_test * C + predicted, minlength=C * C).view(C, C),
    }
    benefit = measure_layer_benefit(run, data, views, g)
    tensors = {name: t.cpu() for name, t in seen.items()}
    return tensors | {"step": run.step, "sample": sample, "benefit": benefit, "generator": g.get_state()}


def recording_of(run: Run | Outcome, data: SSLData, components: int = 16) -> Recording:
    """The recording of a run that a `Recorder` watched, on the data it was trained on. components: as for `record`."""
    taken, chosen = run.seen, run.seen[0]["sample"]
    features, explained = reduce([t["z"].numpy() for t in taken], components)
    stack = lambda key, dtype: np.stack([t[key].numpy() for t in taken]).astype(dtype)
    return Recording(
        run.config,
        run.data | {"environment": run.environment, "seconds": round(run.seconds, 1)},
        run.history,
        [{"step": t["step"], **row} for t in taken for row in t["benefit"]],
        np.array([t["step"] for t in taken], np.int32),
        chosen.numpy().astype(np.int32),
        data.y_unlabelled[chosen].cpu().numpy().astype(np.int16),
        stack("labels", np.int16),
        stack("mask", np.bool_),
        stack("confidence", np.float16),
        features,
        explained,
        stack("W", np.float32),
        stack("W_bar", np.float32),
        stack("confusion", np.int32),
        prints(data.x_unlabelled[chosen]) if data.sample_shape[0] == 3 and data.kind == "image" else None,
    )


@torch.no_grad()
def _features(model, views: Views, x: Tensor, batch: int = 1000) -> Iterator[Tensor]:
    for part in x.split(batch):
        yield model.features(views.plain(part)).float()


def prints(x: Tensor) -> np.ndarray:
    """(N, 48) uint8: the mean colours of a 4x4 grid over each uint8 image (N, 3, H, W). Enough to know an image by, even in a
    lossy copy, and too little to see it."""
    return F.adaptive_avg_pool2d(x.float(), 4).flatten(1).round().to(torch.uint8).cpu().numpy()


def find_images(recording: Recording, data: SSLData) -> Tensor:
    """The recorded sample's images, (N, 3, H, W) uint8, from the reader's own copy of the data, in whatever order it has them.

    A recording holds no images, only their `prints`. Raises InputError where the data do not hold them.
    """
    if recording.prints is None or tuple(recording.about["sample_shape"]) != data.sample_shape:
        raise InputError(f"this recording of {recording.data_name} has no images of shape {data.sample_shape} to find.")
    wanted, have = torch.from_numpy(recording.prints).float(), torch.from_numpy(prints(data.x_unlabelled)).float()
    distance, place = torch.cdist(wanted, have, p=1).min(dim=1)
    lost = int((distance / wanted.shape[1] > 3).sum())  # a lossy copy moves a mean colour by less than 3 of 255
    if lost:
        raise InputError(
            f"{lost} of {len(wanted)} recorded samples are not in these {len(have)} images; give the training part of "
            f"{recording.about['name']}, split with num_val=0."
        )
    return data.x_unlabelled[place]


def reduce(features: list[np.ndarray], components: int) -> tuple[np.ndarray, np.ndarray]:
    """S arrays (N, D) -> (S, N, d) float16 on the principal components of all of them, and the share of variance of each (d,).

    One basis for the whole run, so that distances between snapshots stay what they were, as far as d components hold them. Where
    float16 cannot hold them, all are scaled down alike.
    """
    from sklearn.decomposition import PCA

    z = np.concatenate(features).astype(np.float64)
    pca = PCA(min(components, *z.shape), svd_solver="full").fit(z)
    reduced = pca.transform(z).reshape(len(features), -1, pca.n_components_)
    reduced *= min(1.0, 6e4 / max(np.abs(reduced).max(), 1e-9))
    return reduced.astype(np.float16), pca.explained_variance_ratio_.astype(np.float32)
