"""Everything that wants one GPU, in stages, in this order. The third continues where it was stopped, run by run.

    python benchmarks/gpu.py check        float32 gradients against the CPU, no waiting inside a step, bf16; a profile of the step
    python benchmarks/gpu.py speed        benchmarks/cifar.py --device cuda
    python benchmarks/gpu.py recipe       choose among candidates on validation samples, never on the test images

After them, `python benchmarks/studies.py cifar10_gpu` trains the baselines, LayerMatch and FreeMatch with 40 and 250
labels, and records the first seed.

Needs CIFAR-10 in the cache folder (`layermatch-lite doctor` says where). Results go to --out (default: benchmarks/results/) after
every single run. Seeds of the recipe, written down before any run: 100 and 101. `--quick --device cpu` goes through what runs
without a GPU, uncompiled and in small, in a minute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from search import Kept, search

from layermatch_lite import TrainConfig, load_data, train, train_steps
from layermatch_lite.runs.run import environment

RESULTS = Path(__file__).parent / "results"
METHODS = ("fixmatch", "grad_relu", "avg_clustering", "layermatch")
LABELS = (40, 250)
CANDIDATES = {
    "tau 0.95": {},
    "tau 0.95, half of the labelled views strong": dict(strong_labelled=0.5),
    "tau 0.8": dict(threshold=0.8),
    "lr 0.1": dict(lr=0.1),
}
RECIPE_SEEDS = (100, 101)


def settings(preset: str, args, **changes) -> TrainConfig:
    if args.quick:
        changes |= dict(model="wrn-10-1", batch_size=8, mu=2, steps=4, log_every=2, compile=False)
    return TrainConfig.preset(preset, device=args.device, **changes)


def check(args) -> None:
    """Gradients of every method in float32 on both devices from the same views; then what a GPU alone can show."""
    with float32_alone():
        found = {"float32 against the CPU": {m: float32_difference(m, args) for m in METHODS}}
    if args.device == "cuda":
        found["host synchronisations in five steps"] = synchronisations(args)
        found |= {"bf16 and float32": bf16_difference(args), "profile": profile(args)}
    args.kept["found"] = found


@contextmanager
def float32_alone():
    """Without TF32, as far as this block."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [b.allow_tf32 for b in backends]
    for b in backends:
        b.allow_tf32 = False
    try:
        yield
    finally:
        for b, was in zip(backends, before):
            b.allow_tf32 = was


def float32_difference(method: str, args) -> float:
    """Largest relative difference of a parameter's gradient between the two devices, on the same batch, without bf16 and TF32."""
    from layermatch_lite import AvgClustering, pseudo_label_loss
    from layermatch_lite.models import build_model

    switches = TrainConfig(method=method).switches
    g = torch.Generator().manual_seed(0)
    x, weak, strong = (torch.randn(n, 3, 32, 32, generator=g) for n in (8, 24, 24))
    y, grads = torch.arange(8), []
    for device in ("cpu", args.device):
        model = build_model("wrn-10-1" if args.quick else "wrn-28-2", (3, 32, 32), 10, generator=torch.Generator().manual_seed(1))
        model.to(device).train()
        centers = AvgClustering(model.classifier) if switches.avg_clustering else None
        z_x, z_weak, z_strong = model.features(torch.cat([x, weak, strong]).to(device)).split([8, 24, 24])
        out = pseudo_label_loss(z_weak, z_strong, model.classifier, threshold=0.1, grad_relu=switches.grad_relu, centers=centers)
        (torch.nn.functional.cross_entropy(model.classifier(z_x), y.to(device)) + out.loss).backward()
        grads.append([p.grad.cpu() for p in model.parameters()])
    return max(float((a - b).norm() / a.norm().clamp(min=1e-8)) for a, b in zip(*grads))


def synchronisations(args) -> int:
    """Warnings of the CUDA runtime about a host that waits, in five steps of LayerMatch between two records."""
    import warnings

    steps = train_steps(TrainConfig.preset("paper", device="cuda", method="layermatch"), args.data(40))
    for _ in range(4):
        next(steps)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(5):
            next(steps)
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchroni" in str(w.message) for w in seen)


def bf16_difference(args) -> dict:
    """Losses of ten steps in bf16 and in float32, from the same weights and batches."""
    config = TrainConfig.preset("paper", device="cuda", method="layermatch", steps=10, log_every=1, threshold=0.2)
    run, plain = (train(config.changed(precision=p), args.data(40)) for p in ("bf16", "float32"))
    return {k: [[r[k] for r in h] for h in (run.history, plain.history)] for k in ("loss_s", "loss_u", "mask_rate")}


def profile(args) -> dict:
    """Where the time of a compiled FixMatch step goes on the GPU: the fifteen most expensive kernels, in ms per step."""
    from torch.profiler import ProfilerActivity

    steps = train_steps(TrainConfig.preset("paper", device="cuda", method="fixmatch", compile=True), args.data(40))
    for _ in range(20):
        next(steps)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(10):
            next(steps)
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda e: -e.self_device_time_total)[:15]
    return {row.key[:80]: round(row.self_device_time_total / 10 / 1e3, 4) for row in rows}


def speed(args) -> None:
    if args.quick:
        return
    here = Path(__file__).parent
    command = [sys.executable, str(here / "cifar.py"), "--device", args.device, "--out", str(args.out / "cifar_cuda.json")]
    subprocess.run(command, check=True)


def recipe(args) -> None:
    """Validation accuracy of plain FixMatch, run by run, for each candidate; none is judged by our method."""
    own = dict(method="fixmatch", num_val=50 if args.quick else 5000)
    plan = {
        name: {
            f"{n} labels, seed {seed}": settings("classroom_gpu_short", args, **own | candidate, num_labels=n, seed=seed)
            for n in LABELS
            for seed in RECIPE_SEEDS
        }
        for name, candidate in CANDIDATES.items()
    }

    def one_by_one(configs: list[TrainConfig], each) -> None:
        for i, config in enumerate(configs):
            run = train(config, args.data(config.num_labels, config.num_val, config.seed), progress=True)
            if not run.finished:
                raise KeyboardInterrupt  # `train` returns what it has; half a run is not a result
            each(i, run)

    search(args.kept, args.kept["found"], plan, one_by_one)


STAGES = {"check": check, "speed": speed, "recipe": recipe}


def main(given: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("stage", choices=STAGES)
    arguments.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    arguments.add_argument("--quick", action="store_true", help="a few tiny steps of everything: does the script itself work?")
    arguments.add_argument("--out", type=Path, default=RESULTS)
    args = arguments.parse_args(given)

    @lru_cache(maxsize=2)
    def data(num_labels: int, num_val: int = 0, seed: int = 0):
        whole = load_data("cifar10", num_labels, num_val=num_val, seed=seed)
        return replace(whole, x_test=whole.x_test[::100], y_test=whole.y_test[::100]) if args.quick else whole

    args.data, args.kept = data, Kept(args.out / f"gpu_{args.stage}.json", found={})
    about = {"data": data(40).copy or "official files", "quick": args.quick}
    args.kept["about"] = environment(torch.device(args.device)) | about
    STAGES[args.stage](args)
    if args.kept["found"]:
        args.kept.save()
        print(json.dumps(args.kept["found"], indent=1)[:6000])


if __name__ == "__main__":
    main()
