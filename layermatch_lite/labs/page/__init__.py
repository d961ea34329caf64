"""What a browser needs of the labs: a script and a style sheet, joined from the files beside this one; a page without Python."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = (
    "core.js", "chart.js", "shell.js", "classroom.js", "noise.js", "gradient.js", "timemachine.js", "threshold.js", "live.js",
    "plane.js", "curves.js",
)  # fmt: skip


@lru_cache
def script() -> str:
    """All scripts as one, without the last line that makes it a module (`module`) or starts a page (`static_page`)."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)


def module() -> str:
    """The ES module that anywidget loads in notebooks."""
    return script() + "\nexport default { render };\n"


@lru_cache
def style() -> str:
    return (FOLDER / "labs.css").read_text(encoding="utf-8")


def static_page(specs: Sequence[dict], plans: Sequence[dict], packs: Mapping[str, bytes], home: str = "") -> str:
    """One HTML file that holds labs, script and data: it opens from a file path, without server, kernel or network.

    home: where a link at the top leads back to.
    """
    script_of = '<script type="text/plain" id="pack-{}">{}</script>'.format
    data = "\n".join(script_of(html.escape(key), base64.b64encode(block).decode()) for key, block in packs.items())
    settings = json.dumps({"specs": specs, "plans": plans}).replace("<", "\\u003c")
    back = f'<p class="lml-home"><a href="{html.escape(home)}">The course</a></p>' if home else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>LayerMatch labs</title>
<style>{style()}</style></head>
<body class="lml-page"><main><h1 class="lml-hidden">LayerMatch labs</h1>
<div id="labs"><p>The labs need JavaScript.</p></div>{back}</main>
{data}
<script>
"use strict";
{script()}
boot({settings});
</script></body></html>
"""


def whole_page(home: str = "") -> str:
    """All labs and all that comes with the package, on one page."""
    from .. import packs
    from ..lessons import PLANS, STATES

    blocks = {path.stem: path.read_bytes() for path in sorted(packs.SHIPPED.glob("*.pack"))}
    return static_page([state.spec() for state in STATES], [plan._asdict() for plan in PLANS], blocks, home)
