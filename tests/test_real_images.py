"""All of CIFAR-10 as 60,000 image files, from the folder to a trained model. Needs an archive beside the checkout."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from layermatch_lite import load_data, load_recorded
from layermatch_lite.runs.recording import find_images

ARCHIVE = next(Path(__file__).resolve().parents[2].glob("*/data/cifar10-jpeg.tar.xz"), None)

CODE = """
import json, re, sys, time
import torch, psutil
at_start = psutil.Process().memory_info().rss
# not getrusage: its maximum begins with that of the parent process
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
from layermatch_lite import TrainConfig, load_data, train
start = time.perf_counter()
data = load_data(sys.argv[1], 40)
loaded = time.perf_counter() - start
used = peak() - at_start
run = train(TrainConfig(dataset=sys.argv[1], num_labels=40, steps=3, batch_size=8, log_every=3, threshold=0.1, device="cpu"))
print(json.dumps({"seconds": loaded, "bytes": used, "shape": list(data.x_unlabelled.shape), "test": len(data.y_test),
                  "classes": data.classes, "accuracy": run.accuracy, "mask": run.history[-1]["mask_rate"],
                  "fingerprint": data.fingerprint, "sum": int(data.x_unlabelled.long().sum())}))
"""


@pytest.mark.slow
@pytest.mark.skipif(ARCHIVE is None, reason="no cifar10-jpeg.tar.xz in a data folder beside the checkout")
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux reports it")
def test_cifar10_from_a_folder_end_to_end(tmp_path):
    folder = tmp_path / "cifar10"
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    if not (folder / "train").is_dir():
        folder = next(folder.glob("*/train")).parent
    done = subprocess.run([sys.executable, "-c", CODE, str(folder)], capture_output=True, text=True, check=True)
    first = json.loads(done.stdout)
    assert first["shape"] == [50_000, 3, 32, 32] and first["test"] == 10_000 and first["classes"][0] == "airplane"
    assert first["bytes"] < 1e9
    assert 0 < first["accuracy"] < 1 and first["mask"] > 0
    data, r = load_data("cifar10", 250, root=folder), load_recorded("cifar10_250_fixmatch")
    assert data.copy == "JPEG copy" and data.fingerprint == r.about["fingerprint"], "what was recorded had these images"
    assert torch.equal(find_images(r, data), data.x_unlabelled[torch.from_numpy(r.sample).long()]), "each is found again"
    again = load_data(folder, 40)
    assert again.fingerprint == first["fingerprint"] and int(again.x_unlabelled.long().sum()) == first["sum"], (
        "decoded or read from the cache, the data are the same"
    )
