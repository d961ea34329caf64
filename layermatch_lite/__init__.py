"""layermatch_lite: LayerMatch (arXiv 2406.14207), small enough to read. An unofficial implementation."""

__version__ = "0.2.0"

try:
    import numpy  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("layermatch_lite needs torch and numpy: python -m pip install -c constraints.txt -e .") from error

from .core.losses import FreeMatch, PseudoLabelLoss, fairness_loss, fixmatch_loss, pseudo_label_loss
from .core.probe import layer_benefit
from .core.strategies import AvgClustering, gate
from .data.sets import SSLData, load_data, split
from .errors import InputError
from .models import MLP, SmallCNN, SmallCNN1d, WideResNet
from .runs.config import METHODS, PRESETS, TrainConfig
from .runs.recording import Recording, load_recorded, record
from .runs.run import Run
from .runs.training import NonFiniteLoss, train, train_steps

__all__ = [
    "METHODS",
    "PRESETS",
    "TrainConfig",
    "SSLData",
    "load_data",
    "split",
    "InputError",
    "PseudoLabelLoss",
    "FreeMatch",
    "fairness_loss",
    "fixmatch_loss",
    "pseudo_label_loss",
    "MLP",
    "SmallCNN",
    "SmallCNN1d",
    "WideResNet",
    "layer_benefit",
    "Recording",
    "load_recorded",
    "record",
    "Run",
    "AvgClustering",
    "gate",
    "NonFiniteLoss",
    "train",
    "train_steps",
]
