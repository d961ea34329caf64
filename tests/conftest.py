import os
import shutil
import subprocess

import pytest
import torch

from layermatch_lite.cli import main

# A browser that asks for nothing by itself.
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or predictions."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LAYERMATCH_CACHE", str(folder))
    monkeypatch.setenv("LAYERMATCH_PREDICTIONS", str(folder / "predictions.json"))


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory):
    """A cache as `layermatch-lite doctor --warm` leaves it: filled once, for all slow tests that only read it."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERMATCH_CACHE", str(folder))
        assert main(["doctor", "--warm"]) == 0
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
        subprocess.run("apt-get update -qq && apt-get install -y -qq chromium", shell=True, capture_output=True)
    if (path := find_chromium()) is None:
        pytest.skip("no Chromium on this machine and none could be installed; install one, or set CHROMIUM to its path")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
