"""What makes the notebooks a course: self-checking exercises, scored predictions, conclusions held to the run."""

from .exercises import check, hint
from .predict import predict_curve, predict_order, predict_value
from .takeaways import takeaways

__all__ = ["check", "hint", "predict_curve", "predict_order", "predict_value", "takeaways"]
