"""Record what comes with the package: runs (layermatch_lite/runs/recorded/), the noise lab's networks, the time machine's maps
and those of networks under known noise. Takes eight minutes on one core, and a quarter of one for each map that has changed.

    python benchmarks/record.py                (or: make recordings)

One label per class, where pseudo-labels are often wrong, and one recipe for all methods, so that they differ in nothing else;
seed 0, chosen before any of them was looked at.
"""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from layermatch_lite import TrainConfig
from layermatch_lite.labs import noise_lab as noise
from layermatch_lite.labs import timemachine
from layermatch_lite.runs.config import RECIPES
from layermatch_lite.runs.recording import SHIPPED, record
from layermatch_lite.studies import known_noise
from layermatch_lite.system import threads, write_atomically


def record_noise_maps() -> None:
    """Maps of the networks under known noise, of one seed. Each starts from the map of the rate below, and is turned to lie over
    it without being stretched: points move and do not jump."""
    from scipy.linalg import orthogonal_procrustes

    points, predicted = {}, []
    for kind, rate, taught in tqdm(known_noise.grid(), desc="maps"):
        network = known_noise.train_under_noise(kind, rate, taught, seed=known_noise.SEEDS[0])
        lower = known_noise.RATES[known_noise.RATES.index(rate) - 1] if rate else 0.0
        before = points.get((kind if lower else known_noise.KINDS[0], lower, taught if rate else "all"))
        with threads():  # numba sets OpenMP's thread count for the whole process
            from umap import UMAP

            start = "pca" if before is None else before
            umap = UMAP(min_dist=0.6, init=start, random_state=0, n_jobs=1)  # a fixed seed forces one job
            found = umap.fit_transform(network.features.astype(np.float32))
        found -= found.mean(axis=0)
        if before is not None:
            found = found @ orthogonal_procrustes(found, before)[0]
        points[kind, rate, taught] = found.astype(np.float32)
        predicted.append(network.predicted)
    arrays = {
        "networks": np.array([" ".join(map(str, network)) for network in points]),
        "points": np.stack([*points.values()]).astype(np.float16),
        "predicted": np.stack(predicted).astype(np.int8),
        "y_true": network.y_true.astype(np.int8),
    }
    write_atomically(known_noise.MAPS, lambda f: np.savez_compressed(f, **arrays))


def main() -> None:
    torch.set_num_threads(1)  # sums come out the same only with as many threads
    for dataset in ("mnist1d", "digits"):
        for method in ("supervised", "fixmatch", "layermatch"):
            one = {k: RECIPES[dataset][k] for k in ("threshold", "strong_labelled")}
            config = TrainConfig.preset("demo_cpu", dataset=dataset, num_labels=10, method=method, seed=0, **one)
            recording = record(config, progress=True)
            recording.save(SHIPPED / f"{dataset}_{method}.npz")
            print(f"{dataset}_{method}: test accuracy {recording.accuracy:.3f}")
    noise.record_networks()
    timemachine.record_maps()
    record_noise_maps()
    for path in (noise.NETWORKS, timemachine.MAPS, known_noise.MAPS):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
