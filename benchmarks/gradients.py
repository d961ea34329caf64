"""What wrong labels do to each layer's gradient, averaged over many draws: what the noise lab's second view looks up.

A FixMatch network is stopped at some step. The true labels of 400 samples of its pool are corrupted in a known way, or replaced
by the network's own, and the gradient of L_u with them is compared with that of true labels: `alignment` and `benefit` as in
`core.probe`, per layer. Our formulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from layermatch_lite.core.seeding import generator
from layermatch_lite.core.theory import classifier_gradient, error, with_bias
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.views import Views
from layermatch_lite.models import in_train_mode, layers
from layermatch_lite.runs.config import TrainConfig
from layermatch_lite.runs.run import Run
from layermatch_lite.runs.train import data_of, train_steps
from layermatch_lite.system import usable_cores, write_atomically
from layermatch_lite.variants.gate import gate
from layermatch_lite.variants.noise import KINDS, corrupt, rows

SEEDS, DRAWS, SAMPLES = tuple(range(7000, 7010)), 4, 400  # networks, draws of noise for each, samples
OWN = "own"  # the rate is then the share of samples that carry the network's own label; the others carry the true one
ERRORS = (OWN, *KINDS)
RATES, TAUS, MOMENTS = tuple(k / 10 for k in range(11)), (0.5, 0.8, 0.95), (60, 200, 600)
QUANTITIES = ("alignment", "benefit")


def networks(dataset: str, seed: int) -> Iterator[Run]:
    """FixMatch with one label per class and its own recipe, at each of MOMENTS."""
    config = TrainConfig.preset(
        "demo_cpu", dataset=dataset, num_labels=10, method="fixmatch", seed=seed, steps=600, device="cpu"
    )
    for run in train_steps(config):
        if run.step in MOMENTS:
            yield run


@torch.enable_grad()
def sweep(run: Run) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the L layers, the classifier behind the gate last; QUANTITIES (T, K, R, DRAWS, L, 2); and (T, K, R, DRAWS, 2), the
    share of samples over tau and of wrong labels among them. NaN where no sample passes.
    """
    data, config, model = data_of(run.config), run.config, run.model
    views, g = Views(data), generator(config.seed, "noise lab")
    x, y = labelled_batch(data, views, config, g)
    weak, strong, i = unlabelled_batch(data, views, SAMPLES, g)
    y_true, u = data.y_unlabelled[i], torch.rand(DRAWS, SAMPLES, generator=g)
    groups = layers(model, model.classifier)
    below = [q for name, group in groups.items() if name != "classifier" for q in group]
    names = [*groups, "classifier, gated"]
    shape = (len(TAUS), len(ERRORS), len(RATES), DRAWS)
    found, shares = np.full((*shape, len(names), 2), np.nan, np.float32), np.full((*shape, 2), np.nan, np.float32)
    with in_train_mode(model):
        z_x, z_weak, z_strong = model.features(torch.cat([x, weak, strong])).split([len(x), SAMPLES, SAMPLES])
        W, b = model.classifier.weight.detach(), model.classifier.bias.detach()
        softmax = lambda z: F.linear(z.detach(), W, b).softmax(dim=1)
        p_weak, p, z = softmax(z_weak), softmax(z_strong), with_bias(z_strong.detach())
        g_s = classifier_gradient(with_bias(z_x.detach()), softmax(z_x), y).flatten()

        def gradients(errors: torch.Tensor) -> list[torch.Tensor]:
            """(B, N, C) dL/dlogits -> one (B, P) matrix for each name."""
            flat = torch.autograd.grad(z_strong, below, errors @ W, retain_graph=True, is_grads_batched=True)
            flat, parts = iter(flat), []
            for name, group in groups.items():
                if name == "classifier":
                    parts.append(torch.einsum("bnc,nd->bcd", errors, z).flatten(1))
                else:
                    parts.append(torch.cat([next(flat).flatten(1) for _ in group], dim=1))
            return [*parts, torch.stack([gate(g_u, g_s) for g_u in parts[-1]])]

        everything = gradients(error(p, y_true)[None])
        everything[-1] = everything[-2]
        for t, tau in enumerate(TAUS):
            mask = p_weak.amax(dim=1) >= tau
            shares[t, ..., 0] = mask.float().mean()
            if not mask.any():
                continue
            true = gradients(error(p, y_true, mask)[None])
            true[-1] = true[-2]
            for k, kind in enumerate(ERRORS):
                labels = [_corrupted(kind, rate, y_true, p_weak, mask, one) for rate in RATES for one in u]
                shares[t, k, ..., 1] = [[float((q != y_true)[mask].float().mean()) for q in labels[r : r + DRAWS]]
                                        for r in range(0, len(labels), DRAWS)]  # fmt: skip
                measured = [
                    torch.stack([F.cosine_similarity(g, a), (g @ c[0]) / c.square().sum()], dim=-1).numpy()
                    for g, a, c in zip(gradients(torch.stack([error(p, q, mask) for q in labels])), everything, true)
                ]
                found[t, k] = np.stack(measured, axis=1).reshape(len(RATES), DRAWS, len(names), 2)
    return names, found, shares


def _corrupted(kind: str, rate: float, y_true, p_weak, mask, u) -> torch.Tensor:
    """The true labels of the samples over tau, corrupted with the uniform numbers u."""
    if kind == OWN:
        return torch.where(u < rate, p_weak.argmax(dim=1), y_true)
    q = y_true.clone()
    q[mask] = corrupt(y_true[mask], rows(kind, rate, y_true[mask], p_weak[mask]), u[mask])
    return q


def kept(dataset: str) -> Path:
    """Where `record` leaves its measurements; the labs are packed from them (benchmarks/record.py)."""
    return Path(__file__).parents[1] / "out" / f"gradients_{dataset}.npz"


def record(dataset: str) -> None:
    """Measure all networks of a data set, one seed per process."""
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=usable_cores())(delayed(_one_seed)(dataset, seed) for seed in SEEDS)
    arrays = {
        "names": np.array(found[0][0]),
        "found": np.stack([f for _, f, _ in found]),
        "shares": np.stack([s for *_, s in found]),
    }
    write_atomically(kept(dataset), lambda f: np.savez_compressed(f, **arrays))


def _one_seed(dataset: str, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    torch.set_num_threads(1)
    parts = [sweep(run) for run in networks(dataset, seed)]
    return (
        parts[0][0],
        np.stack([p[1] for p in parts]).astype(np.float16),
        np.stack([p[2] for p in parts]).astype(np.float16),
    )
