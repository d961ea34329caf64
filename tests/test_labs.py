"""The labs without a screen: what they compute, how a state is written and read, and what the frame does when things go wrong."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError, Recording, TrainConfig, load_data, load_recorded, record, train
from layermatch_lite.core.theory import classifier_gradient
from layermatch_lite.data.views import Views
from layermatch_lite.labs import (
    ThresholdLab,
    TimeMachine,
    cache,
    noise_lab,
    recorded,
    timemachine,
)
from layermatch_lite.labs.decision_lab import DecisionBench, DecisionState, moved, places_of
from layermatch_lite.labs.noise_lab import NoiseBench, NoiseState
from layermatch_lite.labs.threshold_lab import ThresholdBench, ThresholdState, passed
from layermatch_lite.labs.timemachine import TimeMachineBench, TimeMachineState, history, next_wrong
from layermatch_lite.labs.training_lab import TrainingBench, TrainingState

STATES = (NoiseState, DecisionState, TrainingState, TimeMachineState, ThresholdState)


# --- states and lesson links -----------------------------------------------------------------------------------------


@st.composite
def any_state(draw):
    kind = draw(st.sampled_from(STATES))
    values = {}
    for name, c in kind.controls().items():
        if c.options:
            values[name] = draw(st.sampled_from(c.options))
        else:
            k = draw(st.integers(0, round((c.high - c.low) / c.step)))
            values[name] = k if isinstance(kind._default(name), int) else round(c.low + k * c.step, 6)
    return kind(**values)


@given(any_state())
@settings(max_examples=60, deadline=None)
def test_a_lesson_link_restores_any_state(state):
    assert type(state).from_link(state.link()) == state
    assert type(state).from_link("  " + state.link() + "\n") == state, "pasted with white space around it"


def test_a_link_carries_placed_labels_and_steps():
    state = moved(DecisionState(dataset="blobs"), 2, -1.5, 0.25).but(step=120)
    again = DecisionState.from_link(state.link())
    assert again == state and again.step == 120 and places_of(again)[2].tolist() == [-1.5, 0.25]


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("", "lesson link"),
        ("rubbish", "lesson link"),
        ("time?sample=3", "starts with 'noise\\?'"),
        ("noise?rate", "garbled"),
        ("noise?rate=lots", "not a number"),
        ("noise?seed=1.5", "not a whole number"),
        ("noise?rate=1.5", r"rate=1.5 is not allowed; give a number in \[0, 1\]"),
        ("noise?rate=nan", "rate=nan is not allowed"),
        ("noise?seed=-1", "seed=-1"),
        ("noise?rat=0.5", "Did you mean 'rate'"),
        ("noise?kind=evil", "kind='evil' is unknown"),
        ("noise?rate=0.1&rate=0.2", "twice"),
        ("noise?tau=0.83", "multiple of 0.05"),
    ],
)
def test_a_garbled_link_is_one_clear_error(link, named):
    with pytest.raises(InputError, match=named):
        NoiseState.from_link(link)


def test_what_a_link_leaves_out_keeps_its_default():
    assert NoiseState.from_link("noise?rate=0.7") == NoiseState(rate=0.7)


# --- noise lab -------------------------------------------------------------------------------------------------------


def test_the_noise_lab_shows_what_the_probe_measures(network, monkeypatch):
    """Its benefit is `layer_benefit` of the same network, views and noisy labels, measured afresh."""
    from layermatch_lite.core.probe import layer_benefit
    from layermatch_lite.core.seeding import generator
    from layermatch_lite.data.batches import labelled_batch, unlabelled_batch
    from layermatch_lite.runs.train import data_of

    run, _ = noise_lab.recorded_network(20, 200)
    data, g = data_of(run.config), generator(0, "noise lab")
    x, y = labelled_batch(data, Views(data), run.config, g)
    weak, strong, i = unlabelled_batch(data, Views(data), noise_lab.SAMPLES, g)
    P = noise_lab.load_prepared(20, 200, 0)
    for state in (
        network,
        network.but(kind="pair", rate=0.9, tau=0.3),
        network.but(kind="confusion", rate=0.5, tau=0.0),
    ):
        seen = noise_lab.compute(P, state)
        labels = torch.from_numpy(seen.labels)
        t = layer_benefit(
            run.model,
            x,
            y,
            weak,
            strong,
            data.y_unlabelled[i],
            threshold=state.tau,
            relabel=lambda q, p, labels=labels: labels,
        )
        assert t["layer"].tolist() == seen.layers
        np.testing.assert_allclose(seen.would, t["benefit"], rtol=1e-3, atol=1e-4)
        if seen.passed:
            assert seen.wrong / seen.passed == pytest.approx(t["wrong_rate"][0])
            assert seen.passed / noise_lab.SAMPLES == pytest.approx(t["mask_rate"][0])


def test_networks_are_recorded_as_they_were_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(noise_lab, "NETWORKS", tmp_path / "networks.npz")
    monkeypatch.setattr(noise_lab, "LABELS", (10,))
    monkeypatch.setattr(noise_lab, "MOMENTS", (3,))
    monkeypatch.setattr(noise_lab, "STEPS", 3)
    noise_lab.record_networks()
    run, centers = noise_lab.recorded_network(10, 3)
    *_, (trained, averaged) = noise_lab.train_network(10, 0)
    for (name, a), (_, b) in zip(run.model.state_dict().items(), trained.model.state_dict().items()):
        torch.testing.assert_close(a, b, msg=name)
    torch.testing.assert_close(centers.weight, averaged.weight)
    torch.testing.assert_close(centers.bias, averaged.bias)
    assert not torch.equal(averaged.weight, trained.model.classifier.weight)


@pytest.mark.parametrize("labels", noise_lab.LABELS)
def test_recorded_networks_have_learnt_something(labels):
    data = load_data("mnist1d", num_labels=labels, seed=0)
    accuracy = []
    for step in noise_lab.MOMENTS:
        model = noise_lab.recorded_network(labels, step)[0].model.eval()
        with torch.no_grad():
            accuracy.append((model(Views(data).plain(data.x_test)).argmax(dim=1) == data.y_test).float().mean().item())
    assert accuracy[0] > 0.3 and accuracy[-1] > max(0.45, accuracy[0])


def test_strategies_act_where_they_should(network):
    P = noise_lab.load_prepared(20, 200, 0)
    state = network.but(tau=0.3, rate=0.6, kind="pair")
    plain, block, gate, avg = (
        noise_lab.compute(P, state.but(**k))
        for k in ({}, {"grad_relu": "block"}, {"grad_relu": "gate"}, {"avg_clustering": "on"})
    )
    np.testing.assert_allclose(plain.reaches, plain.would, rtol=1e-4, atol=1e-5)
    assert block.reaches[-1] == 0 and (block.arrives == 0).all(), "nothing of L_u reaches the classifier"
    np.testing.assert_array_equal(block.reaches[:-1], plain.reaches[:-1])
    for other in (block, gate, avg):  # what pseudo-labels would do is a matter of plain FixMatch
        np.testing.assert_array_equal(other.would, plain.would)
    assert not np.allclose(avg.reaches[:-1], plain.reaches[:-1]) and avg.reaches[-1] == plain.reaches[-1]
    # The gate removes what opposes the labelled gradient, and only that.
    g_u = classifier_gradient(P.z, P.p, torch.from_numpy(gate.labels), torch.from_numpy(gate.mask))
    opposes = float((g_u * P.labelled).sum()) < 0
    assert opposes != np.allclose(gate.arrives, plain.arrives)


def test_a_higher_rate_hits_the_same_signals_and_more(network):
    P = noise_lab.load_prepared(20, 200, 0)
    hit = [noise_lab.compute(P, network.but(rate=r, tau=0.3)) for r in (0.0, 0.2, 0.5, 1.0)]
    wrong = [h.labels != P.y.numpy() for h in hit]
    assert [h.wrong for h in hit][0] == 0 and hit[-1].wrong == hit[-1].passed
    assert all((less <= more).all() for less, more in zip(wrong, wrong[1:]))
    np.testing.assert_allclose(hit[0].would, 1, atol=1e-5)


@pytest.mark.parametrize(
    "extreme",
    [
        {"tau": 1.0},
        {"tau": 0.0, "rate": 1.0},
        {"tau": 1.0, "rate": 1.0, "grad_relu": "gate"},
        {"kind": "low_confidence", "rate": 1.0},
    ],
    ids=str,
)
def test_extreme_sliders_give_a_picture_and_a_sentence(network, extreme):
    look = NoiseBench().look(network.but(**extreme))
    assert look.png.startswith(b"\x89PNG") and "nan" not in look.alt.lower() and "inf" not in look.alt.lower()
    if extreme.get("tau") == 1.0:
        assert "no pseudo-labels" in look.reading and "Lower τ" in look.reading


def test_a_damaged_cache_is_measured_again(network, monkeypatch, tmp_path):
    monkeypatch.setenv("LAYERMATCH_CACHE", str(tmp_path))
    path = noise_lab._cached(20, 200, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    assert NoiseBench().missing(network) == (20, 200, 0)


# --- threshold lab ---------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_what_a_threshold_lets_through(samples, tau):
    confidence, right = (np.array(v) for v in zip(*samples))
    rate, accuracy, product = (v[0] for v in passed(confidence, right, np.array([tau])))
    over = [r for c, r in samples if c >= tau]
    assert rate == pytest.approx(len(over) / len(samples))
    assert product == pytest.approx(sum(over) / len(samples))
    assert np.isnan(accuracy) if not over else accuracy == pytest.approx(sum(over) / len(over))


@pytest.mark.parametrize("run", recorded.RUNS)
def test_one_answer_to_what_is_over_tau(run):
    """Confidences are stored as float16; at the recorded tau the mask decides, and no threshold contradicts it."""
    r = load_recorded(run)
    c, tau = recorded.confidences(r), r.config.threshold
    s = int(((r.confidence >= tau) != r.mask).any(axis=1).argmax()) or len(r.steps) - 1  # where float16 says otherwise
    assert ((c >= tau) == r.mask).all() and np.abs(c - r.confidence).max() < 1e-3
    counted = ThresholdBench().look(ThresholdState(run=run, tau=tau, snapshot=s)).reading
    over, right = r.mask[s], r.mask[s] & r.right[s]
    assert f"{over.mean():.0%} pass" in counted and f"{right.sum() / over.sum():.0%} of these labels are right" in counted
    assert f"{over.sum()} of {over.size} pseudo-labels are over" in TimeMachineBench().look(
        TimeMachineState(run=run, snapshot=s)
    ).reading


def test_the_threshold_lab_says_what_it_draws():
    r = load_recorded("mnist1d_fixmatch")
    look = ThresholdBench().look(ThresholdState(tau=0.5))
    over = recorded.confidences(r)[20] >= 0.5
    assert f"{over.mean():.0%} pass" in look.reading and f"{r.right[20][over].mean():.0%} of these labels" in look.reading
    assert "none passes" in ThresholdBench().look(ThresholdState(tau=0.99, snapshot=0)).reading
    with pytest.raises(InputError, match="tau=1.0"):
        ThresholdState(tau=1.0)
    nobody = next(c for c in r.classes if not (r.labels[20] == r.classes.index(c)).any())
    assert "choose another" in ThresholdBench().look(ThresholdState(label=nobody)).reading


# --- time machine ----------------------------------------------------------------------------------------------------


def test_a_history_tells_when_a_sample_went_wrong():
    r = load_recorded("digits_fixmatch")
    lost = r.mask & ~r.right
    for i in range(0, 400, 7):
        h = history(r, i)
        if not lost[-1, i]:
            assert h.fell is None
        else:
            assert lost[h.fell :, i].all() and (h.fell == 0 or not lost[h.fell - 1, i])
    z, s, i = r.features.astype(float), 12, 5
    near = np.argsort(((z[s] - z[s, i]) ** 2).sum(axis=1))[1:11]
    assert history(r, i).company[s] == pytest.approx((r.labels[s][near] == r.labels[s, i]).mean())


def test_next_wrong_goes_through_all_of_them_and_around():
    r = load_recorded("digits_fixmatch")
    wrong = np.flatnonzero(r.mask[20] & ~r.right[20])
    i, seen = -1, []
    for _ in range(len(wrong) + 1):
        i = next_wrong(r, 20, i)
        seen.append(i)
    assert seen == [*wrong, wrong[0]]
    quiet = next(s for s in range(21) if not (r.mask[s] & ~r.right[s]).any())
    with pytest.raises(InputError, match="choose another snapshot"):
        next_wrong(r, quiet, 0)


def test_every_shipped_run_has_its_umap_map(monkeypatch):
    monkeypatch.setattr(timemachine, "embed", lambda *_: pytest.fail("nothing is left to fit"))
    for run in recorded.RUNS:
        assert TimeMachineBench().missing(TimeMachineState(run=run, map="umap")) is None
        r = load_recorded(run)
        points = timemachine.maps(r, "umap")
        assert np.shape(points) == (*r.labels.shape, 2) and np.isfinite(points).all()


def test_a_process_that_writes_much_before_it_fails_ends_with_one_error(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write('x' * 1_000_000 + 'the end')\nsys.exit(3)")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(InputError, match="UMAP failed .*the end"):
        for _ in timemachine.fit_umap("digits_fixmatch", 0):
            pass


def test_a_cache_is_named_by_what_it_depends_on(tmp_path, monkeypatch):
    def code_key(text):
        cache.code_key.cache_clear()
        (tmp_path / "models.py").write_bytes(text)
        return cache.code_key(tmp_path)

    assert code_key(b"a = 1\n") == code_key(b"a = 1\r\n") != code_key(b"a = 2\n"), "line ends are not code"

    def names():
        return noise_lab._cached(20, 200, 0), noise_lab._cached(20, 200, 3), recorded._cached("digits_fixmatch", 3)

    def changed(module, name, value):
        first = names()
        with monkeypatch.context() as other:
            other.setattr(module, name, value)
            return [a != b for a, b in zip(first, names())]

    shipped = load_recorded("digits_fixmatch")
    longer = replace(shipped, config=replace(shipped.config, steps=700))
    assert changed(cache, "code_key", lambda: "other code") == [True, True, True]
    assert changed(noise_lab, "NETWORKS", tmp_path / "models.py") == [True, False, False]
    assert changed(recorded, "_shipped", lambda run: longer) == [False, False, True]


def test_runs_that_cannot_be_shown(tmp_path):
    bench = TimeMachineBench()
    look = lambda run: bench.look(TimeMachineState(run=str(run)))
    with pytest.raises(InputError, match="does not exist"):
        look(tmp_path / "none.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="not a whole recording"):
        look(tmp_path / "broken.npz")
    with pytest.raises(InputError, match="choose from .*digits_fixmatch"):
        bench.missing(TimeMachineState(run="nothing"))


def test_a_newer_recording_is_named_as_such(tmp_path, monkeypatch):
    from layermatch_lite.runs import recording

    path, shipped = tmp_path / "new.npz", load_recorded("digits_fixmatch")
    with monkeypatch.context() as newer:
        newer.setattr(recording, "VERSION", 2)
        shipped.save(path)
    lab = TimeMachine()
    lab.link.value = f"time?run={path}"
    assert "version 2" in lab.error.value and lab.state == TimeMachineState()


@pytest.mark.parametrize("dataset", ["blobs", "two_moons"])
def test_small_recordings_of_points_are_shown_too(tmp_path, dataset):
    path = str(tmp_path / "small.npz")
    config = TrainConfig(dataset=dataset, num_labels=4, steps=10, batch_size=8, device="cpu")
    record(config, snapshots=5, sample=6).save(path)
    lab = TimeMachine()
    lab.link.value = f"time?run={path}&snapshot=5&sample=5"
    assert not lab.error.value and "sample 5" in lab.picture.alt.lower()
    assert lab.controls["snapshot"].max == 5 and lab.controls["sample"].max == 5
    lab.link.value = f"time?run={path}&snapshot=6"
    assert "snapshot=6 is not allowed" in lab.error.value and lab.state.snapshot == 5
    lab.controls["run"].value = "digits_fixmatch"
    lab.controls["snapshot"].value = 17
    lab.controls["run"].value = path
    assert lab.state.snapshot == 5 and not lab.error.value, "the last there is"
    labels = ThresholdLab(run=path, snapshot=1)
    assert labels.controls["label"].options == ("all", *load_recorded_classes(path))
    labels.link.value = f"threshold?run={path}&snapshot=1&label=zzz"
    assert "zzz" in labels.error.value and labels.controls["label"].value == "all"


def load_recorded_classes(path):
    return Recording.load(path).classes


def test_what_is_refused_does_not_stay_among_the_choices():
    lab = TimeMachine()
    lab.link.value = "time?run=nothing"
    assert "nothing" in lab.error.value and "nothing" not in lab.controls["run"].options


def test_a_damaged_recording_in_the_cache_is_recorded_again():
    path = recorded._cached("digits_fixmatch", 3)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    assert recorded.missing("digits_fixmatch", 3) == ("digits_fixmatch", 3)


def test_your_own_recording_is_a_choice_beside_the_others(tmp_path):
    load_recorded("mnist1d_layermatch").save(tmp_path / "mine.npz")
    lab = ThresholdLab(run=str(tmp_path / "mine.npz"))
    assert lab.controls["run"].value == str(tmp_path / "mine.npz") and "mnist1d, layermatch" in lab.picture.alt
    lab.controls["run"].value = "digits_fixmatch"
    assert "digits, fixmatch" in lab.picture.alt


# --- decision and training lab ---------------------------------------------------------------------------------------


def drive(bench, state):
    if bench.missing(state) is not None:
        for _ in bench.prepare(state):
            pass
    return bench.look(state)


def test_the_same_state_is_the_same_picture_on_every_way():
    bench, there = DecisionBench(), DecisionState(step=25, tau=0.6)
    first = drive(bench, there)
    assert bench.missing(there) is None
    drive(bench, there.but(step=40))
    drive(bench, moved(there, 0, 1.0, 1.0).but(step=3))
    assert drive(bench, there) == first and drive(DecisionBench(), there) == first


def test_the_picture_before_the_first_step_is_that_of_the_run():
    """It is drawn from a network of its own, without a run."""
    bench = DecisionBench()
    session = bench.at(DecisionState())
    model, average = session.now(1)
    for a, b in zip(model.state_dict().values(), session.runs[1].model.state_dict().values()):
        assert torch.equal(a, b)
    assert torch.equal(average.weight, session.runs[1].centers.weight)


def test_placed_labels_are_what_is_learnt_from():
    state = moved(moved(DecisionState(), 0, 1.0, -0.5), 1, -0.5, 1.0)  # each label on the other moon
    swapped, usual = drive(DecisionBench(), state.but(step=80)), drive(DecisionBench(), DecisionState(step=80))
    share = lambda look: float(look.reading.split("% called right")[0].split()[-1])
    assert share(swapped) < 30 < 70 < share(usual)
    with pytest.raises(InputError, match="garbled"):
        places_of(DecisionState(places="1,2;x"))
    with pytest.raises(InputError, match="does not hold 2 points"):
        places_of(DecisionState(places="1,2"))
    with pytest.raises(InputError, match="does not hold"):
        places_of(DecisionState(places="1,2;nan,1"))


def test_the_training_lab_trains_as_train_does():
    state = TrainingState(dataset="blobs", steps=150, noise="uniform", rate=0.1, step=150)
    bench = TrainingBench()
    drive(bench, state)
    for method, run in zip(state.methods, bench.session.runs):
        alone = train(state.config(method))
        assert alone.history == run.history and len(alone.history) == 30
        assert run.history[-1]["layer_benefit"][-1]["layer"] == "classifier"


def test_a_training_without_unlabelled_loss_has_fewer_curves():
    look = drive(
        TrainingBench(), TrainingState(dataset="two_moons", method_a="supervised", method_b="none", steps=150, step=20)
    )
    assert "Supervised" in look.reading and "over τ" not in look.reading


def test_a_step_beyond_the_last_is_refused():
    with pytest.raises(InputError, match="step=400 lies beyond steps=150"):
        TrainingState.from_link("training?dataset=blobs&steps=150&step=400")


MOVES = {
    NoiseBench: [{"rate": 0.6}, {"kind": "pair"}, {"tau": 0.5}, {"grad_relu": "block"}, {"avg_clustering": "on"}],
    ThresholdBench: [{"tau": 0.5}, {"snapshot": 3}, {"label": "3"}, {"run": "digits_fixmatch"}],
    TimeMachineBench: [{"snapshot": 9}, {"sample": 3}, {"run": "mnist1d_fixmatch"}],
    DecisionBench: [
        {"tau": 0.5},
        {"places": "0.5,0.5;1,-1"},
        {"dataset": "blobs"},
        {"per_class": 2},
        {"seed": 3},
        {"step": 4},
    ],
    TrainingBench: [{"tau": 0.5}, {"dataset": "blobs"}, {"noise": "pair"}, {"seed": 2}, {"method_b": "none"}],
}


@pytest.mark.parametrize("make", MOVES, ids=lambda b: b.__name__)
def test_the_alt_text_changes_with_the_picture(make, network):
    """Whoever does not see the picture learns of every change in it."""
    bench = make()
    start = make.State()
    first = drive(bench, start)
    for move in MOVES[make]:
        look = drive(bench, start.but(**move))
        assert look.png != first.png and look.alt != first.alt, move
        assert drive(bench, start) == first


def test_long_names_of_classes_are_numbered():
    from layermatch_lite.data.sets import split

    g, C = torch.Generator().manual_seed(0), 4
    x, y = torch.randint(256, (120, 3, 8, 8), generator=g, dtype=torch.uint8), torch.arange(120) % C
    data = split("images", x, y, x, y, [f"kind {c}" for c in range(C)], num_labels=C)
    config = TrainConfig(dataset="images", num_labels=C, steps=2, batch_size=4, mu=2, device="cpu")
    picture = timemachine.TimePicture(record(config, data, snapshots=1, sample=50))
    assert picture.marks == [str(c) for c in range(C)] and picture.data is None, "no images of it are kept anywhere"


def test_the_labs_know_how_many_classes_each_data_set_has():
    from layermatch_lite import load_data
    from layermatch_lite.data.sets import EMBEDDED
    from layermatch_lite.labs.session import NUM_CLASSES

    assert {name: len(load_data(name, None).classes) for name in EMBEDDED} == NUM_CLASSES
