"""The labs' speed and footprint: what the README quotes.

    python benchmarks/labs.py [--out FILE]

Everything in one run of Chromium, headless and without a GPU: the static page from the disk, then `make classroom`. A move goes
from the slider's input event to the end of the first frame painted after it. Times on a shared machine are noisy; nothing here is
asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

from layermatch_lite.labs import page as labs_page
from layermatch_lite.system import usable_cores, write_atomically

ROOT = Path(__file__).parents[1]
MOVES, PAGES = 120, 10
SLIDERS = {  # lab: (lesson link, the slider that is moved)
    "noise": ("noise?", "wrong labels"),
    "noise, gradient": ("noise?view=gradient", "wrong labels"),
    "time": ("time?sample=104", "moment"),
    "threshold": ("threshold?", "threshold τ"),
}
READY = ".lml-sentence:not(:empty)"

MOVE = """async ([label, moves]) => {
  const sliders = [...document.querySelectorAll("input[type=range]")];
  const slider = sliders.find((e) => e.offsetParent && e.labels[0].innerText === label);
  const painted = () => new Promise((done) => requestAnimationFrame(() => {
    const c = new MessageChannel();
    c.port1.onmessage = done;
    c.port2.postMessage(0);
  }));
  const [low, high] = [Number(slider.min), Number(slider.max)], times = [];
  for (let k = 0; k < moves + 10; k++) {
    await new Promise((done) => setTimeout(done, 40 + 13 * (k % 5)));
    const start = performance.now();
    slider.value = low + (high - low) * ((k * 7) % 11) / 10;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await painted();
    times.push(performance.now() - start);
  }
  return times.slice(10);
}"""


def moves(page, where: str) -> dict:
    """Every look-up lab on the page at this address: median and 95th percentile of a move, in ms."""
    found = {}
    for name, (link, label) in SLIDERS.items():
        page.goto("about:blank")
        page.goto(where + link)
        page.locator(READY).wait_for()
        times = sorted(page.evaluate(MOVE, [label, MOVES]))
        found[name] = {"median_ms": statistics.median(times), "p95_ms": times[int(0.95 * len(times))]}
        print(f"{name:16s} {found[name]['median_ms']:5.1f} {found[name]['p95_ms']:5.1f} ms", flush=True)
    return found


def usable(page, where: str) -> float:
    """Seconds until the first lab answers."""
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(where)
    page.locator(READY).wait_for(timeout=60_000)
    return time.perf_counter() - start


def static(browser) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labs.html")
        path.write_text(labs_page.whole_page(), encoding="utf-8")
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        where = path.as_uri() + "#"
        loads = [usable(page, where) for _ in range(5)]
        return {"megabytes": path.stat().st_size / 1e6, "usable_s": statistics.median(loads), "moves": moves(page, where)}


def classroom(browser) -> dict:
    url = "http://127.0.0.1:8877/"
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "voila", "notebooks/09_classroom.ipynb", "--Voila.config_file_paths=layermatch_lite/labs/voila",
         "--port=8877", "--no-browser"],
        cwd=ROOT, env={**os.environ, "JUPYTER_PATH": "layermatch_lite/labs"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}voila/static/voila.js", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        started = time.perf_counter() - began
        pages = [browser.new_page(viewport={"width": 1280, "height": 720}) for _ in range(PAGES)]
        loads = [usable(page, url) for page in pages]
        measured = {"server_s": started, "usable_s": statistics.median(loads)}
        processes = [psutil.Process(server.pid)]
        processes += processes[0].children(recursive=True)
        measured["pages_mb"] = sum(p.memory_info().rss for p in processes) / 1e6
        print(f"{PAGES} pages: {measured['pages_mb']:.0f} MB", flush=True)
        measured["moves"] = moves(pages[0], f"{url}?lesson=")
        # A kernel whose page is moved 500 times.
        kernel = max(processes[0].children(recursive=True), key=lambda p: p.create_time())
        page = pages[-1]
        memory = [kernel.memory_full_info().uss]
        for _ in range(500 // 100):
            page.evaluate(MOVE, ["wrong labels", 90])
        memory.append(kernel.memory_full_info().uss)
        measured["growth_mb"] = (memory[1] - memory[0]) / 1e6
        return measured
    finally:
        server.terminate()
        server.wait(20)


def show(r: dict) -> str:
    """The table of docs/usage.md, from the recorded measurements alone."""
    lines = ["| lab | static page, median / 95 % | `make classroom`, median / 95 % |", "|---|---|---|"]
    for name in SLIDERS:
        a, b = r["static"]["moves"][name], r["classroom"]["moves"][name]
        lines.append(f"| {name} | {a['median_ms']:.0f} / {a['p95_ms']:.0f} ms | {b['median_ms']:.0f} / {b['p95_ms']:.0f} ms |")
    s, c = r["static"], r["classroom"]
    return "\n".join(lines) + (
        f"\n\nFrom a slider's event to the painted picture. The static page has {s['megabytes']:.1f} MB, and its first lab "
        f"is usable after {s['usable_s']:.1f} s; a page of `make classroom` after {c['usable_s']:.1f} s. {PAGES} open pages with "
        f"their server take {c['pages_mb']:.0f} MB, and 500 moves leave {max(0, c['growth_mb']):.1f} MB in the kernel. "
        f"Measured with `make bench` on {r['machine']}, in headless Chromium without a GPU; shared machines vary."
    )


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "labs.json")
    out = parser.parse_args().out
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium here; install one, or set CHROMIUM to its path")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        result = {
            "machine": f"{usable_cores()} {platform.machine()} cores under {platform.system()}",
            "static": static(browser),
            "classroom": classroom(browser),
        }
    write_atomically(out, lambda f: f.write(json.dumps(result, indent=1).encode()))
    print("\n" + show(result))


if __name__ == "__main__":
    main()
