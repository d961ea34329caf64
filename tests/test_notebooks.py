"""Every notebook runs from top to bottom, and no error hides in an output or in a widget."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, in the notebooks' folder, keeping the widgets' state."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS[0].parent)}}).execute()
    return notebook


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """Errors in cell outputs, and those that a widget swallowed: they stand in the saved widget state only."""
    found = [o["ename"] for cell in notebook.cells for o in cell.get("outputs", []) if o["output_type"] == "error"]
    for view in notebook.metadata.get("widgets", {}).values():
        for model in view.get("state", {}).values():
            found += [o["ename"] for o in model["state"].get("outputs", []) if o["output_type"] == "error"]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_keeps_the_house_rules(path):
    notebook = nbformat.read(path, 4)
    code = [c.source for c in notebook.cells if c.cell_type == "code"]
    assert all(len(c.splitlines()) < 30 for c in code), "short cells"
    assert not any(line.startswith("class ") for c in code for line in c.splitlines()), "classes live in the library"
    assert all(c.get("outputs") is not None and c.execution_count for c in notebook.cells if c.cell_type == "code"), (
        "with outputs"
    )
    assert all(len(c.outputs) < 8 for c in notebook.cells if c.cell_type == "code"), "no page of progress lines"
    assert not errors(notebook) and path.stat().st_size < 1_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_picture_has_an_alt_text(path):
    outputs = [
        o for c in nbformat.read(path, 4).cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})
    ]
    assert outputs and all(len(o["metadata"]["image/png"]["alt"]) > 40 for o in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda p: p.stem)
def test_a_notebook_says_what_it_has_shown(path):
    """Its last cell prints the sentence, so that its numbers come from a run; its first says what one will be able to do."""
    cells = nbformat.read(path, 4).cells
    last = [c for c in cells if c.cell_type == "code"][-1]
    (output,) = last.outputs
    assert output["text"].startswith("Shown: ") and len(re.findall(r"\d", output["text"])) > 5
    assert "**Afterwards you can**" in cells[0].source and "**References.**" in cells[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda p: p.stem)
def test_no_measured_number_stands_in_the_prose(path):
    """A number with a sign or three decimals is a result; results are printed by cells."""
    prose = " ".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    prose = re.sub(r"\$[^$]*\$|`[^`]*`", "", prose)
    assert not re.findall(r"[+−]\d*\.\d+|\b0\.\d{3}\b", prose)


def test_the_quickstart_is_short():
    assert len(nbformat.read(NOTEBOOKS[0], 4).cells) <= 15 and NOTEBOOKS[0].stem == "00_quickstart"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path):
    assert not errors(execute(nbformat.read(path, 4)))


@pytest.mark.slow
def test_the_scan_sees_an_error_inside_a_widget():
    """nbclient lets such a cell pass; the scan must not."""
    source = "import ipywidgets\nout = ipywidgets.Output()\ndisplay(out)\nwith out:\n    1 / 0"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    assert errors(execute(notebook)) == ["ZeroDivisionError"]
