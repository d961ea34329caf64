"""Several runs at once: in order, watched, reported as soon as they end; no worker is left over, and a dead one is named."""

import errno
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from layermatch_lite import InputError, TrainConfig
from layermatch_lite.runs import compare
from layermatch_lite.runs.compare import run_all
from layermatch_lite.runs.recording import Recorder, recording_of
from layermatch_lite.runs.train import data_of, train
from layermatch_lite.system import torch_settings

TINY = TrainConfig(dataset="two_moons", num_labels=4, batch_size=8, mu=2, steps=8, log_every=4, device="cpu")


def every_other_step(run, data, memory):
    memory["calls"] = memory.get("calls", 0) + 1
    if run.finished and run.config.seed == 0 and "REPORTED" in os.environ:
        while not Path(os.environ["REPORTED"]).exists():
            time.sleep(0.05)
    return None if run.step % 2 else {"step": run.step, "calls": memory["calls"], "process": os.getpid()}


def die(run, data, memory):
    if run.step == 3:
        os._exit(7)


def workers(program=None):
    children = (program or psutil.Process()).children(recursive=True)
    found = [p for p in children if p.status() != psutil.STATUS_ZOMBIE]  # those have ended, and tell no command
    return [p for p in found if "loky" in " ".join(p.cmdline()) and "resource_tracker" not in " ".join(p.cmdline())]


@pytest.mark.slow
def test_runs_in_worker_processes_are_those_of_one_process(tmp_path, monkeypatch):
    """Run 0 ends only once the others have been reported: so they are reported while it trains."""
    configs, reported = [replace(TINY, seed=seed) for seed in range(3)], {}
    monkeypatch.setenv("REPORTED", str(tmp_path / "reported"))

    def each(i, outcome):
        reported[i] = outcome
        if len(reported) == 2:
            (tmp_path / "reported").touch()

    outcomes = run_all(configs, watch=every_other_step, workers=2, each=each, progress=False)
    assert [o.config for o in outcomes] == configs and reported == dict(enumerate(outcomes)) and list(reported)[-1] == 0
    assert os.getpid() not in {s["process"] for o in outcomes for s in o.seen}
    assert [(s["step"], s["calls"]) for s in outcomes[1].seen] == [(k, k + 1) for k in (0, 2, 4, 6, 8)]
    with torch_settings(1):  # as many as a worker has
        assert outcomes[1].history == train(configs[1]).history
    assert not workers()


@pytest.mark.slow
def test_a_worker_that_dies_is_named_and_the_others_are_stopped():
    with pytest.raises(InputError, match="A worker process died"):
        run_all([TINY, replace(TINY, steps=100_000, seed=1)], watch=die, workers=2, progress=False)
    assert not workers()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX processes")
def test_a_killed_program_leaves_no_worker(tmp_path):
    """As a restarted notebook does; the program is a script without a guard, which its workers must not run again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from layermatch_lite import TrainConfig\n"
        "from layermatch_lite.runs.compare import run_all\n"
        "config = TrainConfig(dataset='two_moons', num_labels=4, steps=100_000, device='cpu')\n"
        "run_all([config, config], workers=2)\n"
    )
    program = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True, bufsize=1)
    seen = ""
    while not re.search(r"[1-9]\d*/200000", seen):
        seen += (read := program.stderr.read(1))
        assert read, seen
    started = workers(psutil.Process(program.pid))
    program.kill()
    program.wait()
    assert len(started) == 2 and not psutil.wait_procs(started, timeout=30)[1]


def test_a_single_worker_is_this_process_and_leaves_its_threads_alone():
    threads = torch.get_num_threads()
    (outcome,) = run_all([TINY], watch=every_other_step, progress=False)
    assert outcome.seen[0]["process"] == os.getpid() and torch.get_num_threads() == threads


def test_a_kept_run_continues_where_it_was_stopped_and_so_does_its_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "SAVE_EVERY", 0)
    recorder, data, started, stop = Recorder(snapshots=4, sample=20), data_of(TINY), [], [7]

    def watch(run, data, memory):
        started.append(run.step)
        if run.step == stop[0]:
            raise KeyboardInterrupt
        return recorder(run, data, memory)

    (whole,) = run_all([TINY], watch=recorder, progress=False)
    with pytest.raises(KeyboardInterrupt):
        run_all([TINY], watch=watch, keep=tmp_path / "kept", progress=False)
    (kept,) = (tmp_path / "kept").iterdir()
    stop.clear(), started.clear(), stop.append(None)
    content = kept.read_bytes()
    kept.write_bytes(content[:5000])
    with pytest.raises(InputError, match="damaged.*Deleting it lets this run start over"):
        run_all([TINY], watch=watch, keep=tmp_path / "kept", progress=False)
    kept.write_bytes(content)
    (continued,) = run_all([TINY], watch=watch, keep=tmp_path / "kept", progress=False)
    assert started == [5, 6, 7, 8], "from its last record, at step 4"
    assert continued.history == whole.history and not list(tmp_path.iterdir()), "nothing is left over"
    a, b = (recording_of(outcome, data) for outcome in (whole, continued))
    assert a.layer_benefit == b.layer_benefit
    for name in ("steps", "labels", "features", "W", "confusion"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_disk_that_is_full_costs_a_kept_run_nothing_but_its_safety(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compare, "SAVE_EVERY", 0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device.*Nothing is saved yet; training continues"):
        (outcome,) = run_all([TINY], keep=tmp_path, progress=False)
    with torch_settings(1):
        assert outcome.history == train(TINY).history


def test_what_each_raises_ends_the_runs():
    def each(i, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all([TINY, replace(TINY, seed=1)], each=each, workers=1, progress=False)
