"""Editions of the notebooks from one source: the files in this folder.

    python solutions/make.py            bring the exercise cells of notebooks/ in line with the solutions, without their answers
    python solutions/make.py handout    copies of all notebooks without results, for a class that should predict
    python solutions/make.py solved     such copies with the solutions filled in

Copies go into folders beside notebooks/, since paths in them are relative. An existing copy is never replaced: somebody may have
worked in it.

A solution file holds its cells under headings: `# %% [markdown] NAME` the task, `# %% NAME` the function. What follows
`# your code` is the answer. In a notebook an exercise is three cells, with the ids NAME-task, NAME and NAME-check.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"


def exercises(notebook: str) -> dict[str, tuple[str, str]]:
    """Name -> (task in Markdown, solved function) of a notebook, in order."""
    parts = re.split(
        r"^# %% (\[markdown\] )?(\w+)\n", (HERE / f"{notebook}.py").read_text(encoding="utf-8"), flags=re.M
    )
    cells = {(bool(kind), name): text.strip() for kind, name, text in zip(parts[1::3], parts[2::3], parts[3::3])}
    return {
        name: (re.sub("^# ?", "", cells[True, name], flags=re.M), code)
        for (task, name), code in cells.items()
        if not task
    }


def blank(code: str) -> str:
    """The function as a student gets it: without what follows `# your code`."""
    return re.sub(r"( *# your code\n).*", r"\1    return ...", code, flags=re.S)


def fill(notebook: nbformat.NotebookNode, name: str, solved: bool = False) -> None:
    """Set the notebook's exercise cells. KeyError if one is missing: add the three cells of a new exercise by hand, once."""
    cells = {cell.id: cell for cell in notebook.cells}
    for exercise, (task, code) in exercises(name).items():
        cells[f"{exercise}-task"].source = task
        cells[exercise].source = code if solved else blank(code)
        cells[f"{exercise}-check"].source = f'{exercise} = check("{exercise}")'
        for part in ("-task", "", "-check"):
            cells[exercise + part].metadata["tags"] = ["exercise"] if part else ["exercise", "raises-exception"]


def without_results(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)  # the labs' last pictures


def update() -> None:
    """Bring the exercises of notebooks/ in line with the solutions."""
    for solution in sorted(HERE.glob("[0-9]*.py")):
        path = NOTEBOOKS / f"{solution.stem}.ipynb"
        notebook = nbformat.read(path, 4)
        fill(notebook, path.stem)
        nbformat.write(notebook, path)
        print(path.relative_to(HERE.parent))


def copy(edition: str) -> None:
    """All notebooks without results in a folder of this name, as "solved" with the solutions."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        target = HERE.parent / edition / path.name
        if target.exists():
            print(f"{target.relative_to(HERE.parent)} exists and was kept; move it away to get a new copy")
            continue
        notebook = nbformat.read(path, 4)
        if (HERE / f"{path.stem}.py").exists():
            fill(notebook, path.stem, solved=edition == "solved")
        without_results(notebook)
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
        print(target.relative_to(HERE.parent))


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["handout"], ["solved"]):
        sys.exit(f"{' '.join(arguments)!r} is not an edition; choose handout or solved, or neither to update notebooks/.")
    copy(*arguments) if arguments else update()


if __name__ == "__main__":
    main(sys.argv[1:])
