"""How long each notebook takes, from the time stamps of its last run: prints the table of docs/teaching.md."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def seconds(cell: nbformat.NotebookNode) -> float:
    stamps = cell.metadata.get("execution", {})
    began, ended = (stamps.get(k) for k in ("iopub.execute_input", "shell.execute_reply"))
    if not (began and ended):
        return 0.0
    began, ended = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (began, ended))
    return (ended - began).total_seconds()


def total(path: Path) -> float:
    """Seconds of all cells of a notebook."""
    return sum(seconds(cell) for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")


def table() -> str:
    """One row for each notebook: its seconds, and the section in which most of them go."""
    lines = ["| notebook | seconds | where most of them go |", "|---|---|---|"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        by_section, heading = {}, "imports, and what comes before the first section"
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "markdown":
                headings = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("## ")]
                heading = headings[-1] if headings else heading
            else:
                by_section[heading] = by_section.get(heading, 0.0) + seconds(cell)
        most = max(by_section, key=by_section.get)
        lines.append(f"| [{path.stem[:2]}](../notebooks/{path.name}) | {total(path):.0f} | {most} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
