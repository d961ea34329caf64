"""Labs: five things to move, one line each in a notebook.

    from layermatch_lite.labs import NoiseLab
    NoiseLab()

What a lab computes and draws is in a module without widgets (`noise_lab`, `decision_lab`, `training_lab`, `timemachine`,
`threshold_lab`); `frame` puts it on the screen, `widgets` adds the buttons of each lab.
`live` watches one training that is saved to a file.
"""

from .live import LiveRun
from .widgets import DecisionLab, NoiseLab, ThresholdLab, TimeMachine, TrainingLab, classroom

__all__ = ["DecisionLab", "LiveRun", "NoiseLab", "ThresholdLab", "TimeMachine", "TrainingLab", "classroom"]
