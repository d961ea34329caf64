"""Slides from notebooks, by rule: cells need no tags that say what they become."""

import re
import shutil
from html import escape
from importlib.resources import files
from pathlib import Path

from formulas import FONT, glue, mathml
from nbconvert.exporters import SlidesExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

HERE = Path(__file__).parent
# reveal.js as another package ships it: scripts and styles, without themes, plugins and source maps.
REVEAL = files("sphinx_revealjs") / "_static" / "revealjs"
REVEAL_FILES = ("dist/reveal.js", "dist/reveal.css", "dist/reset.css", "LICENSE")


def as_slides(notebook: NotebookNode) -> NotebookNode:
    """The notebook with one cell for each part of a slide.

    - A heading of the first or second level begins a slide; further prose goes on slides below it.
    - Every picture and every table has a slide of its own, without the code. Code is shown where a cell's tag says "code".
    - What a cell prints goes below what came before it; long output gets a slide of its own.
    - The closing sentences go below their heading, or on a slide of their own.
    - Exercises and predictions are left out: they are to be done, not shown. A prediction's result is shown.
    """
    cells, heading = [], ""

    def add(cell, kind):
        cell.metadata.update(slideshow={"slide_type": kind}, heading=heading)
        cells.append(cell)

    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if tags & {"exercise", "prediction"}:
            continue
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=##? )", cell.source, flags=re.MULTILINE):
                if begins := re.match(r"##? (.*)", part):
                    heading = begins[1]
                if part.strip():
                    add(new_markdown_cell(part), "slide" if begins else "subslide")
        if "code" in tags:
            add(new_markdown_cell(f"```python\n{cell.source}\n```"), "-")
        before = len(cells)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/markdown" in data:
                below = len(cells) > before or cells[-1].source.startswith("## ") and "\n" not in cells[-1].source
                add(new_markdown_cell(data["text/markdown"]), "-" if below else "subslide")
            elif "image/png" in data or "text/html" in data:
                if "text/html" in data:  # nobody opens a table on a slide
                    data["text/html"] = data["text/html"].replace("<details>", "<details open>")
                add(new_code_cell(outputs=[output]), "subslide")
            elif output.get("name") == "stdout":
                add(new_code_cell(outputs=[output]), "-" if output.text.count("\n") <= 4 else "subslide")
    return NotebookNode(notebook, cells=cells)


class Renderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas that need no script."""

    def block_math(self, body):
        return mathml(body, block=True)

    def inline_math(self, body):
        return mathml(body)

    def link(self, text, url, title=None):
        """A link to another notebook leads to its slides; a link to a file of the repository becomes its name."""
        if url.endswith(".ipynb"):
            url = url.replace(".ipynb", ".slides.html")
        elif "://" not in url:
            return text
        return super().link(text, url, title)


def build_slides(notebooks: dict[str, NotebookNode], out: Path) -> None:
    """One deck per notebook, and a page that lists them."""
    for name in REVEAL_FILES:
        (out / "reveal.js" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REVEAL / name, out / "reveal.js" / name)
    shutil.copy(FONT, out)
    shutil.copy(HERE / "_static" / "slides.css", out)
    exporter = SlidesExporter(template_name="slides", extra_template_basedirs=[str(HERE / "_templates")])
    markdown = MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True))
    exporter.register_filter("html", lambda text: glue(markdown.render(text)))
    listed = []
    for name, notebook in notebooks.items():
        title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
        body, _ = exporter.from_notebook_node(as_slides(notebook), {"title": title})
        (out / f"{name}.slides.html").write_text(body, encoding="utf-8")
        listed.append(f'<li><a href="{name}.slides.html">{escape(title)}</a></li>')
    page = (HERE / "_templates" / "slides" / "list.html").read_text(encoding="utf-8")
    (out / "index.html").write_text(page.replace("DECKS", "\n".join(listed)), encoding="utf-8")
