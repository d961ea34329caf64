"""The benchmarks at CIFAR-10's size: do they measure what they say, and does every stage for a GPU run through?"""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import baseline_dataloader
import cifar
import gpu
import numpy as np
import pytest
import torch
from PIL import Image

from layermatch_lite import TrainConfig
from layermatch_lite.data import image_operations as augment
from layermatch_lite.data.sets import CIFAR10_CLASSES, split

SMALL = TrainConfig(
    dataset="images", model="small_cnn", method="fixmatch", num_labels=40, batch_size=8, mu=1, device="cpu"
)


@pytest.fixture
def photographs(g):
    x = torch.nn.functional.interpolate(torch.rand(40, 3, 9, 9, generator=g), size=32, mode="bicubic")
    return x.clamp(0, 1).mul(255).to(torch.uint8)


@pytest.mark.parametrize("name", augment.COLOR_OPERATIONS)
def test_the_baseline_does_what_the_package_does(name, photographs):
    """The same operation at the same level: equal pixels, but for roundings, and for what moves at the edge."""
    for level in (0.1, 0.5, 0.9):
        for sign in (1, -1):
            n = len(photographs)
            drawn = torch.zeros(n, dtype=torch.long), torch.full((n,), level), torch.full((n,), sign), torch.ones(n) > 0
            ours = augment.operate(photographs, *drawn, (name,)).permute(0, 2, 3, 1).int().numpy()
            pil = [Image.fromarray(i) for i in photographs.permute(0, 2, 3, 1).numpy()]
            theirs = [np.asarray(baseline_dataloader.OPERATIONS[name](i, level, sign)).astype(int) for i in pil]
            off = np.abs(ours - np.stack(theirs))
            assert (off > 2).mean() < (0.12 if name in augment.MOVES else 0.001), (level, sign)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_baseline_trains(g, seed):
    """On classes of different brightness, which forty steps can learn."""
    random.seed(seed)
    torch.manual_seed(seed)  # the baseline draws from the global generators, as such code does
    y = torch.arange(400) % 4
    x = (torch.randint(60, (400, 3, 32, 32), generator=g) + 50 * y.view(-1, 1, 1, 1)).to(torch.uint8)
    data = split("images", x, y, x, y, tuple("abcd"), num_labels=40)
    config = replace(SMALL, mu=2, steps=40, threshold=0.8)
    losses = list(baseline_dataloader.train_steps(config, data, workers=0))
    assert len(losses) == 40 and np.isfinite(losses).all() and np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.slow
def test_the_benchmark_measures_and_shows(monkeypatch, tmp_path, capsys):
    """Every part once, on few small batches, and the table from what was measured."""
    monkeypatch.setattr(cifar, "base", lambda _: replace(SMALL, steps=10**6, log_every=10**6))
    out = tmp_path / "speed.json"
    monkeypatch.setattr(sys, "argv", ["cifar.py", "--turns", "1", "--out", str(out)])
    cifar.main()
    found = json.loads(out.read_text())
    assert len(found["choices"]["ms"]) == 4 and set(found["choices"]["times_faster"]) == set(found["choices"]["ms"])
    assert set(found["step"]["ms"]) == {"fixmatch", "layermatch", "inputs", "probe"}
    assert found["step"]["ms"]["inputs"] < found["step"]["ms"]["fixmatch"] < found["step"]["ms"]["probe"]
    assert list(found["scaling"]["classes"]) == ["10", "100", "1000"]
    assert set(found["baseline"]) == {"workers", "small_cnn", "wrn-28-2"}
    assert "| baseline, bf16 |" in cifar.show(found) and cifar.show(found) in capsys.readouterr().out


@pytest.mark.slow
def test_what_the_stages_for_a_gpu_do_without_one(tmp_path, monkeypatch, g):
    """In small, on the CPU: data, recipes and results files; what needs CUDA (profile, bf16, waiting) has not run."""
    root = Path(tmp_path / "cache" / "cifar10")
    for part, n in (("train", 40), ("test", 10)):
        for name in CIFAR10_CLASSES:
            (root / part / name).mkdir(parents=True)
            for k in range(n):
                pixels = torch.randint(256, (32, 32, 3), dtype=torch.uint8, generator=g).numpy()
                Image.fromarray(pixels).save(root / part / name / f"{k}.png")
    monkeypatch.setenv("LAYERMATCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"

    def stage(name):
        gpu.main([name, "--quick", "--device", "cpu", "--out", str(out)])
        return json.loads((out / f"gpu_{name}.json").read_text())

    tf32 = torch.backends.cudnn.allow_tf32
    assert set(stage("check")["found"]["float32 against the CPU"].values()) == {0.0}
    assert torch.backends.cudnn.allow_tf32 == tf32
    found = stage("recipe")
    assert found["about"]["data"] == "image files" and found["found"]["chosen"] in gpu.CANDIDATES
    assert {name: len(runs) for name, runs in found["found"]["rows"].items()} == dict.fromkeys(gpu.CANDIDATES, 4)
