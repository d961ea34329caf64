"""The labs without a screen: states and links, the data that the page looks up, and what trains for it."""

import subprocess
import sys
from dataclasses import replace

import gradients
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError, TrainConfig, load_data, load_recorded, load_study, record, train
from layermatch_lite.core.probe import layer_benefit
from layermatch_lite.core.seeding import generator
from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
from layermatch_lite.data.sets import EMBEDDED
from layermatch_lite.data.views import Views
from layermatch_lite.labs import NoiseLab, TimeMachine, classroom, curves, decisions, lessons, packs, recorded
from layermatch_lite.labs.lessons import (
    PLANS,
    RUNS,
    STATES,
    DecisionState,
    NoiseState,
    ThresholdState,
    TimeMachineState,
    Trained,
    TrainingState,
)  # fmt: skip
from layermatch_lite.labs.stills import still
from layermatch_lite.runs import recording
from layermatch_lite.runs.config import METHODS
from layermatch_lite.runs.train import data_of
from layermatch_lite.studies import known_noise, stats
from layermatch_lite.studies.report import NAMES
from layermatch_lite.variants import noise

# --- states and lesson links -----------------------------------------------------------------------------------------


@st.composite
def any_state(draw):
    spec = draw(st.sampled_from(STATES)).spec()
    values = {}
    for f in spec["fields"]:
        if f["options"]:
            values[f["name"]] = draw(st.sampled_from([o["value"] for o in f["options"]]))
        elif not f["text"]:
            k = draw(st.integers(0, round((f["high"] - f["low"]) / f["step"])))
            values[f["name"]] = (int if f["whole"] else float)(round(f["low"] + k * f["step"], 6))
    if spec["lab"] == "training":
        values["step"] = min(values["step"], values["steps"])
    return next(s for s in STATES if s.lab == spec["lab"])(**values)


@given(any_state())
@settings(max_examples=60, deadline=None)
def test_a_lesson_link_restores_any_state(state):
    assert type(state).from_link(state.link()) == state
    assert type(state).from_link("  " + state.link() + "\n") == state, "pasted with white space around it"


GARBLED = [
    ("", "lesson link"),
    ("rubbish", "lesson link"),
    ("time?sample=3", "starts with 'noise\\?'"),
    ("noise?rate", "garbled"),
    ("noise?rate=lots", "not a number"),
    ("noise?step=1.5", "not a whole number"),
    ("noise?rate=1.5", r"rate=1.5 is not allowed; give a number in \[0, 0.8\]"),
    ("noise?rate=nan", "rate=nan is not allowed"),
    ("noise?rate=0.5", "rate=0.5 is not allowed; give 0 plus a multiple of 0.2"),
    ("noise?rat=0.5", "Did you mean 'rate'"),
    ("noise?kind=evil", "kind='evil' is unknown"),
    ("noise?rate=0.1&rate=0.2", "twice"),
    ("noise?tau=0.83", "tau=0.83 is unknown"),
]


@pytest.mark.parametrize(("link", "named"), GARBLED)
def test_a_garbled_link_is_one_clear_error(link, named):
    with pytest.raises(InputError, match=named):
        NoiseState.from_link(link)


def test_a_step_beyond_the_last_is_the_last():
    assert TrainingState.from_link("training?steps=150").step == TrainingState(steps=150, step=400).step == 150


def test_every_story_and_every_plan_can_be_opened_without_python():
    """A story's data come with the package, and its training is one of the recorded ones."""
    of = {state.lab: state for state in STATES}
    links = [story.link for state in STATES for story in state.stories] + [link for plan in PLANS for link in plan.links]
    for link in links:
        state = of[link.partition("?")[0]].from_link(link)
        keys = {
            NoiseState: lambda s: [f"noise_{s.data}"],
            TimeMachineState: lambda s: [f"run_{run}" for run in (s.run, s.beside) if run != "none"],
            ThresholdState: lambda s: [f"run_{s.run}"],
        }.get(type(state), lambda s: [s.key()])(state)
        for key in keys:
            assert packs.unpack(packs.shipped(key))[0], link


def test_labs_that_look_things_up_import_neither_torch_nor_umap():
    code = (
        "import sys\nfrom layermatch_lite.labs import classroom\nlab = classroom()\n"
        "for key in ('noise_digits', 'run_digits_fixmatch', 'decision_0', 'training_0'): lab.data(key)\n"
        "print([m for m in ('torch', 'umap', 'numba', 'matplotlib', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- packed data -----------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=3),
    st.lists(st.tuples(st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]), st.integers(0, 9)), max_size=5),
)
@settings(max_examples=40, deadline=None)
def test_what_is_packed_comes_back(about, arrays):
    made = {f"a{k}": np.arange(n).astype(dtype) for k, (dtype, n) in enumerate(arrays)}
    again, found = packs.unpack(packs.pack(about, **made))
    assert again == about and list(found) == list(made)
    for name, a in made.items():
        assert found[name].dtype == a.dtype and np.array_equal(found[name], a)


