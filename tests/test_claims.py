"""What a notebook says about its own run is decided by that run."""

import json
import re
from pathlib import Path

from layermatch_lite.course import claim

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def test_a_claim_says_when_it_does_not_hold(capsys):
    claim("Water is wet", True, "n = 3")
    claim("Water is dry", False, "n = 3")
    holds, fails = capsys.readouterr().out.splitlines()
    assert holds.startswith("✓") and fails.startswith("✗") and all("n = 3" in line for line in (holds, fails))


def test_every_claim_of_the_notebooks_holds_in_its_last_run():
    made = said = 0
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if calls := re.findall(r"^claim\(", "".join(cell["source"]), re.MULTILINE):
                text = "".join("".join(output.get("text", "")) for output in cell["outputs"])
                made, said = made + len(calls), said + len(re.findall("^✓", text, re.MULTILINE))
    assert made == said > 0
