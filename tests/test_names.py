"""Names that mean something elsewhere: in formulas, HTML, Markdown, terminals, file names, or in letters that the font lacks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from layermatch_lite import InputError, Recording, TrainConfig, figures, load_data, record, split
from layermatch_lite.cli import default_file
from layermatch_lite.figures import letters
from layermatch_lite.labs import LiveRun, ThresholdLab, TimeMachine, packs
from layermatch_lite.labs.page import static_page
from layermatch_lite.labs.recorded import UNKNOWN, pack_of
from layermatch_lite.labs.stills import still

HOSTILE = ("a $x_{ $", "<img src=x onerror=window.attacked=1>", "\u732b\u72ac \U0001f642", 'quote" & | `tick`')


def named(classes, unknown=False):
    """Blobs whose classes have these names; unknown: half of the pool has no known class."""
    d = load_data("blobs", None)
    y = torch.where(torch.arange(1000) < 500, d.y_unlabelled, -1) if unknown else d.y_unlabelled
    return split("mine & <co>", d.x_unlabelled, y, d.x_test, d.y_test, classes, num_labels=8)


CONFIG = TrainConfig(dataset="mine & <co>", num_labels=8, steps=6, batch_size=8, mu=2, device="cpu", threshold=0.0)


@pytest.fixture(scope="module")
def recording():
    return record(CONFIG, named(HOSTILE), snapshots=3, sample=40)


def drawn(figure_and_alt):
    png = figures.as_png(figure_and_alt[0])
    return {t.get_text() for t in figure_and_alt[0].findobj(lambda a: hasattr(a, "get_text"))}, figure_and_alt[1], png


@pytest.mark.filterwarnings("error")  # a missing letter is a warning
def test_figures_draw_any_name_and_their_words_keep_it(recording):
    maps = {"one": [recording.features[-1][:, :2].astype(float)]}
    found = [
        figures.confusion_figure(recording, [-1 % len(recording.steps)]),
        figures.maps_figure(maps, {"one": recording}, [3]),
        figures.truth_and_label_figure(maps["one"][0], recording, 3),
        figures.views_figure(named(HOSTILE)),
    ]
    for one in found:
        texts, alt, png = drawn(one)
        assert png[:4] == b"\x89PNG" and all(letters._drawable(t) for t in texts)
        assert "class 3 is \u732b\u72ac" in alt, "which one that is, in words"
    assert "a $x_{ $" in drawn(found[1])[0], "a dollar stays a dollar"


def test_two_names_without_letters_can_still_be_told_apart():
    assert letters.drawn_names(["\u732b", "dog", "\u72ac", "x" * 50]) == ["class 1", "dog", "class 3", "class 4"]
    assert letters.in_words(["cat", "dog"]) == ""


def test_a_logarithmic_axis_keeps_its_numbers():
    from matplotlib.figure import Figure

    figure = Figure()
    ax = figure.subplots()
    ax.set(xscale="log", xlim=(1, 1000), title="cost in $ and $")
    figures.as_png(figure)
    assert ax.title.get_text() == "cost in $ and $" and not ax.title.get_parse_math()
    assert any("10^" in t.get_text() for t in ax.get_xticklabels()) and all(t.get_parse_math() for t in ax.get_xticklabels())


def test_labs_draw_any_name(recording, tmp_path):
    recording.save(tmp_path / "r.npz")
    for lab in (TimeMachine(run=str(tmp_path / "r.npz")), ThresholdLab(run=str(tmp_path / "r.npz"))):
        png, alt = still(lab.state, lab.data)
        assert png[:4] == b"\x89PNG" and "r" in alt
    live = LiveRun(CONFIG.changed(dataset="a $x_{ <b>"), tmp_path / "run.pt")
    assert "<b>" not in live.children[0].value and "&lt;b&gt;" in live.children[0].value
    page = static_page([], [], {"x": b""}, home="'><script>")
    assert "'><script>" not in page


def test_a_recording_without_true_classes_says_unknown(tmp_path):
    r = record(CONFIG, named("abcd", unknown=True), snapshots=2, sample=60)
    r.save(tmp_path / "r.npz")
    back = Recording.load(tmp_path / "r.npz")
    assert (back.y_true == -1).sum() == (r.y_true == -1).sum() > 10 and not back.truth_known
    with pytest.raises(InputError, match="of the 60 recorded samples have no known class"):
        _ = back.right
    about, arrays = packs.unpack(pack_of(back, "r.npz"))
    assert ((arrays["y"] == UNKNOWN) == (back.y_true == -1)).all() and about["N"] == 60
    lab = TimeMachine(run=str(tmp_path / "r.npz"))
    _, alt = still(lab.state, lab.data)
    known = (back.y_true >= 0).sum()
    assert f"of {known} labels over τ = 0 whose true class is known are wrong" in alt
    refused = ThresholdLab(run=str(tmp_path / "r.npz"))
    with pytest.raises(InputError, match="true classes of some samples are unknown"):
        still(refused.state, refused.data)
    assert "unknown" in refused._repr_mimebundle_()[0]["text/plain"], "in place of a picture; the lab itself lives"


@pytest.mark.parametrize("change", [dict(snapshots=1), dict(sample=3), dict(components=1), dict(snapshots=6, sample=1000)])
def test_labs_show_whatever_a_recording_holds(tmp_path, change):
    record(CONFIG, named("abcd"), **dict(snapshots=3, sample=20) | change).save(tmp_path / "r.npz")
    run = str(tmp_path / "r.npz")
    beyond = TimeMachine(run=run, sample=999), TimeMachine(run=run, snapshot=900)
    for lab in (*beyond, ThresholdLab(run=run), TimeMachine(run=run, beside=run)):
        png, alt = still(lab.state, lab.data)
        assert png and "nan" not in alt
    with pytest.raises(InputError, match="label='z' is unknown"):
        still(ThresholdLab(run=run, label="z").state, lab.data)


def test_a_lab_finds_its_recording_from_another_folder(recording, tmp_path, monkeypatch):
    recording.save(tmp_path / "r.npz")
    monkeypatch.chdir(tmp_path)
    lab, live = TimeMachine(run="r.npz"), LiveRun(CONFIG, "runs/run.pt", named(HOSTILE))
    monkeypatch.chdir("/")
    assert lab.data("run_r.npz") and live.path == tmp_path / "runs" / "run.pt"
    live.start()
    assert live.worker.wait(60) and (tmp_path / "runs" / "run.pt").exists() and not live.error.value


def test_file_names_are_plain_and_tell_runs_apart(tmp_path):
    (tmp_path / "my $photos <1> \u732b").mkdir()
    config = TrainConfig(dataset=tmp_path / "my $photos <1> \u732b", num_labels=None, method="fixmatch", steps=7)
    name = default_file(config, ["steps", "method"])
    assert name.parent == Path("runs") and all(c.isalnum() or c in "._-" for c in name.name) and "steps-7" in name.name
    assert default_file(config.changed(steps=8), ["steps"]) != default_file(config, ["steps"])
    assert len(default_file(config.changed(dataset="x" * 400), []).name) < 200
    assert default_file(TrainConfig(), []) == Path("runs/mnist1d-layermatch-20-labels-seed-0.pt")


def test_numbers_far_from_sense_are_refused_by_name():
    from layermatch_lite.figures import clustering
    from layermatch_lite.figures.embedding import embed

    z = np.random.default_rng(0).normal(size=(30, 4))
    for bad in (np.nan, np.inf, 1e30):
        spoilt = np.where(np.arange(30)[:, None] == 3, bad, z)
        for method in ("pca", "umap"):
            with pytest.raises(InputError, match="1 of 30 rows of snapshot 0 hold NaN, infinity or values beyond 1e15"):
                embed([spoilt], method)
        with pytest.raises(InputError, match="1 of 30 rows of z"):
            clustering.cluster_quality(spoilt, np.arange(30) % 3)


def test_features_beyond_float16_are_recorded_to_scale():
    from layermatch_lite.runs.recording import reduce

    z = np.random.default_rng(0).normal(size=(20, 5)) * 1e9
    features, _ = reduce([z, z / 2], 2)
    assert np.isfinite(features).all() and np.abs(features).max() > 1e4
    ratio = np.linalg.norm(features[0].astype(float), axis=1) / np.linalg.norm(features[1].astype(float), axis=1)
    assert np.median(np.abs(ratio - 2)) < 0.6, "one scale for all"
