"""From settings to a method: the one of `TrainConfig.method`, wrapped in what the variant asks for."""

from __future__ import annotations

from ..core.methods import FixMatch, Supervised
from ..data.sets import SSLData
from ..errors import InputError, check_choice
from ..models import layers
from ..runs.parallel import averaged
from ..runs.run import Run
from .freematch import AdaptiveThresholds
from .gate import Gate
from .layers import Blocked, WeightedClassifier
from .noise import Corrupted, Injected, TrueLabels
from .wrapper import Wrapper


def build_method(run: Run, data: SSLData) -> FixMatch | Supervised | Wrapper:
    """The method that a run trains with. Several processes average gradients inside of whatever reads them."""
    config, switches, classifier = run.config, run.config.switches, run.model.classifier
    if not switches.unlabelled:
        return averaged(Supervised(classifier))
    v = config.variant
    grad_relu = "block" if switches.grad_relu == "gate" else switches.grad_relu
    make = FixMatch if v.classifier_weight == 1 else WeightedClassifier
    base = make(classifier, config.threshold, config.lambda_u, grad_relu=grad_relu, centers=run.centers)
    if v.classifier_weight != 1:
        base.weight = v.classifier_weight
    if v.labels_from == "centers":
        base.source = run.centers
    method = averaged(base)
    if v.labels_from == "truth":
        if not data.truth_known:
            raise InputError(f"labels_from='truth' needs the true class of every sample, and {data.name!r} has unknown ones.")
        method = TrueLabels(method, data.y_unlabelled, data.classes if v.noise else ())
    if run.freematch is not None:
        method = AdaptiveThresholds(method, run.freematch)
    if v.noise is not None:
        method = Corrupted(method, injected_noise(run, data))
    if v.blocked is not None:
        method = Blocked(method, blocked_parameters(run))
    if switches.grad_relu == "gate":
        method = Gate(method)
    return method


def injected_noise(run: Run, data: SSLData) -> Injected | None:
    """The noise that a run's config asks for, or None."""
    v, pool = run.config.variant, data.y_unlabelled
    if v.noise is None:
        return None
    return Injected(v.noise, v.noise_rate or 0.0, run.config.seed, len(pool), len(data.classes), pool.device)


def blocked_parameters(run: Run) -> list:
    """The parameters of the layers that the variant blocks."""
    groups = layers(run.model, run.model.classifier)
    groups |= {"all features": [p for name, group in groups.items() if name != "classifier" for p in group]}
    names = [name.strip() for name in run.config.variant.blocked.split(",")]
    for name in names:
        check_choice("blocked", name, groups)
    return [p for name in names for p in groups[name]]
