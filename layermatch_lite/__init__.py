"""layermatch_lite: LayerMatch (arXiv 2406.14207), small enough to read. An unofficial implementation."""

from importlib import import_module

from .errors import InputError
from .system import __version__

# Where each public name lives. Imported when it is first used: the labs that only look things up need no torch.
_HOME = {
    "AvgClustering": "core.centers",
    "PseudoLabelLoss": "core.losses",
    "fixmatch_loss": "core.losses",
    "pseudo_label_loss": "core.losses",
    "layer_benefit": "core.probe",
    "readout": "core.readout",
    "SSLData": "data.sets",
    "load_data": "data.sets",
    "split": "data.sets",
    "MLP": "models",
    "SmallCNN": "models",
    "SmallCNN1d": "models",
    "WideResNet": "models",
    "METHODS": "runs.config",
    "PRESETS": "runs.config",
    "TrainConfig": "runs.config",
    "NonFiniteLoss": "runs.evaluate",
    "Recording": "runs.recording",
    "load_recorded": "runs.recording",
    "record": "runs.recording",
    "Run": "runs.run",
    "predict": "runs.inference",
    "predict_folder": "runs.inference",
    "train": "runs.train",
    "train_steps": "runs.train",
    "load_study": "studies.files",
    "FreeMatch": "variants.freematch",
    "gate": "variants.gate",
    "Variant": "variants.settings",
}

__all__ = ["InputError", "__version__", *_HOME]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy"):
            raise
        raise ImportError("layermatch_lite needs torch and numpy: python -m pip install -c constraints.txt -e .") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
