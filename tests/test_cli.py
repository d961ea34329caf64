"""The command line as a user meets it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layermatch_lite import Run
from layermatch_lite.cli import main

TINY = ["--dataset", "blobs", "--num-labels", "8", "--steps", "8", "--batch-size", "8"]


def run(*arguments):
    """Exit status of a command, whichever way it ends."""
    try:
        return main(list(arguments))
    except SystemExit as end:
        return end.code


@pytest.mark.slow
def test_demo_prints_two_tables_and_draws_a_figure(tmp_path, capsys):
    assert run("demo", "--steps", "16", "--batch-size", "8", "--threshold", "0.3", "--out", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    for word in (
        "Supervised",
        "FixMatch",
        "LayerMatch",
        "seed by seed",
        "mask rate",
        "untrained",
        "own classifier",
        "conv 1",
        "late",
        "cannot rank",
    ):
        assert word in out
    numbers = json.loads((tmp_path / "out" / "demo.json").read_text(encoding="utf-8"))
    assert [(r["config"]["method"], r["config"]["seed"]) for r in numbers["runs"]] == [
        (m, s) for s in range(3) for m in ("supervised", "fixmatch", "layermatch")
    ]
    assert f"{numbers['runs'][0]['history'][-1]['accuracy']:.3f}" in out
    assert "Test accuracy, mean over seeds: Supervised 0." in numbers["alt"]
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    "moment", [r" 0/900000", r"[1-9]\d*/900000"], ids=["while the workers start", "while they train"]
)
def test_ctrl_c_stops_a_demo_at_once(tmp_path, moment):
    command = [sys.executable, "-m", "layermatch_lite", "demo", "--steps", "100000", "--out", str(tmp_path)]
    heard = lambda: signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # as in a terminal, also where pytest runs in the background
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, bufsize=1, start_new_session=True, preexec_fn=heard
    )
    seen = ""
    while not re.search(moment, seen):
        seen += process.stderr.read(1)
    time.sleep(0.7)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "stopped" in err


def test_train_saves_resumes_and_never_overwrites(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        run(
            "train",
            *TINY,
            "--method",
            "fixmatch",
            "--threshold",
            "0.4",
            "--lr",
            "0.01",
            "--seed",
            "2",
            "--no-avg-clustering",
        )
        == 0
    )
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("blobs-fixmatch-8-labels-seed-2-") and "threshold-0.4" in path.name, "it tells runs apart"
    c = Run.load(path).config
    assert (c.method, c.threshold, c.lr, c.seed, c.steps, c.variant.avg_clustering) == ("fixmatch", 0.4, 0.01, 2, 8, False)
    out = capsys.readouterr().out
    assert "test accuracy" in out and "recipe for mnist1d, which blobs borrows" in out
    assert "mu 2" not in out and "strong_labelled 1" in out, "what the recipe gave, without what was given"
    assert run("train", "--resume", str(path)) == 0
    before = path.read_bytes()
    assert run("train", *TINY, "--out", str(path)) == 1 and "exists already" in capsys.readouterr().err
    assert run("train", "--resume", str(path), "--preset", "paper") == 1 and "--preset" in capsys.readouterr().err
    assert run("train", "--resume", str(path), "--steps", "9") == 1 and "steps=9" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_train_with_every_label(tmp_path):
    assert run("train", *TINY, "--num-labels", "all", "--method", "supervised", "--out", str(tmp_path / "run.pt")) == 0
    assert Run.load(tmp_path / "run.pt").data["num_labels"] == 1000


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["train", "--method", "fixmach"], "'fixmach'"),
        (["train", "--num-labels", "15"], "15"),
        (["train", "--num-labels", "0"], "0"),
        (["train", "--num-labels", "90000"], "90000"),
        (["train", "--threshold", "2"], "threshold=2.0"),
        (["train", "--steps", "0"], "steps=0"),
        (["train", "--steps", "many"], "'many'"),
        (["train", "--lr", "-1"], "lr=-1.0"),
        (["train", "--batch-size", "-4"], "batch_size=-4"),
        (["train", "--momentum", "1"], "momentum=1.0"),
        (["train", "--dataset", "imagenet"], "imagenet"),
        (["train", "--dataset", "./nowhere"], "nowhere"),
        (["train", "--preset", "fast"], "fast"),
        (["train", "--no-such-setting", "1"], "no-such"),
        (["train", "--resume", "missing.pt"], "missing.pt"),
        (["train", "--device", "tpu"], "tpu"),
        (["demo", "--seeds", "0"], "seeds=0"),
        (["demo", "--workers", "0"], "workers=0"),
        (["demo", "--out", "/dev/null/out"], "/dev/null/out"),
        (["train", "--out", "/dev/null/run.pt"], "/dev/null/run.pt"),
        ([], "required"),
        (["dance"], "dance"),
    ],
)
def test_wrong_values_end_with_one_line(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) not in (0, None)
    err = capsys.readouterr().err.strip().splitlines()
    assert named in err[-1]
    assert len([line for line in err if "steps/s" not in line]) == 1, err


@pytest.mark.slow
def test_a_demo_in_which_no_pseudo_label_passes(tmp_path, capsys):
    arguments = ["--dataset", "blobs", "--num-labels", "8", "--steps", "8", "--threshold", "1", "--seeds", "1"]
    assert run("demo", *arguments, "--out", str(tmp_path)) == 0
    assert "nan" not in capsys.readouterr().out.lower()
    assert "nothing passed the threshold" in json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))["alt"]


def test_diverging_ends_with_one_line(tmp_path, capsys):
    assert run("train", *TINY, "--lr", "1e30", "--log-every", "1", "--out", str(tmp_path / "run.pt")) == 1
    assert "NaN or infinite at step" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["demo"], ["train"], ["doctor"]])
def test_help_teaches(command, capsys):
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    if command == ["train"]:
        for option in (
            "--dataset",
            "--method",
            "--num-labels",
            "--steps",
            "--seed",
            "--batch-size",
            "--threshold",
            "--lr",
            "--resume",
            "--grad-relu",
            "--center-momentum",
            "--compile",
        ):
            assert option in out
    assert len(out.splitlines()) > 4


def test_doctor(capsys):
    assert run("doctor") == 0
    out = capsys.readouterr().out
    for word in ("torch", "device", "widgets", "mnist1d", "cifar10", "All is well"):
        assert word in out


def test_doctor_reads_what_it_calls_ok(capsys, monkeypatch, tmp_path):
    """One damaged file of each kind, and nothing else; each is named as damaged."""
    import shutil

    from layermatch_lite.labs import packs
    from layermatch_lite.runs import doctor, recording
    from layermatch_lite.studies import files

    monkeypatch.setattr(doctor, "requirements", dict)
    places = (recording, "SHIPPED", "digits*.npz"), (packs, "SHIPPED", "training*"), (files, "RECORDED", "c*.json")
    for module, name, pattern in places:
        folder = tmp_path / f"{module.__name__}{name}"
        folder.mkdir()
        for path in getattr(module, name).glob(pattern):
            shutil.copy(path, folder)
        monkeypatch.setattr(module, name, folder)
    assert run("doctor") == 0 and "damaged" not in capsys.readouterr().out
    for path in (next(folder.iterdir()) for folder in tmp_path.iterdir() if folder.is_dir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert run("doctor") == 1
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("->")]
        assert "damaged" in line, line
        path.write_bytes(whole)


def test_doctor_names_what_is_missing_or_too_old(capsys, monkeypatch):
    from layermatch_lite.runs import doctor

    assert {"torch", "numpy", "ipywidgets"} <= doctor.requirements().keys() and "pytest" not in doctor.requirements()
    monkeypatch.setattr(doctor, "requirements", lambda: {"torch": "2.1", "no-such-package": "0", "numpy": "99.1"})
    assert run("doctor") == 1
    lines = capsys.readouterr().out.splitlines()
    named = [line.split()[1] for line in lines if line.startswith("->")]
    assert named == ["no-such-package", "numpy"] and sum("fix: " in line for line in lines) == 2


def test_doctor_finds_widgets_wherever_jupyterlab_looks(monkeypatch, tmp_path):
    from jupyter_core import paths

    from layermatch_lite.runs import doctor

    monkeypatch.setattr(paths, "ENV_JUPYTER_PATH", [])
    monkeypatch.setattr(paths, "SYSTEM_JUPYTER_PATH", [])
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert not doctor._widgets()[0]
    place = tmp_path / "labextensions" / "@jupyter-widgets" / "jupyterlab-manager" / "package.json"
    (place.parent / "static").mkdir(parents=True)
    place.write_text("{}")
    assert doctor._widgets()[::2] == (False, "JupyterLab's side is damaged"), "it is read, not only seen"
    place.write_text('{"jupyterlab": {"_build": {"load": "static/entry.js"}}}')
    assert not doctor._widgets()[0]
    (place.parent / "static" / "entry.js").write_text("var jupyter;")
    assert doctor._widgets()[0]


@pytest.mark.slow
def test_doctor_works_without_jupyter_and_reports_what_it_could_not_warm(tmp_path):
    hidden = ["ipywidgets", "anywidget", "jupyter_core", "jupyterlab", "umap"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden})); from layermatch_lite.cli import main; "
        "sys.exit(main(['doctor', '--warm']))"
    )
    environment = os.environ | {"LAYERMATCH_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    marked = [line for line in done.stdout.splitlines() if line.startswith("->")]
    for what in ("widgets", "UMAP maps"):
        assert any(what in line for line in marked), done.stdout
    assert not any("fonts" in line for line in marked) and "All is well" not in done.stdout


@pytest.mark.slow
def test_what_is_warm_is_not_computed_again(warm_cache, monkeypatch):
    monkeypatch.setenv("LAYERMATCH_CACHE", str(warm_cache))
    kept = {p: p.stat().st_mtime_ns for p in warm_cache.rglob("*.npz")}
    assert run("doctor", "--warm") == 0
    assert kept and kept == {p: p.stat().st_mtime_ns for p in warm_cache.rglob("*.npz")}


@pytest.mark.slow
def test_module_and_script_are_the_same_program():
    script = shutil.which("layermatch-lite", path=str(Path(sys.executable).parent))
    for program in ([sys.executable, "-m", "layermatch_lite"], [script]):
        done = subprocess.run([*program, "train", "--method", "x"], capture_output=True, text=True)
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
