"""Whatever users call, with whatever they may give it by mistake: it works, or one InputError says what is wrong."""

import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import layermatch_lite as L
from layermatch_lite import (
    AvgClustering,
    InputError,
    NonFiniteLoss,
    TrainConfig,
    Variant,
    figures,
    labs,
    load_data,
    train,
)
from layermatch_lite.cli import main
from layermatch_lite.core import theory
from layermatch_lite.course import predict_curve, predict_order, predict_value
from layermatch_lite.figures import clustering
from layermatch_lite.figures.embedding import embed
from layermatch_lite.studies import known_noise, stats
from layermatch_lite.studies.study import Study

TINY = dict(dataset="blobs", num_labels=4, steps=2, batch_size=4, mu=1, device="cpu")
WRONG = {
    "None": None, "text": "text", "bytes": b"x", "-1": -1, "1.5": 1.5, "nan": math.nan, "inf": math.inf, "huge": 10**30, "[]": [],
    "{}": {}, "object": object(), "True": True, "function": lambda *a: 1, "path": Path("/nonexistent/x"), "array": np.array([]),
    "empty": torch.zeros(0), "four dimensions": torch.zeros(2, 3, 4, 5), "NaN": torch.full((5, 4), math.nan),
    "complex": torch.zeros(5, 4, dtype=torch.complex64), "whole": torch.arange(5), "meta": torch.zeros(5, 4, device="meta"),
    "short": torch.ones(2, 4), "sparse": torch.ones(5, 4).to_sparse(), "a set": {1, 2},
}  # fmt: skip


