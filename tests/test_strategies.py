"""The gate and the averaged centres against their formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from layermatch_lite import AvgClustering, InputError, gate

vectors = st.integers(0, 10_000).map(
    lambda s: torch.randn(2, 9, generator=torch.Generator().manual_seed(s), dtype=torch.float64)
)


@given(vectors)
@settings(deadline=None)  # a busy machine proves nothing
def test_gate_equals_its_formula(pair):
    g_u, g_s = pair
    alpha = float(g_u @ g_s) / float(g_s @ g_s)
    torch.testing.assert_close(gate(g_u, g_s), g_u - min(alpha, 0.0) * g_s)


@given(vectors)
@settings(deadline=None)  # a busy machine proves nothing
def test_gate_leaves_nothing_against_the_labelled_gradient(pair):
    g_u, g_s = pair
    assert gate(g_u, g_s) @ g_s >= -1e-12


@given(vectors)
@settings(deadline=None)  # a busy machine proves nothing
def test_gate_changes_nothing_where_the_gradients_agree(pair):
    g_u, g_s = pair
    if g_u @ g_s < 0:
        g_u = -g_u
    assert torch.equal(gate(g_u, g_s), g_u)


def test_gate_with_a_zero_labelled_gradient():
    g_u = torch.tensor([1.0, -2.0])
    assert torch.equal(gate(g_u, torch.zeros(2)), g_u)


@pytest.mark.parametrize("g_u, g_s", [(torch.zeros(2), torch.zeros(3)), (torch.zeros(2, 2), torch.zeros(2, 2))])
def test_gate_wants_flat_vectors(g_u, g_s):
    with pytest.raises(InputError, match="g_[us] is float32 tensor of shape"):
        gate(g_u, g_s)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99])
def test_centers_follow_their_recurrence(momentum):
    classifier = nn.Linear(5, 3).double()
    centers = AvgClustering(classifier, momentum=momentum)
    W, b = classifier.weight.detach().clone(), classifier.bias.detach().clone()
    assert torch.equal(centers.weight, W) and torch.equal(centers.bias, b), "they start at W and b"
    for t in range(40):
        with torch.no_grad():
            for p in classifier.parameters():
                p += torch.randn_like(p)
        centers.update(classifier)
        m = min(momentum, (1 + t) / (10 + t))
        W, b = m * W + (1 - m) * classifier.weight.detach(), m * b + (1 - m) * classifier.bias.detach()
        torch.testing.assert_close(centers.weight, W)
        torch.testing.assert_close(centers.bias, b)


def test_centers_are_never_trained_and_travel_in_a_state_dict():
    classifier = nn.Linear(5, 3)
    centers = AvgClustering(classifier, momentum=0.9)
    assert not list(centers.parameters())
    for _ in range(3):
        nn.init.normal_(classifier.weight)
        centers.update(classifier)
    copy = AvgClustering(nn.Linear(5, 3), momentum=0.9)
    copy.load_state_dict(centers.state_dict())
    nn.init.normal_(classifier.weight)
    centers.update(classifier)
    copy.update(classifier)  # the same only if the warm-up's count travelled too
    assert torch.equal(copy.weight, centers.weight)


@pytest.mark.parametrize("momentum", [1.0, -0.1, float("nan"), "0.9", True])
def test_momentum_outside_its_range(momentum):
    with pytest.raises(InputError, match="momentum"):
        AvgClustering(nn.Linear(2, 2), momentum=momentum)
