"""Networks trained under known noise: which labels they see, what these teach, and the files of the grid."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from layermatch_lite import InputError, TrainConfig, Variant, load_study, split, train
from layermatch_lite.core.loop import joint_features
from layermatch_lite.runs.engine import batches_of, views_of
from layermatch_lite.runs.train import prepare
from layermatch_lite.studies import files, known_noise, stats
from layermatch_lite.studies.known_noise import KINDS, RATES, TAUGHT, load_maps, noise_config, train_under_noise
from layermatch_lite.system import read_npz
from layermatch_lite.variants.build import build_method


def started(config):
    """A run before its first step, its data and its method."""
    run, data = prepare(config, None, None, None, False)
    return run, data, build_method(run, data)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_the_true_ones_corrupted_at_the_rate(kind):
    run, data, method = started(noise_config(kind, 0.4))
    i = torch.arange(len(data.y_unlabelled))
    with torch.no_grad():
        z = run.model.features(data.x_unlabelled.float())
    q = method.pseudo_label(z, i)
    wrong = q.labels != data.y_unlabelled
    assert q.mask.all() and abs(float(wrong.float().mean()) - 0.4) < 0.04
    if kind in ("uniform", "pair"):
        later = method.pseudo_label(z.roll(1, 0), i)  # of a network that sees them differently
        assert torch.equal(later.labels, q.labels), "a sample that is hit stays hit"
    if kind == "pair":
        assert torch.equal(q.labels[wrong], (data.y_unlabelled[wrong] + 1) % 10)
    _, _, clean = started(noise_config(kind, 0.0))
    assert torch.equal(clean.pseudo_label(z, i).labels, data.y_unlabelled)


@pytest.mark.parametrize("taught", TAUGHT)
def test_what_the_wrong_labels_teach(taught):
    """Against autograd on losses written out: the labelled loss reaches every layer, L_u only those that are taught."""
    run, data, method = started(noise_config("pair", 0.6, taught))
    run.model.train()
    batch = next(batches_of(run, data, views_of(run.config, data)))
    z_x, z_weak, z_strong = joint_features(run.model.features, batch)
    classifier, parameters = run.model.classifier, list(run.model.parameters())
    L_s = F.cross_entropy(classifier(z_x), batch.y)
    q = method.pseudo_label(z_weak, batch.i)
    by_hand = F.cross_entropy(classifier(z_strong), q.labels)
    g_s, g_u = (torch.autograd.grad(L, parameters, retain_graph=True) for L in (L_s, by_hand))
    method.backward(L_s, method.loss(z_strong, q))
    last = {id(p) for p in classifier.parameters()}
    for p, s, u in zip(parameters, g_s, g_u):
        reached = taught == "all" or (id(p) in last) == (taught == "classifier")
        assert float(u.norm()) > 1e-4
        torch.testing.assert_close(p.grad, s + u if reached else s, rtol=1e-4, atol=1e-6)


def test_one_network_is_read_out_and_comes_out_again():
    short = dict(steps=20, seed=4)
    a, b = (train_under_noise("pair", 0.6, "features", **short) for _ in range(2))
    assert a.readout == b.readout and np.array_equal(a.features, b.features)
    assert a.features.shape == (360, 64) and a.readout["own"] == (a.predicted == a.y_true).mean()


def test_a_class_without_samples_cannot_be_named_by_noise():
    x, y = torch.randn(60, 2), torch.arange(60) % 3
    data = split("own", x, y, x, y, ("a", "b", "c"), num_labels=6)
    pool = data.y_unlabelled != 2
    data = replace(data, x_unlabelled=data.x_unlabelled[pool], y_unlabelled=data.y_unlabelled[pool])
    config = TrainConfig(
        dataset=data.name, num_labels=6, method="fixmatch", batch_size=4, mu=2, steps=2, device="cpu",
        variant=Variant(labels_from="truth", noise="uniform", noise_rate=0.5),
    )  # fmt: skip
    with pytest.raises(InputError, match="no sample of class 'c'"):
        train(config, data)


@pytest.mark.parametrize(
    "arguments, says",
    [(("pears", 0.5), "kind='pears'"), (("pair", 1.2), "noise_rate=1.2"), (("pair", 0.5, "body"), "taught='body'")],
)
def test_noise_that_there_is_not(arguments, says):
    with pytest.raises(InputError, match=says):
        noise_config(*arguments)


def test_truth_is_for_methods_that_use_pseudo_labels():
    with pytest.raises(InputError, match="supervised"):
        TrainConfig(method="supervised", variant=Variant(labels_from="truth"))
    with pytest.raises(InputError, match="FreeMatch"):
        TrainConfig(method="freematch", variant=Variant(labels_from="truth"))


# --- the grid's files --------------------------------------------------------------------------------------------------


def test_the_recorded_grid_is_whole_and_says_what_its_maps_say():
    study, maps = load_study("known_noise"), load_maps()
    seed = known_noise.SEEDS[0]
    for kind, rate, taught in maps.networks:
        _, predicted = maps.of(kind, rate, taught)
        own = stats.values(study, f"{kind} {rate}", taught, "readout/own")
        assert len(own) == len(known_noise.SEEDS)
        assert own[seed] == pytest.approx((predicted == maps.y_true).mean(), abs=0.01)  # other processors, other roundings
    assert np.array_equal(maps.of("pair", 0.0)[0], maps.of("uniform", 0.0)[0])
    for wanted, says in ((("pair", 0.5), "no map of pair 0.5"), (("pears", 0.0), "kind='pears'")):
        with pytest.raises(InputError, match=says):
            maps.of(*wanted)


def test_points_move_and_do_not_jump():
    """From one rate to the next the median digit moves less than a random other digit lies away."""
    maps = load_maps()
    shuffled = np.random.default_rng(0).permutation(len(maps.y_true))
    for taught in TAUGHT:
        for kind in KINDS:
            for a, b in zip(RATES, RATES[1:]):
                p, q = maps.of(kind, a, taught)[0], maps.of(kind, b, taught)[0]
                assert np.median(np.linalg.norm(p - q, axis=1)) < np.median(np.linalg.norm(p - q[shuffled], axis=1))


def test_an_unfinished_grid_is_named(tmp_path):
    arrays = read_npz(known_noise.MAPS)
    half = {k: v[: len(v) // 2] if k != "y_true" else v for k, v in arrays.items()}
    np.savez(tmp_path / "half.npz", **half)
    (tmp_path / "broken.npz").write_bytes(known_noise.MAPS.read_bytes()[:2000])
    np.savez(tmp_path / "others.npz", **arrays | {"networks": arrays["networks"][::-1]})
    for name, says in (
        ("half", "unfinished: 25 maps of 51"), ("broken", "damaged"), ("none", "does not exist"), ("others", "of other"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            load_maps(tmp_path / f"{name}.npz")
    study = load_study("known_noise")
    with pytest.raises(InputError, match="unfinished: 609 of 610 runs"):
        files.finished(study | {"runs": study["runs"][1:]})


def test_an_interrupted_network_is_none(monkeypatch):
    """Ctrl-C in `train` ends it early and returns what it has; here that is nothing to read out."""
    monkeypatch.setattr(known_noise, "train", lambda *a: type("Run", (), {"finished": False})())
    with pytest.raises(KeyboardInterrupt):
        train_under_noise("pair", 0.6)
