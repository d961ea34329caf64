"""The layer benefit against its definition, and what it must leave untouched."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layermatch_lite import InputError, SmallCNN1d, WideResNet, layer_benefit
from layermatch_lite.core.probe import measure
from layermatch_lite.core.theory import split_classifier_gradient, with_bias
from layermatch_lite.models import init_weights, layers
from layermatch_lite.variants.known_errors import benefit_under_noise

B, N, C = 12, 40, 4
NAMES = ["conv 1", "conv 2", "conv 3", "fc", "classifier"]


def records(example):
    return layer_benefit(**example).to_dict("records")


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
    rows = {r["layer"]: r for r in records(example)}
    example["model"].train()
    pseudo_masked, true_masked, pseudo_all, true_all, labelled, true_random, mask, wrong = by_hand(
        **example, subset=subset
    )
    assert list(rows) == NAMES
    cos = lambda a, b: float(F.cosine_similarity(a, b, dim=0))
    for name, k in zip(NAMES, ("conv1", "conv2", "conv3", "fc", "classifier")):
        row = rows[name]
        assert 0 < row["mask_rate"] < 1
        assert row["benefit"] == pytest.approx(float(pseudo_masked[k] @ true_masked[k] / true_masked[k].square().sum()))
        assert row["cosine"] == pytest.approx(cos(pseudo_masked[k], true_masked[k]))
        assert row["alignment"] == pytest.approx(cos(pseudo_masked[k], true_all[k]))
        assert row["alignment_true_masked"] == pytest.approx(cos(true_masked[k], true_all[k]))
        assert row["alignment_pseudo_all"] == pytest.approx(cos(pseudo_all[k], true_all[k]))
        assert row["alignment_true_random"] == pytest.approx(cos(true_random[k], true_all[k]))
        assert row["mask_rate"] == pytest.approx(mask) and row["wrong_rate"] == pytest.approx(wrong)
        assert row["norm_true"] == pytest.approx(float(true_masked[k].norm()))
        assert row["interference"] == pytest.approx(cos(pseudo_masked[k], labelled[k]))
        assert row["norm_pseudo"] == pytest.approx(float(pseudo_masked[k].norm()))
        assert row["norm_noise"] == pytest.approx(float((pseudo_masked[k] - true_masked[k]).norm()))
        assert row["norm_labelled"] == pytest.approx(float(labelled[k].norm()))


def test_right_labels_have_benefit_one(example):
    model = example["model"].train()
    with torch.no_grad():
        example["y_true"] = model(torch.cat([example["x"], example["weak"], example["strong"]]))[B : B + N].argmax(1)
    for row in records(example):
        assert row["benefit"] == pytest.approx(1) and row["wrong_rate"] == 0


def test_the_random_control_of_a_full_mask_is_everybody(example):
    for row in records(example | {"threshold": 0.0}):
        assert row["alignment_true_random"] == pytest.approx(1) and row["alignment_true_masked"] == pytest.approx(1)


def test_an_empty_mask_is_flagged_and_finite(example):
    for row in measure(**example | {"threshold": 1.0}):
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


def test_the_optimizer_and_dropout_leave_no_trace(example):
    """Momentum, BN, the global random state: training continues as if nobody had measured."""

    def trained(measured):
        torch.manual_seed(7)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(40, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, C)
        ).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            F.cross_entropy(model(example["x"]), example["y"]).backward()
            if measured:
                layer_benefit(**example | {"model": model, "generator": None})
            optimizer.step()
        state = optimizer.state_dict()["state"]
        return [
            *model.state_dict().values(),
            *(v["momentum_buffer"] for v in state.values()),
            *(p.grad for p in model.parameters()),
        ]

    assert all(map(torch.equal, trained(True), trained(False)))


def test_a_mixed_mode_is_restored(example):
    example["model"].conv2.eval()
    layer_benefit(**example)
    assert example["model"].conv1.training and not example["model"].conv2.training


def test_the_table_is_tidy(example):
    t = layer_benefit(**example)
    assert list(t["layer"]) == NAMES and t["empty"].dtype == bool and t["wrong_rate"].dtype == "float64"
    empty = layer_benefit(**example | {"threshold": 1.0})
    assert empty["wrong_rate"].isna().all() and (empty["benefit"] == 0).all()
    assert t.equals(
        layer_benefit(**example | {"generator": None, "relabel": lambda q, p: q}).assign(
            alignment_true_random=t["alignment_true_random"]
        )
    )


def test_the_classifiers_split_is_the_closed_form(example):
    """The last layer's clean and noise parts, from theory.py, against the probe's gradients."""
    model = example["model"].train()
    z = model.features(torch.cat([example["x"], example["weak"], example["strong"]])).detach()
    p_weak, p = (model.classifier(part).softmax(1).detach() for part in (z[B : B + N], z[-N:]))
    q, a = p_weak.argmax(1), p_weak.amax(1) >= example["threshold"]
    clean, noise = split_classifier_gradient(with_bias(z[-N:]), p, q, example["y_true"], a)
    row = records(example)[-1]
    assert row["norm_true"] == pytest.approx(float(clean.norm())) and row["norm_noise"] == pytest.approx(
        float(noise.norm())
    )
    assert row["norm_pseudo"] == pytest.approx(float((clean + noise).norm()))
    assert row["benefit"] == pytest.approx(1 + float((noise * clean).sum() / clean.square().sum()))


def test_a_frozen_layer_is_left_out(example):
    example["model"].conv1.requires_grad_(False)
    assert list(layer_benefit(**example)["layer"]) == NAMES[1:]
    example["model"].classifier.requires_grad_(False)
    assert list(layer_benefit(**example)["layer"]) == NAMES[1:-1]
    example["model"].requires_grad_(False)
    with pytest.raises(InputError, match="no trainable parameter"):
        layer_benefit(**example)


def test_a_layer_that_does_nothing_is_named(example):
    example["model"].spare = nn.Linear(3, 3).double()
    with pytest.raises(InputError, match="layer 'spare' has a parameter without a gradient.*requires_grad_"):
        layer_benefit(**example)
    example["model"].spare.requires_grad_(False)
    assert list(layer_benefit(**example)["layer"]) == NAMES


class Own(nn.Module):
    """Not one of the library's: other names, a dropout, the classifier inside a container, no `features`."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(1, 4, 3)
        self.bn0 = nn.BatchNorm1d(4)
        self.layer2 = nn.Sequential(nn.Conv1d(4, 6, 3), nn.ReLU())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 36, 5), nn.Dropout(0.1), nn.Linear(5, C, bias=False))

    def forward(self, x):
        return self.head(self.layer2(self.bn0(self.stem(x)).relu()))


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize(
    "make, names",
    [
        (Own, ["stem", "layer 2", "linear 1", "classifier"]),
        (lambda: flat(nn.Linear(40, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, C)), ["linear 1", "classifier"]),
        (lambda: flat(nn.Linear(40, C)), ["classifier"]),
        (
            lambda: nn.Sequential(
                nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 2, 3), nn.Flatten()), nn.Linear(72, C)
            ),
            ["conv 1", "conv 2", "classifier"],
        ),
    ],
)
def test_a_model_that_the_library_did_not_define(example, make, names):
    model = make().double()
    t = layer_benefit(**example | {"model": model, "threshold": 0.3})
    assert list(t["layer"]) == names and t["benefit"].notna().all()
    sizes = {
        k: sum(p.numel() for p in v)
        for k, v in layers(model, [m for m in model.modules() if isinstance(m, nn.Linear)][-1]).items()
    }
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters()), "every parameter, once"


