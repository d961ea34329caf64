"""What makes the notebooks a course: self-checking exercises, scored predictions, statements checked against runs."""

from .claims import claim
from .exercises import check, hint
from .predict import predict_curve, predict_order, predict_value

__all__ = ["check", "claim", "hint", "predict_curve", "predict_order", "predict_value"]
