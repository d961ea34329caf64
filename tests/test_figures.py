"""Figures: every function draws what it is given, says so in its alt text, and leaves everything else as it was."""

import copy
import dataclasses
import re
import tempfile
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from layermatch_lite import MLP, InputError, TrainConfig, figures, load_data, split
from layermatch_lite.figures import quantities, style
from layermatch_lite.runs.compare import Outcome
from layermatch_lite.runs.recording import load_recorded
from layermatch_lite.studies import known_noise
from layermatch_lite.studies.stats import interval

LAYERS = ["conv 1", "conv 2", "classifier"]
PANELS = {"d": {10: "d, 10 labels", 20: "d, 20 labels"}}


def probed(shift=0.0, x="step"):
    """Rows of the probe: the benefit falls from 0.5 in conv 1 to 0.1 in the classifier."""
    g = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"seed": s, x: v, "layer": layer, "empty": False}
            | {q: 0.5 - 0.2 * i + shift + 0.01 * g.normal() for q in ("benefit", *quantities.FOUR, "interference")}
            for s in range(4)
            for v in (0.1, 0.5, 0.9)
            for i, layer in enumerate(LAYERS)
        ]
    )


def trained(shift=0.0):
    return pd.DataFrame(
        [{"seed": s, "step": k, "accuracy": 0.4 + shift + 0.01 * k, "nmi": 0.3} for s in range(3) for k in (5, 10)]
    )


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


def outcomes(shift=0.0, measured=True):
    """Two methods and two seeds, layers and readouts measured, or not."""
    rows = [{"layer": layer, "empty": False, "benefit": 0.2, "alignment": 0.1 + shift, "interference": 0.1} for layer in LAYERS]
    more = {"layer_benefit": rows, "readout": readout(0.5 + shift)} if measured else {}
    record = lambda step, accuracy: {"step": step, "accuracy": accuracy} | more
    return [
        Outcome(TrainConfig(method=method, seed=seed, steps=100), [record(10, 0.4), record(100, 0.5 + shift)], 1.0, {})
        for method in ("fixmatch", "layermatch")
        for seed in (0, 1)
    ]


def unsure(s):
    """Two images and a table of what a run said of them."""
    folder = Path(tempfile.mkdtemp())
    for name in ("a", "b"):
        Image.new("L", (8, 8), 100).save(folder / f"{name}.png")
    (folder / "table.csv").write_text(f"file,class,confidence\na.png,cat,0.{4 + s}000\nb.png,dog,0.9000\n")
    return figures.unsure_figure(folder / "table.csv", folder)


def readout(own):
    return {"own": own, "probe": 0.9, "few": 0.6, "kmeans": 0.7}


def grid(shift=0.0):
    """A study of networks under known noise: two seeds, two kinds, the readouts fall with the rate."""
    runs = [
        {"setting": f"{kind} {rate}", "row": t, "seed": k, "accuracy": 0.5, "readout": readout(1 + shift - rate)}
        for kind in ("uniform", "pair")
        for rate in known_noise.RATES
        for t in known_noise.TAUGHT
        for k in known_noise.SEEDS[:2]
    ]
    few = {"setting": "no pseudo-labels", "row": "supervised", "readout": readout(0.6)}
    packed = {"untrained": {k: {"values": [v]} for k, v in readout(0.1).items()}}
    few = [few | {"seed": k, "tables": packed} for k in known_noise.SEEDS[:2]]
    plan = {"no pseudo-labels": {"supervised": {}}}
    return {"name": "grid", "seeds": [*known_noise.SEEDS[:2]], "runs": runs + few, "plan": plan}


def points():
    """An untrained network made sure of itself, and points for it."""
    torch.manual_seed(0)
    model = MLP(2, num_classes=4).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    return model, load_data("blobs", 4)


def two_classes(name):
    d = load_data(name, None)
    kept = d.y_unlabelled < 2
    x, y = d.x_unlabelled[kept], d.y_unlabelled[kept]
    return split(name, x, y, x, y, ("zero", "one"), num_labels=2)


