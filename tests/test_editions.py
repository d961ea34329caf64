"""Copies of the course for a reader: whole, kept where somebody has worked, and readable anywhere."""

import os
import re
from pathlib import Path

import nbformat
import pytest

from layermatch_lite import InputError
from layermatch_lite.cli import main
from layermatch_lite.course import editions

SOURCES = {p.name: nbformat.read(p, 4) for p in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))}


def copies(folder, *options):
    assert main(["course", str(folder), *options]) == 0
    found = {p.name: nbformat.read(p, 4) for p in sorted(folder.iterdir())}
    assert list(found) == list(SOURCES)
    for notebook in found.values():
        nbformat.validate(notebook)
    return found


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def test_with_results_as_committed(tmp_path, capsys):
    for name, copy in copies(tmp_path / "a" / "b").items():
        assert code(copy) == code(SOURCES[name]) and copy.metadata == SOURCES[name].metadata
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [str(tmp_path / "a" / "b" / name) for name in SOURCES]
    assert lines[-1].endswith(f"jupyter lab {tmp_path / 'a' / 'b'}")


@pytest.mark.parametrize("option", ["--without-results", "--solved"])
def test_without_results(tmp_path, option):
    for name, copy in copies(tmp_path, option).items():
        assert not any(c.outputs or c.execution_count or "execution" in c.metadata for c in code(copy))
        assert "widgets" not in copy.metadata and copy.metadata.kernelspec == SOURCES[name].metadata.kernelspec
        exercises = editions.exercises(name[:-6]) if "check(" in str(SOURCES[name].cells) else {}
        changed = [c.source for c, was in zip(code(copy), code(SOURCES[name])) if c.source != was.source]
        assert changed == ([answer for _, answer in exercises.values()] if option == "--solved" else []), name


def test_what_is_in_the_folder_is_kept(tmp_path, capsys):
    mine, note = tmp_path / "01_pseudo_labels.ipynb", tmp_path / "notes.txt"
    mine.write_text("my work", encoding="utf-8")
    note.write_text("mine, too", encoding="utf-8")
    for _ in range(2):
        assert main(["course", str(tmp_path), "--solved"]) == 0
        kept = [line for line in capsys.readouterr().out.splitlines() if "kept" in line]
        assert any(line.startswith(str(mine)) for line in kept)
    assert len(kept) == len(SOURCES) and len(list(tmp_path.iterdir())) == len(SOURCES) + 1
    assert mine.read_text(encoding="utf-8") == "my work" and note.read_text(encoding="utf-8") == "mine, too"


def test_links_lead_to_notebooks_or_name_a_file(tmp_path):
    text = "\n".join(c.source for n in copies(tmp_path).values() for c in n.cells if c.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#\s]+)|\]: (\S+)|(?:src|href)=[\"\']([^\"\']+)", text)
    targets = ["".join(link) for link in links]
    assert {t for t in targets if ":" not in t} <= set(SOURCES) and "01_pseudo_labels.ipynb" in targets
    assert "(docs/results.md in the repository)" in text


@pytest.mark.parametrize(
    "markdown, plain",
    [
        ("[results](../docs/results.md).", "results (docs/results.md in the repository)."),
        ("[`a`](../a.py) and\n[two\nlines](../b.md#c)", "`a` (a.py in the repository) and\ntwo\nlines (b.md in the repository)"),
        ("![A map](../figures/m.png \"Map\")", "A map (figures/m.png in the repository)"),
        ("[02](02_b.ipynb#x), [paper](https://a.b/c), [up](#top), `f[i](x)`", None),
    ],
)
def test_links_outside_become_text(markdown, plain):
    assert editions.without_links_outside(markdown) == (plain or markdown)


def test_a_folder_that_cannot_be_one(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder, words in (("file", "is a file; give a folder"), ("file/below", "could not be written (Not a directory)")):
        assert main(["course", str(tmp_path / folder)]) == 1
        out, err = capsys.readouterr()
        assert not out and len(err.splitlines()) == 1 and str(tmp_path / folder) in err and words in err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="could not be written .No space left on device.*choose another place"):
        list(editions.copy_course(tmp_path / "new"))


def test_an_edition_that_does_not_exist(tmp_path, capsys):
    with pytest.raises(InputError, match="'solve' is unknown.*Did you mean 'solved'"):
        list(editions.copy_course(tmp_path, "solve"))
    with pytest.raises(SystemExit):
        main(["course", str(tmp_path), "--solved", "--without-results"])
    assert "not allowed" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["NOTEBOOKS", "SOLUTIONS"])
def test_an_installation_without_them(tmp_path, monkeypatch, missing):
    """As after `rm -r solutions`: no copy is called solved that is not."""
    monkeypatch.setattr(editions, missing, tmp_path / "none")
    with pytest.raises(InputError, match=f"has no {missing.lower()}; install the package again"):
        list(editions.copy_course(tmp_path, "solved"))
    assert not list(tmp_path.iterdir())
    if missing == "SOLUTIONS":
        assert len(list(editions.copy_course(tmp_path, "without results"))) == len(SOURCES) + 1
