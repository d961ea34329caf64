"""layermatch_lite: LayerMatch (arXiv 2406.14207), small enough to read. An unofficial implementation."""

__version__ = "0.2.0"

try:
    import numpy  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("layermatch_lite needs torch and numpy: python -m pip install -c constraints.txt -e .") from error

from .config import METHODS, PRESETS, TrainConfig
from .data import SSLData, load_data, split
from .errors import InputError
from .loss import FreeMatch, PseudoLabelLoss, fairness_loss, fixmatch_loss, pseudo_label_loss
from .models import MLP, SmallCNN, SmallCNN1d, WideResNet
from .probe import layer_benefit
from .recording import Recording, load_recorded, record
from .run import Run
from .strategies import AvgClustering, gate
from .training import NonFiniteLoss, train, train_steps

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
