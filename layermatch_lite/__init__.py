"""layermatch_lite: LayerMatch (arXiv 2406.14207), small enough to read. An unofficial implementation."""

try:
    import numpy  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("layermatch_lite needs torch and numpy: python -m pip install -c constraints.txt -e .") from error

from .core.centers import AvgClustering
from .core.losses import PseudoLabelLoss, fixmatch_loss, pseudo_label_loss
from .core.probe import layer_benefit
from .core.readout import readout
from .data.sets import SSLData, load_data, split
from .errors import InputError
from .models import MLP, SmallCNN, SmallCNN1d, WideResNet
from .runs.config import METHODS, PRESETS, TrainConfig
from .runs.evaluate import NonFiniteLoss
from .runs.recording import Recording, load_recorded, record
from .runs.run import Run
from .runs.train import train, train_steps
from .studies.files import load_study
from .system import __version__
from .variants.freematch import FreeMatch
from .variants.gate import gate
from .variants.settings import Variant

__all__ = [
    "__version__",
    "METHODS",
    "PRESETS",
    "TrainConfig",
    "SSLData",
    "load_data",
    "split",
    "InputError",
    "PseudoLabelLoss",
    "FreeMatch",
    "Variant",
    "fixmatch_loss",
    "pseudo_label_loss",
    "MLP",
    "SmallCNN",
    "SmallCNN1d",
    "WideResNet",
    "layer_benefit",
    "readout",
    "Recording",
    "load_recorded",
    "load_study",
    "record",
    "Run",
    "AvgClustering",
    "gate",
    "NonFiniteLoss",
    "train",
    "train_steps",
]
