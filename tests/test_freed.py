"""Closing a lab, or running its cell again, frees all of it."""

import gc
import weakref

import pytest
from IPython.core.interactiveshell import InteractiveShell
from ipywidgets.widgets import widget

from layermatch_lite import TrainConfig
from layermatch_lite.course import predict_curve, predict_order, predict_value
from layermatch_lite.labs import DecisionLab, LiveRun, TrainingLab, cells
from layermatch_lite.labs.live_labs import LiveBench

TINY = dict(dataset="blobs", num_labels=4, steps=6, batch_size=4, mu=1, device="cpu")
LINK = {"decision": "decision?step=3", "training": "training?dataset=blobs&per_class=1&steps=150"}


def trained(lab):
    """A lab that has trained something, and weak references to it and to its networks."""
    (name,) = lab.states
    state = lab.states[name].from_link(LINK[name])
    assert lab.data(f"trained {state.link()}")
    return [weakref.ref(lab), *(weakref.ref(run.model) for run in lab.benches[name].session.runs)]


def widgets_now() -> int:
    gc.collect()
    return len(widget._instances)


@pytest.mark.parametrize("make", [lambda: DecisionLab(LINK["decision"]), lambda: TrainingLab(LINK["training"])])
def test_a_closed_lab_is_gone_with_its_networks(make):
    before, lab = widgets_now(), make()
    references = trained(lab)
    assert len(references) >= 3
    lab.close()
    gc.collect()
    assert all(r() is None for r in references[1:]), "also where somebody still holds the widget"
    del lab
    assert widgets_now() == before and references[0]() is None


def test_a_closed_live_run_stops_and_is_gone(tmp_path):
    before, lab = widgets_now(), LiveRun(TrainConfig(**TINY | dict(steps=10**6)), tmp_path / "run.pt")
    lab.start()
    while lab.run is None:
        pass
    worker, references = lab.worker, [weakref.ref(lab), weakref.ref(lab.run.model)]
    lab.close()
    assert worker.wait(30)
    del lab
    gc.collect()
    assert widgets_now() == before and all(r() is None for r in references) and (tmp_path / "run.pt").exists()


def test_a_closed_prediction_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(tmp_path / "p.json"))
    before = widgets_now()
    curve, order = lambda: predict_curve("c", "?", ["1", "2"]), lambda: predict_order("o", "?", ["a", "b"])
    for ask in (lambda: predict_value("v", "?"), curve, order):
        question = ask()
        reference = weakref.ref(question)
        question.close()
        del question
        gc.collect()
        assert reference() is None
    assert widgets_now() == before


def test_a_cell_that_is_run_again_closes_what_it_made_before(monkeypatch, tmp_path):
    shell = InteractiveShell.instance()
    try:
        monkeypatch.setattr(shell, "get_parent", lambda: {"metadata": {"cellId": "one"}}, raising=False)
        labs = [DecisionLab(LINK["decision"]), LiveRun(TrainConfig(**TINY), tmp_path / "r.pt"), predict_value("v", "?")]
        references = trained(labs[0])
        cells._close_before(type("Info", (), {"cell_id": "another"}))
        assert all(lab.comm is not None for lab in labs)
        cells._close_before(type("Info", (), {"cell_id": "one"}))
        gc.collect()
        assert all(lab.comm is None for lab in labs) and not labs[0].benches
        assert all(r() is None for r in references[1:]), "Out may hold the widget, not what it trained"
    finally:
        InteractiveShell.clear_instance()


def test_a_bench_that_is_closed_while_it_trains_keeps_nothing():
    lab = TrainingLab("training?dataset=blobs&per_class=1&steps=600")
    lab.hear({"lab": "training", "do": "train", "link": "training?dataset=blobs&per_class=1&steps=600&step=600"})
    bench: LiveBench = lab.benches["training"]
    while bench.session is None or bench.session.step < 2:
        pass
    lab.close()
    assert bench.worker.wait(30) and bench.session is None
