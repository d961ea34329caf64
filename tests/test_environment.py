"""The environment of others: streams, folders and settings that are missing, odd or somebody else's; processes that end."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from layermatch_lite import InputError, Run, TrainConfig, load_data, predict, record, train, train_steps
from layermatch_lite.runs.compare import run_all
from layermatch_lite.studies import files
from layermatch_lite.studies.study import Study, carry_out
from layermatch_lite.system import cache_dir, printable, reserved, write_atomically

TINY = "--dataset blobs --num-labels 4 --steps 4 --batch-size 4 --mu 1 --device cpu".split()
SMALL = dict(
    dataset="digits", num_labels=10, steps=6, log_every=2, batch_size=8, mu=2, device="cpu", probe_every=3, readout_every=6
)  # fmt: skip


def start(*arguments, **options) -> subprocess.Popen:
    environment = os.environ | {k: v for k, v in options.pop("env", {}).items() if v is not None}
    for name in [k for k, v in options.pop("without", {}).items() if v]:
        environment.pop(name, None)
    return subprocess.Popen([sys.executable, "-m", "layermatch_lite", *arguments], env=environment, **options)


# --- streams and folders ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_ends_nothing(tmp_path, closed):
    command = f'"{sys.executable}" -m layermatch_lite train {" ".join(TINY)} --out run.pt {closed}'
    assert subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True).returncode == 0
    assert Run.load(tmp_path / "run.pt").finished


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(tmp_path):
    command = f'"{sys.executable}" -m layermatch_lite doctor | head -1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "python" in done.stdout and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_homes_and_caches_that_are_missing_or_empty(monkeypatch, tmp_path):
    where = lambda: str(cache_dir())
    monkeypatch.setenv("LAYERMATCH_CACHE", "~/mine")
    assert where() == os.path.expanduser("~/mine"), "no shell has seen it"
    monkeypatch.setenv("LAYERMATCH_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    for xdg in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert where() == str(tmp_path / ".cache" / "layermatch_lite"), "never in the working folder"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert where() == str(tmp_path / "x" / "layermatch_lite")
    monkeypatch.setenv("HOME", "")
    assert "layermatch_lite-" in where() and Path(where()).is_absolute()
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert "layermatch_lite-" in where()


@pytest.mark.slow
@pytest.mark.parametrize("variables", [dict(WORLD_SIZE="4", RANK="1", LOCAL_RANK="1"), dict(WORLD_SIZE="many")])
def test_what_another_launcher_left_behind(tmp_path, variables):
    process = start("train", *TINY, "--out", "run.pt", cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=60)  # it waits for no other process
    assert process.returncode == 0 and "note: WORLD_SIZE=" in err and Run.load(tmp_path / "run.pt").finished


@pytest.mark.slow
def test_what_cannot_draw_is_known_before_anything_is_trained(tmp_path):
    process = start("demo", "--out", str(tmp_path / "out"), env={"MPLBACKEND": "nonsense"}, stderr=subprocess.PIPE, text=True)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "unset MPLBACKEND" in err and "steps/s" not in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("fails", ["comparison_figure", "save"])
def test_numbers_come_before_pictures(tmp_path, monkeypatch, capsys, fails):
    from layermatch_lite import figures
    from layermatch_lite.cli import main

    def full(*_):
        raise InputError("demo.png could not be written (No space left on device)")

    monkeypatch.setattr(figures, fails, full)
    assert main(["demo", "--dataset", "blobs", "--num-labels", "4", "--steps", "4", "--batch-size", "4", "--seeds", "1",
                 "--workers", "1", "--out", str(tmp_path)]) == 1  # fmt: skip
    out, err = capsys.readouterr()
    assert "test accuracy" in out and (tmp_path / "demo.json").exists() and "No space left" in err


def test_a_full_disk_does_not_cost_the_tables(tmp_path, monkeypatch, capsys):
    from layermatch_lite.cli import main

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    options = "--dataset blobs --num-labels 4 --steps 4 --batch-size 4 --seeds 1 --workers 1".split()
    assert main(["demo", *options, "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "test accuracy" in out and "No space left on device" in err and "choose another place" in err


def test_terminals_are_left_alone(tmp_path, capsys):
    from layermatch_lite.cli import main

    assert printable("a\x1b[2Jb\u202ec\ud800\n") == "a\ufffd[2Jb\ufffdc\ufffd\ufffd"
    (tmp_path / "ada\x1b[2J.json").write_text('{"format": 2}')
    (tmp_path / "eve.json").write_text('{"format": "\\u001b]0;x"}')
    assert main(["predictions", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert main(["train", "--dataset", "/no/\x1b[2J"]) == 1
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err


# --- settings of the user's -----------------------------------------------------------------------------------------------


def test_another_default_dtype_or_device_changes_no_run(tmp_path):
    plain, recorded = train(TrainConfig(**SMALL)), record(TrainConfig(**SMALL), snapshots=2)
    torch.set_default_dtype(torch.float64)
    try:
        other = train(TrainConfig(**SMALL))
        assert torch.get_default_dtype() == torch.float64, "restored"
        assert other.history == plain.history and record(TrainConfig(**SMALL), snapshots=2).history == recorded.history
        with torch.device("meta"):
            assert train(TrainConfig(**SMALL), save=tmp_path / "run.pt").history == plain.history
            data = load_data("digits", 10)
            labels, _ = predict(Run.load(tmp_path / "run.pt"), data.x_test)
            assert torch.zeros(1).is_meta and not data.x_test.is_meta
        assert torch.equal(labels, predict(plain, data.x_test)[0])
        assert all(p.dtype == torch.float32 for p in other.model.parameters())
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_hub_with_one_thread_resumes_what_two_began(tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        whole = train(TrainConfig(**SMALL), save=tmp_path / "whole.pt")
        for run in train_steps(TrainConfig(**SMALL)):
            if run.step == 4:
                run.save(tmp_path / "half.pt")
                break
        torch.set_num_threads(1)
        assert train(resume=tmp_path / "half.pt").history == whole.history and torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


# --- two at once ----------------------------------------------------------------------------------------------------------


def test_a_name_is_taken_when_the_run_starts(tmp_path):
    """Two trainings would both find the file missing, train, and say "saved"."""
    path = tmp_path / "deep" / "run.pt"
    steps, began = [], threading.Event()

    def first():
        data = load_data("blobs", 4)
        began.set()
        steps.append(train(TrainConfig(dataset="blobs", num_labels=4, steps=300, batch_size=4, mu=1), data, save=path).step)

    thread = threading.Thread(target=first)
    thread.start()
    began.wait()
    while not path.exists():
        time.sleep(0.01)
    with pytest.raises(InputError, match="is writing .*run.pt; wait for it"):
        train(TrainConfig(dataset="blobs", num_labels=4, steps=2, batch_size=4, mu=1), save=path)
    with pytest.raises(InputError, match="is writing .*run.pt"):
        train(resume=path)
    thread.join()
    assert steps == [300] and Run.load(path).finished and os.listdir(path.parent) == ["run.pt"]


def test_a_reservation_ends_with_its_process_and_is_not_shared(tmp_path):
    path = tmp_path / "x"
    code = f"""
