"""The exercises of notebooks 01 to 08: their random inputs, the library's version, typical mistakes, hints in steps.

The texts and the solutions are in `solutions/`, from which the notebooks' cells are made (`make notebooks`).
"""

from .gradients import GRADIENTS
from .measuring import MEASURING
from .pseudo_labels import PSEUDO_LABELS
from .strategies import STRATEGIES

TASKS = PSEUDO_LABELS | GRADIENTS | STRATEGIES | MEASURING
