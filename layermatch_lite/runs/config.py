"""Every setting of a training run, in one dataclass; the recipes it starts from, and the presets."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

from ..data.sets import NAMES, OF_FOLDERS, data_name
from ..errors import InputError, check_choice, check_kinds, takes
from ..variants.settings import VARIANT, Variant
from .fields import check_fields, setting


class Switches(NamedTuple):
    """What a method does with the unlabelled data."""

    unlabelled: bool  # is there an unlabelled loss at all?
    grad_relu: str  # "off", "block" or "gate"
    avg_clustering: bool
    freematch: bool  # thresholds that adapt, and the fairness term


METHODS = {
    "supervised": Switches(False, "off", False, False),
    "fixmatch": Switches(True, "off", False, False),
    "grad_relu": Switches(True, "block", False, False),
    "avg_clustering": Switches(True, "off", True, False),
    "layermatch": Switches(True, "block", True, False),
    "freematch": Switches(True, "off", False, True),
}

# What a setting that is left out is for each kind of data; points in the plane and your own tensors borrow MNIST-1D's.
# Chosen on validation samples (benchmarks/recipes.py, benchmarks/cifar_recipe.py).
MNIST1D = dict(
    threshold=0.8, strong_labelled=1.0, lr=0.03, batch_size=32, mu=4, steps=600, threshold_momentum=0.99, fairness=0.01
)
RECIPES = {
    "mnist1d": MNIST1D,
    "digits": MNIST1D | dict(strong_labelled=0.5, lr=0.1, threshold_momentum=0.9, fairness=0.001),
    "photographs": MNIST1D | dict(strong_labelled=0.5, steps=1000, fairness=0.001),
}
# Every method's own on top, tau above all: {data set: {number of labels: {method: settings}}}, by the same two.
OWN = json.loads(Path(__file__).with_name("recipes.json").read_text())
BY_RECIPE = "(default: the recipe's)"


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run. Those left out at None come from the recipe of the data set and, for the embedded ones, of the
    method; `TrainConfig.preset` has more.

    Raises InputError for a value that is not allowed, and for settings that contradict each other.
    """

    dataset: str = setting(
        "mnist1d",
        "mnist1d, digits, two_moons, blobs, cifar10, or a folder of images: train/<class>/, test/<class>/ and, for images whose "
        "class nobody knows, unlabelled/",
    )
    num_labels: int | None = setting(
        20, "labelled samples in all, the same number per class; 'all' keeps every label", 1
    )
    flip: bool | None = setting(None, "may weak views mirror images? (default: for cifar10 and folders, not for digits)")
    image_size: int | None = setting(
        None, "of a folder: scale each image's shorter side to so many pixels, and crop the middle square", 8, 1024
    )
    test_share: float | None = setting(
        None, "of a folder without test/: share of train/ that becomes the test set", 0, 1, open_low=True, open_high=True
    )
    skip_broken: bool = setting(False, "of a folder: leave out images that cannot be decoded, and say how many")
    num_val: int = setting(0, "training samples kept out of everything else, for choosing recipes", 0)

    method: str = setting(
        "layermatch", "supervised, fixmatch, grad_relu, avg_clustering, layermatch or freematch", choices=tuple(METHODS)
    )
    threshold: float | None = setting(
        None, f"tau: least confidence of a pseudo-label that counts, 0 to 1; FreeMatch sets its own {BY_RECIPE}", 0, 1
    )
    lambda_u: float = setting(1.0, "weight of the unlabelled loss", 0)
    center_momentum: float = setting(0.99, "m: momentum of the averaged centres, below 1", 0, 1, open_high=True)

    batch_size: int | None = setting(None, f"B: labelled samples per step {BY_RECIPE}", 1)
    mu: int | None = setting(None, f"unlabelled samples per labelled one; a step sees mu B of them {BY_RECIPE}", 1)
    strong_labelled: float | None = setting(
        None, f"share of each labelled batch that is seen in the strong view, 0 to 1 {BY_RECIPE}", 0, 1
    )

    steps: int | None = setting(None, f"K: optimizer steps {BY_RECIPE}", 1)
    lr: float | None = setting(
        None, f"learning rate at step 0; falls as cos(7 pi k / 16 K) {BY_RECIPE}", 0, open_low=True
    )
    momentum: float = setting(0.9, "Nesterov momentum of SGD, below 1", 0, 1, open_high=True)
    weight_decay: float = setting(5e-4, "on weights only, not on BN and biases", 0)
    ema_decay: float = setting(
        0.999, "decay of the averaged parameters that are evaluated (they warm up), below 1", 0, 1, open_high=True
    )
    model: str = setting(
        "auto",
        "mlp, mlp_plane (two features), small_cnn_1d, small_cnn, patch_cnn (photographs on a CPU) or wrn-28-2; auto: by the data",
    )
    bn_momentum: float = setting(0.1, "weight of the newest batch in BatchNorm's running statistics", 0, 1, open_low=True)

    seed: int = setting(0, "chooses labels, initial weights, batches and views", 0)
    log_every: int | None = setting(None, "steps between two evaluations (default: 40 in a run)", 1)
    probe_every: int | None = setting(None, "steps between two measurements of the layer benefit (default: never)", 1)
    readout_every: int | None = setting(None, "steps between two readouts of the features (default: never)", 1)
    device: str = setting("auto", "cpu, cuda, cuda:1 or mps; auto takes the fastest there is")
    precision: str = setting(
        "auto",
        "what the network is computed in, losses excepted: bf16 (float32 where the hardware has none), float32, or auto: bf16 on "
        "NVIDIA GPUs, float32 elsewhere",
        choices=("auto", "bf16", "float32"),
    )
    joint_forward: bool = setting(
        True,
        "labelled, weak and strong views in one pass; off: the weak views in a pass of their own without gradients, which "
        "is faster but gives them BN statistics of their own",
    )
    compile: bool = setting(False, "torch.compile the feature extractor and the image operations")
    cuda_graphs: bool = setting(False, "with compile, on a GPU: replay the feature extractor as CUDA graphs")
    variant: Variant = field(default=Variant())

    def __new__(cls, *args, **settings):
        for name in settings:
            if name in VARIANT:
                raise InputError(f"{name} is a setting for study; give TrainConfig(variant=Variant({name}=...)).")
            check_choice("setting", name, [f.name for f in fields(cls)])
        config = super().__new__(cls)
        if len(settings) < len(fields(cls)):  # who gives them all copies another config
            config.__dict__["given"] = tuple(settings)
        return config

    def __post_init__(self):
        given = self.__dict__.pop("given", ())
        if not isinstance(self.variant, Variant):
            raise InputError(f"variant={self.variant!r} is not allowed; give a Variant(...), or leave it out.")
        check_fields(self)
        departures = [name for name in VARIANT if getattr(self.variant, name) != getattr(Variant, name)]
        recipe = self.recipe_settings
        missing = {k: v for k, v in recipe.items() if k not in VARIANT and getattr(self, k) is None}
        for name, value in missing.items():
            object.__setattr__(self, name, value)
        of_variant = {k: v for k, v in recipe.items() if k in VARIANT and getattr(self.variant, k) is None}
        object.__setattr__(self, "variant", replace(self.variant, **of_variant))
        check_fields(self)
        object.__setattr__(self, "dataset", data_name(self.dataset))
        self._check_relations()
        self.check_effect([*given, *departures] if "variant" in given else given)

    def check_effect(self, names: Sequence[str]) -> None:
        """Raise InputError where one of these settings is not at its default and nothing in this run would read it."""
        s, measured = self.switches, self.probe_every is not None
        read = dict.fromkeys(OF_FOLDERS, self.dataset not in NAMES) | {
            "threshold": not s.freematch and (s.unlabelled or measured),
            "lambda_u": s.unlabelled,
            "center_momentum": s.avg_clustering,
            "threshold_momentum": s.freematch,
            "fairness": s.freematch,
        }
        for name in names:
            owner = self if hasattr(self, name) else self.variant
            if not read.get(name, True) and getattr(owner, name) != getattr(type(owner), name):
                where = f"dataset={self.dataset!r}" if name in OF_FOLDERS else f"method={self.method!r}"
                value = getattr(owner, name)
                raise InputError(f"{name}={value!r} has no effect with {where}; leave it out.")

    def _check_relations(self) -> None:
        """Raise InputError where two settings contradict each other."""
        v, unlabelled = self.variant, METHODS[self.method].unlabelled
        if not unlabelled and self.batch_size < 2:
            raise InputError("batch_size=1 is too small for BatchNorm without unlabelled samples; give at least 2.")
        acting = ("grad_relu", "avg_clustering", "freematch", "labels_from", "blocked", "noise", "classifier_weight")
        given = [name for name in acting if getattr(v, name) is not False and getattr(v, name) != getattr(Variant(), name)]
        if not unlabelled and given:
            raise InputError(
                f"method={self.method!r} has no unlabelled loss for {' or '.join(given)} to act on; "
                "leave them out, or use method='fixmatch'."
            )
        if self.switches.grad_relu == "gate" and "classifier" in (v.blocked or ""):
            raise InputError(
                "blocked='classifier' leaves the gate nothing to let through; take it out, or set grad_relu='block'."
            )
        if self.cuda_graphs and not self.compile:
            raise InputError("cuda_graphs=True records what torch.compile makes; set compile=True, too.")
        if self.compile and v.blocked is not None:
            raise InputError("blocked needs two backward passes, which compiled code cannot do; set compile=False.")
        if not self.joint_forward and not unlabelled:
            raise InputError(f"joint_forward=False has no weak views to set apart with method={self.method!r}; leave it out.")
        if not self.switches.avg_clustering and (v.labels_from == "centers" or v.rescale_centers):
            name = "labels_from='centers'" if v.labels_from == "centers" else "rescale_centers=True"
            raise InputError(f"{name} needs the averaged centres; set avg_clustering=True.")
        if v.labels_from == "truth" and self.switches.freematch:
            raise InputError("labels_from='truth' lets every sample count, and FreeMatch chooses them; leave one of them out.")
        if v.classifier_weight != 1 and self.switches.grad_relu != "off":
            raise InputError(
                f"classifier_weight={v.classifier_weight:g} weighs what grad_relu={self.switches.grad_relu!r} takes over; "
                "leave it out, or set grad_relu='off'."
            )

    @property
    def recipe(self) -> str:
        """The name in RECIPES of the recipe that settings left out come from."""
        if self.dataset in RECIPES:
            return self.dataset
        return "photographs" if self.dataset == "cifar10" or os.path.isdir(self.dataset) else "mnist1d"

    @property
    def own_recipe(self) -> dict:
        """The method's own part of the recipe, where there is one: for so many labels, or the next smaller number of them."""
        own = OWN.get(self.dataset, {"0": {}})
        n = max((n for n in map(int, own) if n <= (self.num_labels or math.inf)), default=min(map(int, own)))
        return own[str(n)].get(self.method, {})

    @property
    def recipe_settings(self) -> dict:
        """What settings left out are."""
        return RECIPES[self.recipe] | self.own_recipe

    @property
    def switches(self) -> Switches:
        """The method's switches, with the variant's on top."""
        s, v = METHODS[self.method], self.variant
        return Switches(
            s.unlabelled,
            v.grad_relu or s.grad_relu,
            s.avg_clustering if v.avg_clustering is None else v.avg_clustering,
            s.freematch if v.freematch is None else v.freematch,
        )

    @property
    def labels(self) -> str:
        """num_labels in words: a number or "all"."""
        return "all" if self.num_labels is None else str(self.num_labels)

    @property
    def evaluate_every(self) -> int:
        """Steps between two records of the history."""
        return self.log_every or max(1, self.steps // 40)

    @classmethod
    def preset(cls, name: str, **settings) -> TrainConfig:
        """A preset (one of PRESETS) with some settings changed, the variant's among them."""
        check_choice("preset", name, PRESETS)
        chosen = dict(PRESETS[name])
        if settings.get("method") == "supervised":
            chosen.pop("joint_forward", None)  # there are no weak views to set apart
        config = cls.from_dict(chosen | settings)
        config.check_effect(list(settings))
        return config

    @classmethod
    @takes(settings="dict")
    def from_dict(cls, settings: dict) -> TrainConfig:
        """The config with these settings, the variant's among them, as `as_dict` gives them and files hold them."""
        own = {k: v for k, v in settings.items() if k not in VARIANT}
        config = cls.__new__(cls, **own)
        config.__dict__.pop("given", None)  # a file also holds settings without effect
        config.__init__(**own, variant=Variant(**{k: v for k, v in settings.items() if k in VARIANT}))
        return config

    def as_dict(self) -> dict:
        """Every setting by its name, the variant's among them: plain data for a file."""
        own = asdict(self)
        return own | own.pop("variant")

    def changed(self, **settings) -> TrainConfig:
        """This config with some settings changed, the variant's among them; all others stay, also for other data or methods."""
        return self.from_dict(self.as_dict() | settings)

    def differences(self, other: TrainConfig) -> dict[str, tuple]:
        """{setting: (ours, theirs)} where two configs differ."""
        check_kinds({"other": (TrainConfig, other)})
        a, b = self.as_dict(), other.as_dict()
        return {k: (a[k], b[k]) for k in a if a[k] != b[k]}


# The batches and views of the canonical FixMatch protocol on CIFAR-10, and what FreeMatch adds to it.
FIXMATCH_CIFAR = dict(
    dataset="cifar10", model="wrn-28-2", batch_size=64, mu=7, threshold=0.95, lambda_u=1.0, strong_labelled=0.0,
    lr=0.03, momentum=0.9, weight_decay=5e-4, ema_decay=0.999, threshold_momentum=0.999, fairness=0.001,
)  # fmt: skip

# Its fast form. Departures from the protocol: the weak views in a pass of their own, a larger BN momentum, compiled code.
FAST_CIFAR = FIXMATCH_CIFAR | dict(joint_forward=False, bn_momentum=0.05, compile=True, device="cuda")

PRESETS = {
    # The recipe of the data set, up to twenty seconds a run on a laptop.
    "demo_cpu": dict(device="cpu"),
    # CIFAR-10 on a CPU: the network and the precision that a processor is fast with. Batches, steps and tau come from the recipe
    # (benchmarks/cifar_recipe.py). Up to half an hour a run on one core that computes in bf16.
    "cifar_cpu": dict(
        dataset="cifar10", model="patch_cnn", num_labels=250, precision="bf16", joint_forward=False, lr=0.1, device="cpu"
    ),
    # Short runs on one GPU, with BN and EMA quick enough for them. Not yet measured: benchmarks/gpu.py measures them.
    "classroom_gpu": FAST_CIFAR | dict(num_labels=250, steps=60_000, log_every=1000),
    "classroom_gpu_short": FAST_CIFAR | dict(num_labels=250, steps=12_000, log_every=500),
    # The canonical protocol as public implementations code it (the strategies on top). Two details differ: the EMA
    # warms up, and batches are drawn with replacement.
    "paper": FIXMATCH_CIFAR | dict(num_labels=40, steps=2**20, bn_momentum=0.001, log_every=1024),
}  # fmt: skip
