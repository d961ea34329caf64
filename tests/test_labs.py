"""The labs without a screen: what they compute, how a state is written and read, and what the frame does when things go wrong."""

import threading
import time
from dataclasses import dataclass, replace
from urllib.parse import quote

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layermatch_lite import InputError, Recording, TrainConfig, load_data, load_recorded, record, train
from layermatch_lite.core.theory import classifier_gradient
from layermatch_lite.data.views import Views
from layermatch_lite.labs import (
    DecisionLab,
    LiveRun,
    NoiseLab,
    ThresholdLab,
    TimeMachine,
    TrainingLab,
    classroom,
    noise_lab,
    recorded,
    timemachine,
)
from layermatch_lite.labs.background import Worker
from layermatch_lite.labs.decision_lab import DecisionBench, DecisionState, moved, places_of
from layermatch_lite.labs.drawing import Canvas, Look
from layermatch_lite.labs.frame import Lab
from layermatch_lite.labs.noise_lab import NoiseBench, NoiseState
from layermatch_lite.labs.state import LabState, choice, number
from layermatch_lite.labs.threshold_lab import ThresholdBench, ThresholdState, passed
from layermatch_lite.labs.timemachine import TimeMachineBench, TimeMachineState, history, next_wrong
from layermatch_lite.labs.training_lab import TrainingBench, TrainingState

STATES = (NoiseState, DecisionState, TrainingState, TimeMachineState, ThresholdState)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The noise lab's measurements for one network, in a cache that the tests share."""
    folder = tmp_path_factory.mktemp("noise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERMATCH_CACHE", str(folder))
        for _ in noise_lab.prepare(20, 200, 0):
            pass
    return folder


