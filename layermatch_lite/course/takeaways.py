"""What a notebook has shown: sentences whose numbers and verdicts come from its own run."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def takeaways(*sentences: tuple[str, bool], table: pd.DataFrame | None = None, about: str = "The numbers") -> None:
    """Show each (sentence, does it hold in this run?) in Markdown; below them a table to open, with `about` as its heading.

    A sentence that does not hold stays, marked "Not in this run": a notebook must not say what its results deny.
    """
    from IPython.display import HTML, Markdown, display

    lines = [f"{k}. {'' if holds else '**Not in this run:** '}{text}" for k, (text, holds) in enumerate(sentences, 1)]
    display(Markdown("\n".join(lines)), metadata={"takeaways": True})
    if table is not None:
        display(HTML(f"<details><summary>{html.escape(about)}</summary>{without_style(table.to_html())}</details>"))


def without_style(table: str) -> str:
    """Pandas right-aligns every heading by its own style; the page's style reads better."""
    return re.sub(r' (?:border="1"|style="text-align: right;")', "", table)
