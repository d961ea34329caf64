"""What a lab is set to: a frozen dataclass, checked, and written as a short text that restores it, the lesson link."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlencode

from ..errors import InputError, check_choice, check_range


class Control(NamedTuple):
    """How a setting looks to a person. `options` for a choice, `low`, `high` and `step` for a number."""

    label: str
    options: tuple = ()
    low: float = 0
    high: float = 1
    step: float = 0.01
    open: bool = False
    box: bool = False


def choice(default, label: str, options, *, open: bool = False):
    """A setting that takes one of a few values; where it is `open` others are possible, and the lab itself checks them."""
    return field(default=default, metadata={"control": Control(label, tuple(options), open=open)})


def number(default: float, label: str, low: float = 0.0, high: float = 1.0, step: float = 0.01):
    """A setting on a slider: a float where the default is one, else a whole number."""
    return field(default=default, metadata={"control": Control(label, (), low, high, step)})


def seed():
    """The seed of a lab, in a box to type into."""
    return field(default=0, metadata={"control": Control("seed", (), 0, 99_999, 1, box=True)})


def hidden(default, low: float = 0, high: float = 0):
    """A setting without a control of its own: the lab sets it, the link carries it. A number is checked, a text is not."""
    control = Control("", (), low, high) if high else None
    return field(default=default, metadata={"hidden": control})


@dataclass(frozen=True)
class LabState:
    """Base of every lab's settings. A subclass names its lab and lists fields made by `choice`, `number` and `hidden`.

    Raises InputError for a value that is not allowed.
    """

    lab: ClassVar[str]

    def __post_init__(self):
        hidden = {f.name: f.metadata["hidden"] for f in fields(self) if f.metadata.get("hidden")}
        for name, control in (self.controls() | hidden).items():
            value = getattr(self, name)
            if control.open:
                continue
            if control.options:
                check_choice(name, value, control.options)
            else:
                check_range(name, value, control.low, control.high, whole=isinstance(self._default(name), int))

    @classmethod
    def controls(cls) -> dict[str, Control]:
        """{name: how it looks}, in the order in which a person meets them."""
        return {f.name: f.metadata["control"] for f in fields(cls) if "control" in f.metadata}

    @classmethod
    def _default(cls, name: str):
        return next(f.default for f in fields(cls) if f.name == name)

    def link(self) -> str:
        """The whole state as a short text: "noise?seed=0&rate=0.4&kind=pair"."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        written = {name: repr(v) if isinstance(v, float) else str(v) for name, v in values.items()}
        return f"{self.lab}?{urlencode(written, safe=',;:')}"

    @classmethod
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
        known = [f.name for f in fields(cls)]
        values = {}
        for name, value in pairs:
            check_choice("setting", name, known)
            values[name] = cls._read(name, value)
        return cls(**values)

    @classmethod
    def _read(cls, name: str, text: str):
        default = cls._default(name)
        if isinstance(default, str):
            return text
        kind = int if isinstance(default, int) else float
        try:
            return kind(text)
        except ValueError as error:
            wanted = "a whole number" if kind is int else "a number"
            raise InputError(f"{name}={text!r} in the lesson link is not {wanted}; copy the link again.") from error

    def but(self, **changes) -> LabState:
        """This state with some settings changed."""
        return replace(self, **changes)
