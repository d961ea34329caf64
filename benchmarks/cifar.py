"""Speed at CIFAR-10's size: the step and what it is made of, how it scales, and the plain way beside it.

    python benchmarks/cifar.py                    on the CPU: the preset cifar_cpu, and each choice behind its speed
    python benchmarks/cifar.py --device cuda      on a GPU: WRN-28-2, batches of the protocol (960 images)
    python benchmarks/cifar.py --show             print the recorded tables again

Images are synthetic, 32x32 in colour: what they show does not change the time. Whatever is compared takes turns within one run
and is given as a ratio, since times on shared machines vary. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import baseline_dataloader
import torch

from layermatch_lite import TrainConfig, train_steps
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.sets import SSLData, split
from layermatch_lite.data.views import Views
from layermatch_lite.runs.evaluate import measure_layer_benefit
from layermatch_lite.runs.run import environment
from layermatch_lite.system import usable_cores, write_atomically

RESULTS = Path(__file__).parent / "results"
# Counted from the convolutions of WRN-28-2 for 960 images, forward and backward: 1.23 TFLOP at 788 TFLOP/s; reading and writing
# their inputs and outputs in bf16 takes 1.4 ms at 4.3 TB/s.
FLOOR_MS = {"NVIDIA H200": 1.6}


def data_like_cifar(n: int = 10_000, classes: int = 10) -> SSLData:
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(2000, 3, 8, 8, generator=g)
    x = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").mul(255).to(torch.uint8)
    x = x.repeat(-(-n // 2000), 1, 1, 1)[:n]
    y = torch.arange(n) % classes
    return split("images", x, y, x[:2000], y[:2000], tuple(map(str, range(classes))), num_labels=4 * classes, flip=True)


def base(device: str) -> TrainConfig:
    preset = TrainConfig.preset("cifar_cpu" if device == "cpu" else "paper", device=device, method="fixmatch", num_labels=40)
    return preset.changed(dataset="images", steps=10**6, log_every=10**6)


def in_turns(loops: dict[str, Iterator], device: str, turns: int, block: int) -> dict[str, list[float]]:
    """Milliseconds per step of each loop, one number per turn; the first turns warm up and do not count."""
    times = {name: [] for name in loops}
    for turn in range(turns + 2):
        for name, loop in loops.items():
            wait(device)
            start = time.perf_counter()
            for _ in range(block):
                next(loop)
            wait(device)
            if turn >= 2:
                times[name].append((time.perf_counter() - start) / block * 1e3)
    return times


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b))


def repeat(work: Callable) -> Iterator:
    while True:
        yield work()


def choices(device: str, turns: int) -> dict:
    """What each choice behind the preset's speed gives: milliseconds per step, from none of them to all, and their ratio."""
    config, data = base(device), data_like_cifar()
    plain = config.changed(precision="float32", joint_forward=True)

    def without_channels_last() -> Iterator:
        loop = train_steps(plain, data)
        next(loop).model.to(memory_format=torch.contiguous_format)
        yield from loop

    loops = {
        "float32, images in planes, one pass": without_channels_last(),
        "channels_last": train_steps(plain, data),
        "bf16": train_steps(plain.changed(precision="bf16"), data),
        "weak views in a pass of their own": train_steps(plain.changed(precision="bf16", joint_forward=False), data),
    }
    times = in_turns(loops, device, turns, 2)
    first = next(iter(times.values()))
    return {
        "ms": {name: statistics.median(t) for name, t in times.items()},
        "times_faster": {name: ratio(first, t) for name, t in times.items()},
    }


