"""The layer benefit against its definition, and what it must leave untouched."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layermatch_lite import SmallCNN1d, layer_benefit
from layermatch_lite.models import init_weights

B, N, C = 12, 40, 4


@pytest.fixture
def example(g):
    model = SmallCNN1d(num_classes=C).double()
    init_weights(model, g)
    draw = lambda n: torch.randn(n, 1, 40, generator=g, dtype=torch.float64)
    weak = draw(N)
    return dict(
        model=model,
        x=draw(B),
        y=torch.randint(C, (B,), generator=g),
        weak=weak,
        strong=weak + 0.3 * draw(N),
        y_true=torch.randint(C, (N,), generator=g),
        generator=g,
        threshold=0.4,
    )


def by_hand(model, x, y, weak, strong, y_true, threshold, subset, **_):
    """The gradients of the definition, each from a forward pass of its own."""

    def forward():
        return model(torch.cat([x, weak, strong])).split([B, N, N])

    p = forward()[1].softmax(1).detach()
    q, a = p.argmax(1), (p.amax(1) >= threshold).double()
    one = torch.ones_like(a)

    def gradient(labels, samples):
        loss = (F.cross_entropy(forward()[2], labels, reduction="none") * samples).mean()
        return layerwise(loss)

    def layerwise(loss):
        gradients = dict(
            zip([n for n, _ in model.named_parameters()], torch.autograd.grad(loss, list(model.parameters())))
        )
        layers = dict.fromkeys(n.split(".")[0] for n in gradients)
        return {k: torch.cat([g.flatten() for n, g in gradients.items() if n.split(".")[0] == k]) for k in layers}

    at_random = torch.zeros_like(a)
    at_random[torch.randperm(N, generator=subset)[: int(a.sum())]] = 1
    wrong = float((q != y_true)[a > 0].double().mean())
    labelled = layerwise(F.cross_entropy(forward()[0], y))
    four = gradient(q, a), gradient(y_true, a), gradient(q, one), gradient(y_true, one)
    return *four, labelled, gradient(y_true, at_random), float(a.mean()), wrong


def test_every_quantity_equals_its_definition(example):
    subset = torch.Generator()
    subset.set_state(example["generator"].get_state())  # to draw the control's subset once more
    rows = {r["layer"]: r for r in layer_benefit(**example)}
    example["model"].train()
    pseudo_masked, true_masked, pseudo_all, true_all, labelled, true_random, mask, wrong = by_hand(
        **example, subset=subset
    )
    assert list(rows) == ["conv1", "conv2", "conv3", "fc", "classifier"]
    cos = lambda a, b: float(F.cosine_similarity(a, b, dim=0))
    for k, row in rows.items():
        assert 0 < row["mask_rate"] < 1
        assert row["benefit"] == pytest.approx(float(pseudo_masked[k] @ true_masked[k] / true_masked[k].square().sum()))
        assert row["alignment"] == pytest.approx(cos(pseudo_masked[k], true_all[k]))
        assert row["alignment_true_masked"] == pytest.approx(cos(true_masked[k], true_all[k]))
        assert row["alignment_pseudo_all"] == pytest.approx(cos(pseudo_all[k], true_all[k]))
        assert row["alignment_true_random"] == pytest.approx(cos(true_random[k], true_all[k]))
        assert row["mask_rate"] == pytest.approx(mask) and row["wrong_rate"] == pytest.approx(wrong)
        assert row["norm_true"] == pytest.approx(float(true_masked[k].norm()))
        assert row["interference"] == pytest.approx(cos(pseudo_masked[k], labelled[k]))
        assert row["norm_pseudo"] == pytest.approx(float(pseudo_masked[k].norm()))
        assert row["norm_labelled"] == pytest.approx(float(labelled[k].norm()))


def test_right_labels_have_benefit_one(example):
    model = example["model"].train()
    with torch.no_grad():
        example["y_true"] = model(torch.cat([example["x"], example["weak"], example["strong"]]))[B : B + N].argmax(1)
    for row in layer_benefit(**example):
        assert row["benefit"] == pytest.approx(1) and row["wrong_rate"] == 0


def test_the_random_control_of_a_full_mask_is_everybody(example):
    for row in layer_benefit(**example | {"threshold": 0.0}):
        assert row["alignment_true_random"] == pytest.approx(1) and row["alignment_true_masked"] == pytest.approx(1)


def test_an_empty_mask_is_flagged_and_finite(example):
    for row in layer_benefit(**example | {"threshold": 1.0}):
        assert (
            row["empty"] and row["benefit"] == row["alignment"] == row["norm_pseudo"] == 0 and row["wrong_rate"] is None
        )
        assert all(v == v for v in row.values())


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_everything_as_it_was(example, training):
    model = example["model"].train(training)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.random.get_rng_state()
    layer_benefit(**example)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training is training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_frozen_layer_is_left_out(example):
    example["model"].conv1.requires_grad_(False)
    assert [r["layer"] for r in layer_benefit(**example)] == ["conv2", "conv3", "fc", "classifier"]


def test_a_model_of_your_own(example):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(40, 6), nn.BatchNorm1d(6), nn.ReLU())
            self.classifier = nn.Linear(6, C, bias=False)

        def features(self, x):
            return self.body(x)

    assert [r["layer"] for r in layer_benefit(**example | {"model": Own().double()})] == ["body", "classifier"]