@pytest.fixture
def network(prepared, own_cache, monkeypatch):
    monkeypatch.setenv("LAYERMATCH_CACHE", str(prepared))
    return NoiseState()


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
    ("link", "told"),
    [
        ("", "no lesson link"),
        ("rubbish", "no lesson link"),
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
def test_a_garbled_link_is_one_clear_error(link, told):
    with pytest.raises(InputError, match=told):
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


def test_a_damaged_cache_is_measured_anew(network, monkeypatch, tmp_path):
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


def test_the_threshold_lab_says_what_it_draws():
    r = load_recorded("mnist1d_fixmatch")
    look = ThresholdBench().look(ThresholdState(tau=0.8))
    over = r.confidence[20].astype(float) >= 0.8
    assert (
        f"{over.mean():.0%} pass" in look.reading and f"{r.right[20][over].mean():.0%} of these labels" in look.reading
    )
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


def test_a_damaged_recording_in_the_cache_is_recorded_anew():
    path = recorded._cached("digits_fixmatch", 3)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    assert recorded.missing("digits_fixmatch", 3) == ("digits_fixmatch", 3)


def test_ones_own_recording_is_a_choice_beside_the_others(tmp_path):
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


# --- the worker ------------------------------------------------------------------------------------------------------


def test_a_worker_stops_between_two_items_and_closes_what_it_ran():
    worker, seen, closed, ended = Worker(), [], [], []

    def items():
        try:
            while True:
                time.sleep(0.01)
                yield len(seen)
        finally:
            closed.append(threading.current_thread().name)

    worker.start(items(), seen.append, lambda error, stopped: ended.append((error, stopped)))
    while len(seen) < 5:
        time.sleep(0.005)
    assert worker.running
    worker.stop()
    assert worker.wait(1) and not worker.running and ended == [(None, True)]
    assert closed == ["layermatch_lite lab"], "in its own thread, where its settings belong"


def test_a_workers_error_is_handed_over():
    worker, ended = Worker(), []
    worker.start((1 / 0 for _ in range(3)), print, lambda error, stopped: ended.append((type(error), stopped)))
    assert worker.wait(1) and ended == [(ZeroDivisionError, False)]


# --- the frame -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SmallState(LabState):
    lab = "small"
    level: float = number(0.5, "level")
    model: str = choice("a", "model", ("a", "b", "slow"))


class SmallBench:
    title, question, State = "Small lab", "?", SmallState

    def __init__(self):
        self.ready, self.go, self.broken, self.prepared = {"a"}, threading.Event(), None, []

    def missing(self, state):
        return None if state.model in self.ready else state.model

    def prepare(self, state):
        self.prepared.append(state.model)
        while state.model == "slow" and not self.go.is_set():
            yield 0.5, "waiting"
            time.sleep(0.01)
        yield 1.0, "done"
        self.ready.add(state.model)

    def look(self, state):
        if self.broken is not None:
            raise self.broken
        canvas = Canvas(40, 30)
        return Look(canvas.png(), f"alt of {state.link()}", f"reading of {state.link()}")


def until(condition, seconds=5.0):
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_controls_picture_alt_reading_and_link_follow_the_state():
    lab = Lab(SmallBench(), level=0.25)
    assert lab.controls["level"].value == 0.25 and lab.link.value == "small?level=0.25&model=a"
    lab.controls["level"].value = 0.75
    assert lab.picture.alt == "alt of small?level=0.75&model=a" and lab.link.value in lab.reading.value.replace(
        "&amp;", "&"
    )
    lab.link.value = "small?level=0.1"
    assert lab.state == SmallState(level=0.1) and lab.controls["level"].value == 0.1
    lab.reset()
    assert lab.state.level == 0.25
    assert Lab(SmallBench(), "small?level=0.9&model=a").state.level == 0.9


def test_an_error_in_a_callback_is_seen_and_the_state_before_is_kept():
    lab = Lab(SmallBench())
    lab.bench.broken = RuntimeError("<planted>")
    lab.controls["level"].value = 0.9
    assert "RuntimeError: &lt;planted&gt;" in lab.error.value
    assert lab.state.level == lab.controls["level"].value == 0.5 and "level=0.5" in lab.link.value
    lab.bench.broken = InputError("say it in one sentence")
    lab.controls["level"].value = 0.8
    assert "say it in one sentence" in lab.error.value and "Traceback" not in lab.error.value
    lab.bench.broken = None
    lab.controls["level"].value = 0.7
    assert lab.error.value == "" and lab.state.level == 0.7


def test_what_is_slow_is_prepared_in_the_background_once():
    lab = Lab(SmallBench())
    before = lab.picture.alt
    lab.controls["model"].value = "slow"
    until(lambda: "waiting" in lab.doing.value)
    assert lab.waiting.layout.display == "flex" and lab.picture.alt == before, "the last picture stays"
    lab.controls["level"].value = 0.9  # needs the same slow thing: nothing starts over
    lab.bench.go.set()
    until(lambda: "level=0.9&model=slow" in lab.picture.alt)
    assert lab.bench.prepared == ["slow"] and lab.waiting.layout.display == "none"


def test_a_preparation_can_be_cancelled_or_overtaken():
    lab = Lab(SmallBench())
    lab.controls["model"].value = "slow"
    until(lambda: "waiting" in lab.doing.value)
    lab.cancel.click()
    until(lambda: lab.controls["model"].value == "a")
    assert "Stopped" in lab.error.value and lab.state.model == "a" and lab.waiting.layout.display == "none"
    lab.controls["model"].value = "slow"
    lab.controls["model"].value = "b"
    until(lambda: "model=b" in lab.picture.alt)
    time.sleep(0.05)
    assert lab.state.model == "b" and lab.error.value == "" and lab.waiting.layout.display == "none"


def test_an_error_while_preparing_is_seen(monkeypatch):
    lab = Lab(SmallBench())

    def fails(state):
        yield 0.1, "soon"
        raise InputError("the disk is full")

    lab.bench.prepare = fails
    lab.controls["model"].value = "b"
    until(lambda: "the disk is full" in lab.error.value)
    assert lab.state.model == lab.controls["model"].value == "a"


def test_cancelled_and_chosen_again_it_is_prepared_and_shown():
    lab = Lab(SmallBench())
    lab.controls["model"].value = "slow"
    until(lambda: "waiting" in lab.doing.value)
    lab.cancel.click()
    lab.controls["model"].value = "a"
    lab.controls["model"].value = "slow"
    lab.bench.go.set()
    until(lambda: "model=slow" in lab.picture.alt)
    assert lab.error.value == "" and lab.waiting.layout.display == "none"


def test_going_back_while_something_is_prepared_ends_the_preparation():
    lab = Lab(SmallBench())
    lab.controls["model"].value = "slow"
    until(lambda: "waiting" in lab.doing.value)
    lab.controls["model"].value = "a"
    assert lab.waiting.layout.display == "none" and not lab.worker.running and "model=a" in lab.picture.alt


def test_what_cannot_be_kept_is_not_prepared_for_ever():
    lab = Lab(SmallBench())
    lab.bench.prepare = lambda state: (x for x in [(1.0, "done")])
    lab.controls["model"].value = "b"
    until(lambda: "LAYERMATCH_CACHE" in lab.error.value)
    assert lab.state.model == "a"


def test_after_a_preparation_an_error_in_the_picture_leaves_the_last_good_state():
    lab = Lab(SmallBench())
    lab.controls["model"].value = "slow"
    until(lambda: "waiting" in lab.doing.value)
    lab.bench.broken = RuntimeError("planted")
    lab.bench.go.set()
    until(lambda: "planted" in lab.error.value)
    assert lab.state.model == lab.controls["model"].value == "a"


def test_a_move_during_the_workers_own_syncing_is_not_lost():
    lab, inside, go = Lab(SmallBench()), threading.Event(), threading.Event()

    def sync():
        with lab._lock:
            lab._syncing = True
            inside.set()
            go.wait(2)
            lab._syncing = False

    threading.Thread(target=sync).start()
    inside.wait(2)
    threading.Timer(0.1, go.set).start()
    lab.controls["level"].value = 0.9
    assert lab.state.level == 0.9


def test_a_saved_notebook_shows_the_picture_and_its_alt_text():
    lab = Lab(SmallBench())
    data, metadata = lab._repr_mimebundle_()
    assert (
        data["image/png"].startswith(b"\x89PNG")
        and metadata["image/png"]["alt"] == data["text/plain"] == lab.picture.alt
    )
    assert "application/vnd.jupyter.widget-view+json" in data


def test_every_control_has_a_label_and_the_seed_is_among_them():
    for state in STATES:
        controls = state.controls()
        assert "seed" in controls and all(c.label for c in controls.values())


# --- labs that run ---------------------------------------------------------------------------------------------------


def test_start_pause_start_ends_as_an_uninterrupted_run():
    lab = DecisionLab(method_b="none")
    lab.start()
    lab.start()
    assert lab.status.value == "It is running already."
    until(lambda: lab.state.step > 5)
    asked = time.perf_counter()
    lab.pause()
    until(lambda: "held at step" in lab.status.value)
    assert (
        time.perf_counter() - asked < 2 and not lab.worker.running
    )  # a step takes milliseconds; this is for a busy machine
    held = lab.state.step
    lab.start()
    until(lambda: "ended" in lab.status.value, 60)
    assert lab.state.step == 300 and 0 < held < 300 and lab.picture.alt == drive(DecisionBench(), lab.state).alt
    lab.start()
    assert "Reset starts over" in lab.status.value
    lab.reset()
    assert lab.state.step == 0 and "step=0" in lab.link.value


def test_a_setting_changed_while_running_starts_over_and_runs_on():
    lab = DecisionLab(method_b="none")
    lab.start()
    until(lambda: lab.state.step > 3)
    lab.controls["tau"].value = 0.6
    until(lambda: lab.state.step > 0 and lab.state.tau == 0.6)
    lab.pause()
    until(lambda: "held" in lab.status.value)
    assert lab.picture.alt == drive(DecisionBench(), lab.state).alt


def test_stop_keeps_the_curves_and_start_begins_anew():
    lab = TrainingLab(dataset="blobs", steps=600)
    lab.start()
    until(lambda: lab.state.step > 40, 30)
    lab.stop()
    until(lambda: "held" in lab.status.value)
    stopped = lab.state.step
    assert "test accuracy" in lab.reading.value
    lab.start()
    until(lambda: 0 < lab.state.step < stopped, 10)
    lab.pause()
    until(lambda: "held" in lab.status.value)


def test_start_right_after_pause_and_further_steps_go_on():
    lab = DecisionLab(method_b="none")
    lab.start()
    until(lambda: lab.bench.session.step > 20)
    session = lab.bench.session
    lab.pause()
    lab.start()
    lab.train(10)
    until(lambda: "ended" in lab.status.value)
    assert lab.bench.session is session and 30 < lab.state.step == session.step < 300
    assert lab.picture.alt == drive(DecisionBench(), lab.state).alt


def test_an_error_in_the_picture_of_a_training_is_seen():
    lab = TrainingLab(dataset="blobs", steps=600)
    lab.start()
    until(lambda: lab.state.step > 0)
    lab.bench.look = lambda state: 1 / 0
    until(lambda: "ZeroDivisionError" in lab.error.value)
    assert not lab.worker.running


def test_start_during_a_links_replay_trains_on():
    lab = DecisionLab(method_b="none")
    lab.link.value = "decision?method_b=none&step=280"
    lab.start()
    until(lambda: "ended" in lab.status.value, 60)
    assert lab.state.step == 300 and lab.error.value == "" and lab.waiting.layout.display == "none"


def test_other_points_draw_the_places_anew():
    lab = DecisionLab()
    lab.place(0, 1.0, 1.0)
    lab.controls["per_class"].value = 2
    assert not lab.error.value and lab.state.places == "" and len(lab.which.options) == 4
    lab.place(3, 1.0, 1.0)
    lab.controls["dataset"].value = "blobs"
    assert not lab.error.value and len(lab.which.options) == 8


def test_a_pasted_link_after_stop_goes_on_from_its_step():
    lab = TrainingLab(dataset="blobs", steps=150, method_b="none")
    lab.start()
    until(lambda: lab.state.step > 3)
    lab.stop()
    lab.link.value = "training?dataset=blobs&steps=150&method_b=none&step=60"
    until(lambda: lab.state.step == 60 and lab.waiting.layout.display == "none", 30)
    lab.start()
    until(lambda: "ended" in lab.status.value, 30)
    assert lab.state.step == 150 and lab.bench.session.runs[0].history == train(lab.state.config("fixmatch")).history


def test_background_training_leaves_the_notebooks_random_numbers_alone():
    lab = TrainingLab(dataset="blobs", steps=150)
    before = torch.random.get_rng_state()
    lab.start()
    until(lambda: "ended" in lab.status.value, 60)
    torch.manual_seed(0)
    alone = torch.randint(2**62, (3000,)).tolist()
    torch.manual_seed(0)
    lab.reset()
    lab.start()
    drawn = []
    while "ended" not in lab.status.value:
        drawn += torch.randint(2**62, (1,)).tolist()
        time.sleep(0.0005)
    torch.random.set_rng_state(before)
    assert len(set(drawn)) == len(drawn) and drawn[:3000] == alone[: len(drawn)]


def test_an_error_in_training_is_seen(monkeypatch):
    lab = TrainingLab(dataset="blobs", steps=150)
    session = lab.bench.at(lab.state)
    monkeypatch.setattr(session, "advance", lambda: 1 / 0)
    lab.start()
    until(lambda: "ZeroDivisionError" in lab.error.value)
    assert not lab.worker.running


def test_two_labs_on_one_kernel_do_not_disturb_each_other():
    labs = [TrainingLab(dataset="blobs", steps=150, seed=seed) for seed in (0, 1)]
    for lab in labs:
        lab.start()
    until(lambda: all("ended" in lab.status.value for lab in labs), 60)
    for lab in labs:
        assert lab.bench.session.runs[0].history == train(lab.state.config("fixmatch")).history


def test_moves_leave_no_figures_threads_or_growing_lists_behind(network):
    from matplotlib import pyplot

    lab, threads = ThresholdLab(), threading.active_count()
    models = len(lab.children)
    for k in range(50):
        lab.controls["tau"].value = k / 50
    assert pyplot.get_fignums() == [] and threading.active_count() == threads and len(lab.children) == models
    noise = NoiseLab()
    moving = len(noise.bench._picture.canvas.moving)
    for k in range(50):
        noise.controls["rate"].value = k / 50
    assert len(noise.bench._picture.canvas.moving) == moving and not noise.error.value


def test_a_click_places_the_label_that_is_chosen():
    lab = DecisionLab()
    assert lab.which.value == 0
    lab.picture.clicked = [0.12, 0.4, 1]
    x, y = lab.bench.point_at(0.12, 0.4)
    assert places_of(lab.state)[0] == pytest.approx((x, y), abs=0.01) and lab.which.value == 1, (
        "the next click places the next"
    )
    before = lab.state
    lab.picture.clicked = [0.5, 0.99, 2]
    assert lab.state == before, "beside the points"
    lab.x.value = -1.0
    assert places_of(lab.state)[1][0] == -1.0


def test_the_time_machine_goes_to_the_next_wrong_one():
    lab = TimeMachine(snapshot=20)
    r = load_recorded("digits_fixmatch")
    lab.next_wrong()
    assert lab.state.sample == next_wrong(r, 20, 0) and f"Sample {lab.state.sample} " in lab.picture.alt


@pytest.mark.slow
def test_another_seed_is_recorded_and_kept(monkeypatch):
    lab = ThresholdLab(run="digits_supervised")
    lab.controls["seed"].value = 3
    until(lambda: "seed 3" in lab.picture.alt, 120)
    assert ThresholdBench().missing(lab.state) is None and not lab.error.value


@pytest.mark.slow
def test_the_whole_run_is_mapped_by_umap_in_a_process_of_its_own():
    lab = TimeMachine()
    lab.controls["map"].value = "umap"
    until(lambda: "UMAP" in lab.doing.value)
    assert lab.picture.png, "the PCA map stays meanwhile"
    until(lambda: lab.waiting.layout.display == "none", 240)
    assert lab.state.map == "umap" and not lab.error.value


@pytest.mark.slow
def test_the_classroom_opens_the_lab_of_a_lesson_link(network):
    state = ThresholdState(run="digits_fixmatch", snapshot=5, tau=0.3)
    for query in (f"lesson={state.link()}", f"lesson={quote(state.link())}"):
        tabs = classroom(query)
        assert tabs.selected_index == 4 and tabs.children[4].state == state
    assert "is no lesson link" in classroom("lesson=%3Cb%3E").children[0].value


KERNEL = """
from layermatch_lite.labs import TrainingLab
lab = TrainingLab(dataset='blobs', steps=600)
lab.start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["", "import time\ntime.sleep(30)"], ids=["between cells", "during a cell"])
def test_interrupting_the_kernel_stops_a_training_and_leaves_the_kernel_alive(cell):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:

        def ask(code):
            told = []
            client.execute_interactive(
                code, timeout=60, output_hook=lambda m: told.append(m["content"].get("text", ""))
            )
            return "".join(told).strip()

        ask(KERNEL)
        until(lambda: ask("print(lab.state.step > 0)") == "True", 30)
        if cell:
            client.execute(cell)
            time.sleep(0.5)
        manager.interrupt_kernel()
        time.sleep(1.0)
        assert ask("print(lab.worker.wait(1), lab.status.value.startswith('held'))") == "True True"
        ask("lab.start()")
        assert ask("print(lab.worker.running)") == "True", "it can go on"
    finally:
        began = time.monotonic()
        manager.shutdown_kernel()  # with a training under way
        client.stop_channels()
        assert time.monotonic() - began < 20


def test_the_labs_know_how_many_classes_each_data_set_has():
    from layermatch_lite import load_data
    from layermatch_lite.data.sets import EMBEDDED
    from layermatch_lite.labs.session import NUM_CLASSES

    assert {name: len(load_data(name, None).classes) for name in EMBEDDED} == NUM_CLASSES


# --- a training kept in a file ---------------------------------------------------------------------------------------


def live(path, **changes):
    config = TrainConfig.preset("demo_cpu", dataset="digits", num_labels=10, steps=60, log_every=10, probe_every=20, seed=0)
    return LiveRun(replace(config, **changes), path)


def test_a_live_run_stops_goes_on_and_ends_as_if_it_had_never_stopped(tmp_path):
    path = tmp_path / "run.pt"
    one = live(path)
    assert "Start begins a new run" in one.status.value and "no record yet" in one.picture.alt
    one.start()
    until(lambda: one.history)
    first = one.picture.png
    one.stop()
    assert one.worker.wait(60)
    assert 10 <= one.run.step < 60 and f"stopped at step {one.run.step}" in one.status.value
    again = live(path)  # the notebook was closed in between
    assert f"at step {one.run.saved} of 60: Start goes on" in again.status.value and again.progress.value == one.run.saved
    again.start()
    assert again.worker.wait(60) and "finished: test accuracy" in again.status.value and again.progress.value == 60
    assert again.picture.png != first and "layer benefit" in again.picture.alt and "step 60 of 60" in again.picture.alt
    assert again.history == train(again.config).history
    assert "it is finished" in live(path).status.value


def test_a_live_run_says_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    diverging = live(path, lr=1e12)
    diverging.start()
    assert diverging.worker.wait(60) and "NonFiniteLoss" in diverging.error.value
    other = live(path)
    assert "other settings (lr)" in other.error.value and other.run is None
    other.start()
    assert other.worker.wait(60) and "started with other settings" in other.error.value
    path.write_bytes(b"nothing of the kind")
    assert "not a whole run" in live(path).error.value
    nowhere = live(tmp_path / "file" / "run.pt")
    (tmp_path / "file").write_text("in the way")
    nowhere.start()
    assert nowhere.worker.wait(60) and "could not be written" in nowhere.error.value


def test_a_live_run_survives_a_full_disk(tmp_path, monkeypatch):
    from layermatch_lite.runs import run as run_module

    lab, written, real = live(tmp_path / "run.pt"), [], run_module.write_atomically

    def write(path, content):
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, content)

    monkeypatch.setattr(run_module, "write_atomically", write)
    lab.start()
    assert lab.worker.wait(60) and lab.run.finished and lab.run.saved == 10
    assert "could not be saved" in lab.status.value
    assert "No space left" in lab.error.value and "holds step 10" in lab.error.value


def test_long_names_of_classes_are_numbered():
    from layermatch_lite.data.sets import split

    g, C = torch.Generator().manual_seed(0), 4
    x, y = torch.randint(256, (120, 3, 8, 8), generator=g, dtype=torch.uint8), torch.arange(120) % C
    data = split("images", x, y, x, y, [f"kind {c}" for c in range(C)], num_labels=C)
    config = TrainConfig(dataset="images", num_labels=C, steps=2, batch_size=4, mu=2, device="cpu")
    picture = timemachine.TimePicture(record(config, data, snapshots=1, sample=50))
    assert picture.marks == [str(c) for c in range(C)] and picture.data is None, "no images of it are kept anywhere"
