"""FreeMatch: its formulas, written once more from the paper, and its combination with the two strategies."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loss import C, N, example, gradients

from layermatch_lite import (
    FreeMatch,
    InputError,
    Run,
    TrainConfig,
    fixmatch_loss,
    pseudo_label_loss,
    train,
    train_steps,
)
from layermatch_lite.core.losses import linear, masked_cross_entropy, pseudo_label, unlabelled_loss
from layermatch_lite.variants.freematch import fairness_loss
from layermatch_lite.variants.layers import RescaledCenters, WeightedClassifier

seeds = st.integers(0, 10_000)


def logits(seed, scale=2.0, dtype=torch.float64):
    return scale * torch.randn(N, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.999])
def test_the_averages_follow_their_recurrences(momentum):
    """tau, p and h, step by step in NumPy: started at 1/C, fed with means over the batch."""
    freematch = FreeMatch(C, momentum)
    tau, p, h = 1 / C, np.full(C, 1 / C), np.full(C, 1 / C)
    for t in range(5):
        freematch.update(logits(t))
        q = np.exp(logits(t).numpy())
        q /= q.sum(axis=1, keepdims=True)
        tau = momentum * tau + (1 - momentum) * q.max(axis=1).mean()
        p = momentum * p + (1 - momentum) * q.mean(axis=0)
        h = momentum * h + (1 - momentum) * np.bincount(q.argmax(axis=1), minlength=C) / N
        np.testing.assert_allclose(freematch.tau, tau, rtol=1e-6)
        np.testing.assert_allclose(freematch.p, p, rtol=1e-6)
        np.testing.assert_allclose(freematch.h, h, rtol=1e-6)
        np.testing.assert_allclose(freematch.thresholds, p / p.max() * tau, rtol=1e-6)


@given(seeds, st.floats(0, 0.99))
@settings(max_examples=30, deadline=None)
def test_thresholds_stay_between_zero_and_tau_and_one_class_has_it_whole(seed, momentum):
    freematch = FreeMatch(C, momentum)
    freematch.update(logits(seed))
    assert (freematch.thresholds >= 0).all() and freematch.tau <= 1
    torch.testing.assert_close(freematch.thresholds.max(), freematch.tau)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_fairness_term_equals_its_formula(seed):
    g = torch.Generator().manual_seed(seed)
    strong, mask = logits(seed), torch.rand(N, generator=g) < 0.6
    p, h = torch.rand(2, C, generator=g, dtype=torch.float64) + 0.01
    norm = lambda v: v / v.sum()
    q = torch.softmax(strong, dim=1)[mask]
    p_bar = q.mean(dim=0)
    h_bar = torch.bincount(q.argmax(dim=1), minlength=C) / len(q)
    r = torch.where(h_bar > 0, p_bar / h_bar, 0.0)  # as in the authors' code
    expected = (norm(p / h) * (norm(r) + 1e-12).log()).sum()
    torch.testing.assert_close(fairness_loss(strong, mask, p, h), expected)


def test_the_gradient_of_the_fairness_term():
    strong, mask = logits(3).requires_grad_(), torch.arange(N) % 3 > 0
    p, h = torch.rand(2, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    assert torch.autograd.gradcheck(lambda s: fairness_loss(s, mask, p, h), strong)
    (g,) = torch.autograd.grad(fairness_loss(strong, mask, p, h), strong)
    assert (g[~mask] == 0).all() and (g[mask] != 0).any()


def test_an_empty_mask_and_absent_classes_give_finite_numbers():
    strong, p = logits(0).requires_grad_(), torch.full((C,), 1 / C, dtype=torch.float64)
    nothing = fairness_loss(strong, torch.zeros(N, dtype=torch.bool), p, p)
    assert nothing == 0 and (torch.autograd.grad(nothing, strong)[0] == 0).all()
    one = (strong * 0 + F.one_hot(torch.zeros(N, dtype=torch.long), C)).double()
    for h in (torch.zeros(C), torch.tensor([0.5, 0.5, 1e-44, 0.0])):  # a class long absent: its average shrinks to almost nothing
        L = fairness_loss(one.float(), torch.ones(N, dtype=torch.bool), p.float(), h)
        assert L.isfinite() and torch.autograd.grad(L, strong, retain_graph=True)[0].isfinite().all()


def test_each_class_has_its_own_threshold():
    z_weak, z_strong, classifier, _ = example()
    confidence, labels = linear(z_weak, classifier.weight, classifier.bias).softmax(dim=1).max(dim=1)
    thresholds = torch.tensor([0.2, 0.5, 0.7, 1.0])
    for out in (
        fixmatch_loss(z_weak, z_strong, classifier, threshold=thresholds),
        pseudo_label_loss(z_weak, z_strong, classifier, threshold=thresholds),
    ):
        assert (out.mask == (confidence >= thresholds[labels])).all() and 0 < out.mask.sum() < N


def test_it_combines_with_both_strategies():
    """One more term for the features, seen through V, and for the classifier where Grad-ReLU lets it through."""
    z_weak, z_strong, classifier, centers = example()
    freematch = FreeMatch(C, 0.5, weight=0.3)
    freematch.update(linear(z_weak, classifier.weight, classifier.bias))
    q = pseudo_label(linear(z_weak, classifier.weight, classifier.bias), freematch.thresholds)
    W, b = classifier.weight, classifier.bias

    def term(z, V, v):
        s = linear(z, V, v)
        return masked_cross_entropy(s, q.labels, q.mask) + 0.3 * fairness_loss(s, q.mask, freematch.p, freematch.h)

    for grad_relu in ("off", "block"):
        for c in (None, centers):
            loss = unlabelled_loss(z_strong, classifier, q, grad_relu=grad_relu, centers=c, term=freematch.term)
            V, v = (W.detach(), b.detach()) if c is None else (c.weight, c.bias)
            torch.testing.assert_close(loss, term(z_strong, V, v))
            (wanted,) = torch.autograd.grad(term(z_strong, V, v), z_strong)
            shielded = grad_relu == "block"
            g_z, g_W, g_b = gradients(loss, z_strong, W, b)
            torch.testing.assert_close(g_z, wanted)
            if shielded:
                assert g_W is None and g_b is None
            else:
                g = torch.autograd.grad(term(z_strong.detach(), W, b), (W, b))
                torch.testing.assert_close((g_W, g_b), g)


def test_a_smaller_weight_in_the_classifier_alone():
    z_weak, z_strong, classifier, _ = example()
    W, less = classifier.weight, WeightedClassifier(classifier, 0.5)
    less.weight = 0.25
    plain = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="off")
    loss = less.loss(z_strong, less.pseudo_label(z_weak, None))
    (z, w), (z_less, w_less) = gradients(plain.loss, z_strong, W), gradients(loss, z_strong, W)
    torch.testing.assert_close(z_less, z)
    torch.testing.assert_close(w_less, 0.25 * w)
    assert loss == plain.loss


def test_rescaled_centers_have_the_lengths_of_w_and_their_own_directions():
    *_, classifier, averaged = example()
    centers = RescaledCenters(classifier)
    centers.load_state_dict(averaged.state_dict())
    V, v = centers.targets(classifier)
    torch.testing.assert_close(V.norm(dim=1), classifier.weight.detach().norm(dim=1))
    torch.testing.assert_close(F.normalize(V), F.normalize(centers.weight))
    assert v is centers.bias


def test_thresholds_of_another_number_of_classes():
    z_weak, z_strong, classifier, _ = example()
    with pytest.raises(InputError, match=rf"shape \(3,\).*{C} classes"):
        pseudo_label_loss(z_weak, z_strong, classifier, threshold=torch.ones(3))


@pytest.mark.parametrize("wrong", [dict(momentum=1.0), dict(momentum=-0.1), dict(weight=-1.0)])
def test_settings_outside_their_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        FreeMatch(C, **wrong)


SHORT = dict(dataset="two_moons", num_labels=4, batch_size=8, mu=2, steps=12, log_every=4, threshold_momentum=0.8, device="cpu")


@pytest.mark.parametrize(
    "more", [{}, dict(grad_relu="gate"), dict(grad_relu="block", avg_clustering=True), dict(fairness=0.0)], ids=str
)
def test_a_resumed_run_is_an_uninterrupted_one(tmp_path, more):
    """The averages belong to the checkpoint: same history, same weights, same thresholds."""
    config = TrainConfig.from_dict(dict(method="freematch") | SHORT | more)
    whole = train(config)
    for run in train_steps(config):
        if run.step == 8:
            run.save(tmp_path / "run.pt")
            break
    resumed = train(resume=tmp_path / "run.pt")
    assert resumed.history == whole.history
    assert torch.equal(resumed.freematch.thresholds, whole.freematch.thresholds)
    assert Run.load(tmp_path / "run.pt").freematch.momentum == 0.8
    assert whole.history[-1]["thresholds"] == whole.freematch.thresholds.tolist() != whole.history[0]["thresholds"]


def test_the_fairness_term_changes_the_run_and_only_where_it_is_on():
    runs = [train(TrainConfig.from_dict(SHORT | more)) for more in (
        dict(method="freematch", fairness=0.5), dict(method="freematch", fairness=0.0), dict(method="fixmatch", fairness=0.5),
        dict(method="fixmatch"),
    )]  # fmt: skip
    losses = [r.history[-1]["loss_u"] for r in runs]
    assert losses[0] != losses[1] and losses[2] == losses[3]
    assert runs[2].freematch is None and "thresholds" not in runs[2].history[-1]


@pytest.mark.parametrize(
    "settings, named",
    [
        (dict(method="supervised", freematch=True), "freematch"),
        (dict(method="fixmatch", rescale_centers=True), "rescale_centers=True needs the averaged centres"),
        (dict(method="layermatch", classifier_weight=0.5), "classifier_weight=0.5"),
        (dict(threshold_momentum=1.0), "threshold_momentum=1.0"),
        (dict(fairness=-1.0), "fairness=-1.0"),
    ],
)
def test_settings_that_contradict(settings, named):
    with pytest.raises(InputError, match=named):
        TrainConfig.from_dict(settings)
