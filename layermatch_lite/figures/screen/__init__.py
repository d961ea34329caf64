"""What labs and predictions put on the screen: a title, a picture, words that change. Core ipywidgets lacks what they need."""

from __future__ import annotations

import html
from pathlib import Path

try:
    import anywidget
    import ipywidgets as widgets
    import traitlets
except ImportError as error:
    raise ImportError(
        "labs and predictions need ipywidgets and anywidget: python -m pip install -c constraints.txt -e ."
    ) from error

class Picture(anywidget.AnyWidget):
    """An image whose alt text follows it."""

    _esm = Path(__file__).with_name("picture.js")
    _css = Path(__file__).with_name("lab.css")
    png = traitlets.Bytes().tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    width = traitlets.Int(4).tag(sync=True)  # it scales with the window
    height = traitlets.Int(3).tag(sync=True)


class Message(anywidget.AnyWidget):
    """HTML that a screen reader announces when it changes: "status" when there is a pause, "alert" at once, as an error."""

    _esm = Path(__file__).with_name("message.js")
    value = traitlets.Unicode("").tag(sync=True)
    role = traitlets.Enum(("status", "alert"), "status").tag(sync=True)

    def say(self, text: str) -> None:
        """Show plain text; nothing for an empty one."""
        self.value = html.escape(text)


def title(name: str, text: str) -> widgets.HTML:
    """The heading of a lab or a prediction: what it is, and its question."""
    heading = f"{html.escape(name)} <span>{html.escape(text)}</span>"
    return widgets.HTML(f'<div class="lml-title" role="heading" aria-level="3">{heading}</div>')
