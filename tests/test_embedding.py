"""Maps: one space, deterministic, cached, and clear about what cannot be mapped."""

import importlib.metadata
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from layermatch_lite import InputError
from layermatch_lite.figures import embedding
from layermatch_lite.figures.embedding import embed
from layermatch_lite.system import cache_dir


def snapshots(n=60, d=6, moved=0.01, k=3):
    g = np.random.default_rng(0)
    y = np.arange(n) % 3
    z = 8 * np.eye(3, d)[y] + g.normal(size=(n, d))
    return [(z + moved * i * g.normal(size=(n, d))).astype(np.float32) for i in range(k)], y


def test_pca_is_one_basis_for_all_snapshots():
    parts, _ = snapshots()
    maps = embed(parts, "pca")
    z = np.concatenate(parts).astype(np.float64)
    z -= z.mean(0)
    axes = np.linalg.svd(z, full_matrices=False)[2][:2]
    both = np.concatenate(maps)
    assert np.abs(both) == pytest.approx(np.abs(z @ axes.T), abs=1e-3)
    assert [m.shape for m in maps] == [(60, 2)] * 3


@pytest.mark.slow
def test_umap_points_move_and_do_not_jump():
    """Three snapshots that hardly differ: a sample's places are near each other, compared with the size of the map."""
    parts, y = snapshots()
    maps = embed(parts)
    extent = np.ptp(np.concatenate(maps), axis=0).max()
    steps = np.concatenate([np.linalg.norm(a - b, axis=1) for a, b in zip(maps, maps[1:])])
    assert np.median(steps) < 0.05 * extent
    means = np.stack([maps[0][y == c].mean(0) for c in range(3)])
    assert min(np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.2 * extent


@pytest.mark.slow
def test_umap_is_deterministic_and_seeded(monkeypatch, tmp_path):
    parts, _ = snapshots(k=1)
    threads = torch.get_num_threads()
    first = embed(parts, seed=1)[0]
    assert torch.get_num_threads() == threads
    monkeypatch.setenv("LAYERMATCH_CACHE", str(tmp_path / "another"))
    assert np.array_equal(first, embed(parts, seed=1)[0])
    assert not np.array_equal(first, embed(parts, seed=2)[0])


def counted(monkeypatch):
    calls = []

    def fake(z, *settings):
        calls.append(settings)
        return z[:, :2].astype(np.float32)

    monkeypatch.setattr(embedding, "_umap", fake)
    return calls


def test_the_cache_goes_by_content(monkeypatch):
    calls = counted(monkeypatch)
    parts, _ = snapshots()
    a, b = embed(parts), embed([p.copy() for p in parts])
    assert len(calls) == 1 and all(map(np.array_equal, a, b))
    changed = [parts[0] + 1e-6, *parts[1:]]
    for other in (
        dict(snapshots=changed),
        dict(snapshots=parts, seed=1),
        dict(snapshots=parts, n_neighbors=5),
        dict(snapshots=parts, min_dist=0.5),
    ):
        before = len(calls)
        embed(**other)
        assert len(calls) == before + 1, other


def test_a_damaged_cache_is_rebuilt(monkeypatch):
    calls = counted(monkeypatch)
    parts, _ = snapshots()
    embed(parts)
    (file,) = (cache_dir() / "maps").glob("*.npz")
    for content in (b"", b"not a map", file.read_bytes()[:100]):
        file.write_bytes(content)
        embed(parts)
    assert len(calls) == 4
    embed(parts)
    assert len(calls) == 4


def test_umap_leaves_the_thread_count_alone(monkeypatch):
    """Importing and fitting UMAP changes it: numba sets OpenMP's threads for the whole process."""
    before = torch.get_num_threads()

    class UMAP:
        def __init__(self, **settings):
            torch.set_num_threads(before + 1)

        def fit_transform(self, z):
            return z[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    embed(snapshots()[0])
    assert torch.get_num_threads() == before


def test_pca_does_not_import_umap():
    code = (
        "import sys, numpy as np; from layermatch_lite.figures.embedding import embed; "
        "embed([np.random.rand(9, 3)], 'pca'); print('umap' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_umap(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(InputError, match="umap-learn is not installed.*pca"):
        embed(snapshots()[0])


@pytest.mark.parametrize(
    "parts, settings, named",
    [
        ([torch.randn(10, 4)], {}, "n_neighbors=15 needs more than 15 points, there are 10"),
        ([torch.full((30, 4), float("nan"))], {}, "30 of 30 rows of snapshot 0 hold NaN"),
        ([torch.randn(30, 4), torch.randn(30, 5)], {}, "4, 5 features"),
        ([], {}, "at least one"),
        ([torch.ones(30, 4)], {}, "all 30 points are the same"),
        ([torch.randn(30, 4)], dict(seed=None), "seed=None"),
        ([torch.randn(30, 4)], dict(seed=-1), "seed=-1"),
        ([torch.randn(30)], {}, "shape"),
        ([torch.randn(30, 1)], {}, "cannot be mapped"),
        ([torch.randn(30, 4)], dict(method="tsne"), "method='tsne' is unknown"),
        ([torch.randn(30, 4)], dict(n_neighbors=1), "n_neighbors=1"),
        ([torch.randn(30, 4)], dict(min_dist=2), "min_dist=2"),
    ],
)
def test_what_cannot_be_mapped(parts, settings, named):
    with pytest.raises(InputError, match=named):
        embed(parts, **settings)
