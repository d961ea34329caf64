"""Names of other people's classes, folders and layers in pictures: no formulas, and no letters that the font lacks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.category import StrCategoryFormatter
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

LONGEST = 24  # letters of a class name, and
LONGEST_TEXT = 120  # of any other line


def drawn_names(classes: Sequence[str]) -> list[str]:
    """What stands for each class in a picture: its name, or "class 1", ... where it is long or holds what the font lacks."""
    fine = lambda name: len(name) <= LONGEST and "\n" not in name and _drawable(name)
    return [name if fine(name) else f"class {c + 1}" for c, name in enumerate(classes)]


def in_words(classes: Sequence[str]) -> str:
    """For an alt text: which names `drawn_names` replaced, if any."""
    replaced = [f"{drawn} is {name}" for drawn, name in zip(drawn_names(classes), classes) if drawn != name]
    return f" Here {', '.join(replaced)}." if replaced else ""


def in_plain_letters(figure: Figure) -> None:
    """Before a figure is drawn: a $ in a text begins no formula, and what the font lacks is written as its number, [732B].

    Ticks that bear numbers stay as they are: those of a logarithmic axis are formulas.
    """
    numbers: set[Text] = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter | StrCategoryFormatter):
            names = [tick.get_text() for tick in axis.get_majorticklabels()]
            if any(_plain(name) != name for name in names):
                axis.set_ticks(axis.get_majorticklocs(), [_plain(name) for name in names])
        else:
            numbers.update(text for text in axis.findobj(Text) if text is not axis.label)
    for text in set(figure.findobj(Text)) - numbers:
        text.set_parse_math(False)
        text.set_text(_plain(text.get_text()))


def _drawable(text: str) -> bool:
    font = get_font(findfont(FontProperties()))
    return all(c == "\n" or (c.isprintable() and font.get_char_index(ord(c))) for c in text)


def _plain(text: str) -> str:
    if _drawable(text) and len(text) <= LONGEST_TEXT:
        return text
    letters = "".join(c if c == "\n" or _drawable(c) else f"[{ord(c):X}]" for c in text)
    lines = (line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…" for line in letters.split("\n"))
    return "\n".join(lines)
