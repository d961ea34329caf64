"""What each lab can be set to, the stories that it opens on, and the plans of the teachers' guide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .packs import SHIPPED
from .state import LabState, Story, choice, hidden, number

ERRORS = {"uniform": "scattered", "pair": "one way", "confusion": "confusions", "low_confidence": "unsure"}
METHODS = {
    "supervised": "Supervised",
    "fixmatch": "FixMatch",
    "grad_relu": "Grad-ReLU",
    "avg_clustering": "Avg-Clustering",
    "layermatch": "LayerMatch",
}
NONE = {"none": "none"}
_DATA = {"digits": "digits", "mnist1d": "MNIST-1D", "cifar10": "CIFAR-10"}
_WRONG = "How many of the labels are wrong."
_TAU = "A pseudo-label counts where the network's confidence is at least τ."
_SEED = "Which labels are drawn, and how the network starts."


def run_name(run: str) -> str:
    """digits_fixmatch -> digits, FixMatch; a path stays as it is."""
    data, _, method = run.partition("_")
    labels, _, rest = method.partition("_")
    if labels.isdigit():
        data, method = f"{_DATA.get(data, data)}, {int(labels):,} labels", rest
    return f"{_DATA.get(data, data)}, {METHODS[method]}" if method in METHODS else run


RUNS = {
    run: run_name(run)
    for run in sorted(
        (p.stem.removeprefix("run_") for p in SHIPPED.glob("run_*.pack")), key=lambda r: (r[0] == "c", r)
    )
}


@dataclass(frozen=True)
class NoiseState(LabState):
    """Which view, and its settings: networks trained with wrong labels, or the gradient of one step."""

    lab, title, question = "noise", "Noise lab", "What do wrong labels do to a network?"

    view: str = choice("train", "", {"train": "", "gradient": ""})
    rate: float = number(0.6, "wrong labels", 0.0, 0.8, 0.2, _WRONG, main=True, view="train", unit="%")
    kind: str = choice(
        "pair",
        "errors",
        ERRORS,
        "Where they go: anywhere; to the next class; to what the network confuses; or where it is unsure.",
        main=True,
        view="train",
    )
    taught: str = choice(
        "all",
        "who learns",
        {"all": "every layer", "features": "features only", "classifier": "classifier only"},
        "Which layers learn from these labels. Features only is what Grad-ReLU does.",
        main=True,
        view="train",
    )
    share: float = number(
        1.0,
        "wrong labels",
        0.0,
        1.0,
        0.1,
        "How many labels are wrong; of its own errors, how many samples carry the network's label.",
        main=True,
        view="gradient",
        unit="%",
    )
    errors: str = choice(
        "own",
        "errors",
        {"own": "its own"} | ERRORS,
        "The network's own pseudo-labels, or true labels corrupted on purpose.",
        main=True,
        view="gradient",
    )
    grad_relu: str = choice(
        "off",
        "Grad-ReLU",
        {"off": "off", "block": "block", "gate": "gate"},
        "Keeps it out of the classifier: all (block), or what opposes the labelled gradient (gate).",
        main=True,
        view="gradient",
    )
    quantity: str = choice(
        "alignment",
        "shown",
        {"alignment": "alignment", "benefit": "benefit"},
        "Alignment: cosine with the true gradient. Benefit: a step's worth; 1 is as good as true labels.",
        view="gradient",
    )
    tau: float = choice(0.8, "threshold τ", {0.5: "0.5", 0.8: "0.8", 0.95: "0.95"}, _TAU, view="gradient")
    step: int = choice(
        200,
        "trained steps",
        {60: "60", 200: "200", 600: "600"},
        "How long the network has trained with FixMatch before.",
        view="gradient",
    )
    data: str = choice(
        "digits",
        "data",
        {k: _DATA[k] for k in ("digits", "mnist1d")},
        "Digits of 8x8 pixels, or digits as curves of 40 values; one label per class.",
    )

    stories = (
        Story(
            "The last layer obeys",
            "noise?",
            "Opened at 60 %, the lowest rate here at which most labels of a class name the wrong one.",
        ),
        Story(
            "Noise hits the classifier",
            "noise?view=gradient",
            "The network's own labels at the recipe's τ, in the middle of training; other moments are under More.",
        ),
        Story(
            "A counterexample",
            "noise?view=gradient&share=0.6&errors=uniform",
            "60 % random errors, as in the first view: a centre averages scattered errors away.",
        ),
        Story(
            "Cut it off",
            "noise?view=gradient&grad_relu=block",
            "The same labels with Grad-ReLU: the features get what they got before.",
        ),
    )


@dataclass(frozen=True)
class TimeMachineState(LabState):
    """Which runs, which moment, which sample, and how the features are mapped."""

    lab, title, question = "time", "Time machine", "When did it go wrong, and with whom?"

    snapshot: int = number(20, "moment", 0, 99_999, 1, "Which of the run's recorded moments.", main=True)
    run: str = choice("digits_fixmatch", "left", RUNS, "A recorded training.", main=True, open=True)
    beside: str = choice(
        "digits_layermatch", "right", NONE | RUNS, "A second one, on the same clock.", main=True, open=True
    )
    map: str = choice(
        "umap", "map", {"umap": "UMAP", "pca": "PCA"}, "UMAP keeps neighbours together; PCA is a flat shadow."
    )
    sample: int = number(-1, "sample", -1, 99_999, 1, "The sample that is followed; -1 for none.", box=True)

    stories = (
        Story(
            "The vanished digit",
            "time?sample=104",
            "Seed 0, the only one that was recorded: look for the 7s. Play shows how it came.",
        ),
        Story("From the start", "time?snapshot=0&sample=104", "Before the first step; press Play."),
        Story(
            "Photographs",
            "time?run=cifar10_250_fixmatch&beside=cifar10_250_layermatch",
            "CIFAR-10 with 25 labels per class, seed 0.",
        ),
        Story(
            "One dimension",
            "time?run=mnist1d_fixmatch&beside=mnist1d_layermatch",
            "MNIST-1D with one label per class, seed 0.",
        ),
    )


@dataclass(frozen=True)
class ThresholdState(LabState):
    """Which recorded run, when, which threshold, and which pseudo-labels."""

    lab, title, question = "threshold", "Threshold lab", "What does τ let through, and at what price?"

    tau: float = number(0.8, "threshold τ", 0.0, 0.99, 0.01, _TAU, main=True)
    snapshot: int = number(2, "moment", 0, 99_999, 1, "Which of the run's recorded moments.", main=True)
    run: str = choice("mnist1d_fixmatch", "run", RUNS, "A recorded training.", open=True)
    label: str = choice(
        "all",
        "pseudo-label",
        {"all": "all"},
        "Only the samples that the network calls so; or click a bar.",
        open=True,
    )

    stories = (
        Story(
            "Early",
            "threshold?",
            "Step 60 of 600: few labels pass, and many of them are wrong. Drag τ in the picture.",
        ),
        Story(
            "Sure and wrong",
            "threshold?run=cifar10_250_fixmatch&snapshot=20&tau=0.95",
            "Photographs, the end of training: at the canonical τ = 0.95.",
        ),
        Story(
            "A digit that nobody is called",
            "threshold?run=digits_fixmatch&snapshot=20",
            "The end: one threshold does not treat all classes alike.",
        ),
    )


class Trained(LabState):
    """A lab whose stories are recorded trainings; others are trained while one watches."""

    def whole(self) -> LabState:
        """The training that this is a moment of: what it is known by."""
        return self.but(step=self.last_step, **{"space": "points"} if hasattr(self, "space") else {})

    def key(self) -> str:
        """Under which the training's data are found: those of a story, or made when they are asked for."""
        known = {link: key for key, link in self.recorded().items()}
        return known.get(self.whole().link(), f"trained {self.link()}")

    @classmethod
    def recorded(cls) -> dict[str, str]:
        """{key of the block: link of the training}, one for each story."""
        return {f"{cls.lab}_{k}": cls.from_link(story.link).whole().link() for k, story in enumerate(cls.stories)}

    @classmethod
    def more(cls) -> dict:
        return {"recorded": {link: key for key, link in cls.recorded().items()}}


