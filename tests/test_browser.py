"""The labs as a person meets them: real sliders and buttons in Chromium, in JupyterLab and in Voilà, with the network off.

Screenshots of every lab at 1280x720 and 1920x1080 go to out/screenshots. Set CHROMIUM to a browser of your own.
"""

import base64
import json
import os
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import nbformat
import psutil
import pytest

from layermatch_lite import load_recorded
from layermatch_lite.labs.decision_lab import DecisionBench
from layermatch_lite.labs.noise_lab import NoiseBench
from layermatch_lite.labs.threshold_lab import ThresholdBench
from layermatch_lite.labs.timemachine import TimeMachineBench, next_wrong
from layermatch_lite.labs.training_lab import TrainingBench

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "out" / "screenshots"
BENCHES = {
    "NoiseLab": NoiseBench,
    "DecisionLab": DecisionBench,
    "TrainingLab": TrainingBench,
    "TimeMachine": TimeMachineBench,
    "ThresholdLab": ThresholdBench,
}
# A slider to drag in each lab, by its label, and the setting that it moves.
SLIDERS = {
    "NoiseLab": ("noise rate", "rate"),
    "DecisionLab": ("threshold τ", "tau"),
    "TrainingLab": ("threshold τ", "tau"),
    "TimeMachine": ("snapshot", "snapshot"),
    "ThresholdLab": ("threshold τ", "tau"),
}
LESSON = "threshold?run=digits_fixmatch&seed=0&snapshot=5&tau=0.3&label=all"
CULL = 8  # seconds after which the classroom ends the kernel of a closed page

NOTEBOOKS = {
    "Labs": (
        f"from layermatch_lite.labs import {', '.join(BENCHES)}\nlabs = [{', '.join(f'{n}()' for n in BENCHES)}]\ndisplay(*labs)",
        "def broken(state):\n    raise RuntimeError('planted in a callback')\n"
        "for lab in labs:\n    lab.bench.look = broken\nprint('planted')",
    ),
    "LiveRun": (
        "from layermatch_lite import TrainConfig\nfrom layermatch_lite.labs import LiveRun\n"
        "LiveRun(TrainConfig(steps=3000, log_every=50, probe_every=100, device='cpu'), 'live.pt')",
    ),
    "Predict": (
        "from layermatch_lite.course import predict_curve, predict_order\n"
        "curve = predict_curve('c', 'How does it fall?', (0, 1, 2), xlabel='step', label='height')\n"
        "order = predict_order('o', 'Which is best?', ['A', 'B'])\ndisplay(curve, order)",
        "curve.reveal([1.0, 0.5, 0.25])\norder.reveal({'A': 1, 'B': 2})",
    ),
}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def same_cache(warm_cache, own_cache, monkeypatch):
    """One cache for the servers and for what the tests expect of them."""
    monkeypatch.setenv("LAYERMATCH_CACHE", str(warm_cache))


