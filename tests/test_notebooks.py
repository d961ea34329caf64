"""The notebooks as they are committed: outputs, alt texts, house rules; and their text forms."""

import os
import re
from html import escape
from pathlib import Path

import nbformat
import pytest

import notebooks as tool
from layermatch_lite import InputError
from layermatch_lite.course import editions, takeaways

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CLASSROOM = next(p for p in NOTEBOOKS if p.stem == "09_classroom")  # a page of labs, not a lesson
LESSONS = [p for p in NOTEBOOKS if p != CLASSROOM]


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
    lines = [c.splitlines() for c in code]
    assert all(len(cell) <= 15 and max(map(len, cell)) <= 100 for cell in lines), "short cells, short lines"
    assert not any("../" in c for c in code), "it runs from any folder"
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


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_below_every_figure_stands_what_it_shows(path):
    """JupyterLab gives a plain picture no alt text; a lab is there for those who run its cell."""
    for cell in nbformat.read(path, 4).cells:
        shown = cell.get("outputs", [])
        for figure, words in zip(shown, [*shown[1:], None]):
            if "image/png" in figure.get("data", {}) and not figure.metadata.get("lab"):
                assert words.metadata.in_words and escape(figure.metadata["image/png"]["alt"]) in words.data["text/html"]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_a_notebook_ends_with_three_sentences_that_hold(path):
    """Their numbers come from its run; its first cell lists what one will be able to do, its last the references."""
    cells = nbformat.read(path, 4).cells
    (shown,) = [o for c in cells for o in c.get("outputs", []) if o.get("metadata", {}).get("takeaways")]
    sentences = shown.data["text/markdown"].splitlines()
    assert len(sentences) == 3 and all(re.search(r"\d", s[2:]) for s in sentences)
    assert "Not in this run" not in shown.data["text/markdown"]
    assert len(re.findall("^- ", cells[0].source, re.MULTILINE)) >= 2, "goals"
    assert cells[-1].cell_type == "markdown" and re.search(r"\b(19|20)\d\d\b", cells[-1].source), "references"


def test_a_sentence_that_a_run_denies_is_marked(monkeypatch):
    said = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: said.append(output.data))
    takeaways(("Water is wet.", True), ("Water is dry.", False))
    (text,) = said
    assert text.splitlines()[0] == "1. Water is wet." and "Not in this run" in text.splitlines()[1]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_no_measured_number_stands_in_the_prose(path):
    """A number with a sign or three decimals is a result; results are printed by cells."""
    prose = " ".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
    prose = re.sub(r"\$[^$]*\$|`[^`]*`", "", prose)
    assert not re.findall(r"[+−]\d*\.\d+|\b0\.\d{3}\b", prose)


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_every_notebook_asks_for_a_prediction_and_shows_what_came_out(path):
    """The widget keeps its name, so that a cell with the result can be run again."""
    code = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    (asks,) = [k for k, c in enumerate(code) if re.search(r"^guess = predict_(value|curve|order)\(", c, re.MULTILINE)]
    assert any("guess.reveal(" in c for c in code[asks + 1 :])
    assert sum(bool(re.search(r"^guess\b[^.(]* = ", c, re.MULTILINE)) for c in code) == 1
    prose = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
    assert sum("**Predict:**" in text for text in prose) == 1, "a widget wherever the text says so"


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


# --- text forms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_text_form_has_the_same_cells(path):
    """Both are made from each other without any change: `make text` after an edit in JupyterLab, else `make notebooks`."""
    text = (tool.TEXT / f"{path.stem}.py").read_text(encoding="utf-8")
    notebook = nbformat.read(path, 4)
    assert tool.content(tool.merged(text, nbformat.v4.new_notebook(), path.stem)) == tool.content(notebook)
    assert tool.as_text(notebook) == text and not text.startswith("# ---"), "no header"
    assert nbformat.writes(tool.merged(text, notebook, path.stem)) + "\n" == path.read_text(encoding="utf-8")


