"""What makes the notebooks a course: exercises that check themselves, predictions that are scored, claims bound to data."""

from .claims import claim
from .exercises import check, hint
from .predict import predict_curve, predict_order, predict_value

__all__ = ["check", "claim", "hint", "predict_curve", "predict_order", "predict_value"]
