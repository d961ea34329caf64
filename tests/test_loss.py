"""The losses against plain autograd: which gradient reaches which layer."""

import importlib
import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from layermatch_lite import AvgClustering, InputError, SmallCNN1d, fixmatch_loss, pseudo_label_loss

N, D, C = 24, 7, 4


def example(seed=0, dtype=torch.float64, threshold=0.5):
    """Features that need gradients, a classifier, and centres that have moved away from it."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)
    classifier = nn.Linear(D, C).to(dtype)
    classifier.load_state_dict({"weight": draw(C, D), "bias": draw(C)})
    centers = AvgClustering(classifier, momentum=0.9)
    centers.weight += 0.3 * draw(C, D)
    centers.bias += 0.3 * draw(C)
    return draw(N, D).requires_grad_(), draw(N, D).requires_grad_(), classifier, centers


def plain_fixmatch(z_weak, z_strong, W, b, threshold=0.5):
    """Written once more from the definition, sample by sample."""
    total = 0.0
    for i in range(len(z_weak)):
        p = torch.softmax(W @ z_weak[i] + b, dim=0).detach()
        if p.max() >= threshold:
            total = total - torch.log_softmax(W @ z_strong[i] + b, dim=0)[p.argmax()]
    return total / len(z_weak)


def gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors, allow_unused=True, retain_graph=True)


def zero_or_none(gradient):
    return gradient is None or not gradient.any()


def test_fixmatch_equals_its_definition():
    z_weak, z_strong, classifier, _ = example()
    out = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
    plain = plain_fixmatch(z_weak, z_strong, classifier.weight, classifier.bias)
    assert 0 < out.mask.sum() < N, "the example must have samples on both sides of the threshold"
    wanted = (z_strong, classifier.weight, classifier.bias)
    torch.testing.assert_close(out.loss, plain)
    torch.testing.assert_close(gradients(out.loss, *wanted), gradients(plain, *wanted))
    assert zero_or_none(gradients(out.loss, z_weak)[0]), "no gradient flows through labels and mask"


def test_both_strategies_off_is_fixmatch_exactly():
    z_weak, z_strong, classifier, _ = example()
    ours = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="off")
    plain = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
    wanted = (z_strong, classifier.weight, classifier.bias)
    assert torch.equal(ours.loss, plain.loss)
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours.loss, *wanted), gradients(plain.loss, *wanted)))


def test_block_keeps_the_classifier_out_and_the_features_unchanged():
    z_weak, z_strong, classifier, _ = example()
    ours = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="block")
    plain = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
    assert torch.equal(ours.loss, plain.loss)
    g_z, g_W, g_b = gradients(ours.loss, z_strong, classifier.weight, classifier.bias)
    assert zero_or_none(g_W) and zero_or_none(g_b)
    assert torch.equal(g_z, gradients(plain.loss, z_strong)[0])


def test_block_gives_every_feature_parameter_fixmatchs_gradient(g):
    model = SmallCNN1d(num_classes=C).double()
    x = torch.randn(2 * N, 1, 40, generator=g, dtype=torch.float64)
    z_weak, z_strong = model.features(x).split(N)
    body = [p for name, p in model.named_parameters() if not name.startswith("classifier")]
    plain = fixmatch_loss(z_weak, z_strong, model.classifier, threshold=0.3)
    ours = pseudo_label_loss(z_weak, z_strong, model.classifier, threshold=0.3, grad_relu="block")
    assert plain.mask.any()
    assert all(torch.equal(a, b) for a, b in zip(gradients(ours.loss, *body), gradients(plain.loss, *body)))
    assert all(map(zero_or_none, gradients(ours.loss, *model.classifier.parameters())))


def test_avg_clustering_without_grad_relu_splits_the_gradient():
    """Classifier: FixMatch's gradient at W. Features: the gradient at the averaged centres."""
    z_weak, z_strong, classifier, centers = example()
    out = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="off", centers=centers)
    at_W = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
    at_centers = (
        F.cross_entropy(z_strong @ centers.weight.T + centers.bias, at_W.labels, reduction="none") * at_W.mask
    ).mean()
    g_z, g_W, g_b = gradients(out.loss, z_strong, classifier.weight, classifier.bias)
    torch.testing.assert_close(g_z, gradients(at_centers, z_strong)[0])
    torch.testing.assert_close((g_W, g_b), gradients(at_W.loss, classifier.weight, classifier.bias))
    torch.testing.assert_close(out.loss, at_centers)
    assert torch.equal(out.labels, at_W.labels) and torch.equal(out.mask, at_W.mask), "labels come from the current W"
    assert not torch.allclose(g_z, gradients(at_W.loss, z_strong)[0]), "the example's centres must differ from W"


def test_layermatch_is_the_feature_term_alone():
    z_weak, z_strong, classifier, centers = example()
    both = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="off", centers=centers)
    ours = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu="block", centers=centers)
    assert torch.equal(ours.loss, both.loss)
    torch.testing.assert_close(gradients(ours.loss, z_strong), gradients(both.loss, z_strong))
    assert all(map(zero_or_none, gradients(ours.loss, *classifier.parameters())))


