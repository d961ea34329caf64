"""What a lab is set to: a frozen dataclass, checked, and written as a short text that restores it, the lesson link.

The same fields describe the lab's controls to the page (page/core.js), which reads and writes the same links.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlencode

from ..errors import InputError, check_choice, check_kinds, check_range, takes


class Control(NamedTuple):
    """How a setting looks to a person; one without a label is set by the picture itself.

    options: {value: what stands on the screen} for a choice, where it is `open` others are possible; low, high and step for a
    number. main: above the picture, not under "More". view: shown in this view of the lab alone.
    """

    label: str = ""
    help: str = ""
    options: dict | None = None
    low: float = 0
    high: float = 1
    step: float = 0.01
    main: bool = False
    view: str = ""
    unit: str = ""
    open: bool = False
    box: bool = False  # a number to type instead of a slider


def choice(default, label: str, options: dict, help: str = "", **more):
    """A setting that takes one of a few values. options: {value: its name on the screen}."""
    return field(default=default, metadata={"control": Control(label, help, options, **more)})


def number(default: float, label: str, low: float = 0, high: float = 1, step: float = 0.01, help: str = "", **more):
    """A setting on a slider: a float where the default is one, else a whole number."""
    return field(default=default, metadata={"control": Control(label, help, None, low, high, step, **more)})


def hidden(default, low: float = 0, high: float = 0):
    """A setting that the picture sets and the link carries. A number is checked, a text is not."""
    return field(default=default, metadata={"control": Control(low=low, high=high)})


class Story(NamedTuple):
    """A state worth opening on. why: one sentence, what to look for, and the rule that chose this state."""

    name: str
    link: str
    why: str


@dataclass(frozen=True)
class LabState:
    """Base of every lab's settings. A subclass names its lab and lists fields made by `choice`, `number` and `hidden`.

    Raises InputError for a value that is not allowed.
    """

    lab: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    stories: ClassVar[tuple[Story, ...]]

    def __post_init__(self):
        for f in fields(self):
            control, value = f.metadata["control"], getattr(self, f.name)
            if control.open or isinstance(f.default, str) and control.options is None:
                check_kinds({f.name: ("text", value)})
                continue
            if control.options:
                check_choice(f.name, value, control.options)
            else:
                check_range(f.name, value, control.low, control.high, whole=isinstance(f.default, int))
                places = (value - control.low) / control.step
                if abs(places - round(places)) > 1e-6:
                    grid = f"{control.low:g} plus a multiple of {control.step:g}"
                    raise InputError(f"{f.name}={value!r} is not allowed; give {grid}.")

    @classmethod
    def spec(cls) -> dict:
        """The lab as the page draws it: words, fields, stories; plain JSON."""
        described = []
        for f in fields(cls):
            c = f.metadata["control"]
            kind = {"text": isinstance(f.default, str), "whole": isinstance(f.default, int)}
            about = c._asdict() | {"name": f.name, "default": f.default} | kind
            about["options"] = [{"value": v, "label": name} for v, name in c.options.items()] if c.options else None
            described.append(about)
        words = {"lab": cls.lab, "title": cls.title, "question": cls.question}
        return words | {"fields": described, "stories": [story._asdict() for story in cls.stories]} | cls.more()

    @classmethod
    def more(cls) -> dict:
        """What else the page needs to know."""
        return {}

    def link(self) -> str:
        """The state as a short text, without what keeps its default: "noise?rate=0.4&kind=pair"."""
        short = lambda v: f"{v:.12g}" if isinstance(v, float) else v  # as a browser writes numbers
        values = {f.name: short(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default}
        return f"{self.lab}?{urlencode(values, safe=',;:/')}"

    @classmethod
    @takes(text="text")
    def from_link(cls, text: str) -> LabState:
        """Read a link back; what it does not name keeps its default. Raises InputError, with nothing changed."""
        lab, mark, query = text.strip().partition("?")
        if lab != cls.lab or not mark:
            raise InputError(f"{text[:60]!r} is not a lesson link for this lab; such a link starts with '{cls.lab}?'.")
        try:
            pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True) if query else []
        except ValueError as error:
            raise InputError(f"the lesson link is garbled ({error}); copy it again, whole.") from error
        if len(dict(pairs)) < len(pairs):
            raise InputError("the lesson link sets a value twice; copy it again, whole.")
        known, values = {f.name: f.default for f in fields(cls)}, {}
        for name, value in pairs:
            check_choice("setting", name, known)
            values[name] = _read(name, value, known[name])
        return cls(**values)

    def but(self, **changes) -> LabState:
        """This state with some settings changed."""
        return replace(self, **changes)


def _read(name: str, text: str, default):
    if isinstance(default, str):
        return text
    kind = int if isinstance(default, int) else float
    try:
        return kind(text)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{name}={text!r} in the lesson link is not {wanted}; copy the link again.") from error