def calls() -> dict:
    """{name: (function, arguments that are right)}"""
    g = torch.Generator().manual_seed(0)
    r = lambda *shape: torch.randn(*shape, generator=g)
    config, data, linear = TrainConfig(**TINY), load_data("blobs", 4), nn.Linear(4, 3)
    run, x, y, d = train(config, data), data.x_unlabelled[:6], data.y_unlabelled[:6], [0.1, 0.2, -0.1, 0.05]
    recording = L.record(config, data, snapshots=1, sample=10)
    p, q, y3 = r(5, 3).softmax(1), torch.tensor([0, 1, 2, 0, 1]), torch.arange(30) % 3
    rows = {m: TrainConfig(**TINY, method=m) for m in ("fixmatch", "layermatch")}
    own = dict(name="m", x=r(30, 2), y=y3, x_test=r(9, 2), y_test=y3[:9], classes=("a", "b", "c"), x_unlabelled=r(5, 2))
    wrong_labels = dict(z=r(5, 4), p=p, labels=q, y_true=q.flip(0), mask=None)
    training = dict(config=config, data=data, model=None, resume=None, progress=False)
    losses = dict(z_weak=r(5, 4), z_strong=r(5, 4), classifier=linear, threshold=0.5)
    return {
        "AvgClustering": (AvgClustering, dict(classifier=linear, momentum=0.9)),
        "AvgClustering.update": (lambda **k: AvgClustering(linear).update(**k), dict(classifier=linear)),
        "FreeMatch": (L.FreeMatch, dict(num_classes=3, momentum=0.9, weight=0.1)),
        "LiveRun": (labs.LiveRun, dict(config=config, path="l.pt", data=data, model=None)),
        "MLP": (L.MLP, dict(in_features=2, hidden=8, num_classes=3, bn_momentum=0.1, plane=False)),
        "NoiseLab": (labs.NoiseLab, dict(link="noise?rate=0.4")),
        "Recording.load": (L.Recording.load, dict(path=L.runs.recording.SHIPPED / "digits_fixmatch.npz")),
        "Recording.save": (recording.save, dict(path="r.npz")),
        "Run.load": (L.Run.load, dict(path="none.pt", device="cpu", model=None)),
        "Run.save": (run.save, dict(path="q.pt")),
        "SmallCNN": (L.SmallCNN, dict(in_channels=3, width=4, num_classes=3, bn_momentum=0.1)),
        "SmallCNN1d": (L.SmallCNN1d, dict(in_channels=1, width=4, num_classes=3, bn_momentum=0.1)),
        "Study": (Study, dict(name="s", question="q", seeds=(0, 1), plan={"A": rows}, watch=None, curves=(), recorded=False,
                              families={"f": [("A", "layermatch", "fixmatch")]})),
        "TimeMachine": (labs.TimeMachine, dict(link="", run="digits_fixmatch", snapshot=3)),
        "TrainConfig": (TrainConfig, dict(vars(config))),
        "TrainConfig.differences": (config.differences, dict(other=config)),
        "TrainConfig.from_dict": (TrainConfig.from_dict, dict(settings={"seed": 1})),
        "TrainConfig.preset": (TrainConfig.preset, dict(name="demo_cpu", seed=0)),
        "Variant": (Variant, dict(vars(Variant()))),
        "WideResNet": (L.WideResNet, dict(depth=10, width=1, num_classes=3, bn_momentum=0.1, in_channels=3)),
        "classifier_gradient": (theory.classifier_gradient, dict(z=r(5, 4), p=p, labels=q, mask=q > 0)),
        "classroom": (labs.classroom, dict(query="")),
        "cluster_quality": (clustering.cluster_quality, dict(z=r(30, 4), y=y3, seed=0)),
        "distance_to_center": (clustering.distance_to_center, dict(z=r(30, 4), y=y3, weight=r(3, 4))),
        "drift": (clustering.drift, dict(before=r(3, 4), after=r(3, 4))),
        "effect_size": (stats.effect_size, dict(differences=d)),
        "embed": (embed, dict(snapshots=[r(30, 4)], method="pca", n_neighbors=5, min_dist=0.1, seed=0, init="pca")),
        "error": (theory.error, dict(p=p, labels=q, mask=None)),
        "feature_gradient": (theory.feature_gradient, dict(W=r(3, 4), p=p, labels=q, mask=None)),
        "fixmatch_loss": (L.fixmatch_loss, losses),
        "gate": (L.gate, dict(g_u=r(5), g_s=r(5))),
        "holm": (stats.holm, dict(p=[0.1, 0.2])),
        "interval": (stats.interval, dict(values=d, level=0.9)),
        "layer_benefit": (L.layer_benefit, dict(model=L.MLP(2, 8, 4), x=x, y=y, weak=x, strong=x, y_true=y, threshold=0.2,
                                                generator=g, relabel=None)),
        "load_data": (load_data, dict(name_or_path="blobs", num_labels=4, num_val=0, seed=0, flip=None, image_size=None,
                                      test_share=None, skip_broken=False)),
        "load_maps": (known_noise.load_maps, dict(path=known_noise.MAPS)),
        "load_recorded": (L.load_recorded, dict(name="digits_fixmatch")),
        "load_study": (L.load_study, dict(name="centers")),
        "noise_config": (known_noise.noise_config, dict(kind="pair", rate=0.2, taught="all")),
        "p_value": (stats.p_value, dict(differences=d)),
        "predict": (L.predict, dict(run=run, x=x)),
        "predict_folder": (L.predict_folder, dict(run=run, folder=".", out="o.csv")),
        "predict_curve": (predict_curve, dict(name="c", text="t", x=["a", "b"], xlabel="", low=0.0, high=1.0, label="")),
        "predict_order": (predict_order, dict(name="o", text="t", items=["a", "b"])),
        "predict_value": (predict_value, dict(name="v", text="t", low=0.0, high=1.0, label="", unit="", step=None, log=False)),
        "pseudo_label_loss": (L.pseudo_label_loss, losses | dict(grad_relu="block", centers=AvgClustering(linear),
                                                                 labels_from="classifier")),
        "readout": (L.readout, dict(model=run.model, data=data, seed=0)),
        "record": (L.record, dict(config=config, data=data, model=None, snapshots=2, sample=10, components=2, progress=False)),
        "split": (L.split, own | dict(num_labels=6, num_val=0, seed=0, flip=False)),
        "split_classifier_gradient": (theory.split_classifier_gradient, wrong_labels),
        "split_feature_gradient": (theory.split_feature_gradient, dict(W=r(3, 4), p=p, labels=q, y_true=q.flip(0), mask=None)),
        "train": (train, training | dict(save=None)),
        "train_steps": (lambda **k: list(L.train_steps(**k)), training),
        "views_figure": (figures.views_figure, dict(data=data, seed=0)),
    }  # fmt: skip


def test_malformed_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried, raw = 0, []
    for name, (function, arguments) in calls().items():
        for argument in arguments:
            for what, value in WRONG.items():
                tried += 1
                try:
                    function(**arguments | {argument: value})
                except (InputError, NonFiniteLoss) as error:
                    assert str(error) and "\n" not in str(error), (name, argument, what)
                except Exception as error:
                    raw.append(f"{name}({argument}={what}): {type(error).__name__}: {error}")
    assert tried > 3000 and not raw, "\n".join(raw)