@pytest.mark.parametrize("run", RUNS)
def test_a_shipped_run_is_its_recording(run):
    """Compared with the recorded tau, the packed confidences give the very mask; a threshold never contradicts it."""
    r = load_recorded(run)
    about, a = packs.unpack(packs.shipped(f"run_{run}"))
    assert about["steps"] == r.steps.tolist() and about["tau"] == r.config.threshold and about["classes"] == r.classes
    for name, values in (("labels", r.labels), ("mask", r.mask), ("y", r.y_true)):
        assert np.array_equal(a[name], values), name
    assert np.array_equal(a["confidence"] >= round(r.config.threshold * packs.SCALE), r.mask)
    assert np.abs(a["confidence"] / packs.SCALE - r.confidence).max() < 1e-3
    assert a["umap"].shape == a["pca"].shape == (*r.labels.shape, 2)
    z, s, i = r.features.astype(float), len(r.steps) // 2, 5
    distance = ((z[s] - z[s, i]) ** 2).sum(axis=1)
    assert sorted(distance[a["near"][s, i]]) == pytest.approx(sorted(distance)[1:11], rel=1e-3)


@pytest.mark.parametrize("dataset", known_noise.DATASETS)
def test_the_noise_lab_shows_the_study(dataset):
    about, a = packs.unpack(packs.shipped(f"noise_{dataset}"))
    study = load_study(known_noise.study_name(dataset))
    for network in ("uniform 0.0 all", "pair 0.6 all", "confusion 0.4 features", "low_confidence 0.8 classifier"):
        kind, rate, taught = network.split()
        for k, readout in enumerate(about["readouts"]):
            seen = a["values"][about["networks"].index(network), :, k] / packs.SCALE
            studied = stats.values(study, f"{kind} {rate}", taught, f"readout/{readout}")
            assert seen == pytest.approx(list(studied.values()), abs=1e-4)
    # The map's network is the study's of the first seed.
    m = about["networks"].index("pair 0.6 all")
    own = a["values"][m, 0, about["readouts"].index("own")] / packs.SCALE
    assert (a["predicted"][m] == a["y"]).mean() == pytest.approx(own, abs=0.05 if dataset == "mnist1d" else 0.01)


def test_the_gradients_of_the_noise_lab_are_what_the_probe_measures(monkeypatch):
    """Alignment and benefit equal those of `layer_benefit` with the same network, views and labels."""
    monkeypatch.setattr(gradients, "SAMPLES", 60)
    monkeypatch.setattr(gradients, "MOMENTS", (20,))
    monkeypatch.setattr(gradients, "TAUS", (0.2,))
    monkeypatch.setattr(gradients, "RATES", (0.0, 0.5, 1.0))
    monkeypatch.setattr(gradients, "DRAWS", 2)
    run = next(gradients.networks("digits", 3))
    names, found, shares = gradients.sweep(run)
    data, g = data_of(run.config), generator(3, "noise lab")
    x, y = labelled_batch(data, Views(data), run.config, g)
    weak, strong, i = unlabelled_batch(data, Views(data), 60, g)
    y_true, u = data.y_unlabelled[i], torch.rand(2, 60, generator=g)
    for k, kind in enumerate(gradients.ERRORS):
        for r, rate in enumerate(gradients.RATES):

            def relabel(labels, p, kind=kind, rate=rate):
                if kind == gradients.OWN:
                    return torch.where(u[1] < rate, labels, y_true)
                over, q = p.amax(dim=1) >= 0.2, y_true.clone()
                q[over] = noise.corrupt(y_true[over], noise.rows(kind, rate, y_true[over], p[over]), u[1][over])
                return q

            t = layer_benefit(run.model, x, y, weak, strong, y_true, threshold=0.2, relabel=relabel)
            assert names[:-1] == t["layer"].tolist()
            np.testing.assert_allclose(found[0, k, r, 1, :-1, 0], t["alignment"], rtol=2e-3, atol=2e-4)
            np.testing.assert_allclose(found[0, k, r, 1, :-1, 1], t["benefit"], rtol=2e-3, atol=2e-4)
            assert shares[0, k, r, 1] == pytest.approx([t["mask_rate"][0], t["wrong_rate"][0]], abs=1e-6)
    gated, plain = found[0, :, :, :, -1, 0], found[0, :, :, :, -2, 0]
    assert (gated[0, 0] == plain[0, 0]).all(), "true labels do not oppose the labelled gradient here"


# --- recordings of your own ------------------------------------------------------------------------------------------


def test_your_own_recording_is_packed_as_the_shipped_ones(tmp_path):
    path = str(tmp_path / "mine.npz")
    load_recorded("digits_layermatch").save(path)
    about, a = packs.unpack(TimeMachine(run=path).data(f"run_{path}"))
    _, shipped = packs.unpack(packs.shipped("run_digits_layermatch"))
    assert about["maps"] == ["pca"] and about["name"] == "mine"
    assert all(np.array_equal(a[name], shipped[name]) for name in ("labels", "mask", "confidence", "near", "pca"))
    pictures = packs.unpack(TimeMachine(run=path).data(about["pictures"]))[1]["images"]
    assert np.array_equal(pictures, packs.unpack(packs.shipped("pictures_digits"))[1]["images"])


