"""The notebooks: their text forms, what is taken out after a run, and how long the run took.

    python benchmarks/notebooks.py read                notebooks/text/NAME.py -> notebooks/NAME.ipynb, exercises from solutions/
    python benchmarks/notebooks.py write               notebooks/NAME.ipynb -> notebooks/text/NAME.py
    python benchmarks/notebooks.py tidy NOTEBOOK ...   keep each lab of an executed notebook as its picture
    python benchmarks/notebooks.py times               the table of docs/teaching.md, from the last run

A text form holds what an author writes, sources and tags, and is easy to edit, compare and merge. It is jupytext's percent
format, converted here and nowhere else: JupyterLab does not know that the two files belong together.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from layermatch_lite.course.editions import NOTEBOOKS, SOLUTIONS, fill
from layermatch_lite.errors import InputError

TEXT = NOTEBOOKS / "text"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
FOLDED = "hide-input"  # the tag of a cell whose result should be read first
VIEW, STATE = (f"application/vnd.jupyter.widget-{kind}+json" for kind in ("view", "state"))


# --- text forms ----------------------------------------------------------------------------------------------------------


def content(notebook: NotebookNode) -> list[tuple]:
    """What both forms have of each cell: type, source, tags."""
    return [(c.cell_type, c.source, tuple(c.metadata.get("tags", ()))) for c in notebook.cells]


def as_text(notebook: NotebookNode) -> str:
    """The text form: no header, and of a cell's metadata the tags alone."""
    bare = nbformat.v4.new_notebook(cells=notebook.cells)
    bare.metadata["jupytext"] = {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}
    return jupytext.writes(bare, fmt="py:percent")


def merged(text: str, old: NotebookNode, name: str) -> NotebookNode:
    """A notebook with the cells of the text form and the exercises of solutions/; the rest is that of the old notebook.

    A cell that the old notebook has, wherever, keeps its id, outputs and metadata, but for its tags.
    """
    new = jupytext.reads(text, fmt="py:percent")
    if (SOLUTIONS / f"{name}.py").exists():
        fill(new, name)
    known = defaultdict(list)
    for cell in old.cells:
        known[cell.cell_type, cell.source].append(cell)
    kept = [same.pop(0) if (same := known[cell.cell_type, cell.source]) else None for cell in new.cells]
    taken = {cell.id for cell in kept if cell}
    for cell, before in zip(new.cells, kept):
        others = {k: v for k, v in before.metadata.items() if k != "tags"} if before else {}
        tags = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if FOLDED in tags.get("tags", ()):
            tags["jupyter"] = {"source_hidden": True}  # in JupyterLab; the site's pages go by the tag
        cell.update(before or {"id": new_id(cell, taken)})
        cell.metadata = NotebookNode(others | tags)
        taken.add(cell.id)
    return NotebookNode(old | {"cells": new.cells})


def new_id(cell: NotebookNode, taken: set[str]) -> str:
    """From the content, so that the same text form makes the same notebook."""
    for n in itertools.count():
        name = hashlib.sha256(f"{n} {cell.cell_type} {cell.source}".encode()).hexdigest()[:8]
        if name not in taken:
            return name


def read() -> None:
    """Bring the notebooks in line with their text forms, and both with solutions/."""
    made = {}
    for path in sorted(TEXT.glob("*.py")):
        target, text = NOTEBOOKS / f"{path.stem}.ipynb", path.read_text(encoding="utf-8")
        old = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
        if target.exists():
            old = nbformat.read(target, 4)
            differ = content(old) != content(jupytext.reads(text, fmt="py:percent"))
            if differ and target.stat().st_mtime > path.stat().st_mtime:  # edited in JupyterLab, most likely
                raise InputError(
                    f"{target} is newer than {path} and differs from it. To keep the notebook's cells, run `make text`; to keep "
                    "the text form's, save the text form again."
                )
        notebook = merged(text, old, path.stem)
        made[path], made[target] = as_text(notebook), nbformat.writes(notebook) + "\n"
    save(made)


def write() -> None:
    """Bring the text forms in line with the notebooks."""
    save({TEXT / f"{path.stem}.py": as_text(nbformat.read(path, 4)) for path in sorted(NOTEBOOKS.glob("*.ipynb"))})


def save(files: dict[Path, str]) -> None:
    """Write the files whose content changes, and name them."""
    for path, text in files.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"changed: {path.relative_to(NOTEBOOKS.parent)}")


# --- after a run ---------------------------------------------------------------------------------------------------------


def tidy(notebook: NotebookNode) -> None:
    """Take the labs' widgets out of outputs and saved state; the picture with its alt text stays.

    A live lab needs a kernel, and its script would be saved with each.
    """
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "lab" in output.get("metadata", {}):
                output.data.pop(VIEW, None)
    for key in [k for k, model in models.items() if "specs" in model["state"]]:
        models.pop(models[key]["state"].get("layout", "").removeprefix("IPY_MODEL_"), None)
        del models[key]
    if not models:
        notebook.metadata.pop("widgets", None)


def seconds(cell: NotebookNode) -> float:
    stamps = cell.metadata.get("execution", {})
    began, ended = (stamps.get(k) for k in ("iopub.execute_input", "shell.execute_reply"))
    if not (began and ended):
        return 0.0
    began, ended = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (began, ended))
    return (ended - began).total_seconds()


def table_of_times() -> str:
    """One row for each notebook: the seconds of its cells' last run, and the section in which most of them went."""
    lines = ["| notebook | seconds | where most of them go |", "|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        by_section, heading = {}, "imports, and what comes before the first section"
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                headings = re.findall(r"^## (.*?)(?: \([^)]*minutes?[^)]*\))?$", cell.source, re.MULTILINE)
                heading = headings[-1] if headings else heading
            else:
                by_section[heading] = by_section.get(heading, 0.0) + seconds(cell)
        most, total = max(by_section, key=by_section.get), sum(by_section.values())
        lines.append(f"| [{path.stem[:2]}](../notebooks/{path.name}) | {total:.0f} | {most} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["read"]:
            read()
        case ["write"]:
            write()
        case ["tidy", _, *_]:
            for path in arguments[1:]:
                notebook = nbformat.read(path, 4)
                tidy(notebook)
                nbformat.write(notebook, path)
        case ["times"]:
            print(table_of_times())
        case _:
            sys.exit(f"{' '.join(arguments)!r} is no command; give read, write, tidy NOTEBOOK ... or times.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
