"""What stands behind the labs: background work, labs that train, cells that are run again, a training saved to a file."""

import os
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import torch

from layermatch_lite import TrainConfig, train
from layermatch_lite.labs import DecisionLab, LiveRun, NoiseLab, TrainingLab, classroom, packs
from layermatch_lite.labs.background import Worker
from layermatch_lite.labs.lessons import DecisionState, TrainingState
from layermatch_lite.labs.live_labs import BENCHES

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


def until(condition, seconds=5.0):
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


# --- labs that train -------------------------------------------------------------------------------------------------


class Page:
    """What a page hears of a bench."""

    def __init__(self, states):
        self.heard, self.frames = [], []
        self.bench = BENCHES[states.lab](states, self.hear)

    def hear(self, message, blocks=()):
        self.heard.append(message)
        self.frames += [packs.unpack(block) for block in blocks]

    def ask(self, link, **more):
        self.bench.hear({"do": "train", "link": link} | more)

    def ended(self):
        return any("done" in m or "error" in m for m in self.heard)

    @property
    def steps(self):
        return [about["steps"][-1] for about, _ in self.frames]


def test_a_training_sends_frames_and_ends_as_one_that_nobody_watched():
    page, link = Page(DecisionState), "decision?dataset=two_moons&seed=3&step=60"
    page.ask(link)
    until(page.ended, 60)
    assert page.steps == [0, 10, 20, 30, 40, 50, 60]
    whole = DecisionState.from_link(link).whole().link()
    assert {m["training"] for m in page.heard if "training" in m} == {whole}
    page.heard.clear()
    page.ask(link.replace("60", "80"))  # it resumes
    until(page.ended, 60)
    alone = Page(DecisionState)
    about, arrays = packs.unpack(alone.bench.block(DecisionState.from_link(link.replace("60", "80"))))
    assert about["steps"] == [80] and all((arrays[name] == a).all() for name, a in page.frames[-1][1].items())


def test_a_training_stops_within_a_step_and_starts_over_when_asked():
    page = Page(TrainingState)
    page.ask("training?dataset=blobs&steps=600&step=600")
    until(lambda: page.steps and page.steps[-1] > 20, 60)
    page.bench.hear({"do": "stop"})
    assert page.bench.worker.wait(5) and page.bench.session.step < 600
    page.frames.clear()
    page.ask("training?dataset=blobs&steps=600&step=40", again=True)
    until(lambda: 40 in page.steps, 60)
    assert page.steps[0] == 0


def test_an_error_in_training_is_seen_and_the_next_one_works(monkeypatch):
    page = Page(DecisionState)
    page.ask("decision?places=1,2;x&step=10")
    until(page.ended, 30)
    assert "garbled" in page.heard[-1]["error"] and "details" not in page.heard[-1]
    monkeypatch.setattr("layermatch_lite.labs.session.train_steps", lambda *a: 1 / 0)
    page.heard.clear()
    page.ask("decision?seed=5&step=10")
    until(page.ended, 30)
    assert page.heard[-1]["kind"] == "ZeroDivisionError" and "Traceback" in page.heard[-1]["details"]
    monkeypatch.undo()
    page.heard.clear()
    page.ask("decision?seed=5&step=10")
    until(page.ended, 30)
    assert page.heard[-1].get("done")


def test_training_leaves_the_notebooks_threads_and_random_numbers_alone():
    torch.manual_seed(0)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    page = Page(TrainingState)
    page.ask("training?dataset=blobs&steps=150&step=150")
    until(page.ended, 60)
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    assert page.bench.worker.wait(1)


# --- the widget ------------------------------------------------------------------------------------------------------


def test_the_page_gets_its_data_or_one_sentence(monkeypatch):
    lab, sent = NoiseLab(), []
    monkeypatch.setattr(lab, "send", lambda message, blocks=(): sent.append((message, blocks)))
    lab.hear({"want": "noise_digits"})
    lab.hear({"want": "noise_nothing"})
    lab.hear({"lab": "nothing", "do": "train", "link": ""})
    assert sent[0] == ({"key": "noise_digits"}, [packs.shipped("noise_digits")])
    assert "noise_nothing" in sent[1][0]["error"] and "details" not in sent[1][0]
    assert sent[2][0]["kind"] == "KeyError"


def test_one_widget_per_lab_and_none_is_left_behind(monkeypatch):
    from ipywidgets.widgets.widget import _instances

    before = len(_instances)
    labs = [NoiseLab(), DecisionLab(), TrainingLab(), classroom()]
    made = len(_instances) - before
    for lab in labs:
        lab.close()
    assert made <= 2 * len(labs) and len(_instances) == before
    # Running a cell again closes what its last run has made, and nothing else.
    callbacks = {"pre_run_cell": []}
    events = SimpleNamespace(callbacks=callbacks, register=lambda name, f: callbacks[name].append(f))
    cell = {"id": "a"}
    shell = SimpleNamespace(events=events, get_parent=lambda: {"metadata": {"cellId": cell["id"]}})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    first = NoiseLab()
    cell["id"] = "b"
    other = NoiseLab()
    for f in callbacks["pre_run_cell"]:
        f(SimpleNamespace(cell_id="a"))
    assert len(callbacks["pre_run_cell"]) == 1 and first.comm is None and other.comm is not None
    other.close()


def test_the_classroom_takes_a_lesson_from_its_address():
    link = "decision?dataset=blobs&places=1,2;3,4;5,6;7,8"
    assert classroom(f"lesson={link}").link == link
    assert classroom("lesson=decision%3Fdataset%3Dblobs").link == "decision?dataset=blobs"
    assert classroom("theme=x").link == "" and classroom().state.lab == "noise"


# --- a kernel, and a training saved to a file ------------------------------------------------------------------------


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

        ask("from layermatch_lite.labs import TrainingLab\nlab = TrainingLab()\nbench = lab.bench('training')")
        start = "bench.hear({'do': 'train', 'link': 'training?dataset=mnist1d&steps=600&step=600', 'again': True})"
        for cell in ("", "import time\ntime.sleep(30)"):
            ask(start)
            until(lambda: ask("print(bench.session is not None and bench.session.step > 0)") == "True", 30)
            if cell:
                client.execute(cell)
                time.sleep(0.5)
            manager.interrupt_kernel()
            time.sleep(1.0)
            assert ask("print(bench.worker.wait(1), bench.session.step < 600)") == "True True"
        ask(start)
        assert ask("print(bench.worker.running)") == "True", "it can be started again"
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
    assert "damaged" in live(path).error.value
    nowhere = live(tmp_path / "file" / "run.pt")
    (tmp_path / "file").write_text("in the way")
    nowhere.start()
    assert nowhere.worker.wait(60) and "could not be written" in nowhere.error.value


def test_a_live_run_survives_a_full_disk(tmp_path, monkeypatch):
    lab, written, real = live(tmp_path / "run.pt"), [], os.fsync

    def fsync(file):
        if len(written) > 1:
            raise OSError(28, "No space left on device")
        written.append(file)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    lab.start()
    assert lab.worker.wait(60) and lab.run.finished and lab.run.saved == 10
    assert "could not be saved" in lab.status.value
    assert "No space left" in lab.error.value and "holds step 10" in lab.error.value