@pytest.mark.parametrize("dataset", ["blobs", "two_moons"])
def test_small_recordings_of_points_are_packed_too(tmp_path, dataset):
    config = TrainConfig(dataset=dataset, num_labels=4, steps=10, batch_size=8, device="cpu")
    about, a = packs.unpack(recorded.pack_of(record(config, snapshots=5, sample=6), "small"))
    assert a["near"].shape == (6, 6, 5) and about["pictures"] == "" and len(about["steps"]) == 6


def test_recordings_that_cannot_be_shown(tmp_path, monkeypatch):
    lab = TimeMachine()
    (tmp_path / "broken.npz").write_bytes(b"PK")
    r = load_recorded("digits_fixmatch")
    with monkeypatch.context() as newer:
        newer.setattr(recording, "VERSION", 2)
        r.save(tmp_path / "new.npz")
    replace(r, config=replace(r.config, method="freematch")).save(tmp_path / "free.npz")
    reasons = {"none": "does not exist", "broken": "damaged", "new": "version 2", "free": "FreeMatch"}
    for name, says in reasons.items():
        with pytest.raises(InputError, match=says):
            lab.data(f"run_{tmp_path / name}.npz")
    for key in ("run_nothing", "noise_nothing", "../../secret"):
        with pytest.raises(InputError, match="nothing|secret"):
            lab.data(key)


# --- what trains for the page ----------------------------------------------------------------------------------------


def frames(session, until):
    for _ in session.until(until):
        pass
    return session.frame()


def test_the_same_state_is_the_same_training():
    state = DecisionState(dataset="two_moons", tau=0.6)
    one, other = frames(decisions.DecisionSession(state), 25), frames(decisions.DecisionSession(state), 25)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_recorded_decision_is_what_training_gives():
    about, a = packs.unpack(packs.shipped("decision_0"))
    session = decisions.DecisionSession(DecisionState())
    for step in (0, 20):
        found = frames(session, step)
        t = about["steps"].index(step)
        same = (a["labels"][t] == found["labels"]).mean()
        assert same > 0.97, "other processors, other roundings"


def test_placed_labels_are_what_is_learnt_from():
    state = DecisionState(dataset="two_moons", method_b="none", seed=0)
    right = lambda session: (frames(session, 80)["labels"][0] == session.data.y_unlabelled[: decisions.SHOWN].numpy()).mean()
    swapped = state.but(places="1.00,-0.50;-0.50,1.00")  # each label on the other moon
    assert right(decisions.DecisionSession(swapped)) < 0.3 < 0.7 < right(decisions.DecisionSession(state))
    for places, says in (("1,2;x", "garbled"), ("1,2", "does not hold 2 points"), ("1,2;nan,1", "does not hold")):
        with pytest.raises(InputError, match=says):
            decisions.labelled_data(state.but(places=places))


def test_the_training_lab_trains_as_train_does():
    state = TrainingState(dataset="blobs", steps=150, noise="uniform", rate=0.1, step=150)
    about, _ = packs.unpack(curves.record(state))
    assert [h["method"] for h in about["histories"]] == ["fixmatch", "layermatch"] and about["steps"][-1] == 150
    for history in about["histories"]:
        alone = train(curves.config_of(state, history["method"]))
        assert [r["accuracy"] for r in history["records"]] == [r["accuracy"] for r in alone.history]
    assert {name: len(load_data(name, None).classes) for name in EMBEDDED} == curves.CLASSES


# --- for a reader without JavaScript ---------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [story.link for state in STATES for story in state.stories])
def test_a_saved_notebook_has_a_picture_and_words_for_every_story(link):
    state = next(s for s in STATES if link.startswith(f"{s.lab}?")).from_link(link)
    png, alt = still(state, packs.shipped)
    assert png.startswith(b"\x89PNG") and len(png) < 60_000 and state.title in alt and "nan" not in alt.lower()
    data, metadata = NoiseLab()._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and metadata["image/png"]["alt"] == data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data and metadata["lab"] == NoiseState().link()


def test_the_labs_name_what_the_library_names():
    """They have names of their own, because the library's are beside what needs torch."""
    assert lessons.METHODS == {m: NAMES[m] for m in METHODS if m != "freematch"} and tuple(lessons.ERRORS) == noise.KINDS
    assert lessons.ERRORS == known_noise.ERRORS


def test_settings_by_name_and_by_link_are_one_state():
    assert NoiseLab("noise?rate=0.2").state == NoiseLab(rate=0.2).state == NoiseState(rate=0.2)
    assert classroom("lesson=rubbish").state == NoiseState(), "what is shown: the first story, with an error above it"
    assert issubclass(DecisionState, Trained) and DecisionState(step=120).whole().link() == "decision?"
    for wrong in ({"link": "rubbish"}, {"rate": 7.0}):
        with pytest.raises(InputError):
            NoiseLab(**wrong)
