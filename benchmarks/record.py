"""Record what comes with the package: runs (layermatch_lite/runs/recorded/), maps of networks under known noise, and the labs'
data (layermatch_lite/labs/shipped/). On two cores the gradients took nine minutes and MNIST-1D's maps five.

    python benchmarks/record.py                (or: make recordings)
    python benchmarks/record.py runs|maps|gradients|labs       one part; labs packs what the others have recorded

One label per class, where pseudo-labels are often wrong, and one recipe for all methods, so that they differ in nothing else;
seed 0, chosen before any of them was looked at. The noise lab shows the means of ten seeds, fixed likewise.
"""

from __future__ import annotations

import argparse
import hashlib

import gradients
import numpy as np
import torch
from tqdm import tqdm

from layermatch_lite import TrainConfig, load_recorded, load_study
from layermatch_lite.data.sets import load_data
from layermatch_lite.figures.embedding import embed
from layermatch_lite.labs import curves, decisions, packs, recorded
from layermatch_lite.labs.lessons import DecisionState, TrainingState
from layermatch_lite.runs.config import RECIPES
from layermatch_lite.runs.recording import SHIPPED, list_recorded, record
from layermatch_lite.studies import known_noise as known
from layermatch_lite.system import read_npz, torch_settings, write_atomically

READOUTS = ("own", "probe", "kmeans")  # what the lab draws


def record_runs() -> None:
    for dataset in ("mnist1d", "digits"):
        for method in ("supervised", "fixmatch", "layermatch"):
            one = {k: RECIPES[dataset][k] for k in ("threshold", "strong_labelled")}
            config = TrainConfig.preset("demo_cpu", dataset=dataset, num_labels=10, method=method, seed=0).changed(**one)
            recording = record(config, progress=True)
            recording.save(SHIPPED / f"{dataset}_{method}.npz")
            print(f"{dataset}_{method}: test accuracy {recording.accuracy:.3f}")


def record_noise_maps(dataset: str) -> None:
    """Maps of the networks under known noise, of one seed. Each starts from the map of the rate below, and is turned to lie over
    it without being stretched: points move and do not jump."""
    from scipy.linalg import orthogonal_procrustes

    points, predicted = {}, []
    for kind, rate, taught in tqdm(known.grid(), desc=f"maps of {dataset}"):
        network = known.train_under_noise(kind, rate, taught, dataset=dataset, seed=known.SEEDS[0])
        z = network.features[: known.MAPPED].astype(np.float32)
        lower = known.RATES[known.RATES.index(rate) - 1] if rate else 0.0
        before = points.get((kind if lower else known.KINDS[0], lower, taught if rate else "all"))
        with torch_settings():  # numba sets OpenMP's thread count for the whole process
            from umap import UMAP

            start = "pca" if before is None else before
            found = UMAP(min_dist=0.6, init=start, random_state=0, n_jobs=1).fit_transform(z)  # a fixed seed forces one job
        found -= found.mean(axis=0)
        if before is not None:
            found = found @ orthogonal_procrustes(found, before)[0]
        points[kind, rate, taught] = found.astype(np.float32)
        predicted.append(network.predicted[: known.MAPPED])
    arrays = {
        "networks": np.array([" ".join(map(str, network)) for network in points]),
        "points": np.stack([*points.values()]).astype(np.float16),
        "predicted": np.stack(predicted).astype(np.int8),
        "y_true": network.y_true[: known.MAPPED].astype(np.int8),
    }
    write_atomically(known.maps_file(dataset), lambda f: np.savez_compressed(f, **arrays))