@contextmanager
def serve(command: list[str], folder: Path, cwd: Path, **environment: str):
    """Start a server on a free port and wait until it answers: its address and its process."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    # Voilà would execute the notebook for an answer at its root.
    url, answer = f"http://127.0.0.1:{port}", "voila/static/voila.js" if "voila" in command else "api"
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, f"--port={port}", "--no-browser"], cwd=cwd, stdout=log, stderr=log,
            env={**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "config"), **environment},
        )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/{answer}", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
        else:
            raise AssertionError(f"no answer from {url}: {(folder / 'server.log').read_text()[-2000:]}")
        yield url, process
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory, warm_cache):
    """JupyterLab with a few small notebooks: its address and their folder."""
    folder = tmp_path_factory.mktemp("jupyter")
    for name, cells in NOTEBOOKS.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    options = ["--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", "--allow-root"]
    predictions = "my_predictions.json"  # where the notebook is
    with serve(
        ["jupyterlab", *options, "--ip=127.0.0.1"], folder, folder,
        LAYERMATCH_CACHE=str(warm_cache), LAYERMATCH_PREDICTIONS=predictions,
    ) as (url, _):  # fmt: skip
        yield url, folder


@pytest.fixture(scope="session")
def classroom(tmp_path_factory, warm_cache):
    """The server of `make classroom`, started with the very line of the Makefile: its address and its process."""
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "$(BIN)/voila" in line]
    words = shlex.split(line)
    k = words.index("$(BIN)/voila")
    environment = dict(word.split("=", 1) for word in words[:k])
    soon = [f"--MappingKernelManager.cull_idle_timeout={CULL}", "--MappingKernelManager.cull_interval=1"]
    command = ["voila", *words[k + 1 :], *soon]
    with serve(command, tmp_path_factory.mktemp("voila"), ROOT, LAYERMATCH_CACHE=str(warm_cache), **environment) as served:
        yield served


@contextmanager
def new_page(browser):
    """A page, and the list of what must not be: console errors and requests to the outside."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page, wrong = context.new_page(), []
    page.set_default_timeout(60_000)
    # When a page is left, Voilà asks for its kernel's end and is refused, since the request carries no token.
    expected = lambda m: "/voila/api/shutdown/" in m.location["url"]
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" and not expected(m) else None)
    page.on("pageerror", lambda e: wrong.append(f"page error: {e}"))
    inside = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(inside) else wrong.append(f"fetched from outside: {r.url}"))
    yield page, wrong
    context.close()


@pytest.fixture
def page(browser):
    with new_page(browser) as (page, wrong):
        yield page
        assert not wrong, wrong


@pytest.fixture(scope="module")
def classroom_page(browser, classroom):
    """The classroom's page, open all the time, at a lesson whose link stands in the address as it is."""
    with new_page(browser) as (page, wrong):
        page.goto(f"{classroom[0]}/?lesson={LESSON}")
        page.locator("img.lml-picture").nth(4).wait_for()
        yield page, wrong


@pytest.fixture
def in_classroom(classroom_page):
    """in_classroom(name) -> the lab in its tab of the open page, as it starts."""
    page, wrong = classroom_page

    def open_tab(name: str) -> OnScreen:
        k = list(BENCHES).index(name)
        page.locator(".lm-TabBar-tab").nth(k).click()
        lab = OnScreen(page, name, page.locator(".lml-lab").nth(k))
        lab.press("Reset")
        return lab

    yield open_tab
    found = wrong.copy()
    wrong.clear()
    assert not found, found


READ_PNG = """async (img) => {
  const bytes = new Uint8Array(await (await fetch(img.src)).arrayBuffer());
  return btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""));
}"""


