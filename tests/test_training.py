"""The loop: what it computes, that it repeats bit for bit, and that nothing is lost when it is stopped."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layermatch_lite import (
    METHODS,
    PRESETS,
    AvgClustering,
    InputError,
    NonFiniteLoss,
    Run,
    TrainConfig,
    Variant,
    fixmatch_loss,
    gate,
    load_data,
    split,
    train,
    train_steps,
)
from layermatch_lite.core.methods import FixMatch
from layermatch_lite.core.seeding import generator
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.views import Views
from layermatch_lite.runs import config as runs_config
from layermatch_lite.runs import train as train_module
from layermatch_lite.runs.run import EMA
from layermatch_lite.variants.gate import Gate

SMALL = TrainConfig(steps=12, batch_size=8, mu=2, log_every=4, probe_every=6, threshold=0.3, device="cpu")


def weights(run):
    return {
        name: {k: v for k, v in part.state_dict().items() if isinstance(v, torch.Tensor)}
        for name, part in (("model", run.model), ("ema", run.ema))
    } | ({"centers": {"weight": run.centers.weight, "bias": run.centers.bias}} if run.centers else {})


def assert_same(a: Run, b: Run):
    assert a.history == b.history and a.step == b.step
    for part, tensors in weights(a).items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, weights(b)[part][name]), (part, name)


# --- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_every_weight(method):
    start = next(train_steps(replace(SMALL, method=method)))
    before = {k: v.clone() for k, v in start.model.named_parameters()}
    run = train(replace(SMALL, method=method))
    for name, p in run.model.named_parameters():
        assert p.isfinite().all() and not torch.equal(p, before[name]), name
    assert 0 <= run.accuracy <= 1 and run.history[-1]["step"] == 12


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("dataset, labels", [("mnist1d", 10), ("digits", 10), ("two_moons", 2)])
def test_any_share_of_strong_labelled_views(dataset, labels, share):
    run = train(replace(SMALL, dataset=dataset, num_labels=labels, steps=2, strong_labelled=share))
    assert math.isfinite(run.history[-1]["loss_s"])


def test_methods_differ_and_explicit_switches_override():
    runs = {m: train(replace(SMALL, method=m)) for m in METHODS}
    first = {m: r.model.conv1[0].weight for m, r in runs.items()}
    for a in METHODS:
        for b in METHODS:
            assert a == b or not torch.equal(first[a], first[b]), (a, b)
    gated = train(SMALL.changed(method="fixmatch", grad_relu="gate", batch_size=16, steps=24))
    for grad_relu in ("off", "block"):
        other = train(gated.config.changed(grad_relu=grad_relu))
        assert not torch.equal(gated.model.classifier.weight, other.model.classifier.weight), grad_relu
    as_switches = train(SMALL.changed(method="fixmatch", grad_relu="block", avg_clustering=True))
    assert torch.equal(first["layermatch"], as_switches.model.conv1[0].weight)


def test_methods_of_one_seed_share_labels_weights_and_labelled_views():
    a, b = (next(train_steps(replace(SMALL, method=m))) for m in ("supervised", "layermatch"))
    assert a.data == b.data
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters()))
    assert torch.equal(a.generators["labelled"].get_state(), b.generators["labelled"].get_state())
    train_a, train_b = train(a.config), train(b.config)
    assert torch.equal(train_a.generators["labelled"].get_state(), train_b.generators["labelled"].get_state())


def test_training_learns():
    supervised = train(TrainConfig(dataset="blobs", num_labels=8, method="supervised", steps=60, device="cpu"))
    layermatch = train(TrainConfig(dataset="blobs", num_labels=8, steps=60, device="cpu"))
    assert supervised.accuracy > 0.8 and layermatch.accuracy > 0.8  # chance: 0.25
    assert layermatch.history[-1]["mask_rate"] > 0


def test_history_holds_what_it_promises():
    run = train(replace(SMALL, num_val=100))
    assert [r["step"] for r in run.history] == [4, 6, 8, 12]
    for r in run.history:
        assert {
            "lr",
            "loss_s",
            "loss_u",
            "mask_rate",
            "pseudo_label_accuracy",
            "pseudo_label_counts",
            "accuracy",
            "val_accuracy",
        } <= set(r)
        assert len(r["pseudo_label_counts"]) == 10
        assert 0 <= r["confident_half_accuracy"] <= 1
        assert ("layer_benefit" in r) == (r["step"] in (6, 12))
    steps_since = [4, 2, 2, 4]
    for r, n in zip(run.history, steps_since):
        assert sum(r["pseudo_label_counts"]) == pytest.approx(r["mask_rate"] * n * 16)


def test_measuring_does_not_disturb_training():
    a, b = train(replace(SMALL, probe_every=None)), train(replace(SMALL, probe_every=1, log_every=1))
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters()))
    assert a.accuracy == b.accuracy


def test_schedule_and_weight_decay():
    run = next(train_steps(SMALL))
    for k in range(SMALL.steps):
        assert run.schedule.get_last_lr()[0] == pytest.approx(0.03 * math.cos(7 * math.pi * k / (16 * SMALL.steps)))
        run.optimizer.step()
        run.schedule.step()
    decayed = {id(p) for group in run.optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for module in run.model.modules():
        if isinstance(module, (nn.Conv1d, nn.Linear)):
            assert id(module.weight) in decayed and id(module.bias) not in decayed
        if isinstance(module, nn.BatchNorm1d):
            assert id(module.weight) not in decayed and id(module.bias) not in decayed


def test_ema_warms_up_from_the_initial_weights_and_copies_buffers():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    expected = [p.detach().clone() for p in model.parameters()]
    ema = EMA(model, decay=0.6)
    for t in range(30):
        with torch.no_grad():
            for p in model.parameters():
                p += torch.randn_like(p)
        model[1].running_mean += 1
        ema.update_parameters(model)
        d = min(0.6, (1 + t) / (10 + t))
        expected = [d * e + (1 - d) * p.detach() for e, p in zip(expected, model.parameters())]
        torch.testing.assert_close(
            list(ema.module.parameters()), expected, check_dtype=True, msg=lambda m: f"update {t}: {m}"
        )
        assert torch.equal(ema.module[1].running_mean, model[1].running_mean)


def test_the_gate_in_a_training_step(g):
    """The classifier's gradient is g_s + gate(g_u, g_s), the features' is FixMatch's, whatever the sign of alpha."""
    signs = set()
    for _ in range(20):
        draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)
        classifier = nn.Linear(6, 3).double()
        nn.init.normal_(classifier.weight, generator=g)
        z_x, y, z_weak, z_strong = (
            draw(8, 6),
            torch.randint(3, (8,), generator=g),
            draw(20, 6),
            draw(20, 6).requires_grad_(),
        )
        parameters = [classifier.weight, classifier.bias]
        L_s = torch.nn.functional.cross_entropy(classifier(z_x), y)
        plain = fixmatch_loss(z_weak, z_strong, classifier, threshold=0.5)
        flat = lambda loss: torch.cat([t.flatten() for t in torch.autograd.grad(loss, parameters, retain_graph=True)])
        g_s, g_u = flat(L_s), flat(0.7 * plain.loss)
        (g_z,) = torch.autograd.grad(0.7 * plain.loss, z_strong)
        method = Gate(FixMatch(classifier, 0.5, 0.7, grad_relu="block"))
        classifier.zero_grad()
        method.backward(L_s, method.loss(z_strong, method.pseudo_label(z_weak, None)))
        torch.testing.assert_close(torch.cat([p.grad.flatten() for p in parameters]), g_s + gate(g_u, g_s))
        torch.testing.assert_close(z_strong.grad, g_z)
        signs.add(bool(g_u @ g_s > 0))
    assert signs == {True, False}, "the examples must cover both signs"


