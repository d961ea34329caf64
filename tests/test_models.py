"""The networks keep the one promise that everything else builds on, and the protocol's details."""

import pytest
import torch
from torch import nn

from layermatch_lite import MLP, InputError, SmallCNN, SmallCNN1d, WideResNet
from layermatch_lite.core.seeding import generator
from layermatch_lite.models import Patches, build_model

MODELS = [
    (MLP(num_classes=3), (2,)),
    (SmallCNN1d(), (1, 40)),
    (SmallCNN1d(in_channels=3), (3, 100)),
    (SmallCNN(in_channels=1), (1, 8, 8)),
    (SmallCNN(), (3, 32, 32)),
    (WideResNet(depth=10, width=1), (3, 32, 32)),
]


@pytest.mark.parametrize("model, shape", MODELS, ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else str(v))
def test_a_model_is_features_and_classifier(model, shape):
    x = torch.randn(5, *shape)
    model.eval()
    assert isinstance(model.classifier, nn.Linear)
    assert model.features(x).shape == (5, model.classifier.in_features)
    assert torch.equal(model(x), model.classifier(model.features(x)))


def test_wide_resnet_28_2_is_the_protocols():
    model = WideResNet(depth=28, width=2, num_classes=10)
    assert sum(p.numel() for p in model.parameters()) == 1_467_610
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) == 25
    assert model.classifier.in_features == 128
    assert {m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {0.001}


def test_weights_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    a, b, c = (build_model("auto", (1, 40), 10, generator=generator(s, "init")) for s in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.conv1[0].weight, c.conv1[0].weight)


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: build_model("resnet50", (3, 32, 32), 10), "resnet50"),
        (lambda: build_model("mlp", (3, 32, 32), 10), "mlp"),
        (lambda: build_model("wrn-28-2", (1, 40), 10), "wrn-28-2"),
        (lambda: build_model("wrn-27-2", (3, 32, 32), 10), "27"),
        (lambda: WideResNet(width=0), "width"),
        (lambda: SmallCNN(num_classes=1), "num_classes"),
    ],
)
def test_wrong_models(make, named):
    with pytest.raises(InputError, match=named):
        make()


def test_features_in_the_plane(g):
    model = build_model("mlp_plane", (2,), 4, generator=g)
    z = model.features(torch.randn(8, 2))
    assert z.shape == (8, 2) and model.classifier.weight.shape == (4, 2)
    assert [name for name, _ in model.named_children()] == ["fc1", "fc2", "fc3", "classifier"]
    with pytest.raises(InputError, match="does not fit samples"):
        build_model("mlp_plane", (1, 40), 4)


def test_patches_are_a_whitened_orthonormal_basis_of_4_by_4_pixels(g):
    """Over many smooth images the mean of a patch, in each colour, has unit variance, and nothing has more."""
    patches = Patches(3, bn_momentum=0.1)
    basis = patches.weight.flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(48), atol=1e-5, rtol=0)
    x = torch.nn.functional.interpolate(torch.randn(64, 3, 8, 8, generator=g), size=32, mode="bilinear")
    z = patches(x)
    assert z.shape == (64, 48, 16, 16) and not list(patches.parameters())
    spread = z.var(dim=(0, 2, 3))
    assert (spread < 1.01).all() and (spread[::16] > 0.95).all() and spread.min() < 0.5, "what is faint stays so"


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mlp_plane", (2,)), ("small_cnn_1d", (1, 40)), ("small_cnn", (1, 8, 8)), ("patch_cnn", (3, 32, 32)),
     ("wrn-10-1", (3, 32, 32))],  # fmt: skip
)
def test_building_a_model_draws_from_its_generator_alone(name, shape):
    before = torch.random.get_rng_state()
    a, b = (build_model(name, shape, 4, generator=generator(3, "init")) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for p, q in zip(a.state_dict().values(), b.state_dict().values()):
        assert torch.equal(p, q) and p.isfinite().all()
    assert all(p.any() for n, p in a.named_parameters() if n.endswith("weight")) and not a.classifier.bias.any()