@dataclass(frozen=True)
class DecisionState(Trained):
    """Which points, which labels, which methods, and how many steps they have trained."""

    lab, title, question = "decision", "Decision lab", "Where do few labels lead?"
    last_step = 300

    dataset: str = choice(
        "blobs",
        "points",
        {"blobs": "four blobs", "two_moons": "two moons"},
        "What the network sees: points in the plane.",
        main=True,
    )
    method_a: str = choice("fixmatch", "left", METHODS, "The method of the left picture.", main=True)
    method_b: str = choice("supervised", "right", METHODS | NONE, "The method of the right picture.", main=True)
    tau: float = number(0.8, "threshold τ", 0.0, 1.0, 0.01, _TAU)
    per_class: int = choice(
        1, "labels per class", {1: "1", 2: "2", 4: "4"}, "How many points per class carry their true label."
    )
    space: str = choice(
        "points",
        "shown",
        {"points": "points", "features": "features"},
        "The points, or the network's two features with the centres w of the classes.",
    )
    seed: int = number(1, "seed", 0, 99_999, 1, _SEED, box=True)
    places: str = hidden("")  # "x,y;x,y;..." of the labelled points; empty: drawn by the seed
    step: int = hidden(300, 0, 300)

    stories = (
        Story(
            "Sure of the wrong side",
            "decision?",
            "Seeds 0 and 1 were looked at; in this one FixMatch loses to the four labels alone.",
        ),
        Story("A stricter τ", "decision?tau=0.95", "The same labels with τ = 0.95: does it help?"),
        Story(
            "No difference here",
            "decision?dataset=two_moons&method_b=layermatch&seed=0",
            "Two moons, seed 0, one label each.",
        ),
    )