def test_labels_from_centers():
    z_weak, z_strong, classifier, centers = example()
    out = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, centers=centers, labels_from="centers")
    p = torch.softmax(z_weak @ centers.weight.T + centers.bias, dim=1)
    assert torch.equal(out.labels, p.argmax(1))
    assert torch.equal(out.mask, p.amax(1) >= 0.5)
    torch.testing.assert_close(out.confidence, p.amax(1).detach())


@given(seed=st.integers(0, 10_000), threshold=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_closed_forms_of_the_gradients(seed, threshold):
    """dL/dW = sum_i a_i (p_i - e_q) z_i^T / N and dL/dz_i = a_i W^T (p_i - e_q) / N."""
    z_weak, z_strong, classifier, _ = example(seed)
    out = fixmatch_loss(z_weak, z_strong, classifier, threshold=threshold)
    W, b = classifier.weight, classifier.bias
    p = torch.softmax(z_strong @ W.T + b, dim=1)
    error = out.mask.unsqueeze(1) * (p - F.one_hot(out.labels, C)) / N
    torch.testing.assert_close(gradients(out.loss, z_strong, W, b), (error @ W, error.T @ z_strong, error.sum(0)))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_wrong_label_adds_the_noise_term(seed):
    """For q != y the gradient is the clean one plus (e_y - e_q) z^T in the classifier and w_y - w_q in the features."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(D, generator=g, dtype=torch.float64, requires_grad=True)
    W = torch.randn(C, D, generator=g, dtype=torch.float64, requires_grad=True)
    y, q = torch.randperm(C, generator=g)[:2]
    wrong = gradients(F.cross_entropy(W @ z, q), W, z)
    clean = gradients(F.cross_entropy(W @ z, y), W, z)
    difference = F.one_hot(y, C) - F.one_hot(q, C)
    torch.testing.assert_close(wrong[0], clean[0] + torch.outer(difference.double(), z))
    torch.testing.assert_close(wrong[1], clean[1] + W[y] - W[q])


@given(seed=st.integers(0, 1000), low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_higher_threshold_never_adds_samples(seed, low, high):
    z_weak, z_strong, classifier, _ = example(seed)
    low, high = sorted((low, high))
    loose = fixmatch_loss(z_weak, z_strong, classifier, threshold=low)
    strict = fixmatch_loss(z_weak, z_strong, classifier, threshold=high)
    assert not (strict.mask & ~loose.mask).any()
    assert strict.loss <= loose.loss


def test_the_mean_runs_over_all_samples_and_the_mask_selects():
    z_weak, z_strong, classifier, _ = example()
    out = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
    each = F.cross_entropy(classifier(z_strong), out.labels, reduction="none")
    torch.testing.assert_close(out.loss, each[out.mask].sum() / N)
    assert torch.equal(out.mask, out.confidence >= 0.5)


@pytest.mark.parametrize("with_centers", [False, True])
@pytest.mark.parametrize("grad_relu", ["off", "block"])
def test_an_empty_mask_is_a_zero_loss(grad_relu, with_centers):
    z_weak, z_strong, classifier, centers = example()
    out = pseudo_label_loss(
        z_weak, z_strong, classifier, threshold=1.0, grad_relu=grad_relu, centers=centers if with_centers else None
    )
    assert out.loss == 0 and not out.mask.any()
    assert zero_or_none(gradients(out.loss, z_strong)[0])


@pytest.mark.parametrize(
    "dtype, expected", [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_losses_and_softmax_in_at_least_float32(dtype, expected):
    z_weak, z_strong, classifier, _ = example(dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    z_weak, z_strong = z_weak.detach().to(dtype), z_strong.detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        for grad_relu in ("off", "block"):
            out = pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu=grad_relu)
            assert out.loss.dtype == out.confidence.dtype == expected
            assert out.labels.dtype == torch.int64 and out.mask.dtype == torch.bool


def test_a_classifier_without_bias():
    z_weak, z_strong, with_bias, _ = example()
    classifier = nn.Linear(D, C, bias=False).double()
    classifier.load_state_dict({"weight": with_bias.weight.detach()})
    centers = AvgClustering(classifier)
    assert centers.bias is None
    centers.update(classifier)
    for grad_relu, c in itertools.product(("off", "block"), (None, centers)):
        assert pseudo_label_loss(z_weak, z_strong, classifier, threshold=0.5, grad_relu=grad_relu, centers=c).loss > 0


@pytest.mark.parametrize(
    "wrong, named",
    [
        (dict(grad_relu="gate"), "training step"),
        (dict(grad_relu="on"), "'on'"),
        (dict(labels_from="centers"), "AvgClustering"),
        (dict(labels_from="teacher"), "'teacher'"),
        (dict(threshold=1.5), "1.5"),
        (dict(threshold=float("nan")), "nan"),
    ],
)
def test_wrong_arguments(wrong, named):
    z_weak, z_strong, classifier, _ = example()
    with pytest.raises(InputError, match=named) as caught:
        pseudo_label_loss(z_weak, z_strong, classifier, **wrong)
    assert isinstance(caught.value, ValueError)
    for module, name in re.findall(r"(layermatch_lite[\w.]*)\.(\w+)", str(caught.value)):
        assert hasattr(importlib.import_module(module), name), "what the message names exists"