def toy(turn=False):
    z, y, W = figures.toy(seed=1)
    return z, y, y.roll(1) if turn else (z @ W.T).argmax(1), W


def maps(recording):
    return {"run": [recording.features[s][:, :2].astype("float32") for s in (1, 20)]}


@pytest.fixture(scope="module")
def drawn():
    """{function: two figures of it, drawn from different data}; what drawing must leave alone is compared here."""
    r = load_recorded("digits_fixmatch")
    changed = dataclasses.replace(r, labels=(r.labels + 1) % 10)
    lost = dataclasses.replace(r, labels=r.labels * 0)
    model, data = points()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.classifier.weight.copy_(model.classifier.weight.roll(1, 0))
    sure, right = r.confidence[-1].astype("float32"), r.right[-1]
    settings = lambda: {k: dict.__getitem__(matplotlib.rcParams, k) for k in matplotlib.rcParams}  # resolves no backend
    state = lambda: (list(warnings.filters), settings(), torch.get_num_threads(), torch.get_rng_state().tolist())
    before = state()
    draw = {
        "benefit_over": lambda s: figures.benefit_over({"a": probed(s / 3)}),
        "two_by_two": lambda s: figures.two_by_two(probed(s / 3)),
        "over_training": lambda s: figures.over_training({"a": trained(s / 3)}, ("accuracy", "nmi")),
        "seeds_over_training": lambda s: figures.seeds_over_training({"p": {"a": trained(s / 3)}}, "accuracy"),
        "differences_figure": lambda s: figures.differences_figure({"p": {"row": [0.1 - s, 0.2, 0.15]}}),
        "study_figure": lambda s: figures.study_figure(small_study(-s / 5), PANELS, ("fixmatch", "layermatch")),
        "families_figure": lambda s: figures.families_figure(small_study(-s / 5), ["q"]),
        "resampling_figure": lambda s: figures.resampling_figure([s, 2, 3], np.linspace(s, 3, 50), (s, 3), (s + 0.1, 2.9)),
        "dots_figure": lambda s: figures.dots_figure({"p": {"a": {"x": [0.1, s], "y": [0.3]}}}, "lead"),
        "flips_figure": lambda s: figures.flips_figure([0.1 + s, 0.2, -0.1]),
        "gate_arrows": lambda s: figures.gate_arrows(torch.eye(2) - s, torch.eye(2), torch.ones(2)),
        "truth_and_label_figure": lambda s: figures.truth_and_label_figure(maps(r)["run"][1], (r, lost)[s], 20),
        "clouds_figure": lambda s: figures.clouds_figure({"a": np.eye(4 + s)[:, :2]}),
        "gradient_arrows": lambda s: figures.gradient_arrows(*toy(bool(s))),
        "decision_figure": lambda s: figures.decision_figure({"end": (model, other)[s]}, data, 0.5),
        "threshold_figure": lambda s: figures.threshold_figure(sure, (right, ~right)[s], 0.8),
        "maps_figure": lambda s: figures.maps_figure(maps(r), {"run": (r, changed)[s]}, (1, 20)),
        "confusion_figure": lambda s: figures.confusion_figure((r, changed)[s], (1, 20)),
        "unsure_figure": unsure,
        "views_figure": lambda s: figures.views_figure(two_classes(("mnist1d", "digits")[s])),
        "comparison_figure": lambda s: figures.comparison_figure(outcomes(s / 5)),
        "readout_figure": lambda s: figures.readout_figure({"a": [readout(s / 5)], "b": [readout(0.3), readout(0.4)]}),
        "noise_figure": lambda s: figures.noise_figure(grid(-s / 5), ("uniform", "pair")),
        "taught_figure": lambda s: figures.taught_figure(grid(-s / 5), ("uniform", "pair")),
        "noise_maps_figure": lambda s: figures.noise_maps_figure(known_noise.load_maps(), grid(), [("pair", (0.4, 0.8)[s])]),
    }
    found = {name: (f(0), f(1)) for name, f in draw.items()}
    for (figure, _), _ in found.values():
        figure.draw_without_rendering()
    return found, before, state()


