"""A training run: everything it is made of, saved to and loaded from one file."""

from __future__ import annotations

import io
import math
import platform
import statistics
from dataclasses import dataclass, field
from os import PathLike

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ..core.centers import AvgClustering, warm_up
from ..core.seeding import generator
from ..errors import InputError, check_file, takes
from ..models import build_model
from ..system import __version__, check_zip, reading, torch_settings, write_atomically
from ..variants.freematch import FreeMatch
from ..variants.layers import RescaledCenters
from .config import TrainConfig
from .device import pick_device
from .own_network import own_network
from .parallel import world_size

FORMAT, VERSION = "layermatch_lite run", 1


@dataclass
class Run:
    """One run, finished or not. `train` returns it; `Run.load` reads it back.

    history holds one record per logged step: step, lr, loss_s, loss_u, mask_rate, pseudo_label_accuracy (of the labels
    over the threshold), confident_half_accuracy (of the more confident half of each batch's labels, whatever the
    threshold: for comparing methods at equal mask rate), pseudo_label_counts (per class, of those over the threshold),
    accuracy (test, EMA model), val_accuracy, and where they were measured layer_benefit and readout (EMA model). Losses
    and rates are means over the steps since the record before; lr is the rate of the next step.
    """

    config: TrainConfig
    data: dict  # name, classes, sample_shape, num_labels, checksum, mean, std, ...: by which the data are known, and others read
    environment: dict  # device, threads, versions
    model: nn.Module  # the weights that are trained
    ema: EMA  # their moving average; ema.module is what is evaluated
    centers: AvgClustering | None
    freematch: FreeMatch | None
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    generators: dict[str, torch.Generator]
    network: str | None  # the class of your own network; None for one that config.model names
    step: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)
    seen: list[dict] = field(default_factory=list)  # what a watch kept of it, plain data and tensors (`compare.run_all`)
    mid_step: bool = False  # a step is under way, or was interrupted
    saved: int | None = None  # the step that the file holds which this run was saved to or loaded from

    @classmethod
    def start(cls, config: TrainConfig, data: dict, device: torch.device, model: nn.Module | None = None) -> Run:
        """A run before its first step, with random streams, and unless `model` is given weights, made from config.seed."""
        shape, num_classes = tuple(data["sample_shape"]), len(data["classes"])
        network = None if model is None else type(model).__name__
        if model is None:
            init = generator(config.seed, "init")
            model = build_model(config.model, shape, num_classes, bn_momentum=config.bn_momentum, generator=init)
        elif config.model != "auto":
            raise InputError(f"model={config.model!r} in the config, but {network} is given as the network; leave one out.")
        else:
            model = own_network(model, shape, num_classes)
        model = model.to(device)
        if len(shape) == 3 and device.type != "mps":  # MPS's BN has had errors with this layout
            model = model.to(memory_format=torch.channels_last)
        optimizer, v = sgd(model, config), config.variant
        centers = freematch = None
        if config.switches.avg_clustering:
            averaged = RescaledCenters if v.rescale_centers else AvgClustering
            centers = averaged(model.classifier, config.center_momentum)
        if config.switches.freematch:
            freematch = FreeMatch(num_classes, v.threshold_momentum, v.fairness).to(device)
        return cls(
            config,
            data,
            environment(device),
            model,
            EMA(model, config.ema_decay),
            centers,
            freematch,
            optimizer,
            LambdaLR(optimizer, lambda k: cosine_schedule(k, config.steps)),
            {name: generator(config.seed, name, device) for name in ("labelled", "unlabelled", "probe")},
            network,
        )

    @property
    def accuracy(self) -> float:
        """On the test set, in [0, 1], of the EMA model at the last record; NaN before the first one."""
        return self.history[-1]["accuracy"] if self.history else math.nan

    @property
    def median_accuracy(self) -> float:
        """Median over the last 20 records: depends less on the final step."""
        return statistics.median(r["accuracy"] for r in self.history[-20:]) if self.history else math.nan

    @property
    def threshold(self) -> float | Tensor:
        """tau as it is now: the setting, or FreeMatch's (C,)."""
        return self.config.threshold if self.freematch is None else self.freematch.thresholds

    @property
    def finished(self) -> bool:
        return self.step >= self.config.steps

    @property
    def just_logged(self) -> bool:
        """Does the last record describe the current step?"""
        return bool(self.history) and self.history[-1]["step"] == self.step

    def due(self, every: int | None) -> bool:
        """Is something due that happens every so many steps (None: never), and at the last one?"""
        return every is not None and (self.step % every == 0 or self.finished)

    def recorded_at(self, step: int) -> bool:
        """Does the history get a record after so many steps?"""
        every = (self.config.evaluate_every, self.config.probe_every, self.config.readout_every)
        return step >= self.config.steps or any(e is not None and step % e == 0 for e in every)

    @takes(path="path")
    def save(self, path: str | PathLike) -> None:
        """Write the run to one file, atomically.

        Raises InputError where the place cannot be written, and between two records of the history: what was summed since
        the last one would be lost, and the run could not continue as if it had never stopped.
        """
        if self.mid_step or not (self.step == 0 or self.just_logged):
            raise InputError(
                f"a run can be saved where it was just logged, not at step {self.step}; wait until run.just_logged is true."
            )
        recorded = torch.device(self.environment["device"])
        if next(self.model.parameters()).device.type != recorded.type:
            raise InputError(
                f"this run belongs on {recorded} and was loaded elsewhere to look at; saving it would lose its state."
            )
        content = {
            "format": FORMAT,
            "version": VERSION,
            "config": self.config.as_dict(),
            "data": self.data,
            "network": self.network,
            "environment": self.environment,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "seen": self.seen,
            "state": {name: part.state_dict() for name, part in self._stateful().items()},
            "generators": {name: g.get_state() for name, g in self.generators.items()},
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(path, lambda f: f.write(buffer.getbuffer()))
        self.saved = self.step

    @classmethod
    @takes(path="path", device=str | torch.device | None, model=nn.Module | None)
    def load(
        cls, path: str | PathLike, device: torch.device | str | None = "cpu", model: nn.Module | None = None
    ) -> Run:
        """Read a run back, to look at it on `device`, or to continue it (device=None: the recorded one).

        model: the network that the run was started with, where it was one of your own; a copy of it gets the saved weights.

        Never executes code from the file; raises InputError for anything but a run.
        """
        with torch_settings(), reading(path, "a saved run", "train again"):
            check_zip(path)  # torch looks at no checksum
            content = torch.load(path, map_location="cpu", weights_only=True)
            check_file(path, content, FORMAT, VERSION, again="train")
            _check_content(content)
            recorded = torch.device(content["environment"]["device"])
            device = pick_device(str(recorded)) if device is None else torch.device(device)
            _check_network(path, content.get("network"), model)
            run = cls.start(TrainConfig.from_dict(content["config"]), content["data"], device, model)
            for name, part in run._stateful().items():
                part.load_state_dict(content["state"][name])
            if device.type == recorded.type:  # random states of a GPU mean nothing elsewhere, where one can only look
                for name, g in run.generators.items():
                    g.set_state(content["generators"][name])
            run.environment, run.history = content["environment"], content["history"]
            run.step, run.seconds = content["step"], content["seconds"]
            run.seen, run.saved = content.get("seen", []), run.step
        return run

    def _stateful(self) -> dict:
        parts = {"model": self.model, "ema": self.ema, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"centers": self.centers, "freematch": self.freematch}
        return {name: part for name, part in parts.items() if part is not None}


def _check_content(content: dict) -> None:
    """Raise an exception for what no run could have written; networks and random states check what is loaded into them."""
    data, config, history = content["data"], content["config"], content["history"]
    sizes = [*data["sample_shape"], len(data["classes"])]
    if not all(isinstance(n, int) and 0 < n < 10**6 for n in sizes) or math.prod(data["sample_shape"]) > 10**8:
        raise ValueError(f"samples of shape {data['sample_shape']} and {len(data['classes'])} classes")
    if not all(isinstance(name, str) for name in (data["name"], *data["classes"])):
        raise ValueError("a name is not text")
    steps = [record["step"] for record in history]
    if steps != sorted(set(steps)) or not all(isinstance(k, int) for k in (content["step"], *steps)):
        raise ValueError("the steps of its history do not follow each other")
    if not 0 <= content["step"] <= config["steps"] or (steps and steps[-1] != content["step"]) or not content["seconds"] >= 0:
        raise ValueError(f"step {content['step']} of {config['steps']}, {content['seconds']} s")
    for record in history:
        shares = [record.get(k) for k in ("accuracy", "val_accuracy", "mask_rate", "pseudo_label_accuracy")]
        if not all(v is None or 0 <= v <= 1 for v in shares) or not math.isfinite(record["loss_s"] + record["loss_u"]):
            raise ValueError(f"the record of step {record['step']} holds impossible numbers")


def _check_network(path: str | PathLike, network: str | None, model: nn.Module | None) -> None:
    """Raise InputError unless a network is given exactly where the run was trained with one of the user's own."""
    if network is not None and model is None:
        raise InputError(f"{path} was trained with your own network {network}; give it again: model=...")
    if None not in (network, model) and type(model).__name__ != network:
        raise InputError(f"{path} was trained with your own network {network}, not with {type(model).__name__}; give that one.")
    if network is None and model is not None:
        raise InputError(f"{path} was trained with a built-in network, not with {type(model).__name__}; leave model= out.")


def environment(device: torch.device) -> dict:
    """Where a run takes place: what must be the same for it to come out the same, bit for bit."""
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "processes": world_size(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "layermatch_lite": __version__,
    }


def sgd(model: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Nesterov SGD with weight decay on weights only: none on biases and BN (the parameters with one dimension)."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.SGD(
        [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )


def cosine_schedule(k: int, steps: int) -> float:
    """cos(7 pi k / 16 K), the factor of the learning rate at step k of K (FixMatch)."""
    return math.cos(7 * math.pi * k / (16 * steps))


class EMA(AveragedModel):
    """EMA of the parameters with warm-up, min(decay, (1+t)/(10+t)); BN buffers are copied. `module` is the averaged model.

    PyTorch's own update copies its counter to the GPU in every step, and waits for that; this one leaves it on the CPU. It starts
    at the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__(model)
        self.decay = decay
        self.n_averaged += 1  # as PyTorch counts: its first update copies the weights
        self.eval()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        weight = 1 - warm_up(self.decay, int(self.n_averaged) - 1)
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), weight)
        if buffers := list(model.buffers()):  # a network without BatchNorm has none
            torch._foreach_copy_(list(self.module.buffers()), buffers)
        self.n_averaged += 1
