"""Close a widget with all its parts, and when its cell is run again: ipywidgets keeps every open one, and closes no part."""

from __future__ import annotations

import weakref

from ipywidgets import Widget

_of_cells: dict[str, weakref.WeakSet[Widget]] = {}


def close_parts(widget: Widget) -> None:
    """Close what a widget is made of; its own `close` does the rest."""
    for value in list(widget._trait_values.values()):
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, Widget) and part.comm is not None:
                close_parts(part)
                part.close()


def closed_with_its_cell(widget: Widget) -> None:
    """When a cell is run again, the widgets that its last run made are closed: they are on no screen any more."""
    try:
        from IPython import get_ipython

        shell = get_ipython()
        cell = shell.get_parent()["metadata"].get("cellId") if shell is not None else None
    except (ImportError, AttributeError, KeyError):
        return
    if cell is None:
        return
    if _close_before not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _close_before)
    _of_cells.setdefault(cell, weakref.WeakSet()).add(widget)


def _close_before(info) -> None:
    for widget in list(_of_cells.pop(getattr(info, "cell_id", None), ())):
        widget.close()
