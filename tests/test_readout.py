"""Readouts: against scikit-learn by hand, without test labels in a fit, and what a model may be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn import linear_model
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch import nn

from layermatch_lite import InputError, SmallCNN, TrainConfig, load_data, readout, record, train
from layermatch_lite.data.views import Views


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", 20, seed=3)


def foreign() -> nn.Module:
    """A network that the library did not define: no `features`, no `classifier`, BatchNorm and dropout inside."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Dropout(0.5), nn.Linear(30, 10)
    )


def test_readouts_are_those_of_scikit_learn_by_hand(digits):
    model = foreign()
    found = readout(model, digits, seed=5)
    model.eval()
    with torch.no_grad():
        plain = lambda x: Views(digits).plain(x)
        z, pool, test = (model[:-1](plain(x)).double().numpy() for x in (digits.x_labelled, digits.x_unlabelled, digits.x_test))
        says = model(plain(digits.x_test)).argmax(1)
    mean, std = pool.mean(0), pool.std(0)
    z, pool, test = ((v - mean) / np.where(std > 0, std, 1) for v in (z, pool, test))
    y, y_pool, y_test = digits.y_labelled.numpy(), digits.y_unlabelled.numpy(), digits.y_test.numpy()
    clusters = KMeans(10, n_init=10, random_state=5).fit_predict(test)
    together = np.array([[((clusters == k) & (y_test == c)).sum() for k in range(10)] for c in range(10)])
    by_hand = {
        "own": (says.numpy() == y_test).mean(),
        "probe": (LogisticRegression(max_iter=1000).fit(pool, y_pool).predict(test) == y_test).mean(),
        "few": (LogisticRegression(max_iter=1000).fit(z, y).predict(test) == y_test).mean(),
        "kmeans": together[linear_sum_assignment(-together)].sum() / len(y_test),
    }
    assert found == pytest.approx(by_hand, abs=0.006)  # two of 360: standard deviations differ by roundings
    assert by_hand["own"] < 0.3 < by_hand["few"] < by_hand["probe"], "the four say different things"


def test_no_test_label_enters_a_fit(digits, monkeypatch):
    """With permuted test labels every fit is the same; only what is counted as right changes. Clusters come first."""
    fitted = []

    class Spy(LogisticRegression):
        def fit(self, X, y):
            super().fit(X, y)
            fitted[-1].append(self.coef_.copy())
            return self

    class SpyingKMeans(KMeans):
        def fit_predict(self, X, y=None):
            assert y is None
            clusters = super().fit_predict(X)
            fitted[-1].append(clusters)
            return clusters

    monkeypatch.setattr(linear_model, "LogisticRegression", Spy)
    monkeypatch.setattr("sklearn.cluster.KMeans", SpyingKMeans)
    model, counted = foreign(), []
    order = torch.randperm(len(digits.y_test), generator=torch.Generator().manual_seed(0))
    other_images = dict(x_test=digits.x_unlabelled[:90], y_test=digits.y_unlabelled[:90])
    for change in ({}, dict(y_test=digits.y_test[order]), other_images):
        fitted.append([])
        counted.append(readout(model, replace(digits, **change)))
    assert len(fitted[0]) == 3 and all(np.array_equal(a, b) for a, b in zip(fitted[0], fitted[1]))
    assert counted[0]["probe"] > 0.8 and counted[1]["probe"] < 0.3
    (_, *linear_layers), (_, *with_others) = fitted[0], fitted[2]
    assert all(np.array_equal(a, b) for a, b in zip(linear_layers, with_others)), "nor do test images enter a linear layer"


def test_a_readout_leaves_the_model_as_it_was(digits):
    model = foreign()
    model[2].eval()  # whatever modes its parts are in
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    assert readout(model, digits) == readout(model, digits)
    assert [m.training for m in model.modules()] == modes and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def one_class(y: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(y)


def spoilt(x: torch.Tensor) -> torch.Tensor:
    return x.float().index_fill(0, torch.tensor([4, 7]), torch.nan)


@pytest.mark.parametrize(
    "change, model, says",
    [
        (lambda d: {}, lambda: nn.Sequential(foreign(), nn.Softmax(1)), "no linear last layer"),
        (lambda d: dict(y_labelled=one_class(d.y_labelled)), foreign, "all 20 labelled samples belong to class '0'"),
        (lambda d: dict(y_unlabelled=one_class(d.y_unlabelled)), foreign, "all 1437 unlabelled samples"),
        (lambda d: dict(x_test=d.x_test[:9], y_test=d.y_test[:9]), foreign, "9 test samples"),
        (lambda d: dict(x_unlabelled=spoilt(d.x_unlabelled)), foreign, "2 of 1437 samples have features with NaN"),
    ],
)
def test_what_cannot_be_read_out(digits, change, model, says):
    with pytest.raises(InputError, match=says):
        readout(model(), replace(digits, **change(digits)))


def test_readouts_during_training_are_recorded_and_change_nothing(tmp_path):
    config = TrainConfig(dataset="digits", num_labels=10, steps=8, log_every=4, seed=1, device="cpu")
    often = replace(config, readout_every=3)
    plain, watched = train(config), train(often, save=tmp_path / "run.pt")
    assert [r["step"] for r in watched.history if "readout" in r] == [3, 6, 8]
    assert watched.history[-1]["readout"]["own"] == watched.accuracy
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), watched.model.parameters()))
    assert [r["step"] for r in record(often, snapshots=2, sample=20).history if "readout" in r] == [3, 6, 8]
    with pytest.raises(InputError, match="readout_every=0 is not allowed"):
        replace(config, readout_every=0)


def test_data_that_cannot_be_read_out_end_a_training_before_it_starts(digits):
    config = TrainConfig(dataset="digits", num_labels=20, steps=10**6, readout_every=10**6, device="cpu")
    with pytest.raises(InputError, match="9 test samples"):
        train(config, replace(digits, x_test=digits.x_test[:9], y_test=digits.y_test[:9]))


def test_a_readout_of_the_labelled_samples_alone_may_miss_classes(digits):
    keep = digits.y_labelled < 4
    some = replace(digits, x_labelled=digits.x_labelled[keep], y_labelled=digits.y_labelled[keep])
    assert readout(SmallCNN(1), some)["few"] < 0.5 < readout(SmallCNN(1), some)["probe"]