def noise_pack(dataset: str) -> bytes:
    """What the noise lab looks up: the study of known noise, its maps, and the gradients, averaged over networks and draws."""
    study, maps = load_study(known.study_name(dataset)), known.load_maps(known.maps_file(dataset))
    measured = read_npz(gradients.kept(dataset))
    data = load_data(dataset, None, seed=known.SEEDS[0])
    runs = {(r["setting"], r["row"], r["seed"]): r["readout"] for r in study["runs"] if "readout" in r}
    networks = [(kind if rate else known.KINDS[0], rate, taught) for kind, rate, taught in maps.networks]
    values = [[[runs[f"{k} {r}", t, seed][name] for name in READOUTS] for seed in known.SEEDS] for k, r, t in networks]
    # Over the networks and their draws: the mean, and between which values nine of ten lie.
    sweep = np.moveaxis(measured["found"], (0, 5), (-2, -1))  # (moments, taus, errors, rates, layers, 2, seeds, draws)
    sweep = sweep.reshape(*sweep.shape[:-2], -1)
    with np.errstate(all="ignore"):
        summary = np.stack([np.nanmean(sweep, axis=-1), *np.nanquantile(sweep, (0.05, 0.95), axis=-1)], axis=-1)
        shares = np.nanmean(np.moveaxis(measured["shares"], (0, 5), (-2, -1)), axis=(-2, -1))
    images = packs.pictures(data.x_test.numpy())[: len(maps.y_true)]
    about = {
        "networks": [" ".join(map(str, n)) for n in networks], "seeds": list(known.SEEDS), "readouts": READOUTS,
        "N": len(maps.y_true), "classes": data.classes, "image_shape": list(images.shape[1:]),
        "pixels": int(np.prod(images.shape[1:])), "layers": measured["names"].tolist(), "quantities": gradients.QUANTITIES,
        "taus": gradients.TAUS, "errors": gradients.ERRORS, "rates": gradients.RATES, "moments": gradients.MOMENTS,
        "draws": sweep.shape[-1],
    }  # fmt: skip
    return packs.pack(
        about, points=packs.on_map(maps.points), predicted=maps.predicted.astype(np.uint8), y=maps.y_true.astype(np.uint8),
        images=images.reshape(len(images), -1), values=packs.shares(values), sweep=packs.thousandths(summary),
        shares=np.where(np.isnan(shares), -32768, np.nan_to_num(shares) * packs.SCALE).round().astype(np.int16),
    )  # fmt: skip


def run_pack(name: str) -> bytes:
    """A recorded run with the UMAP map of all its moments; a map of the same features is kept."""
    r = load_recorded(name)
    features = hashlib.sha256(np.ascontiguousarray(r.features).tobytes()).hexdigest()[:16]
    old = packs.SHIPPED / f"run_{name}.pack"
    kept = old.is_file() and packs.unpack(old.read_bytes())[0].get("features") == features
    umap = recorded.shipped_map(name) if kept else np.stack(embed(list(r.features)))
    return recorded.pack_of(r, name, umap, features=features)


def record_packs() -> None:
    blocks = {f"noise_{dataset}": noise_pack(dataset) for dataset in known.DATASETS}
    for name in tqdm([n for n in list_recorded() if not n.endswith("freematch")], desc="runs, with their UMAP maps"):
        blocks[f"run_{name}"] = run_pack(name)
    for states, module in ((DecisionState, decisions), (TrainingState, curves)):
        for key, link in states.recorded().items():
            blocks[key] = module.record(states.from_link(link))
    for dataset in ("digits", "mnist1d"):  # the same sample in all runs of a data set
        blocks[f"pictures_{dataset}"] = recorded.pictures(f"{dataset}_fixmatch")
    for key, block in blocks.items():
        write_atomically(packs.SHIPPED / f"{key}.pack", lambda f, block=block: f.write(block))
    print(f"{len(blocks)} blocks, {sum(map(len, blocks.values())) / 1e6:.1f} MB")


def main() -> None:
    parts = {
        "runs": record_runs,
        "maps": lambda: [record_noise_maps(dataset) for dataset in known.DATASETS],
        "gradients": lambda: [gradients.record(dataset) for dataset in known.DATASETS],
        "labs": record_packs,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=parts, metavar="PART", help=", ".join(parts))
    torch.set_num_threads(1)  # sums come out the same only with as many threads
    for part in parser.parse_args().parts or parts:
        parts[part]()


if __name__ == "__main__":
    main()
