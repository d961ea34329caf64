"""Rebuild figures/ from the embedded data, the recorded runs and the recorded results: about two minutes on two cores.

python benchmarks/figures.py               (or: make figures)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from layermatch_lite import figures, load_recorded, load_study
from layermatch_lite.labs import page as labs_page
from layermatch_lite.labs.recorded import shipped_map
from layermatch_lite.studies import stats
from layermatch_lite.studies.demo import run_demo
from layermatch_lite.studies.files import RECORDED, load
from layermatch_lite.studies.known_noise import load_maps
from layermatch_lite.studies.report import NAMES, watched
from layermatch_lite.system import write_atomically

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parent / "figures"


def over_training():
    study = load_study("layers")
    measured = {s: watched(study, s, "fixmatch", "benefit") for s in study["plan"]}
    return figures.benefit_over(measured, title="What pseudo-labels do to each layer during FixMatch (10 seeds)")


def over_noise():
    t = watched(load_study("layers"), "digits, 10 labels", "fixmatch", "under_noise")
    kinds = {kind: t[t["kind"] == kind] for kind in t["kind"].unique()}
    return figures.benefit_over(kinds, x="rate", title="digits, 10 labels, end of FixMatch: known errors (10 seeds)")


def two_by_two():
    t = watched(load_study("layers"), "digits, 10 labels", "fixmatch", "benefit")
    return figures.two_by_two(t, "digits, 10 labels, during FixMatch (10 seeds)")


BY_LABELS = {d: {k: f"{d}, {k} labels" for k in (10, 20, 40, 100)} for d in ("mnist1d", "digits")}


def strategies():
    rows = ("supervised", "fixmatch", "layermatch", "freematch")
    return figures.study_figure(load_study("main"), BY_LABELS, rows, title="Every method with its own recipe (20 seeds)")


STORY = [("pair", 0.0), ("pair", 0.6)]


def known_noise():
    study = load_study("known_noise")
    return figures.noise_figure(study, ("uniform", "pair"), title="Trained on labels known to be wrong (10 seeds)")


def taught():
    study = load_study("known_noise")
    title = "Own classifier, by what the wrong labels teach (10 seeds)"
    return figures.taught_figure(study, ("uniform", "pair"), title=title)


def depth():
    """The gate, then cuts that move down from the classifier, then single layers."""
    order = lambda c: ("only" in c.row, "from" in c.row)
    study = load_study("depth")
    panels, signs = ({s: {} for s in study["plan"]} for _ in range(2))
    cuts = reversed(stats.family(study, "every cut against FixMatch"))
    for c in sorted(cuts, key=order):
        panels[c.setting][c.row] = c.differences
        signs[c.setting][c.row] = c.sign
    label = "minus FixMatch, test accuracy"
    return figures.differences_figure(panels, label, "Where to cut the pseudo-label gradient", decided=signs)


def centers(setting: str = "digits, 10 labels"):
    study = load_study("centers")
    rows = {m: watched(study, setting, m, "training") for m in ("fixmatch", "layermatch")}
    averaged = rows["layermatch"][["seed", "step"]].assign(drift_W=rows["layermatch"]["drift_W_bar"])
    tables = {"FixMatch": rows["fixmatch"], "LayerMatch": rows["layermatch"], "LayerMatch's averaged W": averaged}
    return figures.over_training(tables, ("drift_W", "angle_to_center"), f"{setting}: centres (10 seeds)")


def clusters(setting: str = "digits, 10 labels"):
    study, methods = load_study("centers"), ("supervised", "fixmatch", "avg_clustering", "layermatch")
    tables = {NAMES[m]: watched(study, setting, m, "training") for m in methods}
    return figures.over_training(tables, ("scatter_ratio", "silhouette", "nmi"), f"{setting}: test features (10 seeds)")


def cifar10():
    """Test accuracy over training, every seed so far."""
    study = load(RECORDED / "cifar10.json")
    curves = {
        setting: {NAMES.get(row, row): watched(study, setting, row, "history") for row in rows if row != "untrained"}
        for setting, rows in study["plan"].items()
    }
    return figures.seeds_over_training(curves, "accuracy", "CIFAR-10 on two cores")


def cifar10_maps():
    """Two moments of the maps that come with the package, which hold the whole run."""
    recordings = {NAMES[m]: load_recorded(f"cifar10_4000_{m}") for m in ("supervised", "fixmatch", "layermatch")}
    points = {name: [shipped_map(f"cifar10_4000_{r.config.method}")[s] for s in (1, 20)] for name, r in recordings.items()}
    return figures.maps_figure(points, recordings, (1, 20), "UMAP of features, CIFAR-10 (JPEG copy), 4,000 labels")


MAKE: dict[str, Callable] = {
    "study": strategies,
    "noise_maps": lambda: figures.noise_maps_figure(load_maps(), load_study("known_noise"), STORY),
    "known_noise": known_noise,
    "taught": taught,
    "benefit_over_training": over_training,
    "benefit_over_noise": over_noise,
    "two_by_two": two_by_two,
    "depth": depth,
    "centre_drift": centers,
    "cluster_quality": clusters,
    "cifar10": cifar10,
    "cifar10_umap": cifar10_maps,
    "demo": lambda: figures.comparison_figure(run_demo()),
}


def draw_labs() -> None:
    """A photograph of the noise lab as it opens, taken in Chromium. Set CHROMIUM to a browser of your own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1290, "height": 700})
        Path(folder, "labs.html").write_text(labs_page.whole_page(), encoding="utf-8")
        page.goto(Path(folder, "labs.html").as_uri())
        page.locator(".lml-sentence:not(:empty)").wait_for()
        page.wait_for_timeout(800)
        png = page.locator(".lml-lab").screenshot()
    write_atomically(FIGURES / "noise_lab.png", lambda f: f.write(figures.shrink(png)))


def main() -> None:
    for name, make in MAKE.items():
        figure, alt = make()
        figures.save(figure, FIGURES / f"{name}.png")
        print(f"figures/{name}.png: {alt}", flush=True)
    draw_labs()


if __name__ == "__main__":
    main()