import sys, time
from layermatch_lite.system import reserved
with reserved({str(path)!r}):
    print("mine", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(InputError, match="another process"), reserved(path):
        pass
    process.kill()
    process.wait()
    with reserved(path):
        write_atomically(path, lambda f: f.write(b"ours"))
    assert os.listdir(tmp_path) == ["x"]


def test_a_study_that_wakes_up_overwrites_nothing(tmp_path, monkeypatch):
    """The file belongs to the one that has it; the other is refused before it trains anything."""
    tiny = dict(dataset="blobs", num_labels=4, steps=2, batch_size=4, mu=1)
    rows = {m: TrainConfig(**tiny, method=m) for m in ("fixmatch", "layermatch")}
    study = Study("mine", "?", (0, 1), {"A": rows}, {})
    with reserved(tmp_path / "s.json"), pytest.raises(InputError, match="is writing .*s.json"):
        carry_out(study, tmp_path / "s.json", progress=False, workers=1)
    assert not (tmp_path / "s.json").exists()
    monkeypatch.chdir(tmp_path)
    assert len(carry_out(study, "s.json", progress=False, workers=1)["runs"]) == 4
    before = (tmp_path / "s.json").read_bytes()
    with reserved(tmp_path / "s.json"), pytest.raises(InputError, match="is writing"):
        carry_out(study, "s.json", progress=False, workers=1)
    assert (tmp_path / "s.json").read_bytes() == before and len(files.load("s.json")["runs"]) == 4


# --- processes that end -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_torch_that_cannot_be_imported_is_named(tmp_path):
    code = "import sys; sys.modules['torch'] = None; import layermatch_lite.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "--force-reinstall torch" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_a_demo(tmp_path, how):
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = start("demo", "--steps", "100000", "--workers", "2", "--out", str(tmp_path), **quiet)
    for _ in range(600):
        children = psutil.Process(process.pid).children(recursive=True)
        if sum("LokyProcess" in " ".join(child.cmdline()) for child in children) == 2:
            break
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(how)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert len(children) >= 2 and not alive


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", None])
def test_a_run_that_is_killed_again_and_again_ends_bit_for_bit(tmp_path, threads):
    """Killed at random moments, also while it loads and saves; OMP_NUM_THREADS is 1, or not set."""
    options = "--dataset digits --num-labels 20 --steps 400 --log-every 10 --batch-size 16 --mu 4 --device cpu".split()
    go = lambda *more: start("train", *more, cwd=tmp_path, env={"OMP_NUM_THREADS": threads}, stdout=subprocess.DEVNULL,
                             without={"OMP_NUM_THREADS": threads is None}, stderr=subprocess.DEVNULL)  # fmt: skip
    rng, path, kills = random.Random(0), tmp_path / "run.pt", 0
    process = go(*options, "--out", "run.pt")
    while not path.exists():
        time.sleep(0.02)
    while kills < 2:
        time.sleep(rng.uniform(0.3, 4))
        process.kill()
        process.wait()
        assert Run.load(path).step <= 400
        kills += 1
        process = go("--resume", "run.pt")
    assert process.wait() == 0 and go(*options, "--out", "whole.pt").wait() == 0
    a, b = Run.load(path), Run.load(tmp_path / "whole.pt")
    assert a.history == b.history
    for part in ("model", "ema", "optimizer"):
        x, y = (getattr(run, part).state_dict() for run in (a, b))
        assert str(x) == str(y) and all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters()))


@pytest.mark.slow
def test_a_script_needs_no_guard(tmp_path):
    """Workers do not run it again."""
    script = tmp_path / "mine.py"
    script.write_text("""
from layermatch_lite import TrainConfig
from layermatch_lite.runs.compare import run_all
tiny = dict(dataset="blobs", num_labels=4, steps=2, batch_size=4, mu=1, device="cpu")
print(len(run_all([TrainConfig(**tiny, seed=k) for k in (0, 1)], workers=2, progress=False)))
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout == "2\n", done.stderr[-2000:]


@pytest.mark.slow
def test_a_killed_worker_is_told_from_other_ends(monkeypatch):
    config = TrainConfig(dataset="blobs", num_labels=4, steps=2, batch_size=4, mu=1, device="cpu")
    with pytest.raises(InputError, match="it was killed, as systems do when memory runs out"):
        run_all([config, config.changed(seed=1)], watch=kill_yourself, workers=2, progress=False)


def kill_yourself(run, data, memory):
    os.kill(os.getpid(), signal.SIGKILL)
