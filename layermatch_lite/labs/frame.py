"""A lab in a notebook: one widget that hands data to the page and, where something is to be trained, does so.

What is drawn, moved and said is in page/*.js, which also runs without Python (`make site`). The page asks for data by key and
gets one block of numbers (`packs`); it holds the state and writes it into `link`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import anywidget
import traitlets

from ..errors import InputError, check_kinds
from . import packs, page
from .background import problem
from .cells import close_parts, closed_with_its_cell
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
        check_kinds({"link": ("text", link)})
        self.folder = Path.cwd()  # where relative paths are from, wherever the notebook goes
        if settings:
            link = states[0].from_link(link or f"{states[0].lab}?").but(**settings).link()
        elif link and len(states) == 1:
            states[0].from_link(link)  # a wrong one is an error here, not first on the screen
        plans = [plan._asdict() for plan in PLANS] if len(states) > 1 else []
        super().__init__(specs=[state.spec() for state in states], plans=plans, link=link)
        self.on_msg(lambda _, message, buffers: self.hear(message))
        closed_with_its_cell(self)

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
        if f"{key}.pack" in {path.name for path in packs.SHIPPED.glob("*.pack")} or kind not in ("run", "pictures"):
            return packs.shipped(key)
        from .recorded import pictures, run_pack

        return {"run": run_pack, "pictures": pictures}[kind](name, self.folder)

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
        self.benches.clear()  # IPython's Out may hold the widget for ever: it must not hold trained networks
        close_parts(self)
        super().close()

    def _repr_mimebundle_(self, **kwargs):
        """The live lab, and for a reader of a saved notebook a picture of its state with alt text."""
        data = super()._repr_mimebundle_(**kwargs)
        live = data[0] if isinstance(data, tuple) else data
        if live is None or os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):  # a page is nobody's saved notebook
            return data
        from .stills import still

        try:
            png, alt = still(self.state, self.data)
        except InputError as error:  # the live lab says it, too
            return {**live, "text/plain": f"{self.state.title}: {error}"}, {"lab": self.state.link()}
        return {**live, "text/plain": alt, "image/png": png}, {"image/png": {"alt": alt}, "lab": self.state.link()}