def numbers(text):
    return [float(n) for n in re.findall(r"[+-]?\d+(?:\.\d+)?", text)]


def test_every_figure_function_is_drawn(drawn):
    assert set(drawn[0]) == set(figures.__all__) - {"show", "save", "as_png", "shrink", "toy"}


def test_every_figure_can_be_read_in_a_notebook(drawn):
    """No wider than a notebook's page, which would shrink it, and no text below 12 points."""
    for name, ((figure, _), _) in drawn[0].items():
        assert figure.get_size_inches()[0] <= style.WIDEST, name
        small = {t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_visible() and t.get_fontsize() < 12}
        assert not small, (name, small)


def test_alt_texts_follow_the_data(drawn):
    for name, ((_, alt), (_, other)) in drawn[0].items():
        assert alt != other and numbers(alt), name
        assert alt.endswith(".") and len(alt) < 700 and "nan" not in alt, (name, alt)


def test_drawing_leaves_global_state_alone(drawn):
    """Warning filters, matplotlib's settings and backend, torch's threads and its random numbers."""
    _, before, after = drawn
    assert before == after


def test_alt_texts_are_true():
    assert {0.5, 0.1} <= {round(v, 1) for v in numbers(figures.benefit_over({"a": probed()})[1])}
    assert numbers(figures.differences_figure({"p": {"row": [0.1, 0.2, 0.15]}})[1])[-3:] == [0.15, 0.026, 0.274]
    assert numbers(figures.over_training({"a": trained()}, ("accuracy",))[1])[-1] == 0.5
    own = trained().assign(accuracy=lambda t: t.accuracy + t.seed / 10)
    nothing = trained().assign(accuracy=None)
    drawn = figures.seeds_over_training({"p": {"a": own, "b": nothing}, "q": {"a": trained(0.2)}}, "accuracy")
    assert numbers(drawn[1]) == [0.5, 0.6, 0.7, 0.7, 0.7, 0.7] and [len(ax.lines) for ax in drawn[0].axes] == [3, 3]
    r = load_recorded("digits_fixmatch")
    wrong, over = int((r.mask[-1] & ~r.right[-1]).sum()), int(r.mask[-1].sum())
    assert numbers(figures.confusion_figure(r, (20,))[1])[1:3] == [over, wrong]
    z, y, q, W = toy()
    assert numbers(figures.gradient_arrows(z, y, q, W)[1])[:2] == [24, (q != y).sum()]
    assert numbers(figures.comparison_figure(outcomes(0.2))[1])[:2] == [0.7, 0.7]
    assert numbers(figures.readout_figure({"a": [readout(0.2), readout(0.4)]})[1]) == [0.3, 0.7, 0.9]
    maps = known_noise.load_maps()
    own = round(100 * float((maps.of("pair", 0.6)[1] == maps.y_true).mean()))
    assert numbers(figures.noise_maps_figure(maps, grid(), [("pair", 0.6)])[1]) == [360, 60, own, 70, 90]


def test_runs_that_measured_nothing_show_their_accuracies():
    both, (figure, alt) = figures.comparison_figure(outcomes()), figures.comparison_figure(outcomes(measured=False))
    assert len(both[0].axes) == 3 and len(figure.axes) == 1
    assert numbers(alt) == [0.5, 0.5]


def test_methods_and_layers_differ_in_more_than_colour():
    for styles in (style.STYLE, style.layer_styles(["conv 1", "conv 2", "conv 3", "fc", "classifier"])):
        assert len({s[1] for s in styles.values()}) == len(styles), "a marker each"
    rows = style.row_styles(["FixMatch", "LayerMatch", "mine", "yours", "theirs"])
    assert len({s[:2] for s in rows.values()}) == 5 and rows["FixMatch"] == style.STYLE["fixmatch"]
    lightness = lambda c: sum(w * int(c[i : i + 2], 16) for w, i in zip((0.299, 0.587, 0.114), (1, 3, 5)))
    layers = style.layer_styles(["a", "b", "c", "classifier"])
    blues = sorted(lightness(layers[name][0]) for name in "abc")
    assert all(b - a > 20 for a, b in zip(blues, blues[1:])), "told apart in greyscale"


