"""Build the site (`make site`, or `make site-teachers`) or the slides (`make slides`) from the notebooks; nothing is executed."""

import argparse
import html
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

from layermatch_lite.labs.page import whole_page

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOR_TEACHERS = ("teaching", "exam")  # the exam has its answers, the guide the predictions' results
NOT_PREDICTED = re.compile(r"\*Your prediction\.\* Result: (.*?)\. No prediction was committed")
MARK = ".layermatch_lite"  # marks a folder that was built here and may be replaced
VIEW, STATE = (f"application/vnd.jupyter.widget-{kind}+json" for kind in ("view", "state"))


def read_still(path: Path, labs: str = "") -> nbformat.NotebookNode:
    """The notebook without its widgets, which need a kernel: a picture stands in for each lab. Pages keep alt texts.

    Of a prediction that nobody made, only the result stays.
    labs: where the labs live without a kernel; a link below each picture leads there.
    """
    notebook = nbformat.read(path, 4)
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})

    def pictures(name):
        """All pictures inside a widget, found from parent to child in the saved state."""
        state = models[name]["state"]
        for buffer in models[name].get("buffers", []):
            if buffer["path"] == ["png"]:
                yield nbformat.v4.new_output(
                    "display_data", {"image/png": buffer["data"]}, metadata={"image/png": {"alt": state["alt"]}}
                )
        for child in re.findall(r"IPY_MODEL_(\w+)", json.dumps(state.get("children", []))):
            yield from pictures(child)

    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("in_words"):
                continue
            if said := NOT_PREDICTED.match(output.get("data", {}).get("text/markdown", "")):
                output.data["text/markdown"] = f"**Result:** {said[1]}"
            view = output.get("data", {}).pop(VIEW, None)
            text = output.get("data", {}).get("text/plain", "")
            if view and "image/png" not in output.data and re.match(r"\w+\(", text):  # only a Python repr
                outputs += pictures(view["model_id"])
            else:
                outputs.append(output)
            if labs and (link := output.get("metadata", {}).get("lab")):
                words = f'<p class="lab"><a href="{labs}#{html.escape(link)}">Open this lab, alive</a></p>'
                outputs.append(nbformat.v4.new_output("display_data", {"text/html": words}))
        if cell.cell_type == "code":
            cell.outputs = outputs
    return notebook


def without_links(text: str) -> str:
    """A page for students, without the entries of and the links to the teachers' pages."""
    names = "|".join(FOR_TEACHERS)
    text = re.sub(rf"^(- \[\w+\]\(({names})\.md\).*|({names}))\n", "", text, flags=re.MULTILINE)
    return re.sub(rf"\[([^\]]+)\]\((?:docs/)?(?:{names})\.md[^)]*\)", r"\1", text)


def gather(folder: Path, teachers: bool) -> None:
    """Collect the site's pages: docs/ at the top, so that the site starts with index.html, the notebooks, and linked files."""
    edition = (lambda text: text) if teachers else without_links
    (folder / "notebooks").mkdir()
    linked = {"README.md"}  # docs/index.md includes its table
    for path in NOTEBOOKS:
        notebook = read_still(path, "../labs.html")
        for cell in notebook.cells:
            cell.source = cell.source.replace("](../docs/", "](../")  # the pages of docs/ are at the top here
        nbformat.write(notebook, folder / "notebooks" / path.name)
        linked.update(re.findall(r"\]\(\.\./([^)#\s]+)", "\n".join(c.source for c in notebook.cells)))
    for path in (ROOT / "docs").glob("*.md"):
        if path.stem in FOR_TEACHERS and not teachers:
            continue
        text = edition(path.read_text(encoding="utf-8").replace("](../", "]("))  # the pages move up one level
        (folder / path.name).write_text(text, encoding="utf-8")
        linked.update(re.findall(r"\]\(([^)#:\s]+)", text))
    linked.update(re.findall(r"\]\((figures/[^)]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    for name in linked:
        if (ROOT / name).is_file() and not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    readme = folder / "README.md"  # now beside the pages of docs/, not above them
    readme.write_text(edition(readme.read_text(encoding="utf-8").replace("](docs/", "](")), encoding="utf-8")


def build_site(out: Path, teachers: bool) -> int:
    """Sphinx's exit status; a warning (a dead link, a formula it cannot read) counts as failure."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as pages, tempfile.TemporaryDirectory() as doctrees:
        gather(Path(pages), teachers)
        conf = str(ROOT / "docs")
        status = build_main(["-q", "-W", "--keep-going", "-j", "auto", "-c", conf, "-d", doctrees, pages, str(out)])
    (out / "labs.html").write_text(whole_page("index.html"), encoding="utf-8")
    return status


def build(what: str, out: Path) -> int:
    """Build into `out`; returns 0 if all went well."""
    if what.startswith("site"):
        return build_site(out, teachers=what == "site-teachers")
    from slides import build_slides

    lessons = [p for p in NOTEBOOKS if p.stem != "09_classroom"]  # that one is a page of labs
    build_slides({p.stem: read_still(p) for p in lessons}, out)
    return 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["site", "site-teachers", "slides"])
    parser.add_argument("out", nargs="?", type=Path, help="folder, replaced as a whole; default out/WHAT")
    args = parser.parse_args(arguments)
    out = args.out or ROOT / "out" / args.what
    if out.exists() and not (out / MARK).is_file() and not (out.is_dir() and not any(out.iterdir())):
        sys.exit(f"{out} is not a site or slides of this program; move it away, or name another folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=out.parent) as beside:  # the old one stays until the new one is complete
        built = Path(beside) / "built"
        if status := build(args.what, built):
            sys.exit(status)
        (built / MARK).touch()
        shutil.rmtree(out, ignore_errors=True)
        built.rename(out)
    print(f"Open {out / 'index.html'}")


if __name__ == "__main__":
    main()
