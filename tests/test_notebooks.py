"""The notebooks as they are committed: outputs, alt texts, house rules."""

import re
from html import escape
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CLASSROOM = next(p for p in NOTEBOOKS if p.stem == "09_classroom")  # a page of labs, not a lesson
LESSONS = [p for p in NOTEBOOKS[1:] if p != CLASSROOM]


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """Errors in cell outputs, and those that a widget swallowed or a lab shows: they stand in the saved widget state only."""
    found = [o["ename"] for cell in notebook.cells for o in cell.get("outputs", []) if o["output_type"] == "error"]
    for state in widget_states(notebook):
        found += [o["ename"] for o in state.get("outputs", []) if o["output_type"] == "error"]
        found += [state["value"]] if state.get("role") == "alert" and state["value"] else []
    return found


def widget_states(notebook: nbformat.NotebookNode) -> list[dict]:
    views = notebook.metadata.get("widgets", {}).values()
    return [model["state"] for view in views for model in view.get("state", {}).values()]


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
    notebook = nbformat.read(path, 4)
    outputs = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    live = [state["alt"] for state in widget_states(notebook) if "png" in str(state.get("_esm", ""))]
    alts = [o["metadata"]["image/png"]["alt"] for o in outputs] + live
    assert alts and all(len(alt) > 40 for alt in alts)


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p != CLASSROOM], ids=lambda p: p.stem)
def test_below_every_figure_stands_what_it_shows(path):
    """JupyterLab gives a plain picture no alt text; a lab is there for those who run its cell."""
    for cell in nbformat.read(path, 4).cells:
        shown = cell.get("outputs", [])
        for figure, words in zip(shown, [*shown[1:], None]):
            if "image/png" in figure.get("data", {}) and not figure.metadata.get("lab"):
                assert words.metadata.in_words and escape(figure.metadata["image/png"]["alt"]) in words.data["text/html"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_notebook_says_what_it_has_shown(path):
    """Its last cell prints the result, so that the numbers come from a run; its first lists what one will be able to do."""
    cells = nbformat.read(path, 4).cells
    last = [c for c in cells if c.cell_type == "code"][-1]
    (output,) = last.outputs
    assert output["name"] == "stdout" and len(re.findall(r"\d", output["text"])) > 5
    assert len(re.findall("^- ", cells[0].source, re.MULTILINE)) >= 2, "goals"
    assert cells[-1].cell_type == "markdown" and re.search(r"\b(19|20)\d\d\b", cells[-1].source), "references"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_no_measured_number_stands_in_the_prose(path):
    """A number with a sign or three decimals is a result; results are printed by cells."""
    prose = " ".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    prose = re.sub(r"\$[^$]*\$|`[^`]*`", "", prose)
    assert not re.findall(r"[+−]\d*\.\d+|\b0\.\d{3}\b", prose)


@pytest.mark.parametrize("path", [NOTEBOOKS[0], *LESSONS], ids=lambda p: p.stem)
def test_every_notebook_asks_for_a_prediction_and_shows_what_came_out(path):
    """The widget keeps its name, so that a cell with the result can be run again."""
    code = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    (asks,) = [k for k, c in enumerate(code) if re.search(r"^guess = predict_(value|curve|order)\(", c, re.MULTILINE)]
    assert any("guess.reveal(" in c for c in code[asks + 1 :])
    assert sum(bool(re.search(r"^guess\b[^.(]* = ", c, re.MULTILINE)) for c in code) == 1


def test_the_quickstart_is_short():
    assert len(nbformat.read(NOTEBOOKS[0], 4).cells) <= 15 and NOTEBOOKS[0].stem == "00_quickstart"


def test_labs_are_kept_as_their_pictures():
    """`make notebooks` takes out what only a kernel brings to life."""
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, 4)
        labs = [o for c in notebook.cells for o in c.get("outputs", []) if "lab" in o.get("metadata", {})]
        assert all(set(o.data) == {"image/png", "text/plain"} for o in labs), path.stem
        assert not [state for state in widget_states(notebook) if "specs" in state], path.stem


def test_the_labs_stand_where_they_serve_the_idea():
    source = {p.stem[:2]: " ".join(c.source for c in nbformat.read(p, 4).cells) for p in NOTEBOOKS}
    assert all("from layermatch_lite.labs import" in source[n] for n in ("01", "02", "03", "04", "05", "07", "09"))
