"""Rebuild figures/: the views and the demo from the embedded data, the study from its recorded results.

python benchmarks/figures.py               (or: make figures)
"""

from __future__ import annotations

import json
from pathlib import Path

from layermatch_lite import load_data, plots
from layermatch_lite.demo import run_demo

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent / "figures"


def main() -> None:
    made = {
        "views": plots.views_figure(load_data("mnist1d", 20)),
        "demo": plots.comparison_figure(run_demo()),
        "study": plots.study_figure(json.loads((HERE / "results" / "study.json").read_text())),
    }
    for name, (figure, alt) in made.items():
        plots.save(figure, FIGURES / f"{name}.png")
        print(f"figures/{name}.png: {alt}")


if __name__ == "__main__":
    main()