def step(device: str, turns: int) -> dict:
    """A step of FixMatch and of LayerMatch, its parts alone, and its variants."""
    config, data = base(device), data_like_cifar()
    plain, own = train_steps(config, data), train_steps(replace(config, method="layermatch"), data)
    run = next(plain)
    on_device = data.to(device)
    views, N = Views(on_device), config.mu * config.batch_size
    g_x, g_u, g_p = (torch.Generator(device).manual_seed(k) for k in range(3))

    def inputs():
        labelled_batch(on_device, views, config, g_x)
        unlabelled_batch(on_device, views, N, g_u)

    loops = {
        "fixmatch": plain,
        "layermatch": own,
        "inputs": repeat(inputs),
        "probe": repeat(lambda: measure_layer_benefit(run, on_device, views, g_p)),
    }
    if device != "cpu":
        fast = replace(config, compile=True)
        loops |= {
            "compiled": train_steps(fast, data),
            "compiled, CUDA graphs": train_steps(replace(fast, cuda_graphs=True), data),
            "compiled, separate weak pass": train_steps(replace(fast, joint_forward=False), data),
            "compiled layermatch": train_steps(replace(fast, method="layermatch"), data),
        }
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    times = in_turns(loops, device, turns, 3 if device == "cpu" else 20)
    found = {
        "images": config.batch_size * (1 + 2 * config.mu),
        "model": config.model,
        "ms": {name: statistics.median(t) for name, t in times.items()},
        "over_fixmatch": {name: ratio(t, times["fixmatch"]) for name, t in times.items()},
    }
    if device != "cpu":
        found["compiled_layermatch_over_fixmatch"] = ratio(times["compiled layermatch"], times["compiled"])
        found["peak_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        if floor := FLOOR_MS.get(torch.cuda.get_device_name()):
            found["share_of_floor"] = {name: floor / statistics.median(times[name]) for name in ("fixmatch", "compiled")}
    return found


def scaling(device: str, turns: int) -> dict:
    """How a FixMatch step grows: with the batch, the network, the unlabelled images and the classes; milliseconds."""
    config, data = base(device), data_like_cifar()
    fast = replace(config, compile=device != "cpu")

    def ms(cases: dict[str, tuple[TrainConfig, SSLData]]) -> dict[str, float]:
        loops = {name: train_steps(*case) for name, case in cases.items()}
        return {n: statistics.median(t) for n, t in in_turns(loops, device, turns, 2 if device == "cpu" else 20).items()}

    B, narrow = config.batch_size, replace(fast, batch_size=8 if device == "cpu" else config.batch_size)
    networks = ("small_cnn", "patch_cnn", "wrn-10-2", "wrn-28-2") if device == "cpu" else ("wrn-28-1", "wrn-28-2", "wrn-28-4")
    return {
        "batch size": ms({str(b): (replace(fast, batch_size=b), data) for b in (B // 4, B // 2, B, 2 * B)}),
        f"network (batch size {narrow.batch_size})": ms({name: (replace(narrow, model=name), data) for name in networks}),
        "unlabelled images": ms({str(n): (fast, data_like_cifar(n)) for n in (2_000, 20_000, 200_000)}),
        "classes": ms({str(c): (replace(fast, num_labels=4 * c), data_like_cifar(classes=c)) for c in (10, 100, 1000)}),
    }


def against_baseline(device: str, turns: int) -> dict:
    """Whole steps, data included: ours against per-image PIL in DataLoader workers, as many per loader as cores; in turns.

    Both train the same network on the same batches; on a CPU the small one of the preset, and WRN-28-2 on an eighth of the batch.
    """
    workers, data = usable_cores(), data_like_cifar()
    config = base(device).changed(strong_labelled=0.0, steps=10_000)
    found = {"workers": workers, config.model: beside_baseline(config.changed(compile=device != "cpu"), data, workers, turns)}
    if device == "cpu":
        small = config.changed(model="wrn-28-2", batch_size=config.batch_size // 8)
        found["wrn-28-2"] = beside_baseline(small, data, workers, turns)
    return found


def beside_baseline(config: TrainConfig, data: SSLData, workers: int, turns: int) -> dict:
    device, n = config.device, 10 if config.device == "cpu" else 60
    kinds = {
        "ours": lambda: train_steps(config, data),
        "baseline, float32": lambda: baseline_dataloader.train_steps(config, data, workers=workers),
        "baseline, bf16": lambda: baseline_dataloader.train_steps(config, data, workers=workers, amp=True),
    }
    times = {name: [] for name in kinds}
    for _ in range(max(3, turns // 3)):
        for name, start_loop in kinds.items():
            # Started for its turn and ended after it: workers of a loop that waits would fill their queues meanwhile.
            loop = start_loop()
            for _ in range(n // 2):
                next(loop)
            wait(device)
            start = time.perf_counter()
            for _ in range(n):
                next(loop)
            wait(device)
            times[name].append((time.perf_counter() - start) / n * 1e3)
            loop.close()
    return {
        "images": config.batch_size * (1 + 2 * config.mu),
        "ms": {name: statistics.median(t) for name, t in times.items()},
        "times_faster": {name: ratio(t, times["ours"]) for name, t in times.items() if name != "ours"},
    }


PARTS = {"choices": choices, "step": step, "scaling": scaling, "baseline": against_baseline}


def show(r: dict) -> str:
    """The tables of docs/results.md, from the recorded measurements alone."""
    s, b = r["step"], dict(r["baseline"])
    lines = ["| each on top of those above | time | faster than without any |", "|---|---|---|"]
    lines += [f"| {n} | {ms:.4g} ms | {r['choices']['times_faster'][n]:.2f} times |" for n, ms in r["choices"]["ms"].items()]
    lines += [
        "",
        f"| {s['images']} images through {s['model']} | time | over a FixMatch step |",
        "|---|---|---|",
        *(f"| {name} | {ms:.4g} ms | {s['over_fixmatch'][name]:.2f} |" for name, ms in s["ms"].items()),
        "",
        f"FixMatch: {s['images'] / s['ms']['fixmatch'] * 1e3:,.0f} images per second.",
    ]
    if "share_of_floor" in s:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in s["share_of_floor"].items())
        lines[-1] += f" Share of the hardware's floor: {shares}. Peak memory {s['peak_memory_gb']:.2g} GB."
    lines += ["", "| a FixMatch step, as it grows with | |", "|---|---|"]
    lines += [f"| {what} | {', '.join(f'{n}: {ms:.3g} ms' for n, ms in part.items())} |" for what, part in r["scaling"].items()]
    workers = b.pop("workers")
    for model, found in b.items():
        head = f"| {found['images']} images through {model}, end to end, {workers} cores | time per step | ours is faster by |"
        lines += ["", head, "|---|---|---|"]
        for name, ms in found["ms"].items():
            faster = f"{found['times_faster'][name]:.1f} times" if name in found["times_faster"] else "–"
            lines.append(f"| {name} | {ms:.4g} ms | {faster} |")
    return "\n".join(lines) + f"\n\nMeasured on {r['machine']}, torch {r['torch']}; shared machines vary."


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments.add_argument("--only", choices=PARTS, help="this part alone; the others stay as recorded")
    arguments.add_argument("--turns", type=int, default=9)
    arguments.add_argument("--show", action="store_true", help="print the recorded results, measure nothing")
    arguments.add_argument("--out", type=Path, help="default: results/cifar_cpu.json or cifar_cuda.json")
    args = arguments.parse_args()
    out = args.out or RESULTS / f"cifar_{args.device}.json"
    if args.show:
        print(show(json.loads(out.read_text())))
        return
    about = environment(torch.device(args.device))
    cores = f"{usable_cores()} {platform.machine()} cores under {platform.system()}"
    here = about["device_name"] if args.device == "cuda" else cores
    result = json.loads(out.read_text()) if args.only and out.exists() else {}
    result |= {"machine": here, "torch": about["torch"]}
    for name in [args.only] if args.only else PARTS:
        result[name] = PARTS[name](args.device, args.turns)
        write_atomically(out, lambda f: f.write(json.dumps(result, indent=1).encode()))
        print(f"{name} done", flush=True)
    if result.keys() >= PARTS.keys():
        print("\n" + show(result))


if __name__ == "__main__":
    main()