# --- repeating and resuming ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["supervised", "layermatch"])
def test_same_seed_same_result(method):
    state = torch.random.get_rng_state()
    a = train(replace(SMALL, method=method))
    assert torch.equal(state, torch.random.get_rng_state()), "training leaves the global random state alone"
    torch.manual_seed(99)
    assert_same(a, train(replace(SMALL, method=method)))
    other = train(replace(SMALL, method=method, seed=1))
    assert other.history != a.history


@pytest.mark.parametrize("settings", [{}, {"method": "supervised"}, {"method": "fixmatch", "grad_relu": "gate"}])
def test_resumed_equals_uninterrupted(tmp_path, settings):
    config = SMALL.changed(**settings)
    whole = train(config)
    path = tmp_path / "run.pt"
    for run in train_steps(config):
        if run.just_logged:
            run.save(path)
        if run.step == 7:
            break
    assert Run.load(path).step == 6
    assert_same(train(resume=path), whole)
    assert_same(Run.load(path), whole)


def test_resuming_uses_the_recorded_thread_count(tmp_path):
    before = torch.get_num_threads()
    path = tmp_path / "run.pt"
    try:
        torch.set_num_threads(1)
        whole = train(SMALL)
        for run in train_steps(SMALL):
            if run.step == 4:
                run.save(path)
                break
        torch.set_num_threads(2)
        for run in train_steps(resume=path):  # noqa: B007
            assert torch.get_num_threads() == 2, "the user's, whenever the user has control"
        assert run.step > 4
        assert_same(train(resume=path), whole)
    finally:
        torch.set_num_threads(before)


