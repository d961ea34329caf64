"""Keep each lab of an executed notebook as its picture: a live lab needs a kernel, and its script would be saved with each.

    python benchmarks/tidy.py NOTEBOOK ...        (make notebooks does it)
"""

from __future__ import annotations

import sys

import nbformat

VIEW, STATE = (f"application/vnd.jupyter.widget-{kind}+json" for kind in ("view", "state"))


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Take the widgets of labs out of outputs and saved state; the picture with its alt text stays."""
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


if __name__ == "__main__":
    for path in sys.argv[1:]:
        found = nbformat.read(path, 4)
        tidy(found)
        nbformat.write(found, path)
