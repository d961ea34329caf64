"""The labs' speed and footprint: what the README quotes.

    python benchmarks/labs.py [--out FILE]

Kernel: from a control's new value to the picture handed over, callbacks and encoding included, without a screen. Browser: from
the move of a slider's handle (an arrow key) in Chromium, on the page of `make classroom`, to the new picture loaded. Times on a
shared machine are noisy; nothing here is asserted. A moved slider starts a training over, so the moves of the Decision and the
Training lab show step 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import torch

from layermatch_lite.system import usable_cores, write_atomically

ROOT = Path(__file__).parents[1]
MOVES = 500
# The slider that is moved in each lab.
SLIDERS = {
    "NoiseLab": ("rate", "noise rate"),
    "DecisionLab": ("tau", "threshold τ"),
    "TrainingLab": ("tau", "threshold τ"),
    "TimeMachine": ("snapshot", "snapshot"),
    "ThresholdLab": ("tau", "threshold τ"),
}


def summary(milliseconds: list[float]) -> dict:
    return {"median_ms": statistics.median(milliseconds), "p95_ms": sorted(milliseconds)[int(0.95 * len(milliseconds))]}


def in_kernel(name: str) -> dict:
    """One lab in this process: time to appear, time of a move, growth in memory, what is left open."""
    from matplotlib import pyplot

    from layermatch_lite import labs

    start = time.perf_counter()
    lab = getattr(labs, name)()
    appear = time.perf_counter() - start
    control = lab.controls[SLIDERS[name][0]]
    process, times = psutil.Process(), []
    span = control.max - control.min
    places = [control.min + span * (k % 20 + 0.5) / 21 for k in range(MOVES + 40)]
    for k, place in enumerate(places):
        value = type(control.value)(round(place) if isinstance(control.value, int) else place)
        start = time.perf_counter()
        control.value = value
        times.append((time.perf_counter() - start) * 1e3)
        if k == 39:  # everything is warm: caches, fonts, allocators
            gc.collect()
            before = process.memory_full_info().uss
    gc.collect()
    assert not lab.error.value, lab.error.value
    return {
        "appear_s": appear,
        **summary(times[40:]),
        "growth_mb": (process.memory_full_info().uss - before) / 1e6,
        "open_figures": len(pyplot.get_fignums()),
        "lab_threads": sum(t.name == "layermatch_lite lab" for t in threading.enumerate()),
    }


def kernel() -> dict:
    """Every lab in a fresh process; the caches are filled before."""
    found = {}
    subprocess.run([sys.executable, "-m", "layermatch_lite", "doctor", "--warm"], stdout=subprocess.DEVNULL, check=True)
    for name in SLIDERS:
        code = f"import json, labs; print(json.dumps(labs.in_kernel({name!r})))"
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
        )
        found[name] = json.loads(run.stdout.splitlines()[-1])
        print(name, {k: round(v, 2) for k, v in found[name].items()}, flush=True)
    return found


ON_THE_PAGE = """async ([handle, img, presses]) => {
  const times = [];
  for (let k = 0; k < presses; k++) {
    const loaded = new Promise((done) => img.addEventListener("load", done, { once: true }));
    const start = performance.now();
    const key = Math.floor(k / 3) % 2 ? "ArrowRight" : "ArrowLeft";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await loaded;
    await new Promise((done) => requestAnimationFrame(done));
    times.push(performance.now() - start);
  }
  return times;
}"""


def browser(presses: int = 60) -> dict | None:
    """Every lab on the classroom page in Chromium; None where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("no Chromium here; the browser part is left out")
        return None
    url = "http://127.0.0.1:8877"
    server = subprocess.Popen(
        [sys.executable, "-m", "voila", "notebooks/09_classroom.ipynb", "--Voila.config_file_paths=layermatch_lite/labs/voila",
         "--port=8877", "--no-browser"],
        cwd=ROOT, env={**os.environ, "JUPYTER_PATH": "layermatch_lite/labs"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    found = {}
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/voila/static/voila.js", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as p:
            page = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]).new_page()
            start = time.perf_counter()
            page.goto(url)
            page.locator("img.lml-picture").first.wait_for(timeout=60_000)
            found["page_s"] = time.perf_counter() - start
            time.sleep(3)
            for k, (name, (_, label)) in enumerate(SLIDERS.items()):
                page.locator(".lm-TabBar-tab").nth(k).click()
                root = page.locator(".lml-lab").nth(k)
                handle = root.locator(".widget-hslider", has_text=label).locator(".noUi-handle").element_handle()
                image = root.locator("img.lml-picture").element_handle()
                times = page.evaluate(ON_THE_PAGE, [handle, image, presses])
                found[name] = summary(times[10:])
                print(name, {k: round(v) for k, v in found[name].items()}, flush=True)
    finally:
        server.terminate()
        server.wait(20)
    return found


def show(r: dict) -> str:
    """The table of README, from the recorded measurements alone."""
    lines = [
        "| lab | slider to picture in the kernel, median / 95 % (goal 60 / 100 ms) | in the browser (goal 150 ms) | "
        "appears, imports done (goal 1 s) | growth after 500 moves (goal 20 MB) |",
        "|---|---|---|---|---|",
    ]
    for name in SLIDERS:
        k, b = r["kernel"][name], (r["browser"] or {}).get(name)
        seen = f"{b['median_ms']:.0f} / {b['p95_ms']:.0f} ms" if b else "not measured"
        lines.append(
            f"| `{name}` | {k['median_ms']:.0f} / {k['p95_ms']:.0f} ms | {seen} | {k['appear_s']:.1f} s | "
            f"{max(0, k['growth_mb']):.1f} MB |"
        )
    left = sum(k["open_figures"] + k["lab_threads"] for k in r["kernel"].values())
    return "\n".join(lines) + (
        f"\n\nOpen figures and threads left after these moves: {left}. Measured with `make bench` on "
        f"{r['machine']}, torch {r['torch']}; shared machines vary."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "labs.json")
    out = arguments.parse_args().out
    result = {
        "machine": f"{usable_cores()} {platform.machine()} cores under {platform.system()}",
        "torch": str(torch.__version__),
        "kernel": kernel(),
        "browser": browser(),
    }
    write_atomically(out, lambda f: f.write(json.dumps(result, indent=1).encode()))
    print("\n" + show(result))


if __name__ == "__main__":
    main()
