"""Labs: five things to move, one line each in a notebook.

    from layermatch_lite.labs import NoiseLab
    NoiseLab()

What a lab computes and draws stands in a module that knows nothing of widgets (`noise`, `decision`, `training`, `timemachine`,
`threshold`); `frame` puts it on the screen, `views` adds each lab's own buttons.
`live` watches one training that is kept in a file.
"""

from .live import LiveRun
from .widgets import DecisionLab, NoiseLab, ThresholdLab, TimeMachine, TrainingLab, classroom

__all__ = ["DecisionLab", "LiveRun", "NoiseLab", "ThresholdLab", "TimeMachine", "TrainingLab", "classroom"]
