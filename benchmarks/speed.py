"""Speed and memory: what the README quotes.

    python benchmarks/speed.py [--out FILE]

Times on a shared machine are noisy, so everything that is compared is measured in turns within one run and given as
a ratio. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil
import torch

from layermatch_lite import TrainConfig, train_steps
from layermatch_lite.data.image_operations import GRAY_FILL
from layermatch_lite.data.sets import load_data, split
from layermatch_lite.data.views import Views
from layermatch_lite.runs.evaluate import measure_layer_benefit
from layermatch_lite.system import usable_cores, write_atomically


def import_time(turns: int = 7) -> dict:
    """Seconds of `import torch` and of `import layermatch_lite`, each in fresh processes, in turns."""

    def one(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    one("layermatch_lite")  # warm the disk
    pairs = [(one("torch"), one("layermatch_lite")) for _ in range(turns)]
    ours, torchs = statistics.median(b for _, b in pairs), statistics.median(a for a, _ in pairs)
    return {"torch_s": torchs, "layermatch_lite_s": ours, "ratio": ours / torchs}


def step_cost(turns: int = 60, block: int = 5) -> dict:
    """Milliseconds of a training step per method, in alternating blocks, and LayerMatch's ratio to FixMatch."""
    config = TrainConfig(device="cpu", steps=10**6, log_every=10**6)
    loops = {m: train_steps(replace(config, method=m)) for m in ("fixmatch", "layermatch")}
    times = {m: [] for m in loops}
    for turn in range(turns + 3):
        for method, loop in loops.items():
            start = time.perf_counter()
            for _ in range(block):
                next(loop)
            if turn >= 3:
                times[method].append((time.perf_counter() - start) / block * 1e3)
    ratios = [b / a for a, b in zip(times["fixmatch"], times["layermatch"])]
    return {**{f"{m}_ms": statistics.median(t) for m, t in times.items()}, "ratio": statistics.median(ratios)}


