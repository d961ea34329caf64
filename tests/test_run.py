"""Files of runs: damaged, foreign and hostile ones, a full disk, a place that cannot be written."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from layermatch_lite import InputError, Run, TrainConfig, train
from layermatch_lite.runs import engine
from layermatch_lite.system import write_atomically

SMALL = TrainConfig(dataset="blobs", num_labels=8, steps=4, batch_size=8, mu=2, device="cpu")


@pytest.fixture
def saved(tmp_path):
    train(SMALL, save=tmp_path / "run.pt")
    return tmp_path / "run.pt"


def test_a_truncated_file(saved):
    whole = saved.read_bytes()
    for part in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:part])
        with pytest.raises(InputError, match="damaged"):
            Run.load(saved)


def test_a_hostile_file_is_not_executed(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "run.pt"

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {trap}",)

    for write in (lambda f: pickle.dump(Hostile(), f), lambda f: torch.save({"format": Hostile()}, f)):
        with open(path, "wb") as f:
            write(f)
        with pytest.raises(InputError, match="damaged"):
            Run.load(path)
        assert not trap.exists()
    with open(path, "rb") as f:  # the trap works: a loader that trusts the file springs it
        torch.load(f, weights_only=False)
    assert trap.exists()


def spoil(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda c: c.update(format="other"), "not a run of layermatch_lite"),
        (lambda c: c.update(version=99), "version 99"),
        (lambda c: c["config"].update(lr=-1.0), "lr=-1.0"),
        (lambda c: c["config"].update(unheard_of=1), "unheard_of"),
        (lambda c: c["state"].pop("model"), "damaged"),
        (lambda c: c["state"]["model"].popitem(), "damaged"),
        (lambda c: c["generators"].update(labelled=torch.zeros(3, dtype=torch.uint8)), "damaged"),
        (lambda c: c.pop("history"), "damaged"),
    ],
)
def test_a_file_with_wrong_contents(saved, change, named):
    spoil(saved, change)
    with pytest.raises(InputError, match=named):
        Run.load(saved)


def test_a_foreign_file_and_no_file(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="not a run of layermatch_lite"):
        Run.load(tmp_path / "list.pt")
    with pytest.raises(InputError, match="is a folder"):
        Run.load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        Run.load(tmp_path / "none.pt")


def test_an_interrupted_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(f):
        f.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        write_atomically(path, half)
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk(saved):
    """A real failing write: the system refuses files beyond a few bytes."""
    before = saved.read_bytes()
    code = f"""
import resource, signal, sys
from layermatch_lite import InputError, Run
run = Run.load({str(saved)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    run.save({str(saved)!r})
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "could not be written" in done.stdout and "unharmed" in done.stdout, done.stderr
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


def test_a_place_that_cannot_be_written_is_noticed_before_training(tmp_path, monkeypatch):
    def reached(*_):
        raise AssertionError("training had begun")

    monkeypatch.setattr(engine, "draw_batch", reached)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        train(SMALL, save=tmp_path / "file" / "run.pt")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="could not be written"):
        train(SMALL, save=tmp_path / "run.pt")


def test_a_run_knows_where_it_took_place(saved):
    run = Run.load(saved)
    assert run.environment["threads"] == torch.get_num_threads() and run.environment["device"] == "cpu"
    assert run.environment["torch"] == str(torch.__version__)
    assert run.config == replace(SMALL) and run.finished and run.accuracy == run.history[-1]["accuracy"]
