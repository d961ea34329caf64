"""Every setting of a training run, in one dataclass, and the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from os import PathLike, fspath
from typing import NamedTuple

from ..errors import InputError, check_choice, check_range
from ..core.losses import GRAD_RELU, LABELS_FROM
from ..variants.noise import KINDS, check_noise


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


def setting(default, meaning: str):
    """A dataclass field that carries its own help text, for `--help` and for readers."""
    return field(default=default, metadata={"help": meaning})


def plain(name: str, value: object, kind: str) -> object:
    """The value as plain Python data of the annotated kind ("int", "float | None", ...): what a file can hold safely."""
    if value is None and "None" in kind:
        return None
    kinds = {
        "int": (Integral, int),
        "float": (Real, float),
        "bool": (bool, bool),
        "str": ((str, PathLike), lambda v: str(fspath(v))),
    }
    allowed, convert = kinds[kind.split()[0]]
    if not isinstance(value, allowed) or (isinstance(value, bool) and allowed is not bool):
        raise InputError(f"{name}={value!r} is not allowed; give {'a whole number' if allowed is Integral else kind}.")
    return convert(value)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run. The defaults are the recipe for MNIST-1D; `TrainConfig.preset` knows the others.

    Raises InputError for a value that is not allowed, and for settings that contradict each other.
    """

    dataset: str = setting(
        "mnist1d",
        "mnist1d, digits, two_moons, blobs, cifar10, or an image folder with train/<class>/ and test/<class>/",
    )
    num_labels: int | None = setting(20, "labelled samples in all, the same number per class; 'all' keeps every label")
    flip: bool | None = setting(
        None, "may weak views mirror images? (default: yes for cifar10 and folders, no for digits)"
    )
    num_val: int = setting(0, "training samples kept out of everything else, for choosing recipes")

    method: str = setting("layermatch", "supervised, fixmatch, grad_relu, avg_clustering, layermatch or freematch")
    grad_relu: str | None = setting(
        None, "pseudo-label gradient into the classifier: off, block or gate (default: as the method says)"
    )
    avg_clustering: bool | None = setting(
        None, "teach the features against averaged centres (default: as the method says)"
    )
    freematch: bool | None = setting(
        None, "FreeMatch's thresholds and fairness term in place of tau (default: as the method says)"
    )
    labels_from: str = setting(
        "classifier", "pseudo-labels from the classifier, or from the averaged centers (to see why not)"
    )
    threshold: float = setting(0.8, "tau: least confidence of a pseudo-label that counts, 0 to 1")
    lambda_u: float = setting(1.0, "weight of the unlabelled loss")
    blocked: str | None = setting(
        None, "further layers kept from pseudo-label gradients, as in 'fc' or 'conv 3, fc' (for study)"
    )
    noise: str | None = setting(
        None,
        "spoil pseudo-labels: uniform, pair, confusion, low_confidence, or a matrix like '0.9 0.1; 0.2 0.8' (for study)",
    )
    noise_rate: float | None = setting(
        None, "share of the pseudo-labels that the noise spoils, 0 to 1 (a matrix holds its own)"
    )
    classifier_weight: float = setting(
        1.0, "weight of the pseudo-label gradient in the classifier, where Grad-ReLU is off: 0 is block (for study)"
    )
    center_momentum: float = setting(0.99, "m: momentum of the averaged centres, below 1")
    rescale_centers: bool = setting(False, "give each averaged centre the length of the current one (for study)")
    threshold_momentum: float = setting(0.99, "lambda: momentum of FreeMatch's thresholds, below 1")
    fairness: float = setting(0.01, "w_f: weight of FreeMatch's fairness term within the unlabelled loss, before lambda_u")

    batch_size: int = setting(32, "B: labelled samples per step")
    mu: int = setting(4, "unlabelled samples per labelled one; a step sees mu B of them")
    strong_labelled: float = setting(1.0, "share of each labelled batch that is seen in the strong view, 0 to 1")

    steps: int = setting(600, "K: optimizer steps")
    lr: float = setting(0.03, "learning rate at step 0; falls as cos(7 pi k / 16 K)")
    momentum: float = setting(0.9, "Nesterov momentum of SGD, below 1")
    weight_decay: float = setting(5e-4, "on weights only, not on BN and biases")
    ema_decay: float = setting(0.999, "decay of the averaged parameters that are evaluated (they warm up), below 1")
    model: str = setting(
        "auto", "mlp, mlp_plane (two features), small_cnn_1d, small_cnn or wrn-28-2; auto goes by the data"
    )
    bn_momentum: float = setting(0.1, "weight of the newest batch in BatchNorm's running statistics")

    seed: int = setting(0, "chooses labels, initial weights, batches and views")
    log_every: int | None = setting(None, "steps between two evaluations (default: 40 in a run)")
    probe_every: int | None = setting(None, "steps between two measurements of the layer benefit (default: never)")
    device: str = setting("auto", "cpu, cuda, cuda:1 or mps; auto takes the fastest there is")
    joint_forward: bool = setting(
        True,
        "labelled, weak and strong views in one pass; off: the weak views in a pass of their own without gradients, which "
        "is faster but gives them BN statistics of their own",
    )
    compile: bool = setting(False, "torch.compile the feature extractor and the image operations")
    cuda_graphs: bool = setting(False, "with compile, on a GPU: replay the feature extractor as CUDA graphs")

    def __new__(cls, *args, **settings):
        for name in settings:
            check_choice("setting", name, [f.name for f in fields(cls)])
        return super().__new__(cls)

    def __post_init__(self):
        for f in fields(self):
            object.__setattr__(self, f.name, plain(f.name, getattr(self, f.name), f.type))
        check_choice("method", self.method, METHODS)
        if self.grad_relu is not None:
            check_choice("grad_relu", self.grad_relu, GRAD_RELU)
        check_choice("labels_from", self.labels_from, LABELS_FROM)
        if self.num_labels is not None:
            check_range("num_labels", self.num_labels, 1, whole=True)
        check_range("num_val", self.num_val, 0, whole=True)
        check_range("seed", self.seed, 0, whole=True)
        check_range("threshold", self.threshold, 0, 1)
        for name in ("lambda_u", "classifier_weight", "fairness"):
            check_range(name, getattr(self, name), 0)
        check_range("strong_labelled", self.strong_labelled, 0, 1)
        check_range("lr", self.lr, 0, open_low=True)
        check_range("weight_decay", self.weight_decay, 0)
        check_range("bn_momentum", self.bn_momentum, 0, 1, open_low=True)
        for name in ("center_momentum", "threshold_momentum", "momentum", "ema_decay"):
            check_range(name, getattr(self, name), 0, 1, open_high=True)
        for name in ("batch_size", "mu", "steps"):
            check_range(name, getattr(self, name), 1, whole=True)
        if self.noise is not None:
            check_noise(self.noise, self.noise_rate or 0.0)
        if self.noise in KINDS and self.noise_rate is None:
            raise InputError(f"noise={self.noise!r} needs a rate; set noise_rate=0.2, say.")
        if self.noise is None and self.noise_rate is not None:
            raise InputError(f"noise_rate={self.noise_rate:g} needs a kind of noise; set noise='uniform', say.")
        for name in ("log_every", "probe_every"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1, whole=True)
        if not METHODS[self.method].unlabelled and self.batch_size < 2:
            raise InputError("batch_size=1 is too small for BatchNorm without unlabelled samples; give at least 2.")
        acting = ("grad_relu", "avg_clustering", "freematch", "blocked", "noise")
        if not METHODS[self.method].unlabelled and (given := [name for name in acting if getattr(self, name)]):
            raise InputError(
                f"method={self.method!r} has no unlabelled loss for {' or '.join(given)} to act on; "
                "leave them out, or use method='fixmatch'."
            )
        if self.switches.grad_relu == "gate" and "classifier" in (self.blocked or ""):
            raise InputError(
                "blocked='classifier' leaves the gate nothing to let through; take it out, or set grad_relu='block'."
            )
        if self.cuda_graphs and not self.compile:
            raise InputError("cuda_graphs=True records what torch.compile makes; set compile=True, too.")
        if self.compile and self.blocked is not None:
            raise InputError("blocked needs two backward passes, which compiled code cannot do; set compile=False.")
        if not self.joint_forward and not METHODS[self.method].unlabelled:
            raise InputError(f"joint_forward=False has no weak views to set apart with method={self.method!r}; leave it out.")
        if not self.switches.avg_clustering and (self.labels_from == "centers" or self.rescale_centers):
            name = "labels_from='centers'" if self.labels_from == "centers" else "rescale_centers=True"
            raise InputError(f"{name} needs the averaged centres; set avg_clustering=True.")
        if self.classifier_weight != 1 and self.switches.grad_relu != "off":
            raise InputError(
                f"classifier_weight={self.classifier_weight:g} weighs what grad_relu={self.switches.grad_relu!r} takes over; "
                "leave it out, or set grad_relu='off'."
            )

    @property
    def switches(self) -> Switches:
        """The method's switches, with explicit ones on top."""
        s = METHODS[self.method]
        return Switches(
            s.unlabelled,
            self.grad_relu or s.grad_relu,
            s.avg_clustering if self.avg_clustering is None else self.avg_clustering,
            s.freematch if self.freematch is None else self.freematch,
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
    def preset(cls, name: str, **overrides) -> TrainConfig:
        """A preset (one of PRESETS) with some settings changed."""
        check_choice("preset", name, PRESETS)
        recipe = RECIPES.get(overrides.get("dataset"), {}) if name == "demo_cpu" else {}
        chosen = PRESETS[name] | recipe
        if overrides.get("method") == "supervised":
            chosen.pop("joint_forward", None)  # there are no weak views to set apart
        return cls(**chosen | overrides)

    def differences(self, other: TrainConfig) -> dict[str, tuple]:
        """{setting: (ours, theirs)} where two configs differ."""
        a, b = asdict(self), asdict(other)
        return {k: (a[k], b[k]) for k in a if a[k] != b[k]}


# The batches and views of the canonical FixMatch protocol on CIFAR-10, and what FreeMatch adds to it.
FIXMATCH_CIFAR = dict(
    dataset="cifar10", model="wrn-28-2", batch_size=64, mu=7, threshold=0.95, lambda_u=1.0, strong_labelled=0.0,
    lr=0.03, momentum=0.9, weight_decay=5e-4, ema_decay=0.999, threshold_momentum=0.999, fairness=0.001,
)  # fmt: skip

# Its fast form. Departures from the protocol: the weak views in a pass of their own, a larger BN momentum, compiled code.
FAST_CIFAR = FIXMATCH_CIFAR | dict(joint_forward=False, bn_momentum=0.05, compile=True, device="cuda")

PRESETS = {
    # Up to twenty seconds a run on a laptop.
    "demo_cpu": dict(device="cpu"),
    # CIFAR-10 in miniature, two minutes on two cores: to watch a training, not to judge a method (benchmarks/miniature.py).
    "cifar_cpu": FIXMATCH_CIFAR | dict(
        model="small_cnn", num_labels=250, batch_size=32, mu=4, steps=1000, threshold=0.8, strong_labelled=0.5, bn_momentum=0.1,
        threshold_momentum=0.99, log_every=100, device="cpu",
    ),
    # Short runs on one GPU, with BN and EMA quick enough for them. Not yet measured: benchmarks/gpu.py measures them.
    "classroom_gpu": FAST_CIFAR | dict(num_labels=250, steps=60_000, log_every=1000),
    "classroom_gpu_short": FAST_CIFAR | dict(num_labels=250, steps=12_000, log_every=500),
    # The canonical protocol as public implementations code it (the strategies on top). Two details differ: the EMA
    # warms up, and batches are drawn with replacement.
    "paper": FIXMATCH_CIFAR | dict(num_labels=40, steps=2**20, bn_momentum=0.001, log_every=1024),
}  # fmt: skip

# What validation data chose for an embedded set where it differs from the defaults (benchmarks/recipes.py); preset demo_cpu.
RECIPES = {"digits": dict(strong_labelled=0.5, lr=0.1, threshold_momentum=0.9, fairness=0.001)}
