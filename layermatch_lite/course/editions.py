"""The notebooks in a folder of one's own: with their results, without them, or with the exercises solved.

A solution file holds its cells under headings: `# %% [markdown] NAME` the task, `# %% NAME` the function. What follows
`# your code` is the answer. In a notebook an exercise is three cells: the task, `def NAME(`, and `NAME = check("NAME")`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, check_choice
from ..system import write_atomically

if TYPE_CHECKING:
    from nbformat import NotebookNode

EDITIONS = ("with results", "without results", "solved")


def _folder(name: str) -> Path:
    """notebooks/ or solutions/: inside an installed package, beside the package in a checkout."""
    installed = Path(__file__).parent / name
    return installed if installed.is_dir() else Path(__file__).parents[2] / name


NOTEBOOKS, SOLUTIONS = _folder("notebooks"), _folder("solutions")


def copy_course(folder: Path, edition: str = "with results") -> Iterator[str]:
    """Copy all notebooks into the folder; yield a line about each, then one on how to open them.

    An existing file is kept, since somebody may have worked in it. InputError for a folder that cannot be written.
    """
    import nbformat

    check_choice("edition", edition, EDITIONS)
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    solved = {path.stem for path in SOLUTIONS.glob("[0-9]*.py")} if edition == "solved" else set()
    for needed, missing in (("notebooks", not paths), ("solutions", edition == "solved" and not solved)):
        if missing:
            raise InputError(f"This installation has no {needed}; install the package again.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the notebooks, a new or an existing one.")
    for path in paths:
        target = folder / path.name
        if os.path.lexists(target):
            yield f"{target} exists and was kept; move it away to get a new copy"
            continue
        notebook = nbformat.read(path, 4)
        if path.stem in solved:
            fill(notebook, path.stem, solved=True)
        if edition != "with results":
            without_results(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = without_links_outside(cell.source)
        content = (nbformat.writes(notebook) + "\n").encode()
        write_atomically(target, lambda f: f.write(content))
        yield str(target)
    yield f"Open the notebooks: jupyter lab {shlex.quote(str(folder))}"


def exercises(notebook: str) -> dict[str, tuple[str, str]]:
    """Name -> (task in Markdown, solved function) of a notebook, in order."""
    text = (SOLUTIONS / f"{notebook}.py").read_text(encoding="utf-8")
    parts = re.split(r"^# %% (\[markdown\] )?(\w+)\n", text, flags=re.M)
    cells = {(bool(kind), name): text.strip() for kind, name, text in zip(parts[1::3], parts[2::3], parts[3::3])}
    return {
        name: (re.sub("^# ?", "", cells[True, name], flags=re.M), code)
        for (task, name), code in cells.items()
        if not task
    }


def blank(code: str) -> str:
    """The function as a student gets it: without what follows `# your code`."""
    return re.sub(r"( *# your code\n).*", r"\1    return ...", code, flags=re.S)


def fill(notebook: NotebookNode, name: str, solved: bool = False) -> None:
    """Set the notebook's exercise cells. InputError if the three cells of an exercise do not follow each other."""
    cells = notebook.cells
    for exercise, (task, code) in exercises(name).items():
        check = f'{exercise} = check("{exercise}")'
        found = [k for k, c in enumerate(cells) if c.cell_type == "code" and c.source.startswith(f"def {exercise}(")]
        three = cells[max(found[0] - 1, 0) : found[0] + 2] if len(found) == 1 else []
        asked = [c.cell_type for c in three] == ["markdown", "code", "code"] and three[0].source.startswith("### Exercise")
        if not asked or three[2].source != check:
            raise InputError(
                f"Exercise {exercise} needs three cells of notebook {name}, one after the other: Markdown that begins "
                f"with `### Exercise`, a function that begins with `def {exercise}(`, and `{check}`. Write them there; "
                "solutions/ then sets their content."
            )
        for cell, source in zip(three, (task, code if solved else blank(code), check)):
            cell.source, cell.metadata["tags"] = source, ["exercise"]
        three[1].metadata["tags"].append("raises-exception")


def without_results(notebook: NotebookNode) -> None:
    """Take out outputs, execution counts and times, and the labs' last pictures."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)


def without_links_outside(markdown: str) -> str:
    """`[results](../docs/results.md)` -> `results (docs/results.md in the repository)`: the copy may be anywhere."""
    return re.sub(r"!?\[([^\]]*)\]\(\.\./([^)#\s]+)[^)]*\)", r"\1 (\2 in the repository)", markdown)