class OnScreen:
    """One lab on a page, by what a person sees of it."""

    def __init__(self, page, name: str, root):
        self.page, self.name, self.root, self.bench = page, name, root, BENCHES[name]()
        self.picture, self.link = root.locator("img.lml-picture"), root.locator("input[type=text]").last
        self.picture.wait_for()

    def shown(self) -> dict:
        """Alt text, reading, link and the bytes of the picture."""
        png = self.picture.evaluate(READ_PNG)
        reading = self.root.locator(".lml-reading").inner_text()
        return {
            "alt": self.picture.get_attribute("alt"),
            "reading": reading,
            "link": self.link.input_value(),
            "png": base64.b64decode(png),
        }

    def expected(self) -> dict:
        """What the bench makes of the state in the link, without any widget."""
        link = self.link.input_value()
        state = self.bench.State.from_link(link)
        if self.bench.missing(state) is not None:
            for _ in self.bench.prepare(state):
                pass
        look = self.bench.look(state)
        return {"alt": look.alt, "reading": look.reading, "link": link}

    def settle(self, after: dict | None = None) -> dict:
        """Wait until the screen shows what its link says (another one than `after`) and stays so; returns that."""
        last = None
        for _ in range(250):
            shown = self.shown()
            if shown == last and (after is None or shown["link"] != after["link"]):
                if {k: v for k, v in shown.items() if k != "png"} == self.expected():
                    return shown
            last = shown
            time.sleep(0.1)
        assert {k: v for k, v in shown.items() if k != "png"} == self.expected()
        raise AssertionError(f"it does not come to rest at another state than {shown['link']}")

    def drag(self, label: str, share: float) -> None:
        """Drag a slider's handle to a share of its way, as a hand does."""
        row = self.root.locator(".widget-hslider", has_text=label)
        row.scroll_into_view_if_needed()
        handle, track = row.locator(".noUi-handle").bounding_box(), row.locator(".noUi-base").bounding_box()
        y = handle["y"] + handle["height"] / 2
        self.page.mouse.move(handle["x"] + handle["width"] / 2, y)
        self.page.mouse.down()
        self.page.mouse.move(track["x"] + share * track["width"], y, steps=8)
        self.page.mouse.up()

    def press(self, button: str) -> None:
        self.root.get_by_role("button", name=button, exact=True).click()

    def paste(self, link: str) -> None:
        self.link.fill(link)
        self.link.press("Enter")

    @property
    def error(self):
        return self.root.locator(".lml-error")

    def shoot(self, where: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for width, height in ((1280, 720), (1920, 1080)):
            self.page.set_viewport_size({"width": width, "height": height})
            self.root.evaluate("e => e.scrollIntoView()")
            time.sleep(0.3)
            self.page.screenshot(path=SCREENSHOTS / f"{where}_{self.name}_{width}.png")
        self.page.set_viewport_size({"width": 1280, "height": 720})


def serious(page, inside: str) -> list[str]:
    """What axe-core finds serious or critical in the elements that match `inside`."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, context=inside).response["violations"]
    return [f"{v['id']}: {n['html'][:200]}" for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]]


FOCUSED = """() => {
  const e = document.activeElement, label = e.labels?.[0]?.innerText;
  return [e.getAttribute("role") || e.tagName.toLowerCase(), e.getAttribute("aria-label") || e.innerText || label || ""];
}"""


@pytest.mark.parametrize("name", BENCHES)
def test_a_lab_from_its_first_picture_to_its_lesson_link(in_classroom, name):
    """With the mouse, then with the keyboard alone: Tab meets every control, each with a name."""
    lab = in_classroom(name)
    page, (label, setting) = lab.page, SLIDERS[name]
    first = lab.settle()
    lab.shoot("voila")
    spoken = lab.root.locator("[role=status]").first.element_handle()
    lab.drag(label, 0.45)
    moved = lab.settle(after=first)
    assert spoken.inner_text() == moved["reading"], "a screen reader hears of it: the element is still the same"
    assert f"{setting}=" in moved["link"] and moved["png"] != first["png"] and moved["alt"] != first["alt"]

    handle = lab.root.locator(".noUi-handle").first
    handle.focus()
    seen = [tuple(page.evaluate(FOCUSED))]
    at_the_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    for _ in range(5):
        page.keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
    by_key = lab.settle(after=moved)
    while seen[-1][1] != "Reset" and len(seen) < 60:
        page.keyboard.press("Tab")
        seen.append(tuple(page.evaluate(FOCUSED)))
    assert seen[-1][1] == "Reset" and all(text.strip() for role, text in seen if role != "div"), seen
    controls = lab.bench.State.controls()
    sliders = {text for role, text in seen if role == "slider"}
    assert {c.label for c in controls.values() if not c.options and not c.box} <= sliders | {""}, sliders
    page.keyboard.press("Space")
    assert lab.settle(after=by_key) == first
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(moved["link"])
    page.keyboard.press("Enter")
    assert lab.settle(after=first) == moved

    lab.paste("rubbish")
    lab.error.wait_for()
    assert "lesson link" in lab.error.inner_text() and lab.link.input_value() == moved["link"]
    assert not serious(page, ".lml-lab"), "with the error on the screen"


@pytest.mark.parametrize("name", ["DecisionLab", "TrainingLab"])
def test_start_pause_and_the_page_stays_usable(in_classroom, name):
    lab = in_classroom(name)
    first = lab.settle()
    if name == "TrainingLab":
        lab.paste(first["link"].replace("steps=300", "steps=600"))
        lab.settle(after=first)
    lab.press("Start")
    lab.page.wait_for_function("r => !r.value.endsWith('step=0')", arg=lab.link.element_handle())
    lab.press("Start")  # once more: nothing breaks
    lab.press("Pause")
    lab.root.get_by_text("held at step").wait_for()
    held = lab.settle()
    time.sleep(0.7)
    assert lab.shown() == held and 0 < lab.bench.State.from_link(held["link"]).step
    lab.press("Start")
    lab.page.wait_for_function("a => a[0].value !== a[1]", arg=[lab.link.element_handle(), held["link"]])
    lab.press("Stop" if name == "TrainingLab" else "Pause")
    lab.root.get_by_text("held at step").wait_for()
    lab.settle()


def test_a_label_is_placed_by_a_click_and_the_next_wrong_sample_found(in_classroom):
    lab = in_classroom("DecisionLab")
    lab.settle()
    box = lab.picture.bounding_box()
    lab.page.mouse.click(box["x"] + 0.15 * box["width"], box["y"] + 0.35 * box["height"])
    placed = "r => r.value.includes('places=') && !r.value.includes('places=&')"
    lab.page.wait_for_function(placed, arg=lab.link.element_handle())
    shown = lab.settle()
    at = lab.bench.State.from_link(shown["link"]).places.split(";")[0].split(",")
    assert [float(v) for v in at] == pytest.approx(lab.bench.point_at(0.15, 0.35), abs=0.05)

    lab = in_classroom("TimeMachine")
    before = lab.settle()
    lab.press("Next wrong one")
    state = lab.bench.State.from_link(before["link"])
    expected = next_wrong(load_recorded(state.run), state.snapshot, state.sample)
    assert lab.settle(after=before)["link"] == state.but(sample=expected).link()


def kernels(server: subprocess.Popen) -> set[int]:
    """Processes of the kernels that a server has started."""
    found = set()
    for child in psutil.Process(server.pid).children(recursive=True):
        try:
            if any("ipykernel" in word for word in child.cmdline()):
                found.add(child.pid)
        except psutil.Error:  # it has just ended
            pass
    return found


def test_an_address_opens_a_lesson_and_nothing_else_and_a_closed_page_leaves_no_kernel(page, in_classroom, classroom):
    url, server = classroom
    lab = in_classroom("ThresholdLab")
    shown, before = lab.settle(), kernels(server)
    attack = quote('"><script>window.attacked = 1</script>')
    page.goto(f"{url}/?theme={attack}&template=lab&lesson={quote(LESSON)}")  # `page` lets nothing be fetched from outside
    lesson = OnScreen(page, "ThresholdLab", page.locator(".lml-lab").nth(4))
    assert lesson.settle()["link"] == LESSON
    assert page.evaluate("window.attacked") is None and "window.attacked" not in page.content()
    assert page.locator("mjx-container").count() >= 1 and "$" not in page.locator("#rendered_cells").inner_text(), "formulas"
    assert len(kernels(server) - before) == 1
    page.reload()
    lesson.picture.wait_for()
    page.close()
    for _ in range(10 * (CULL + 30)):
        if kernels(server) <= before:
            break
        time.sleep(0.1)
    assert kernels(server) == before, "a page that is open keeps its kernel, idle or not"
    lab.drag(SLIDERS["ThresholdLab"][0], 0.2)
    lab.settle(after=shown)


# --- in JupyterLab ---------------------------------------------------------------------------------------------------


def run_first_cell(page, jupyter: str, name: str) -> None:
    """Open a notebook in JupyterLab and run its first cell."""
    page.goto(f"{jupyter}/doc/tree/{name}.ipynb")
    page.locator(".jp-CodeCell .cm-content").first.click()
    # Only the status bar waits for the session. The circle above the notebook may say idle before, and a cell run then is not
    # executed, or starts a second session whose kernel takes the place of the first.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.keyboard.press("Shift+Enter")


def run_second_cell(page) -> None:
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")


def test_the_labs_in_a_notebook_and_an_error_in_a_callback(page, jupyter):
    run_first_cell(page, jupyter[0], "Labs")
    labs = [OnScreen(page, name, page.locator(".lml-lab").nth(k)) for k, name in enumerate(BENCHES)]
    moved = []
    for lab in labs:
        first = lab.settle()
        lab.shoot("jupyterlab")
        lab.drag(SLIDERS[lab.name][0], 0.45)
        moved.append(lab.settle(after=first))
        assert moved[-1]["png"] != first["png"]
    run_second_cell(page)
    page.locator(".jp-OutputArea-output", has_text="planted").wait_for()
    for lab, before in zip(labs, moved):
        lab.drag(SLIDERS[lab.name][0], 0.6)
        lab.error.wait_for()
        assert "RuntimeError: planted" in lab.error.inner_text() and lab.error.get_attribute("role") == "alert"
        assert lab.link.input_value() == before["link"] and lab.shown()["png"] == before["png"], "the state before is kept"


def test_a_live_run_is_started_stopped_and_resumed(page, jupyter):
    run_first_cell(page, jupyter[0], "LiveRun")
    root = page.locator(".lml-lab").first
    reading, picture = root.locator(".lml-reading"), root.locator("img.lml-picture")
    picture.wait_for()

    def says(words: str) -> None:
        page.wait_for_function("a => a[0].innerText.includes(a[1])", arg=[reading.element_handle(), words])

    root.get_by_role("button", name="Start").click()
    page.wait_for_function("a => a.alt.includes('test accuracy')", arg=picture.element_handle())
    root.get_by_role("button", name="Stop").click()
    says("stopped at step")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    root.screenshot(path=SCREENSHOTS / "LiveRun.png")
    held = int(reading.inner_text().split("stopped at step ")[1].split(";")[0])
    assert 50 <= held < 3000
    root.get_by_role("button", name="Start").click()
    says("of 3000 on cpu")
    root.get_by_role("button", name="Stop").click()
    says("stopped at step")
    assert not root.locator(".lml-error").is_visible()


def test_a_prediction_is_made_with_the_keyboard_committed_and_shown(page, jupyter):
    run_first_cell(page, jupyter[0], "Predict")
    curve, order = (page.locator(".lml-lab").nth(k) for k in (0, 1))
    picture = curve.locator("img.lml-picture")
    picture.wait_for()
    sliders = curve.get_by_role("slider")
    assert [sliders.nth(k).get_attribute("aria-label") for k in range(3)] == ["step 0", "step 1", "step 2"]
    before = picture.get_attribute("alt")
    sliders.nth(1).focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("a => a.alt.includes('0.6 at 1')", arg=picture.element_handle())
    assert picture.get_attribute("alt") != before
    curve.get_by_role("button", name="Commit").focus()
    page.keyboard.press("Enter")
    curve.get_by_text("Committed").wait_for()
    assert curve.get_by_role("button", name="Commit").is_disabled()
    order.get_by_label("place 1").select_option("B")
    order.get_by_role("button", name="Commit").click()
    order.get_by_text("B stands twice").wait_for()
    order.get_by_label("place 2").select_option("A")
    order.get_by_role("button", name="Commit").click()
    order.get_by_text("Committed").wait_for()
    assert not serious(page, ".lml-lab")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "Predict.png")
    run_second_cell(page)
    page.get_by_text("1 of 1 pairs are in the right order; the first place is right. Score: 100 of 100.").wait_for()
    assert page.get_by_text("most at step 0").count() == 1
    assert page.locator(".jp-OutputArea-output img[src^='data:image/png']").count() == 2
    for words, shown in zip(page.locator("summary").all(), ("Result: 1 at 0", "Result: B, A"), strict=True):
        words.focus()
        page.keyboard.press("Enter")  # JupyterLab drops the pictures' alt texts
        page.locator("details[open]", has_text=shown).wait_for()
    page.screenshot(path=SCREENSHOTS / "Predict_result.png")
    kept = json.loads((jupyter[1] / "my_predictions.json").read_text())["predictions"]
    assert kept["c"]["attempts"][0]["prediction"] == [0.5, 0.6, 0.5] and kept["o"]["attempts"][0]["blind"]
