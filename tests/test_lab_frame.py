"""The labs' frame without a screen: background work, controls, errors, labs that train, a training saved to a file."""

import threading
import time
from dataclasses import dataclass, replace
from urllib.parse import quote

import pytest
import torch
from test_labs import STATES, drive

from layermatch_lite import InputError, TrainConfig, load_recorded, record, train
from layermatch_lite.labs import DecisionLab, LiveRun, NoiseLab, ThresholdLab, TimeMachine, TrainingLab, classroom
from layermatch_lite.labs.background import Worker
from layermatch_lite.labs.decision_lab import DecisionBench, places_of
from layermatch_lite.labs.drawing import Canvas, Look
from layermatch_lite.labs.frame import Lab
from layermatch_lite.labs.state import LabState, choice, number
from layermatch_lite.labs.threshold_lab import ThresholdBench, ThresholdState
from layermatch_lite.labs.timemachine import next_wrong

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
    assert "running already" in lab.status.value
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


def test_stop_keeps_the_curves_and_start_begins_again():
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


def test_start_right_after_pause_and_further_steps_continue():
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


def test_other_points_draw_the_places_again():
    lab = DecisionLab()
    lab.place(0, 1.0, 1.0)
    lab.controls["per_class"].value = 2
    assert not lab.error.value and lab.state.places == "" and len(lab.which.options) == 4
    lab.place(3, 1.0, 1.0)
    lab.controls["dataset"].value = "blobs"
    assert not lab.error.value and len(lab.which.options) == 8


def test_a_pasted_link_after_stop_resumes_at_its_step():
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
    torch.manual_seed(0)
    alone = torch.randint(2**62, (3000,)).tolist()
    torch.manual_seed(0)
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
    labs = [TrainingLab(dataset="blobs", steps=150, method_b="none", seed=seed) for seed in (0, 1)]
    for lab in labs:
        lab.start()
    until(lambda: all("ended" in lab.status.value for lab in labs), 60)
    for lab in labs:
        assert lab.bench.session.runs[0].history == train(lab.state.config("fixmatch")).history


def test_moves_leave_no_figures_threads_or_growing_lists_behind(network):
    from matplotlib import pyplot

    lab, threads = ThresholdLab(), threading.active_count()
    models = len(lab.children)
    for k in range(20):
        lab.controls["tau"].value = k / 20
    assert pyplot.get_fignums() == [] and threading.active_count() == threads and len(lab.children) == models
    noise = NoiseLab()
    moving = len(noise.bench._picture.canvas.moving)
    for k in range(20):
        noise.controls["rate"].value = k / 20
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
def test_a_run_of_your_own_is_mapped_by_umap_in_a_process_of_its_own(tmp_path):
    path = str(tmp_path / "small.npz")
    record(TrainConfig(dataset="blobs", num_labels=4, steps=4, batch_size=8, device="cpu"), snapshots=2, sample=30).save(path)
    lab = TimeMachine(run=path, snapshot=2)
    before = lab.picture.png
    lab.controls["map"].value = "umap"
    until(lambda: "UMAP" in lab.doing.value)
    assert lab.picture.png == before, "the PCA map stays meanwhile"
    until(lambda: "UMAP map" in lab.picture.alt, 240)
    assert lab.state.map == "umap" and not lab.error.value and lab.picture.png != before


@pytest.mark.slow
def test_the_classroom_opens_the_lab_of_a_lesson_link(network):
    state = ThresholdState(run="digits_fixmatch", snapshot=5, tau=0.3)
    tabs = classroom(f"lesson={quote(state.link())}")
    assert tabs.selected_index == 4 and tabs.children[4].state == state
    assert "&lt;b&gt; is not a lesson link" in classroom("lesson=%3Cb%3E").children[0].value


KERNEL = """
from layermatch_lite.labs import TrainingLab
lab = TrainingLab(dataset='blobs', steps=600)
"""


@pytest.mark.slow
def test_interrupting_the_kernel_stops_a_training_and_leaves_the_kernel_alive():
    """Between cells and during one; and a kernel with a training under way can be shut down."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:

        def ask(code):
            printed = []
            client.execute_interactive(
                code, timeout=60, output_hook=lambda m: printed.append(m["content"].get("text", ""))
            )
            return "".join(printed).strip()

        ask(KERNEL)
        for cell in ("", "import time\ntime.sleep(30)"):
            ask("lab.reset()\nlab.start()")
            until(lambda: ask("print(lab.state.step > 0)") == "True", 30)
            if cell:
                client.execute(cell)
                time.sleep(0.5)
            manager.interrupt_kernel()
            time.sleep(1.0)
            assert ask("print(lab.worker.wait(1), lab.status.value.startswith('held'))") == "True True"
        ask("lab.start()")
        assert ask("print(lab.worker.running)") == "True", "it can be resumed"
    finally:
        began = time.monotonic()
        manager.shutdown_kernel()
        client.stop_channels()
        assert time.monotonic() - began < 20


# --- a training kept in a file ---------------------------------------------------------------------------------------


def live(path, **changes):
    config = TrainConfig.preset("demo_cpu", dataset="digits", num_labels=10, steps=60, log_every=10, probe_every=20, seed=0)
    return LiveRun(replace(config, **changes), path)


def test_a_live_run_stops_resumes_and_ends_as_if_it_had_never_stopped(tmp_path):
    path = tmp_path / "run.pt"
    one = live(path)
    assert one.status.value and "no record yet" in one.picture.alt
    one.start()
    until(lambda: one.history)
    first = one.picture.png
    one.stop()
    assert one.worker.wait(60)
    assert 10 <= one.run.step < 60 and f"stopped at step {one.run.step}" in one.status.value
    again = live(path)  # the notebook was closed in between
    assert f"step {one.run.saved} of 60" in again.status.value and again.progress.value == one.run.saved
    again.start()
    assert again.worker.wait(60) and "finished: test accuracy" in again.status.value and again.progress.value == 60
    assert again.picture.png != first and "layer benefit" in again.picture.alt and "step 60 of 60" in again.picture.alt
    assert again.history == train(again.config).history
    assert "it is finished" in live(path).status.value


def test_a_live_run_of_your_own_network(tmp_path):
    def network():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))

    torch.manual_seed(0)
    path, start = tmp_path / "run.pt", network().state_dict()
    one, again = network(), network()
    one.load_state_dict(start)
    config = TrainConfig(dataset="digits", num_labels=10, steps=60, log_every=10, probe_every=20, device="cpu")
    lab = LiveRun(config, path, model=one)
    lab.start()
    until(lambda: lab.history)
    lab.stop()
    assert lab.worker.wait(60) and not lab.error.value and 10 <= lab.run.step < 60
    assert "network" in LiveRun(config, path).error.value, "without it the file cannot be read"
    lab = LiveRun(config, path, model=again)
    assert not lab.error.value and lab.progress.value == lab.run.saved
    lab.start()
    assert lab.worker.wait(60) and not lab.error.value and lab.run.finished
    uninterrupted = network()
    uninterrupted.load_state_dict(start)
    assert lab.history == train(config, model=uninterrupted).history


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