@dataclass(frozen=True)
class TrainingState(Trained):
    """Which data, which methods, and how many steps they have trained."""

    lab, title, question = "training", "Training lab", "Two methods learn from the same labels."

    dataset: str = choice(
        "digits",
        "data",
        {"mnist1d": "MNIST-1D", "digits": "digits", "two_moons": "two moons", "blobs": "four blobs"},
        "What is learnt.",
        main=True,
    )
    method_a: str = choice("fixmatch", "first", METHODS, "The first method.", main=True)
    method_b: str = choice(
        "layermatch", "second", METHODS | NONE, "The second, on the same labels and seed.", main=True
    )
    per_class: int = choice(
        1, "labels per class", {1: "1", 2: "2", 4: "4"}, "How many samples per class carry their true label."
    )
    tau: float = number(0.8, "threshold τ", 0.0, 1.0, 0.01, _TAU)
    noise: str = choice("none", "corrupt pseudo-labels", NONE | ERRORS, "Wrong labels on top of the network's own.")
    rate: float = number(0.2, "noise rate", 0.0, 1.0, 0.01, _WRONG)
    steps: int = choice(300, "steps", {150: "150", 300: "300", 600: "600"}, "How long both train.")
    seed: int = number(0, "seed", 0, 99_999, 1, _SEED, box=True)
    step: int = hidden(300, 0, 600)

    stories = (
        Story("One label per class", "training?", "Digits, seed 0, the same τ for both."),
        Story("Another seed", "training?seed=1", "The same, seed 1: one run is an anecdote."),
        Story("More labels", "training?per_class=4", "Four labels per class: how much is left of the difference?"),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.step > self.steps:  # the end, which the default step names for 300 steps
            object.__setattr__(self, "step", self.steps)

    @property
    def last_step(self) -> int:
        return self.steps


class Plan(NamedTuple):
    """The lesson links of one plan in docs/teaching.md, in the order of the lesson."""

    name: str
    links: list[str]


STATES = (NoiseState, TimeMachineState, ThresholdState, DecisionState, TrainingState)
PLANS = (
    Plan(
        "45 minutes",
        [
            "decision?step=0",
            "decision?tau=0.95",
            "threshold?",
            "noise?",
            "noise?kind=uniform",
            "noise?view=gradient",
            "noise?view=gradient&share=0.6&errors=uniform",
            "noise?view=gradient&grad_relu=block",
        ],
    ),
    Plan("90 minutes", ["decision?", "noise?view=gradient"]),
    Plan(
        "Three times 90 minutes",
        [
            "threshold?",
            "threshold?snapshot=20",
            "noise?view=gradient&grad_relu=block",
            "noise?view=gradient&grad_relu=gate",
            "time?sample=104",
        ],
    ),
)
