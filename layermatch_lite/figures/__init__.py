"""Figures. Each function returns the figure and an alt text made from the plotted data; `show` puts both into a notebook."""

from .comparison import comparison_figure
from .confidence import threshold_figure
from .dots import dots_figure
from .maps import clouds_figure, confusion_figure, maps_figure, truth_and_label_figure
from .output import as_png, save, show, shrink
from .plane import decision_figure, gate_arrows, gradient_arrows, toy
from .quantities import benefit_over, over_training, seeds_over_training, two_by_two
from .readouts import noise_figure, noise_maps_figure, readout_figure, taught_figure
from .samples import unsure_figure, views_figure
from .study_figures import differences_figure, families_figure, flips_figure, resampling_figure, study_figure

__all__ = [
    "as_png", "benefit_over", "clouds_figure", "comparison_figure", "confusion_figure", "decision_figure",
    "differences_figure", "dots_figure", "families_figure", "flips_figure", "gate_arrows", "gradient_arrows", "maps_figure",
    "noise_figure", "noise_maps_figure", "over_training", "readout_figure", "resampling_figure", "save",
    "seeds_over_training", "show", "shrink", "study_figure", "taught_figure", "threshold_figure", "toy",
    "truth_and_label_figure", "two_by_two", "unsure_figure", "views_figure",
]  # fmt: skip
