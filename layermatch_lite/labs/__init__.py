"""Labs: five things to move, one line each in a notebook.

    from layermatch_lite.labs import NoiseLab
    NoiseLab()

`lessons` says what each lab can be set to, `page/*.js` draws and moves it, `frame` is the widget between them, and `packs` the
data. Only the decision and the training lab import torch, and only when something is trained. `live` watches one training that is
saved to a file.
"""

from ..errors import check_kinds
from .frame import Lab
from .lessons import RUNS, STATES, DecisionState, NoiseState, ThresholdState, TimeMachineState, TrainingState

__all__ = ["DecisionLab", "LiveRun", "NoiseLab", "ThresholdLab", "TimeMachine", "TrainingLab", "classroom"]


def NoiseLab(link: str = "", **settings) -> Lab:
    """Wrong labels: what a network learns from them, and what their gradient does to each layer."""
    return Lab([NoiseState], link, **settings)


def TimeMachine(link: str = "", **settings) -> Lab:
    """Scrub through a recorded run; follow one sample to the moment when it went wrong.

    run, beside: names of `list_recorded`, or paths of recordings of your own.
    """
    check_kinds({"link": ("text", link)})
    if not link and str(settings.get("run", "digits_fixmatch")) not in RUNS:
        settings.setdefault("beside", "none")  # a recording of your own stands alone until you choose
    return Lab([TimeMachineState], link, **settings)


def ThresholdLab(link: str = "", **settings) -> Lab:
    """Drag τ over a recorded run: mask rate, pseudo-label accuracy and their product, for all samples and per class.

    run: a name of `list_recorded`, or the path of a recording of your own.
    """
    return Lab([ThresholdState], link, **settings)


def DecisionLab(link: str = "", **settings) -> Lab:
    """Points in the plane, a few labels to drag, and two methods that learn from them."""
    return Lab([DecisionState], link, **settings)


def TrainingLab(link: str = "", **settings) -> Lab:
    """Curves of one or two methods, recorded or live; the notebook stays free while they train."""
    return Lab([TrainingState], link, **settings)


def classroom(query: str = "") -> Lab:
    """All labs on one page. query: of the page's address; with ?lesson=LINK the lab of this lesson link is open and set to it."""
    # A lesson link holds & and = itself, so it is everything that follows; a browser may have encoded it.
    from urllib.parse import unquote_plus

    check_kinds({"query": ("text", query)})
    lesson = query.partition("lesson=")[2]
    return Lab(STATES, lesson if "?" in lesson else unquote_plus(lesson))  # a link encodes its own values, once


def __getattr__(name: str):
    if name == "LiveRun":  # it trains, and so imports torch
        from .live import LiveRun

        return LiveRun
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
