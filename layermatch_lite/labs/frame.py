"""A lab in a notebook: one widget that hands data to the page and, where something is to be trained, does so.

What is drawn, moved and said is in page/*.js, which also runs without Python (`make site`). The page asks for data by key and
gets one block of numbers (`packs`); it holds the state and writes it into `link`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import anywidget
import traitlets

from ..errors import InputError
from . import packs, page
from .background import problem
from .lessons import PLANS, LabState


class Lab(anywidget.AnyWidget):
    """One or more labs on the screen. `link` is the lesson link of what is shown, `state` the same as settings."""

    _esm = page.module()
    _css = page.style()
    specs = traitlets.List().tag(sync=True)
    plans = traitlets.List().tag(sync=True)
    link = traitlets.Unicode("").tag(sync=True)

    def __init__(self, states: Sequence[type[LabState]], link: str = "", **settings):
        self.states, self.benches = {state.lab: state for state in states}, {}
        if settings:
            link = states[0].from_link(link or f"{states[0].lab}?").but(**settings).link()
        elif link and len(states) == 1:
            states[0].from_link(link)  # a wrong one is an error here, not first on the screen
        plans = [plan._asdict() for plan in PLANS] if len(states) > 1 else []
        super().__init__(specs=[state.spec() for state in states], plans=plans, link=link)
        self.on_msg(lambda _, message, buffers: self.hear(message))
        _closed_with_its_cell(self)

    @property
    def state(self) -> LabState:
        """The settings of what is shown: where the link fits no lab, the page says so over the first story."""
        first = next(iter(self.states.values()))
        try:
            return self.states.get(self.link.partition("?")[0], first).from_link(self.link)
        except InputError:
            return first.from_link(first.stories[0].link)

    def hear(self, message: dict) -> None:
        """The page wants data, or something trained."""
        key = message.get("want")
        try:
            if key is not None:
                self.send({"key": key}, [self.data(key)])
            else:
                self.bench(message["lab"]).hear(message)
        except Exception as error:  # in a callback nobody would see it
            self.send(problem(error) | {"key": key, "lab": message.get("lab")})

    def data(self, key: str) -> bytes:
        """The block of this key: one that comes with the package, of a recording of your own, by its path, or of a training."""
        kind, _, name = key.partition("_")
        if key.startswith("trained "):
            link = key.removeprefix("trained ")
            lab = link.partition("?")[0]
            return self.bench(lab).block(self.states[lab].from_link(link))
        if (packs.SHIPPED / f"{key}.pack").is_file() or kind not in ("run", "pictures"):
            return packs.shipped(key)
        from .recorded import pictures, run_pack

        return {"run": run_pack, "pictures": pictures}[kind](name)

    def bench(self, name: str):
        """What trains for this lab; torch is imported only now."""
        if name not in self.benches:
            from .live_labs import BENCHES

            tell = lambda message, blocks=(): self.send({"lab": name} | message, list(blocks))
            self.benches[name] = BENCHES[name](self.states[name], tell)
        return self.benches[name]

    def close(self) -> None:
        for bench in self.benches.values():
            bench.close()
        if self.comm is not None:  # not closed before
            self.layout.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs):
        """The live lab, and for a reader of a saved notebook a picture of its state with alt text."""
        data = super()._repr_mimebundle_(**kwargs)
        live = data[0] if isinstance(data, tuple) else data
        if live is None or os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):  # a page is nobody's saved notebook
            return data
        from .stills import still

        png, alt = still(self.state, self.data)
        return {**live, "text/plain": alt, "image/png": png}, {"image/png": {"alt": alt}, "lab": self.state.link()}


_of_cells: dict[str, list[Lab]] = {}


def _closed_with_its_cell(lab: Lab) -> None:
    """When a cell is run again, the labs that its last run made are closed: they are on no screen any more."""
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
    _of_cells.setdefault(cell, []).append(lab)


def _close_before(info) -> None:
    for lab in _of_cells.pop(getattr(info, "cell_id", None), []):
        lab.close()
