"""Injected noise: exact in expectation, paired, and never clipped."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError, TrainConfig, Variant, train
from layermatch_lite.core.seeding import generator
from layermatch_lite.variants.noise import (
    KINDS,
    Injected,
    class_dependent,
    confusion,
    corrupt,
    low_confidence,
    pair_flip,
    rows,
    uniform,
)

rates = st.floats(0, 1)


def network(seed=0, n=300, C=5, scale=2.0):
    g = torch.Generator().manual_seed(seed)
    p = (scale * torch.randn(n, C, generator=g)).softmax(1)
    return p.argmax(1), p, torch.rand(n, generator=g)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(KINDS), rate=rates, seed=st.integers(0, 50), scale=st.sampled_from([0.1, 2.0, 60.0]))
def test_rows_are_distributions_with_exactly_the_rate(kind, rate, seed, scale):
    labels, p, _ = network(seed, scale=scale)
    r = rows(kind, rate, labels, p)
    assert r.shape == p.shape and (r >= 0).all() and (r <= 1 + 1e-12).all()
    torch.testing.assert_close(r.sum(1), torch.ones(len(p), dtype=torch.float64))
    wrong = 1 - r.gather(1, labels.unsqueeze(1)).squeeze(1)
    assert float(wrong.mean()) == pytest.approx(rate, abs=1e-6)
    if kind != "low_confidence":
        torch.testing.assert_close(wrong, torch.full_like(wrong, rate))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_rows(kind, g):
    labels, p, _ = network(n=40)
    r = rows(kind, 0.4, labels, p)
    n = 4000
    drawn = torch.stack([corrupt(labels, r, torch.rand(40, generator=g, dtype=torch.float64)) for _ in range(n)])
    shares = torch.stack([(drawn == c).double().mean(0) for c in range(5)], dim=1)
    assert (shares - r).abs().max() < 5 * (0.25 / n) ** 0.5  # five standard errors


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), low=rates, high=rates, seed=st.integers(0, 20))
def test_a_higher_rate_hits_the_same_samples_and_more(kind, low, high, seed):
    low, high = sorted((low, high))
    labels, p, u = network(seed)
    hit = [corrupt(labels, rows(kind, rate, labels, p), u) != labels for rate in (low, high)]
    assert (hit[0] <= hit[1]).all()


def test_the_ends():
    labels, p, u = network()
    for kind in KINDS:
        assert torch.equal(corrupt(labels, rows(kind, 0.0, labels, p), u), labels)
        assert (corrupt(labels, rows(kind, 1.0, labels, p), u) != labels).all()


def test_pair_flips_go_to_the_next_class():
    labels, p, u = network()
    assert torch.equal(corrupt(labels, rows("pair", 1.0, labels, p), u), (labels + 1) % 5)
    assert pair_flip(3, 0.25).tolist() == [[0.75, 0.25, 0], [0, 0.75, 0.25], [0.25, 0, 0.75]]
    assert uniform(3, 0.5).tolist() == [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]


def test_confusion_follows_the_network():
    p = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.0, 0.2], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    T = confusion(p.argmax(1), p, 0.5)
    torch.testing.assert_close(T[0], torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(T[1], torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(T[2], torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64))  # nothing to go by: alike


def test_low_confidence_at_a_calibrated_rate_is_calibrated():
    labels, p, _ = network(scale=1.0)
    doubt = 1 - p.double().amax(1)
    r = low_confidence(labels, p, float(doubt.mean()))
    torch.testing.assert_close(1 - r.gather(1, labels.unsqueeze(1)).squeeze(1), doubt, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "half", None])
def test_a_rate_outside_0_to_1(rate):
    labels, p, _ = network()
    for make in (uniform, pair_flip):
        with pytest.raises(InputError, match="rate="):
            make(5, rate)
    for make in (confusion, low_confidence):
        with pytest.raises(InputError, match="rate="):
            make(labels, p, rate)


@pytest.mark.parametrize(
    "matrix, words",
    [
        ([[0.9, 0.2], [0.1, 0.9]], "row 0 of the noise matrix sums to 1.1"),
        ("0.9 0.1; 0.3 0.6", "row 1 of the noise matrix sums to 0.9"),
        ([[1.1, -0.1], [0, 1]], r"row 0 of the noise matrix is \[1.1, -0.1\]; .* in \[0, 1\]"),
        ([[float("nan"), 1], [0, 1]], r"row 0 of the noise matrix is \[nan, 1.0\]"),
        ([[0.5, 0.5]], "square"),
        ([[1.0]], "square"),
        ("0.9 0.1; 1", "not a noise matrix"),
        ("a b; c d", "not a noise matrix"),
    ],
)
def test_a_matrix_that_is_none(matrix, words):
    with pytest.raises(InputError, match=words):
        class_dependent(matrix)


def test_a_matrix_as_text_or_numbers():
    T = class_dependent("0.9 0.1; 0.2, 0.8")
    assert torch.equal(T, class_dependent([[0.9, 0.1], [0.2, 0.8]]))
    labels = torch.tensor([0, 0, 1, 1])
    assert corrupt(labels, T[labels], torch.tensor([0.89, 0.91, 0.79, 0.81])).tolist() == [0, 1, 1, 0]
    for wrong in (lambda: rows(T, 0.0, *network()[:2]), lambda: Injected("0.9 0.1; 0.2 0.8", 0.0, 0, 50, 5)):
        with pytest.raises(InputError, match="2 x 2, but there are 5 classes"):
            wrong()
    with pytest.raises(InputError, match="do not fit"):
        corrupt(labels, T, torch.rand(4))


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(noise="salt", noise_rate=0.1), "noise='salt' is unknown"),
        (dict(noise="uniform", noise_rate=1.5), "noise_rate=1.5"),
        (dict(noise_rate=0.1), "noise_rate=0.1 needs a kind"),
        (dict(noise="pair"), "noise='pair' needs a rate"),
        (dict(grad_relu="gate", blocked="classifier"), "leaves the gate nothing"),
        (dict(noise="0.9 0.1; 0.2 0.8", noise_rate=0.1), "no meaning beside a noise matrix"),
        (dict(noise="0.9 0.1; 0.2 0.7"), "row 1"),
        (dict(noise="uniform", noise_rate=0.1, method="supervised"), "no unlabelled loss for noise"),
    ],
)
def test_settings_that_make_no_noise(settings, words):
    with pytest.raises(InputError, match=words):
        TrainConfig.from_dict(settings)


def test_noise_belongs_to_the_sample_for_good():
    labels, p, _ = network(n=50)
    noise = Injected("uniform", 0.5, seed=3, size=50, num_classes=5)
    i = torch.arange(50)
    first = noise(labels, p, i)
    backwards = noise(labels.flip(0), p.flip(0), i.flip(0)).flip(0)
    assert torch.equal(first, backwards) and torch.equal(first, Injected("uniform", 0.5, 3, 50, 5)(labels, p, i))
    assert not torch.equal(first, Injected("uniform", 0.5, 4, 50, 5)(labels, p, i))


def test_training_with_noise():
    """All labels spoiled: none is right but by luck. Two methods of one seed see the same samples hit."""
    small = dict(dataset="blobs", num_labels=4, threshold=0.0, steps=4, batch_size=8, log_every=4, device="cpu")
    right = {
        rate: train(TrainConfig(method="fixmatch", variant=Variant(noise="pair", noise_rate=rate), **small)).history[-1]
        for rate in (0.0, 1.0)
    }
    plain = train(TrainConfig(method="fixmatch", **small)).history[-1]
    assert right[0.0]["pseudo_label_accuracy"] == plain["pseudo_label_accuracy"]
    assert right[0.0]["loss_u"] == plain["loss_u"] != right[1.0]["loss_u"]
    seen = {}
    for method in ("fixmatch", "layermatch"):
        history = train(
            TrainConfig(
                method=method, variant=Variant(noise="uniform", noise_rate=0.5), **small | {"steps": 1, "log_every": 1}
            )
        ).history
        seen[method] = history[0]["pseudo_label_counts"]
    assert seen["fixmatch"] == seen["layermatch"]


def test_noise_reaches_the_probe():
    small = dict(dataset="blobs", num_labels=4, threshold=0.0, steps=2, batch_size=8, probe_every=2, device="cpu")
    clean, corrupted = (
        train(TrainConfig(method="fixmatch", **small, variant=Variant(**noise))).history[-1]["layer_benefit"][0]["wrong_rate"]
        for noise in ({}, {"noise": "pair", "noise_rate": 1.0})
    )
    assert corrupted > clean or clean > 0.5


@pytest.mark.parametrize("kind", [*KINDS, "0 1 0 0 0; 0 0 1 0 0; 0 0 0 1 0; 0 0 0 0 1; 1 0 0 0 0"])
def test_injected_noise_is_that_of_its_rows(kind):
    labels, p, _ = network(n=80)
    rate = 0.6 if kind in KINDS else 0.0
    corrupted = Injected(kind, rate, 0, 80, 5)(labels, p, torch.arange(80))
    u = torch.rand(80, generator=generator(0, "noise"))
    assert torch.equal(corrupted, corrupt(labels, rows(kind, rate, labels, p), u))
    assert (corrupted != labels).any()
