"""Record what comes with the package: runs (layermatch_lite/runs/recorded/), the noise lab's networks and the time
machine's maps; three minutes on one core, and a quarter of a minute for each map of a run that has changed.

    python benchmarks/record.py                (or: make recordings)

One label per class, where pseudo-labels are often wrong; seed 0, chosen before any of them was looked at.
"""

from __future__ import annotations

import torch

from layermatch_lite import TrainConfig
from layermatch_lite.labs import noise_lab as noise
from layermatch_lite.labs import timemachine
from layermatch_lite.runs.recording import SHIPPED, record


def main() -> None:
    torch.set_num_threads(1)  # sums come out the same only with as many threads
    for dataset in ("mnist1d", "digits"):
        for method in ("supervised", "fixmatch", "layermatch"):
            config = TrainConfig.preset("demo_cpu", dataset=dataset, num_labels=10, method=method, seed=0)
            recording = record(config, progress=True)
            recording.save(SHIPPED / f"{dataset}_{method}.npz")
            print(f"{dataset}_{method}: test accuracy {recording.accuracy:.3f}")
    noise.record_networks()
    timemachine.record_maps()
    for path in (noise.NETWORKS, timemachine.MAPS):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
