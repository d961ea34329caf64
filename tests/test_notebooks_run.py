"""Every notebook runs from top to bottom, and no error hides in an output or in a widget."""

import nbformat
import pytest
from nbclient import NotebookClient
from test_notebooks import CLASSROOM, NOTEBOOKS, errors, widget_states


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in a fresh kernel, in the notebooks' folder, keeping the widgets' state."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS[0].parent)}}).execute()
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, warm_cache, monkeypatch):
    monkeypatch.setenv("LAYERMATCH_CACHE", str(warm_cache))
    maps = lambda: sorted(p.name for p in (warm_cache / "maps").iterdir())
    warmed = maps()
    notebook = execute(nbformat.read(path, 4))
    assert not errors(notebook)
    assert maps() == warmed, "`doctor --warm` leaves no map to compute"
    sketches = [state for state in widget_states(notebook) if "png" in str(state.get("_esm", ""))]  # predictions, a live run
    assert all(len(state["alt"]) > 40 for state in sketches) and bool(sketches) == (path != CLASSROOM)
    labs = [state for state in widget_states(notebook) if "specs" in state]
    stills = [o for c in notebook.cells for o in c.get("outputs", []) if "lab" in o.get("metadata", {})]
    assert len(stills) == len(labs) and bool(labs) == ("labs import" in str(notebook.cells))


@pytest.mark.slow
def test_the_scan_sees_an_error_inside_a_widget():
    """nbclient lets such a cell pass; the scan must not."""
    source = "import ipywidgets\nout = ipywidgets.Output()\ndisplay(out)\nwith out:\n    1 / 0"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    assert errors(execute(notebook)) == ["ZeroDivisionError"]