def test_a_model_of_torchvision():
    """A network that everybody knows, in the names that everybody uses."""
    from torchvision.models import resnet18

    model = resnet18(num_classes=3)
    assert list(layers(model, model.fc)) == ["conv 1", "layer 1", "layer 2", "layer 3", "layer 4", "classifier"]


def test_names_do_not_depend_on_what_is_frozen():
    parts = [
        nn.Conv1d(1, 2, 3),
        nn.BatchNorm1d(2),
        nn.Conv1d(2, 2, 3),
        nn.BatchNorm1d(2),
        nn.Flatten(),
        nn.Linear(8, C),
    ]
    model = nn.Sequential(*parts)
    assert list(layers(model, parts[-1])) == ["conv 1", "conv 2", "classifier"]
    parts[0].requires_grad_(False)
    assert {k: len(v) for k, v in layers(model, parts[-1]).items()} == {"conv 1": 2, "conv 2": 4, "classifier": 2}
    parts[1].requires_grad_(False)
    assert list(layers(model, parts[-1])) == ["conv 2", "classifier"]


def test_wrappers_are_opened_and_only_a_leaf_is_a_normalisation():
    class ConvNormAct(nn.Sequential):
        pass

    inner = nn.Sequential(
        ConvNormAct(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)), ConvNormAct(nn.Conv1d(2, 2, 3), nn.ReLU())
    )
    model = nn.Sequential(nn.Sequential(nn.Sequential(inner)), nn.Flatten(), nn.Linear(72, C))
    assert list(layers(model, model[-1])) == ["convnormact 1", "convnormact 2", "classifier"]