def test_every_notebook_has_a_text_form():
    assert [p.stem for p in sorted(tool.TEXT.iterdir())] == [p.stem for p in NOTEBOOKS]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A folder with one notebook, with an exercise, its text form and its solution."""
    place = tmp_path / "notebooks"
    monkeypatch.setattr(tool, "NOTEBOOKS", place)
    monkeypatch.setattr(tool, "TEXT", place / "text")
    for module in (tool, editions):
        monkeypatch.setattr(module, "SOLUTIONS", tmp_path)
    (place / "text").mkdir(parents=True)
    (tmp_path / "01_a.py").write_text(
        "# %% [markdown] one\n# ### Exercise: return 1.\n\n# %% one\ndef one():\n    # your code\n    return 1\n",
        encoding="utf-8",
    )
    (place / "text" / "01_a.py").write_text(
        '# %% [markdown]\n# Title $x$\n\n# %% tags=["prediction"]\nx = 1\n\n# %%\n# %matplotlib inline\nprint(x)\n'
        '\n# %%\nprint(x)\n\n# %% [markdown]\n# ### Exercise\n\n# %%\ndef one():\n    pass\n\n# %%\none = check("one")\n',
        encoding="utf-8",
    )
    return place


def change(path, *pairs):
    """Edit a text form, as its author does: later than whatever was made from it."""
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))


def test_a_new_text_form_makes_a_notebook_with_its_exercises(course, capsys):
    tool.main(["read"])
    notebook = nbformat.read(course / "01_a.ipynb", 4)
    nbformat.validate(notebook)
    assert notebook.metadata == {"kernelspec": tool.KERNEL}
    assert [c.source for c in notebook.cells[:4]] == ["Title $x$", "x = 1", "%matplotlib inline\nprint(x)", "print(x)"]
    assert [c.source for c in notebook.cells[4:]] == [
        "### Exercise: return 1.", "def one():\n    # your code\n    return ...", 'one = check("one")'
    ]  # fmt: skip
    assert notebook.cells[1].metadata == {"tags": ["prediction"]} and not notebook.cells[0].metadata
    assert notebook.cells[5].metadata.tags == ["exercise", "raises-exception"]
    assert "return ..." in (course / "text" / "01_a.py").read_text(encoding="utf-8"), "the text form follows the solutions"
    ids = [c.id for c in notebook.cells]
    (course / "01_a.ipynb").unlink()
    tool.main(["read"])
    assert ids == [c.id for c in nbformat.read(course / "01_a.ipynb", 4).cells] and len(set(ids)) == len(ids)
    assert tool.new_id(notebook.cells[0], set()) == ids[0] != tool.new_id(notebook.cells[0], {ids[0]})
    capsys.readouterr()
    tool.main(["read"])
    tool.main(["write"])
    assert capsys.readouterr().out == "", "nothing to change"


def test_what_did_not_change_keeps_its_results(course):
    tool.main(["read"])
    notebook = nbformat.read(course / "01_a.ipynb", 4)
    notebook.metadata["language_info"] = {"name": "python"}
    for k, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.id, cell.execution_count, cell.metadata["execution"] = f"id-{k}", k + 1, {"shell.execute_reply": f"{k}"}
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{k}")]
    nbformat.write(notebook, course / "01_a.ipynb")
    change(
        course / "text" / "01_a.py",
        ("# Title $x$", "# New title"),
        ('# %% tags=["prediction"]\nx = 1', "# %% tags=[\"prediction\", \"code\"]\nx = 1"),
        ("# %%\nprint(x)\n", "# %%\nprint(x)\n\n# %%\nprint(x)\n\n# %%\nprint(2 * x)\n\n# %%\nprint(2 * x)\n"),
    )
    tool.main(["read"])
    after = nbformat.read(course / "01_a.ipynb", 4)
    nbformat.validate(after)
    assert after.metadata == notebook.metadata and after.cells[0].source == "New title"
    assert after.cells[0].id != notebook.cells[0].id
    code = {c.id: c for c in after.cells if c.cell_type == "code"}
    before = {c.id: c for c in notebook.cells if c.cell_type == "code"}
    assert code["id-0"].metadata == {"tags": ["prediction", "code"], "execution": before["id-0"].metadata.execution}
    assert all(code[name] == before[name] for name in before if name != "id-0")
    fresh = [c for name, c in code.items() if name not in before]
    assert [c.source for c in fresh] == ["print(x)", "print(2 * x)", "print(2 * x)"]
    assert not any(c.outputs or c.execution_count for c in fresh)


def test_an_edit_in_the_notebook_is_not_lost(course):
    tool.main(["read"])
    notebook = nbformat.read(course / "01_a.ipynb", 4)
    notebook.cells[0].source = "Edited in JupyterLab"
    nbformat.write(notebook, course / "01_a.ipynb")
    os.utime(course / "01_a.ipynb", (0, (course / "text" / "01_a.py").stat().st_mtime + 60))
    with pytest.raises(InputError, match="01_a.ipynb is newer than .*01_a.py and differs.*make text"):
        tool.main(["read"])
    tool.main(["write"])
    tool.main(["read"])
    assert nbformat.read(course / "01_a.ipynb", 4).cells[0].source == "Edited in JupyterLab"


def test_a_changed_solution_reaches_both_forms(course):
    tool.main(["read"])
    change(course.parent / "01_a.py", ("return 1.", "return one."))
    tool.main(["read"])
    for path in (course / "01_a.ipynb", course / "text" / "01_a.py"):
        assert "### Exercise: return one." in (shown := path.read_text(encoding="utf-8")) and "return 1" not in shown


@pytest.mark.parametrize("arguments", [[], ["reads"], ["read", "x"], ["tidy"]])
def test_an_unknown_command_changes_nothing(arguments):
    with pytest.raises(SystemExit, match="give read, write, tidy NOTEBOOK ... or times"):
        tool.main(arguments)