def test_a_run_is_saved_where_it_was_logged_only(tmp_path):
    for run in train_steps(SMALL):
        if run.step in (0, 4):
            run.save(tmp_path / "run.pt")
        if run.step == 5:
            with pytest.raises(InputError, match="not at step 5"):
                run.save(tmp_path / "run.pt")
            break
    assert Run.load(tmp_path / "run.pt").step == 4


def test_a_run_of_a_gpu_can_be_read_but_not_resumed_elsewhere(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    path = tmp_path / "run.pt"
    train(SMALL, save=path)
    content = torch.load(path, weights_only=True)
    content["environment"]["device"] = "cuda"
    content["generators"] = {name: torch.zeros(16, dtype=torch.uint8) for name in content["generators"]}
    torch.save(content, path)
    looked_at = Run.load(path)
    assert looked_at.history == content["history"]
    with pytest.raises(InputError, match="belongs on cuda"):
        looked_at.save(path)
    with pytest.raises(InputError, match="'cuda' is not available here"):
        train(resume=path)


def test_plain_data_only_reaches_a_file(tmp_path):
    """NumPy numbers and paths are accepted and become plain Python data, so that the file can be read back safely."""
    config = replace(
        SMALL, lr=np.float64(0.03), num_labels=np.int64(20), threshold=np.float32(0.3), log_every=np.int32(4)
    )
    assert type(config.lr) is float and type(config.num_labels) is int
    data = split(
        "mine",
        torch.randn(40, 2),
        torch.arange(40) % 2,
        torch.randn(8, 2),
        torch.arange(8) % 2,
        np.array(["a", "b"]),
        num_labels=4,
    )
    run = train(replace(config, dataset="mine", num_labels=4), data, save=tmp_path / "run.pt")
    assert Run.load(tmp_path / "run.pt").history == run.history


def test_a_finished_run_resumes_to_itself(tmp_path):
    path = tmp_path / "run.pt"
    whole = train(SMALL, save=path)
    assert_same(train(resume=path), whole)


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path):
    """A process killed without warning, again and again, ends with the history of one that was left alone."""
    path, moments = tmp_path / "run.pt", random.Random(0)
    config = TrainConfig(steps=80, batch_size=8, mu=3, log_every=4, threshold=0.4, device="cpu")
    options = "--steps 80 --batch-size 8 --mu 3 --log-every 4 --threshold 0.4 --device cpu --out"
    start = [*options.split(), str(path)]
    reached = []
    for _ in range(2):
        arguments = ["--resume", str(path)] if path.exists() else start
        process = subprocess.Popen(
            [sys.executable, "-m", "layermatch_lite", "train", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        seen, wanted = set(), moments.randint(3, 6)  # writes of this process to wait for
        while process.poll() is None and len(seen) < wanted:
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.wait()
        reached.append(Run.load(path).step)  # whatever the moment, the file is whole
    assert reached == sorted(reached) and 0 < reached[-1] < 80, reached
    subprocess.run(
        [sys.executable, "-m", "layermatch_lite", "train", "--resume", str(path)], check=True, capture_output=True
    )
    assert_same(Run.load(path), train(config))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_keeps_what_was_logged(tmp_path):
    path = tmp_path / "run.pt"
    command = [
        sys.executable,
        "-m",
        "layermatch_lite",
        "train",
        "--steps",
        "100000",
        "--log-every",
        "5",
        "--batch-size",
        "8",
        "--mu",
        "2",
        "--device",
        "cpu",
        "--out",
        str(path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not path.exists() or not Run.load(path).history:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in out and "Traceback" not in err
    assert Run.load(path).history


def test_an_interrupt_returns_the_run(monkeypatch):
    def interrupted(*args, **kwargs):
        for run in train_steps(SMALL):
            yield run
            if run.step == 5:
                raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "train_steps", interrupted)
    run = train(SMALL)
    assert not run.finished and [r["step"] for r in run.history] == [4]


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_diverging_run_names_step_rate_and_last_values(tmp_path):
    path = tmp_path / "run.pt"
    config = TrainConfig(
        dataset="blobs", num_labels=8, method="supervised", model="mlp", lr=1e30, steps=40, log_every=2, device="cpu"
    )
    with pytest.raises(NonFiniteLoss, match=r"at step \d+ \(learning rate 1e\+30") as caught:
        train(config, save=path)
    saved = Run.load(path)
    assert saved.step < 40 and all(p.isfinite().all() for p in saved.model.parameters())
    assert "no record before" in str(caught.value) and not saved.history


def test_a_late_divergence_names_the_last_good_values():
    with pytest.raises(NonFiniteLoss) as caught:
        for run in train_steps(replace(SMALL, log_every=2, probe_every=None)):
            if run.step == 4:
                good = run.history[-1]
                with torch.no_grad():
                    run.model.conv1[0].weight.mul_(float("nan"))
    assert f"at step 4 they were {good['loss_s']:.4g} and {good['loss_u']:.4g}" in str(caught.value)


def test_a_last_update_that_spoils_the_weights_is_seen_before_it_is_saved(monkeypatch):
    config = replace(SMALL, steps=2, log_every=2, probe_every=None)
    with pytest.raises(NonFiniteLoss, match="at step 2"):
        for run in train_steps(config):
            if run.step == 1:
                for group in run.optimizer.param_groups:
                    group["lr"] = float("inf")


@pytest.mark.parametrize(
    "wrong, named",
    [
        (dict(method="fixmtch"), "Did you mean 'fixmatch'"),
        (dict(threshold=1.01), "threshold=1.01"),
        (dict(threshold=-0.1), "-0.1"),
        (dict(steps=0), "steps=0"),
        (dict(steps=-5), "-5"),
        (dict(batch_size=0), "batch_size=0"),
        (dict(mu=0), "mu=0"),
        (dict(lr=0), "lr=0"),
        (dict(lr=-1.0), "lr=-1.0"),
        (dict(lr=float("nan")), "nan"),
        (dict(lr=float("inf")), "inf"),
        (dict(momentum=1.0), "momentum"),
        (dict(ema_decay=1), "ema_decay"),
        (dict(center_momentum=-0.5), "center_momentum"),
        (dict(num_labels=0), "num_labels=0"),
        (dict(grad_relu="blocked"), "Did you mean 'block'"),
        (dict(labels_from="x"), "labels_from"),
        (dict(labels_from="centers", method="fixmatch"), "averaged centres"),
        (dict(method="supervised", grad_relu="block"), "no unlabelled"),
        (dict(method="supervised", batch_size=1), "at least 2"),
        (dict(steps=1.5), "whole number"),
        (dict(steps="12"), "'12'"),
        (dict(compile="no"), "'no'"),
        (dict(seed=True), "True"),
        (dict(avg_clustering="off"), "'off'"),
        (dict(num_val=None), "None"),
        (dict(method=3), "method=3"),
        (dict(strong_labelled=2.0), "2.0"),
    ],
)
def test_wrong_settings(wrong, named):
    with pytest.raises(InputError, match=named):
        TrainConfig.from_dict(wrong)


def test_unknown_setting_preset_and_device():
    with pytest.raises(InputError, match="Did you mean 'threshold'"):
        TrainConfig(treshold=0.9)
    with pytest.raises(InputError, match="demo_cpu"):
        TrainConfig.preset("demo")
    with pytest.raises(InputError, match="toaster.*cpu"):
        train(replace(SMALL, device="toaster"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = TrainConfig.preset(name, seed=3)
    assert config.seed == 3 and config.method == "layermatch"


def test_the_paper_preset_is_the_canonical_protocol():
    c = TrainConfig.preset("paper")
    assert (c.model, c.steps, c.batch_size, c.mu, c.threshold, c.lambda_u) == ("wrn-28-2", 2**20, 64, 7, 0.95, 1.0)
    assert (c.lr, c.momentum, c.weight_decay, c.ema_decay, c.bn_momentum, c.strong_labelled) == (
        0.03,
        0.9,
        5e-4,
        0.999,
        0.001,
        0,
    )


def test_each_data_set_starts_from_its_own_recipe(tmp_path):
    digits, photographs = TrainConfig(dataset="digits"), TrainConfig(dataset=str(tmp_path))
    assert (digits.lr, digits.strong_labelled, TrainConfig(dataset="digits", lr=0.5).lr) == (0.1, 0.5, 0.5)
    assert photographs.recipe == TrainConfig(dataset="cifar10").recipe == "photographs" != TrainConfig().recipe
    assert photographs.steps == 1000 and TrainConfig(dataset="blobs").recipe == "mnist1d"
    freematch = TrainConfig(dataset=str(tmp_path), method="freematch", variant=Variant(fairness=0.5)).variant
    assert (freematch.threshold_momentum, freematch.fairness) == (0.99, 0.5)


def test_each_method_starts_from_its_own_recipe(monkeypatch):
    """That of the next smaller number of labels, or of the smallest there is; what is given stays."""
    many = {"layermatch": {"threshold": 0.4}, "freematch": {"fairness": 0.4}}
    monkeypatch.setattr(runs_config, "OWN", {"digits": {"10": {"layermatch": {"threshold": 0.1}}, "40": many}})
    tau = lambda **settings: TrainConfig(**dict(dataset="digits", method="layermatch") | settings).threshold
    found = [tau(num_labels=n) for n in (5, 10, 39, 40, 1000, None)]
    assert found == [0.1, 0.1, 0.1, 0.4, 0.4, 0.4]
    assert tau(num_labels=10, threshold=0.9) == 0.9
    assert tau(num_labels=10, method="fixmatch") == tau(dataset="mnist1d") == 0.8, "the shared recipe's"
    assert TrainConfig(dataset="digits", num_labels=40, method="freematch").variant.fairness == 0.4


def test_a_config_comes_back_from_its_plain_form():
    config = TrainConfig(dataset="digits", method="fixmatch", variant=Variant(noise="pair", noise_rate=0.2, blocked="conv 1"))
    flat = config.as_dict()
    assert all(isinstance(v, str | int | float | bool | None) for v in flat.values())
    assert TrainConfig.from_dict(flat) == config and config.changed(lr=0.2).differences(config) == {"lr": (0.2, 0.1)}
    with pytest.raises(InputError, match=r"noise is a setting for study; give TrainConfig\(variant=Variant\(noise"):
        TrainConfig(noise="pair")


def test_own_data_must_agree_with_the_config():
    data = load_data("digits", num_labels=40, num_val=200, seed=0)
    config = replace(SMALL, dataset="digits", num_labels=40)
    assert "val_accuracy" in train(config, data).history[-1]
    for wrong, named in (
        (dict(dataset="mnist1d"), "dataset='mnist1d'.*'digits'"),
        (dict(num_labels=20), "num_labels=20.*40"),
        (dict(num_val=100), "num_val=100.*200"),
        (dict(num_labels=None), "num_labels=1237"),
    ):
        with pytest.raises(InputError, match=named):
            train(replace(config, **wrong), data)


def test_resuming_with_other_settings_or_data(tmp_path):
    path = tmp_path / "run.pt"
    train(SMALL, save=path)
    with pytest.raises(InputError, match="lr=0.1"):
        train(replace(SMALL, lr=0.1), resume=path)
    with pytest.raises(InputError, match="another split"):
        train(resume=path, data=load_data("mnist1d", 20, seed=8))
    with pytest.raises(InputError, match="exists already"):
        train(SMALL, save=path)
    with pytest.raises(InputError, match="needs a TrainConfig"):
        train()


def test_centers_take_part_in_a_checkpoint(tmp_path):
    run = train(replace(SMALL, center_momentum=0.5))
    run.save(tmp_path / "run.pt")
    loaded = Run.load(tmp_path / "run.pt")
    assert isinstance(loaded.centers, AvgClustering) and loaded.centers.updates == 12
    assert torch.equal(loaded.centers.weight, run.centers.weight)
    assert not torch.equal(loaded.centers.weight, run.model.classifier.weight)


def test_a_blocked_layer_learns_from_labels_alone():
    """One step by hand: L_s alone in the blocked layers, L_s + L_u in those below, whatever lies above."""
    config = TrainConfig.preset(
        "demo_cpu", dataset="mnist1d", method="fixmatch", blocked="conv 2, fc", threshold=0.0, steps=1, batch_size=8, log_every=1,
        momentum=0.0, weight_decay=0.0,
    )  # fmt: skip
    plain, blocked = (dict(train(c).model.named_parameters()) for c in (config.changed(blocked=None), config))
    steps = train_steps(config)
    run = next(steps)
    start = {k: p.detach().clone() for k, p in run.model.named_parameters()}
    data = load_data("mnist1d", 20, seed=0)
    g_x, g_u = (generator(0, name) for name in ("labelled", "unlabelled"))
    views = Views(data)
    x, y = labelled_batch(data, views, config, g_x)
    weak, strong, _ = unlabelled_batch(data, views, 32, g_u)
    run.model.train()
    L_s = F.cross_entropy(run.model(torch.cat([x, weak, strong]))[:8], y)
    of_labels = dict(zip(start, torch.autograd.grad(L_s, list(run.model.parameters()))))
    for k, p in blocked.items():
        if k.split(".")[0] in ("conv2", "fc"):
            torch.testing.assert_close(p, start[k] - config.lr * of_labels[k])
            assert not torch.equal(p, plain[k]), k
        else:
            assert torch.equal(p, plain[k]), k


def test_blocking_the_classifier_is_grad_relu():
    small = dict(
        dataset="blobs",
        num_labels=4,
        method="fixmatch",
        steps=6,
        batch_size=8,
        log_every=6,
        threshold=0.3,
        device="cpu",
    )
    a, b, c = (train(TrainConfig.from_dict(small | how)) for how in ({"blocked": "classifier"}, {"grad_relu": "block"}, {}))
    torch.testing.assert_close(a.model.state_dict(), b.model.state_dict())
    assert not torch.equal(a.model.classifier.weight, c.model.classifier.weight)


def test_a_layer_to_block_that_is_not_there():
    with pytest.raises(
        InputError, match="blocked='conv 9' is unknown; choose from conv 1, conv 2, conv 3, fc, classifier"
    ):
        train(TrainConfig(method="fixmatch", variant=Variant(blocked="conv 9"), steps=1))
    with pytest.raises(InputError, match="no unlabelled loss for blocked"):
        TrainConfig(method="supervised", variant=Variant(blocked="fc"))