def test_a_buffer_that_the_forward_replaces_is_restored(example):
    class Averaging(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(40, dtype=torch.float64))
            self.fc = nn.Linear(40, C)

        def forward(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 1))
            return self.fc(x.flatten(1) - self.mean)

    model = Averaging().double()
    layer_benefit(**example | {"model": model})
    assert (model.mean == 0).all()


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda e: {"threshold": 95}, "threshold=95 is not allowed"),
        (lambda e: {"y_true": e["y_true"][:1]}, "y_true is int64 tensor of shape .1,.*N=40"),
        (lambda e: {"strong": e["strong"][:5]}, "strong is .*N=40 as in weak"),
        (lambda e: {"weak": e["weak"][:0], "strong": e["strong"][:0], "y_true": e["y_true"][:0]}, "at least one"),
        (lambda e: {"y": e["y"][:3]}, "y is .*B=12 as in x"),
        (lambda e: {"y_true": e["y_true"] - 1}, "y_true holds labels from -1 to 2; give whole numbers from 0 to 3"),
        (lambda e: {"y": e["y"].double()}, "y is float64.*an int64 tensor"),
        (lambda e: {"strong": e["strong"].index_fill(0, torch.tensor([3]), float("nan"))}, "outputs are NaN"),
    ],
)
def test_input_that_cannot_be_measured(example, change, words):
    with pytest.raises(InputError, match=words):
        layer_benefit(**example | change(example))


def test_one_output_is_no_classifier(example):
    with pytest.raises(InputError, match="one output"):
        layer_benefit(**example | {"model": nn.Sequential(nn.Flatten(), nn.Linear(40, 1)).double()})


def test_it_works_where_gradients_are_off(example):
    with torch.no_grad():
        quiet = layer_benefit(**example | {"generator": None})
    assert quiet.equals(layer_benefit(**example | {"generator": None}))


def test_a_saturated_layer_is_flagged(example):
    """Every confident sample is right, to the last bit: no gradient is left to compare with."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, C)).double()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1000.0, 0, 0, 0]))
    (row,) = layer_benefit(**example | {"model": model, "y_true": torch.zeros(N, dtype=torch.long)}).to_dict("records")
    assert row["mask_rate"] == 1 and row["norm_true"] == 0 and row["empty"]


def test_the_librarys_own_names():
    model = WideResNet(10, 1, num_classes=3)
    assert list(layers(model, model.classifier)) == ["conv 1", "block 1", "block 2", "block 3", "classifier"]


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(40, C), nn.Softmax(1)),
        nn.Sequential(nn.Conv1d(1, C, 40), nn.Flatten()),
        nn.Linear(40, C),
    ],
)
def test_a_model_without_a_linear_last_layer(example, model):
    """The last of the three is linear, but its output is (N, 1, C)."""
    with pytest.raises(InputError, match="no linear last layer"):
        layer_benefit(**example | {"model": model.double()})


def test_benefit_under_noise(example):
    t = benefit_under_noise(**example | {"threshold": 0.0}, rates=(0.0, 0.5, 1.0), kinds=("uniform", "pair"))
    turned = benefit_under_noise(
        **example | {"threshold": 0.0}, rates=(0.0,), kinds=["0 1 0 0; 0 0 1 0; 0 0 0 1; 1 0 0 0"]
    )
    assert turned["benefit"].tolist() == t.query("kind == 'pair' and rate == 1")["benefit"].tolist(), (
        "a matrix of one's own"
    )
    assert len(t) == 6 * len(NAMES)
    clean = t[t["rate"] == 0]
    assert clean["benefit"].to_numpy() == pytest.approx(1) and (clean["wrong_rate"] == 0).all()
    assert (t[t["rate"] == 1]["wrong_rate"] == 1).all()
    assert (t.groupby("layer")["alignment_true_random"].nunique() == 1).all(), "one random subset for all"
    assert 0.2 < t[t["rate"] == 0.5]["wrong_rate"].mean() < 0.8
    for wrong in (dict(rates=(1.2,)), dict(rates=(0.1,), kinds=("salt",))):
        with pytest.raises(InputError):
            benefit_under_noise(**example | {"rates": (0.0,)} | wrong)


def test_the_rate_holds_among_the_samples_over_the_threshold(example):
    """Also where errors gather at low confidence: half of the labels that count are wrong, in expectation."""
    big = {k: torch.cat([example[k]] * 40) for k in ("weak", "strong", "y_true")}
    for kind in ("uniform", "confusion", "low_confidence"):
        t = benefit_under_noise(**example | big, rates=(0.5,), kinds=(kind,))
        assert t["mask_rate"][0] < 0.9 and t["wrong_rate"][0] == pytest.approx(0.5, abs=0.08), kind
