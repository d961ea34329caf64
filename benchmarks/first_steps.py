"""Does the code still train what was recorded? The first steps of every row behind a study's comparisons, kept and repeated.

    python benchmarks/first_steps.py           train them again and name the rows that differ
    python benchmarks/first_steps.py --record  keep what the code trains now: results/first_steps.json

Recorded results support the code only as long as it trains what was recorded. This notices a method that has changed, but not its
evaluation, or what acts later only. Where settings differ in the number of labels or the rate of noise alone, one stands for all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from studies import STUDIES

from layermatch_lite import TrainConfig, train_steps
from layermatch_lite.runs import train as training
from layermatch_lite.runs.train import data_of
from layermatch_lite.system import write_atomically

PATH = Path(__file__).parent / "results" / "first_steps.json"
STEPS = 20


def rows() -> dict[str, TrainConfig]:
    """{"study | setting | row": config of its first seed} of every row that a study compares."""
    found = {}
    for name, make in STUDIES.items():
        study = make()
        for setting, *compared in (c for family in study.families.values() for c in family):
            others = (" 20 labels", " 40 labels", " 100 labels", " 0.2", " 0.4", " 0.8")
            if not setting.endswith(others) and not name.startswith("cifar10"):
                for row in compared:
                    config = replace(study.plan[setting][row], seed=study.seeds[0], log_every=STEPS, probe_every=None)
                    found[f"{name} | {setting} | {row}"] = config
    return found


def first_steps(config: TrainConfig) -> list[float]:
    """What a training does in its first steps: losses, mask rate, and the lengths of the weights of classifier and features.

    In float64: training enlarges rounding so fast that twenty steps in float32 differ by per cents between processors.
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)  # as in the studies
    torch.set_default_dtype(torch.float64)
    try:
        data = data_of(config)
        exact = {k: v.double() for k, v in vars(data).items() if isinstance(v, torch.Tensor) and v.dtype == torch.float32}
        with mock.patch.object(training, "torch_settings", lambda *_: nullcontext()):  # which would set float32
            run = next(run for run in train_steps(config, replace(data, **exact)) if run.step == STEPS)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
    length = lambda of: float(torch.cat([w.detach().flatten() for w in of]).double().norm())
    inside = [w for name, w in run.model.named_parameters() if not name.startswith("classifier")]
    seen = run.history[-1]
    losses = [seen["loss_s"], seen.get("loss_u") or 0.0, seen.get("mask_rate") or 0.0]
    return [round(v, 9) for v in (*losses, length(run.model.classifier.parameters()), length(inside))]


def recorded() -> dict[str, list[float]]:
    return json.loads(PATH.read_text(encoding="utf-8"))


def stale(only: Callable[[str], bool] = lambda key: True, tolerance: float = 1e-6) -> set[str]:
    """The rows whose training is no longer what was recorded.

    tolerance: relative; what rounding does in float64 is far smaller. Rows with one config are trained once.
    """
    kept, trained, found = recorded(), {}, set()
    for key, config in rows().items():
        if only(key):
            if repr(config) not in trained:
                trained[repr(config)] = first_steps(config)
            if any(abs(a - b) > tolerance * max(abs(b), 0.01) for a, b in zip(trained[repr(config)], kept[key])):
                found.add(key)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep what the code trains now")
    if parser.parse_args().record:
        kept = json.dumps({key: first_steps(config) for key, config in sorted(rows().items())}, indent=1)
        write_atomically(PATH, lambda f: f.write(kept.encode()))
        return 0
    changed = stale()
    print(f"{len(rows())} rows, {len(changed)} no longer train what was recorded", *sorted(changed), sep="\n")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main())