def test_intervals_are_those_of_the_seeds():
    t = pd.DataFrame({"seed": [0, 0, 1, 1], "step": 1, "v": [1.0, 3.0, 4.0, 4.0]})
    (row,) = quantities.mean_and_interval(t, "step", "v").to_dict("records")
    assert (row["mean"], row["seeds"]) == (3.0, 2) and (row["low"], row["high"]) == interval([2.0, 4.0])
    alone = quantities.mean_and_interval(t[t["seed"] == 0], "step", "v").iloc[0]
    assert alone["mean"] == 2 and np.isnan(alone["low"])


def test_colours_of_a_family_are_the_corrected_decisions():
    """Six seeds alike give p = 1/32: decided alone, and not among eight."""
    few = small_study()
    colours = lambda figure: {tuple(line.get_color()) for ax in figure.axes for line in ax.lines if line.get_marker() in "Dov"}
    (one,) = colours(figures.families_figure(few | {"families": {"q": few["families"]["q"][:1]}}, ["q"])[0])
    (many,) = colours(figures.families_figure(few | {"families": {"q": few["families"]["q"][:1] * 8}}, ["q"])[0])
    assert "".join(one) == "#0072B2" and "".join(many) == "#555555"


def test_empty_masks_are_left_out():
    t = probed()
    mixed = pd.concat([t, t.assign(empty=True, benefit=-99.0, alignment=-99.0)])
    assert figures.benefit_over({"a": t})[1] == figures.benefit_over({"a": mixed})[1]
    assert figures.two_by_two(t)[1] == figures.two_by_two(mixed)[1]


def test_nothing_over_the_threshold():
    empty = probed().assign(empty=True)
    _, alt = figures.benefit_over({"a": empty})
    assert numbers(alt)[-1] == 0.9, "the last step; no value of the benefit follows"
    with pytest.raises(InputError, match="threshold"):
        figures.two_by_two(empty)
    assert numbers(figures.gradient_arrows(*toy(), torch.zeros(24, dtype=torch.bool))[1])[:2] == [24, 0]
    assert "nan" not in figures.threshold_figure([0.5, 0.6], [True, False], 0.9)[1]


def test_drawing_does_not_touch_a_model():
    model, data = points()
    before = {k: v.clone() for k, v in model.train().state_dict().items()}
    figures.decision_figure({"training": model}, data, 0.5)
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_files_hold_the_figure(tmp_path, drawn):
    from PIL import Image

    figure, _ = drawn[0]["threshold_figure"][0]
    figures.save(figure, tmp_path / "new" / "file.png")
    image = Image.open(tmp_path / "new" / "file.png")
    assert image.size == tuple((100 * figure.get_size_inches()).astype(int)) and len(image.convert("RGB").getcolors()) > 10


def test_each_network_is_drawn_on_its_own_points():
    model, data = points()
    other = dataclasses.replace(data, y_unlabelled=(data.y_unlabelled + 1) % 4)
    said = [figures.decision_figure({"net": model}, d, 0.5)[1].split("net: ")[1] for d in (data, other)]
    assert said[0] != said[1]
    both = figures.decision_figure({"a": model, "b": model}, {"a": data, "b": other}, 0.5)[1]
    assert both.endswith(f"a: {said[0].rstrip('.')}; b: {said[1]}")


def test_what_cannot_be_drawn():
    r = load_recorded("digits_fixmatch")
    for named, draw in {
        r"2 snapshots .*3": lambda: figures.maps_figure({"run": [r.features[0][:, :2]] * 3}, {"run": r}, (1, 20)),
        r"'digits' .*points": lambda: figures.decision_figure({"end": None}, load_data("digits", 10), 0.5),
        "quantity='benefits'": lambda: figures.benefit_over({"a": probed()}, quantity="benefits"),
        "num_classes=11": lambda: style.class_styles(11),
        "at least two seeds": lambda: figures.differences_figure({"p": {"row": [0.1]}}),
    }.items():
        with pytest.raises(InputError, match=named):
            draw()
