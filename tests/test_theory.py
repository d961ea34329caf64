"""The closed forms of the derivation against autograd."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import figures
from layermatch_lite.core import theory
from layermatch_lite.core.losses import masked_cross_entropy


def example(seed, n=9, d=4, c=5):
    g = torch.Generator().manual_seed(seed)
    z, W = (torch.randn(k, d, generator=g, dtype=torch.float64) for k in (n, c))
    q, y = (torch.randint(c, (n,), generator=g) for _ in range(2))
    return z, W, q, y, torch.rand(n, generator=g) < 0.6, (z @ W.T).softmax(1)


def autograd(z, W, labels, mask):
    z, W = z.clone().requires_grad_(), W.clone().requires_grad_()
    return torch.autograd.grad(masked_cross_entropy(z @ W.T, labels, mask), (W, z))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_closed_forms_equal_autograd(seed):
    z, W, q, y, a, p = example(seed)
    of_W, of_z = autograd(z, W, q, a)
    torch.testing.assert_close(theory.classifier_gradient(z, p, q, a), of_W)
    torch.testing.assert_close(theory.feature_gradient(W, p, q, a), of_z)
    for split, whole, clean in zip(
        (theory.split_classifier_gradient(z, p, q, y, a), theory.split_feature_gradient(W, p, q, y, a)),
        (of_W, of_z),
        autograd(z, W, y, a),
    ):
        torch.testing.assert_close(split[0] + split[1], whole)
        torch.testing.assert_close(split[0], clean)


def test_without_a_mask_all_samples_count():
    z, W, q, y, _, p = example(0)
    everyone = torch.ones(len(z), dtype=torch.bool)
    for f, other in ((theory.classifier_gradient, z), (theory.feature_gradient, W)):
        torch.testing.assert_close(f(other, p, q), f(other, p, q, everyone))
    for f, other in ((theory.split_classifier_gradient, z), (theory.split_feature_gradient, W)):
        torch.testing.assert_close(f(other, p, q, y), f(other, p, q, y, everyone))


def test_the_bias_is_one_more_column():
    z, W, q, *_, a, p = example(1)
    b = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    (of_b,) = torch.autograd.grad(masked_cross_entropy(F.linear(z, W, b), q, a), b)
    torch.testing.assert_close(theory.classifier_gradient(theory.with_bias(z), p, q, a)[:, -1], of_b)


def test_an_error_is_local_in_the_features_and_shared_in_the_centres():
    z, W, _, y, _, p = example(2)
    q = y.clone()
    q[3] = (y[3] + 1) % 5
    assert theory.split_feature_gradient(W, p, q, y)[1].norm(dim=1).nonzero().squeeze().tolist() == 3
    touched = theory.split_classifier_gradient(z, p, q, y)[1].norm(dim=1).nonzero().squeeze(1).tolist()
    assert touched == sorted([int(y[3]), int(q[3])])


def test_the_toy_is_seeded_and_has_wrong_labels():
    z, y, W = figures.toy(seed=1)
    assert torch.equal(z, figures.toy(seed=1)[0]) and not torch.equal(z, figures.toy(seed=2)[0])
    assert 0 < float(((z @ W.T).argmax(1) != y).float().mean()) < 0.5
    assert y.bincount().tolist() == [8, 8, 8] and W.shape == (3, 2)


@pytest.mark.parametrize("seed", range(3))
def test_right_labels_make_no_noise(seed):
    z, W, _, y, a, p = example(seed)
    assert theory.split_classifier_gradient(z, p, y, y, a)[1].abs().max() == 0
    assert theory.split_feature_gradient(W, p, y, y, a)[1].abs().max() == 0
