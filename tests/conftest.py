import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

# A browser that asks for nothing by itself.
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or predictions."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LAYERMATCH_CACHE", str(folder))
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(folder / "predictions.json"))


FILLING: list[subprocess.Popen] = []
WARM = "LAYERMATCH_TESTS_WARM"  # where the warm cache lies, for all workers of a session
FILL = """
import pathlib, sys
from layermatch_lite.cli import main
status = main(["doctor", "--warm"])
pathlib.Path(sys.argv[1]).write_text(str(status))
"""


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        os.environ[WARM] = tempfile.mkdtemp(prefix="layermatch_lite_")


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):  # the workers have ended
        for process in FILLING:
            process.kill()
            process.wait()
        shutil.rmtree(os.environ.pop(WARM), ignore_errors=True)


def pytest_collection_modifyitems(items):
    """What needs a warm cache comes last: filling it takes a while, and the other tests need not wait."""
    items.sort(key=lambda item: "warm_cache" in getattr(item, "fixturenames", ()))


def pytest_collection_finish(session):
    """Where a test needs a warm cache, fill one in the background while the tests before it run: one for all workers."""
    needed = any("warm_cache" in getattr(item, "fixturenames", ()) for item in session.items)
    if not needed or session.config.option.collectonly:
        return
    folder = Path(os.environ[WARM], "cache")
    try:
        folder.mkdir()
    except FileExistsError:
        return  # another worker fills it
    with open(folder / "warming.log", "wb") as log:
        command, environment = [sys.executable, "-c", FILL, str(folder / "status")], {"LAYERMATCH_CACHE": str(folder)}
        FILLING.append(subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment))


@pytest.fixture(scope="session")
def warm_cache():
    """A cache as `layermatch-lite doctor --warm` leaves it: filled once, for all slow tests that only read it."""
    folder = Path(os.environ[WARM], "cache")
    for _ in range(6000):
        if (folder / "status").exists():
            break
        time.sleep(0.1)
    assert (folder / "status").read_text() == "0", (folder / "warming.log").read_text()
    return folder


@pytest.fixture
def g() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def find_chromium() -> str | None:
    named = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((path for name in named if name and (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium: the machine's own, or installed where that is possible without asking (root on Debian)."""
    playwright = pytest.importorskip("playwright.sync_api")
    if find_chromium() is None and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        with FileLock(Path(tempfile.gettempdir(), "layermatch_lite_chromium.lock")):  # one worker at a time
            if find_chromium() is None:
                subprocess.run("apt-get update -qq && apt-get install -y -qq chromium", shell=True, capture_output=True)
    if (path := find_chromium()) is None:
        pytest.skip("no Chromium on this machine and none could be installed; install one, or set CHROMIUM to its path")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
