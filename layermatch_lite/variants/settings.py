"""Settings for study alone: how a run departs from the five methods."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..core.losses import GRAD_RELU, LABELS_FROM
from ..errors import InputError
from ..runs.fields import check_fields, setting
from .noise import KINDS, check_noise


@dataclass(frozen=True)
class Variant:
    """Departures from `TrainConfig.method`, for study; the default changes nothing.

    Raises InputError for a value that is not allowed. `TrainConfig` checks what depends on the method.
    """

    grad_relu: str | None = setting(
        None, "pseudo-label gradient into the classifier: off, block or gate (default: as the method says)", choices=GRAD_RELU
    )
    avg_clustering: bool | None = setting(
        None, "teach the features against averaged centres (default: as the method says)"
    )
    freematch: bool | None = setting(
        None, "FreeMatch's thresholds and fairness term in place of tau (default: as the method says)"
    )
    threshold_momentum: float | None = setting(
        None, "lambda: momentum of FreeMatch's thresholds, below 1 (default: the recipe's)", 0, 1, open_high=True
    )
    fairness: float | None = setting(
        None, "w_f: weight of FreeMatch's fairness term within the unlabelled loss, before lambda_u (default: the recipe's)", 0
    )
    labels_from: str = setting(
        "classifier",
        "pseudo-labels from the classifier, from the averaged centers (to see why not), or the truth, for noise to corrupt",
        choices=(*LABELS_FROM, "truth"),
    )
    classifier_weight: float = setting(
        1.0, "weight of the pseudo-label gradient in the classifier, where Grad-ReLU is off: 0 is block", 0
    )
    rescale_centers: bool = setting(False, "give each averaged centre the length of the current one")
    blocked: str | None = setting(
        None, "further layers kept from pseudo-label gradients, such as 'fc', 'conv 3, fc', or 'all features'"
    )
    noise: str | None = setting(
        None, "corrupt pseudo-labels: uniform, pair, confusion, low_confidence, or a matrix such as '0.9 0.1; 0.2 0.8'"
    )
    noise_rate: float | None = setting(
        None, "share of the pseudo-labels that the noise corrupts, 0 to 1 (a matrix holds its own)", 0, 1
    )

    def __post_init__(self):
        check_fields(self)
        if self.noise is not None:
            check_noise(self.noise, self.noise_rate or 0.0)
        if self.noise in KINDS and self.noise_rate is None:
            raise InputError(f"noise={self.noise!r} needs a rate; set noise_rate=0.2, for example.")
        if self.noise is None and self.noise_rate is not None:
            raise InputError(f"noise_rate={self.noise_rate:g} needs a kind of noise; set noise='uniform', for example.")


VARIANT = tuple(f.name for f in fields(Variant))