def test_right_calls_are_right(tmp_path, monkeypatch):
    """Else the test above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    for name, (function, arguments) in calls().items():
        if name not in ("Run.load", "predict_folder"):  # no such file; no images
            function(**arguments)


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: stats.p_value([0.1, math.nan]), "differences is list .*finite numbers"),
        (lambda: AvgClustering(nn.Linear(4, 3)).update(nn.Linear(4, 1)), "centres are .3, 4."),
        (lambda: AvgClustering(nn.Linear(4, 3)).update(nn.Linear(4, 3, bias=False)), "centres are .3, 4."),
        (lambda: L.fixmatch_loss(torch.ones(5, 4), torch.ones(6, 4), nn.Linear(4, 3)), "z_strong .*N=5 as in z_weak"),
        (lambda: L.fixmatch_loss(torch.ones(5, 3), torch.ones(5, 3), nn.Linear(4, 3)), "classifier .*D=3 as in z_weak"),
        (lambda: L.fixmatch_loss(torch.ones(5, 4), torch.ones(5, 4, device="meta"), nn.Linear(4, 3)), "z_strong .*on cpu"),
        (lambda: theory.error(torch.ones(2, 3) / 3, torch.tensor([0, 3])), "labels .*0 to 2"),
        (lambda: Study("s", "?", (0, 0), {"A": {"x": TrainConfig()}}, {}), "seeds=.0, 0."),
        (lambda: Study("s", "?", (0,), {"A": {"x": TrainConfig()}}, {"f": [("A", "x", "x")]}), "with itself"),
        (lambda: TrainConfig(method="freematch", threshold=0.9), "threshold=0.9 has no effect with method='freematch'"),
        (lambda: TrainConfig(method="fixmatch", center_momentum=0.5), "center_momentum=0.5 has no effect with method='fixmatch'"),
        (lambda: TrainConfig(method="fixmatch", variant=Variant(fairness=0.5)), "fairness=0.5 has no effect"),
        (lambda: TrainConfig(method="supervised", lambda_u=2.0), "lambda_u=2.0 has no effect"),
        (lambda: TrainConfig(dataset="digits", image_size=32), "image_size=32 has no effect with dataset='digits'"),
        (lambda: load_data("mnist1d", flip=True), "flip=True has no effect"),
        (lambda: L.WideResNet(60004, 1), "depth=60004|beyond every machine"),
        (lambda: train(TrainConfig(batch_size=10**9, mu=1, method="supervised")), "batch_size=1000000000"),
    ],
)  # fmt: skip
def test_what_used_to_pass_without_a_word(call, named):
    with pytest.raises(InputError, match=named):
        call()


OPTIONS = [
    "--method freematch --threshold 0.9", "--method fixmatch --center-momentum 0.5", "--method supervised --lambda-u 2",
    "--preset=", "--preset nonsense", "--dataset=", "--dataset /nonexistent", "--dataset mnist1d --test-share 0.2",
    "--image-size 32", "--skip-broken", "--flip", "--num-labels 0", "--num-labels 1e9", "--steps 0", "--lr nan", "--lr -1",
    "--batch-size 999999999", "--mu 9999999", "--model wrn-60004-1", "--model wrn-28-999", "--device tpu", "--device cuda:99",
    "--seed -1", "--out .", "--out /dev/null/x", "--resume .", "--resume /dev/zero", "--resume missing", "--resume=",
    "--noise pair", "--noise-rate 0.2", "--noise '1 2; 3'", "--blocked nothing",
    "--joint-forward --method supervised --no-joint-forward",
    "--precision fp8", "--test-share 2", "--image-size 0", "--unknown 1", "--cuda-graphs", "--log-every 0",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_malformed_command_lines(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["train", *shlex.split(options)])
    except SystemExit as end:
        status = end.code
    err = capsys.readouterr().err
    lines = [line for line in err.split("\r")[-1].splitlines() if line and "steps/s" not in line]
    assert status in (1, 2) and len(lines) == 1 and lines[0].startswith("layermatch-lite"), (status, err)
    assert not list(tmp_path.rglob("*.pt")), "refused before anything was written"


def test_a_batch_that_one_method_cannot_take_is_known_before_the_first_is_trained(tmp_path, capsys):
    assert main(["demo", "--steps", "4", "--seeds", "1", "--batch-size", "999", "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "batch_size=999" in err and "steps/s" not in err and not list(tmp_path.glob("*.json"))