def probe_cost(turns: int = 25) -> dict:
    """One measurement of the layer benefit over a plain FixMatch step on as many samples, in turns, for three networks."""
    images = torch.randint(256, (400, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(400) % 10
    base = TrainConfig(method="fixmatch", device="cpu", steps=10**6, log_every=10**6)
    cases = {
        "small_cnn_1d": (base, load_data("mnist1d", 20)),
        "small_cnn": (replace(base, dataset="digits"), load_data("digits", 20)),
        "wrn_28_2": (
            replace(base, dataset="images", model="wrn-28-2", batch_size=4, mu=7),
            split("images", images, y, images, y, tuple("abcdefghij"), num_labels=20),
        ),
    }
    found = {}
    for name, (config, data) in cases.items():
        loop, views, ratios = train_steps(config, data), Views(data), []
        run = next(loop)
        for turn in range(turns // 3 if name == "wrn_28_2" else turns):
            start = time.perf_counter()
            next(loop)
            middle = time.perf_counter()
            measure_layer_benefit(run, data, views, run.generators["probe"])
            if turn:
                ratios.append((time.perf_counter() - middle) / (middle - start))
        found[name] = statistics.median(ratios)
    return found


def augmentation(n: int = 480, turns: int = 5) -> dict:
    """Milliseconds per 32x32 colour image for a weak and a strong view, on one core: ours against a PIL pipeline per image."""
    import numpy as np
    from PIL import Image
    from torchvision import transforms as T

    g = torch.Generator().manual_seed(0)
    x = (
        torch.nn.functional.interpolate(torch.rand(n, 3, 8, 8, generator=g), size=32, mode="bilinear")
        .mul(255)
        .to(torch.uint8)
    )
    y = torch.arange(n) % 2
    views = Views(split("images", x, y, x, y, ("a", "b"), num_labels=2, flip=True))

    def cutout(image: Image.Image) -> Image.Image:
        array = np.array(image)
        top, left = (max(0, int(c)) for c in np.random.uniform(0, 32, 2) - 8)
        array[top : top + 16, left : left + 16] = GRAY_FILL
        return Image.fromarray(array)

    flip_crop = [T.RandomHorizontalFlip(), T.RandomCrop(32, 4, padding_mode="reflect")]
    tensor = [T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)]
    weak, strong = (
        T.Compose(flip_crop + tensor),
        T.Compose(
            [*flip_crop, *[T.RandomApply([T.RandAugment(1, 10)], 0.5) for _ in range(2)], T.Lambda(cutout), *tensor]
        ),
    )
    images = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in x]

    def clock(job) -> float:
        start = time.perf_counter()
        job()
        return (time.perf_counter() - start) / n * 1e3

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pairs = [
        (clock(lambda: (views.weak(x, g), views.strong(x, g))), clock(lambda: [(weak(i), strong(i)) for i in images]))
        for _ in range(turns + 1)
    ][1:]
    torch.set_num_threads(threads)
    return {
        "ours_ms": statistics.median(a for a, _ in pairs),
        "pil_ms": statistics.median(b for _, b in pairs),
        "times_faster": statistics.median(b / a for a, b in pairs),
    }


def demo() -> dict:
    """Wall time of the default demo, and its peak memory beyond that of a process that has imported torch."""
    code = "import torch, psutil; print(psutil.Process().memory_full_info().pss)"
    torch_alone = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        process = psutil.Popen(
            [sys.executable, "-m", "layermatch_lite", "demo", "--out", out],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peak = 0
        while process.poll() is None:
            try:
                peak = max(peak, sum(p.memory_full_info().pss for p in [process, *process.children(recursive=True)]))
            except psutil.Error:
                pass
            time.sleep(0.2)
        if process.returncode:
            raise RuntimeError("the demo failed; run it by itself to see why")
    return {
        "seconds": time.perf_counter() - start,
        "peak_beyond_torch_mb": (peak - torch_alone) / 1e6,
        "cores": usable_cores(),
    }


PARTS = {"import": import_time, "step": step_cost, "probe": probe_cost, "augmentation": augmentation, "demo": demo}


def show(r: dict) -> str:
    """The table of README, from the recorded measurements alone."""
    aug, step, probe = r["augmentation"], r["step"], r["probe"]
    rows = [
        ("`make demo` after installation", f"{r['demo']['seconds']:.0f} s on {r['demo']['cores']} cores", "90 s"),
        (
            "its peak memory, all processes, over that of importing torch",
            f"{r['demo']['peak_beyond_torch_mb']:.0f} MB",
            "1000 MB",
        ),
        ("`import layermatch_lite` / `import torch`", f"{r['import']['ratio']:.2f}", "1.15"),
        ("LayerMatch step / FixMatch step", f"{step['ratio']:.2f} ({step['fixmatch_ms']:.0f} ms)", "1.03"),
        (
            "one measurement of the layer benefit / plain step",
            f"{probe['small_cnn_1d']:.1f} (signals), {probe['small_cnn']:.1f} (digits), {probe['wrn_28_2']:.1f} (WRN-28-2)",
            "4",
        ),
        (
            "weak + strong view of a 32x32 image, one core",
            f"{aug['ours_ms']:.2f} ms, {aug['times_faster']:.1f} times faster than per-image PIL ({aug['pil_ms']:.2f} ms)",
            "5 times",
        ),
    ]
    lines = ["| what | measured | goal |", "|---|---|---|"] + [f"| {' | '.join(row)} |" for row in rows]
    return (
        "\n".join(lines)
        + f"\n\nMeasured with `make bench` on {r['machine']}, torch {r['torch']}; shared machines vary."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_name("results") / "speed.json")
    out = arguments.parse_args().out
    result = {
        "machine": f"{usable_cores()} {platform.machine()} cores under {platform.system()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    for name, measure in PARTS.items():
        result[name] = measure()
        print(f"{name:13s}", "  ".join(f"{k} {v:.3g}" for k, v in result[name].items()), flush=True)
    write_atomically(out, lambda f: f.write(json.dumps(result, indent=1).encode()))
    print("\n" + show(result))


if __name__ == "__main__":
    main()
