"""A network that the library did not define: trained, saved, resumed, measured, recorded, and refused where it does not fit."""

import copy

import pytest
import torch
from torch import nn

from layermatch_lite import InputError, Run, TrainConfig, load_data, record, train, train_steps
from layermatch_lite.runs.own_network import own_network

CONFIG = TrainConfig(dataset="digits", num_labels=10, batch_size=8, mu=2, steps=8, log_every=4, threshold=0.2, device="cpu")


class Ours(nn.Module):
    """In the library's form, without BatchNorm."""

    def __init__(self, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU())
        self.classifier = nn.Linear(20, classes)

    def features(self, x):
        return self.body(x)

    def forward(self, x):
        return self.classifier(self.features(x))


class Named(nn.Module):
    """In nobody's form: `features` gives maps, and the last layer is called head; with BatchNorm and dropout."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.inner = nn.ModuleDict({"drop": nn.Dropout(0.1), "head": nn.Linear(6, 10)})

    def forward(self, x):
        return self.inner["head"](self.inner["drop"](self.features(x).mean(dim=(2, 3))))


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.mark.parametrize("make", [Ours, Named, plain])
def test_it_trains_in_the_form_of_the_librarys_own(make):
    torch.manual_seed(0)
    network = make()
    before = copy.deepcopy(network.state_dict())
    run = train(CONFIG, model=network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()), "a copy is trained"
    start = next(train_steps(CONFIG, model=network)).model
    for (name, p), q in zip(run.model.named_parameters(), start.parameters()):
        assert not torch.equal(p, q), f"{name} learned nothing"
    x = torch.randn(5, 1, 8, 8)
    start.eval(), network.eval()
    torch.testing.assert_close(start(x), network(x))
    torch.testing.assert_close(start.classifier(start.features(x)), network(x))


def test_saved_and_resumed_with_the_same_network(tmp_path):
    torch.manual_seed(0)
    network, path = Ours(), tmp_path / "run.pt"
    whole = train(CONFIG, model=network)
    for run in train_steps(CONFIG, model=network):
        if run.step == 4:
            run.save(path)
            break
    resumed = train(resume=path, model=Ours())  # of another draw: the file holds the weights
    assert resumed.history == whole.history
    for a, b in zip(resumed.model.parameters(), whole.model.parameters()):
        assert torch.equal(a, b)
    assert torch.equal(Run.load(path, model=network).ema.module.classifier.weight, resumed.ema.module.classifier.weight)
    for given, words in ((None, "your own network Ours"), (Ours(classes=4), "4 outputs"), (plain(), "not with Sequential")):
        with pytest.raises(InputError, match=words):
            Run.load(path, model=given)
    train(CONFIG, save=tmp_path / "other.pt")
    with pytest.raises(InputError, match="built-in network"):
        Run.load(tmp_path / "other.pt", model=network)


def test_the_probe_and_recordings_work_with_it():
    recording = record(CONFIG.changed(probe_every=4), model=plain(), snapshots=2, sample=20)
    layers = [row["layer"] for row in recording.history[-1]["layer_benefit"]]
    assert layers[-1] == "classifier" and len(layers) == 2
    assert recording.features.shape[:2] == (3, 20) and recording.W.shape[-1] == 16


def test_the_probe_leaves_the_draws_of_dropout_alone():
    network, ends = Named(), []
    for every in (None, 2):
        torch.manual_seed(1)
        ends.append(train(CONFIG.changed(probe_every=every), model=network).model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ends[0].values(), ends[1].values()))


def test_methods_that_share_a_network_start_from_the_same_weights():
    network = Named()
    a, b = (next(train_steps(CONFIG.changed(method=m), model=network)).model for m in ("fixmatch", "layermatch"))
    assert all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values()))


class Softmaxed(Ours):
    def forward(self, x):
        return super().forward(x).softmax(dim=1)


class Twice(nn.Module):
    """Its last layer serves twice, so what it reads the first time is not all that the output depends on."""

    def __init__(self):
        super().__init__()
        self.square = nn.Linear(10, 10)
        self.down = nn.Linear(64, 10)

    def forward(self, x):
        return self.square(self.square(self.down(x.flatten(1))))


@pytest.mark.parametrize(
    "network, words",
    [
        ("wrn", "is not a network"),
        (Softmaxed(), "no linear last layer"),
        (Twice(), "uses its last layer twice"),
        (Ours(classes=3), "3 outputs, and the data have 10 classes"),
        (nn.Sequential(nn.Flatten(), nn.Linear(99, 10)), r"samples of shape \(1, 8, 8\) it raises"),
        (nn.Sequential(nn.Flatten()), "no trainable parameter"),
        (Ours().requires_grad_(False), "no trainable parameter"),
    ],
)
def test_networks_that_do_not_fit(network, words):
    with pytest.raises(InputError, match=words):
        own_network(network, (1, 8, 8), 10)


def test_a_network_and_a_name_for_another():
    with pytest.raises(InputError, match="model='small_cnn'"):
        train(CONFIG.changed(model="small_cnn"), load_data("digits", 10), model=Ours())
