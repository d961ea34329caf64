"""Figures: drawn from data, the same twice, with an alt text that tells what was plotted."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from layermatch_lite import InputError, TrainConfig, load_data, train
from layermatch_lite.core import theory
from layermatch_lite.figures import plots
from layermatch_lite.runs.recording import load_recorded

LAYERS = ["conv 1", "conv 2", "classifier"]


def benefit_table(shift=0.0, x="step"):
    g = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"seed": s, x: v, "layer": layer, "empty": False}
            | {q: 0.5 - 0.2 * i + shift + 0.01 * g.normal() for q in ("benefit", *plots.FOUR, "interference")}
            for s in range(4)
            for v in (0.1, 0.5, 0.9)
            for i, layer in enumerate(LAYERS)
        ]
    )


def training_table(shift=0.0):
    return pd.DataFrame(
        [{"seed": s, "step": k, "accuracy": 0.4 + shift + 0.01 * k, "nmi": 0.3} for s in range(3) for k in (5, 10)]
    )


def points():
    data = load_data("blobs", 4, seed=0)
    run = train(
        TrainConfig(dataset="blobs", num_labels=4, method="fixmatch", steps=5, batch_size=8, device="cpu"), data
    )
    return run.model.eval(), data


def small_study(shift=0.0):
    """Two settings, six seeds, one comparison in each."""
    runs = [
        {"setting": f"d, {n} labels", "row": row, "seed": k, "accuracy": 0.5 + 0.01 * n + better + 0.01 * (k % 3)}
        for n in (10, 20)
        for row, better in (("fixmatch", 0.0), ("layermatch", 0.1 + shift), ("every label", 0.3))
        for k in range(6)
    ]
    settings = ("d, 10 labels", "d, 20 labels")
    return {"name": "small", "question": "?", "seeds": list(range(6)), "runs": runs,
            "plan": {s: {"fixmatch": {}, "layermatch": {}} for s in settings},
            "families": {"q": [[s, "layermatch", "fixmatch"] for s in settings]}}  # fmt: skip


PANELS = {"d": {10: "d, 10 labels", 20: "d, 20 labels"}}


def toy(turn=False):
    z, y, W = theory.toy(seed=1)
    return z, y, y.roll(1) if turn else (z @ W.T).argmax(1), W


def maps(recording):
    return {"run": [recording.features[s][:, :2].astype("float32") for s in (1, 20)]}


def changed(recording):
    return dataclasses.replace(recording, labels=(recording.labels + 1) % 10)


def figures():
    """{name: (the figure, the figure from changed data)} of every function of the module that is drawn from tables or runs."""
    r = load_recorded("digits_fixmatch")
    model, data = points()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.classifier.weight.copy_(model.classifier.weight.roll(1, 0))
    sure, right = r.confidence[-1].astype("float32"), r.right[-1]
    return {
        "benefit_over step": [plots.benefit_over({"a": benefit_table(s)}) for s in (0, 0.3)],
        "benefit_over rate": [
            plots.benefit_over({"a": benefit_table(s, "rate")}, x="rate", quantity="alignment") for s in (0, 0.3)
        ],
        "two_by_two": [plots.two_by_two(benefit_table(s)) for s in (0, 0.3)],
        "over_training": [plots.over_training({"a": training_table(s)}, ("accuracy", "nmi")) for s in (0, 0.3)],
        "differences": [plots.differences_figure({"p": {"row": [0.1 + s, 0.2, 0.15]}}) for s in (0, -0.9)],
        "study": [plots.study_figure(small_study(s), PANELS, ("fixmatch", "layermatch")) for s in (0, -0.2)],
        "families": [plots.families_figure(small_study(s), ["q"]) for s in (0, -0.2)],
        "resampling": [
            plots.resampling_figure([s, 0.2, 0.3], np.linspace(s, 0.3, 50), (s, 0.3), (s + 0.01, 0.29)) for s in (0, 0.1)
        ],
        "arrows": [plots.gradient_arrows(*toy(turn)) for turn in (False, True)],
        "decision": [plots.decision_figure({"end": m}, data, 0.5) for m in (model, other)],
        "threshold": [plots.threshold_figure(sure, v, 0.8) for v in (right, ~right)],
        "maps": [plots.maps_figure(maps(v), {"run": v}, (1, 20)) for v in (r, changed(r))],
        "confusion": [plots.confusion_figure(v, (1, 20)) for v in (r, changed(r))],
        "views": [plots.views_figure(load_data(d, 10)) for d in ("mnist1d", "digits")],
    }


@pytest.fixture(scope="module")
def drawn():
    return figures()


def test_every_figure_function_is_tested(drawn):
    public = [name for name in vars(plots) if name.endswith(("_figure", "_over", "_training", "_two", "_arrows"))]
    elsewhere = {"comparison_figure"}  # test_cli
    assert len(set(public) - elsewhere) == len({name.split()[0] for name in drawn})


def test_alt_texts_follow_the_data(drawn):
    for name, ((_, alt), (_, other)) in drawn.items():
        assert alt and other and alt != other, name
        assert alt.endswith(".") and len(alt) < 700 and "nan" not in alt, (name, alt)


def test_alt_texts_are_true():
    _, alt = plots.benefit_over({"a": benefit_table()})
    assert "highest +0.5" in alt and "in conv 1, lowest +0.1" in alt and "in classifier" in alt
    _, alt = plots.differences_figure({"p": {"row": [0.1, 0.2, 0.15]}})
    assert "row +0.150 [+0.026, +0.274]" in alt
    _, alt = plots.over_training({"a": training_table()}, ("accuracy",))
    assert "a 0.5" in alt
    r = load_recorded("digits_fixmatch")
    wrong, over = int((r.mask[-1] & ~r.right[-1]).sum()), int(r.mask[-1].sum())
    assert f"{over} labels over the threshold, {wrong} wrong" in plots.confusion_figure(r, (20,))[1]
    z, y, q, W = toy()
    assert f"Of 24 features {int((q != y).sum())} carry a wrong" in plots.gradient_arrows(z, y, q, W)[1]


def test_the_same_data_give_the_same_bytes(drawn):
    for name, again in figures().items():
        for (first, _), (second, _) in zip(drawn[name], again):
            assert plots.as_png(first) == plots.as_png(second), name


def test_methods_and_layers_differ_in_more_than_colour():
    for styles in (plots.STYLE, plots.layer_styles(["conv 1", "conv 2", "conv 3", "fc", "classifier"])):
        assert len({s[1] for s in styles.values()}) == len(styles), "a marker each"
    rows = plots.row_styles(["FixMatch", "LayerMatch", "mine", "yours", "theirs"])
    assert len({s[:2] for s in rows.values()}) == 5 and rows["FixMatch"] == plots.STYLE["fixmatch"]
    lightness = lambda c: sum(w * int(c[i : i + 2], 16) for w, i in zip((0.299, 0.587, 0.114), (1, 3, 5)))
    blues = sorted(
        lightness(s[0]) for k, s in plots.layer_styles(["a", "b", "c", "classifier"]).items() if k != "classifier"
    )
    assert all(b - a > 20 for a, b in zip(blues, blues[1:])), "told apart in greyscale"


def test_intervals_are_those_of_the_seeds():
    t = pd.DataFrame({"seed": [0, 0, 1, 1], "step": 1, "v": [1.0, 3.0, 4.0, 4.0]})
    (row,) = plots.mean_and_interval(t, "step", "v").to_dict("records")
    from layermatch_lite.studies.stats import interval

    assert (row["mean"], row["seeds"]) == (3.0, 2) and (row["low"], row["high"]) == interval([2.0, 4.0])
    alone = plots.mean_and_interval(t[t["seed"] == 0], "step", "v").iloc[0]
    assert alone["mean"] == 2 and np.isnan(alone["low"])


def test_colours_of_a_family_are_the_corrected_decisions():
    """Six seeds alike give p = 1/32: decided alone, and not among eight."""
    few = small_study()
    colours = lambda figure: {tuple(line.get_color()) for ax in figure.axes for line in ax.lines if line.get_marker() in "Dov"}
    (one,) = colours(plots.families_figure(few | {"families": {"q": few["families"]["q"][:1]}}, ["q"])[0])
    (many,) = colours(plots.families_figure(few | {"families": {"q": few["families"]["q"][:1] * 8}}, ["q"])[0])
    assert "".join(one) == "#0072B2" and "".join(many) == "#555555"


def test_empty_masks_are_left_out():
    t = benefit_table()
    spoilt = pd.concat([t, t.assign(empty=True, benefit=-99.0, alignment=-99.0)])
    assert plots.benefit_over({"a": t})[1] == plots.benefit_over({"a": spoilt})[1]
    assert plots.two_by_two(t)[1] == plots.two_by_two(spoilt)[1]


def test_nothing_over_the_threshold_is_said():
    t = benefit_table().assign(empty=True)
    assert "b: nothing passed the threshold" in plots.benefit_over({"a": benefit_table(), "b": t})[1]
    with pytest.raises(InputError, match="no measurement"):
        plots.two_by_two(t)
    z, y, q, W = toy()
    assert "Of 24 features 0 carry a wrong" in plots.gradient_arrows(z, y, q, W, torch.zeros(24, dtype=torch.bool))[1]


def test_drawing_does_not_touch_a_model():
    model, data = points()
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    plots.decision_figure({"training": model}, data, 0.5)
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_what_cannot_be_drawn():
    r = load_recorded("digits_fixmatch")
    with pytest.raises(InputError, match="2 snapshots need as many maps each, got .3."):
        plots.maps_figure({"run": [r.features[0][:, :2]] * 3}, {"run": r}, (1, 20))
    with pytest.raises(InputError, match="decision regions are drawn for points"):
        plots.decision_figure({}, load_data("digits", 10), 0.5)
    with pytest.raises(InputError, match="quantity='benefits' is unknown"):
        plots.benefit_over({"a": benefit_table()}, quantity="benefits")
    with pytest.raises(InputError, match="num_classes=11"):
        plots.class_styles(11)
    with pytest.raises(InputError, match="at least two seeds"):
        plots.differences_figure({"p": {"row": [0.1]}})
