"""The labs as a person meets them: real sliders and buttons in Chromium, in JupyterLab and in Voilà, with the network off.

Screenshots of every lab at 1280x720 and 1920x1080 go to out/screenshots. Set CHROMIUM to a browser of your own.
"""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import nbformat
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
LIVE = """from layermatch_lite import TrainConfig
from layermatch_lite.labs import LiveRun
LiveRun(TrainConfig(steps=3000, log_every=50, probe_every=100, device="cpu"), "live.pt")"""

PREDICT = """from layermatch_lite.course import predict_curve, predict_order
curve = predict_curve("c", "How does it fall?", (0, 1, 2), xlabel="step", label="height")
order = predict_order("o", "Which is best?", ["A", "B"])
display(curve, order)""", """curve.reveal([1.0, 0.5, 0.25])
order.reveal({"A": 1, "B": 2})"""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def same_cache(warm_cache, own_cache, monkeypatch):
    """One cache for the servers and for what the tests expect of them."""
    monkeypatch.setenv("LAYERMATCH_CACHE", str(warm_cache))


def serve(command: list[str], folder: Path, cache: Path, **environment: str):
    """Start a server on a free port and wait until it answers; yields its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = open(folder / "server.log", "wb")
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"--port={port}", "--no-browser"], cwd=folder, stdout=log, stderr=log,
        env={**os.environ, "LAYERMATCH_CACHE": str(cache), "JUPYTER_CONFIG_DIR": str(folder / "config"), **environment},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                # Voilà would execute the notebook for an answer at its root.
                urllib.request.urlopen(
                    f"{url}/voila/static/voila.js" if "voila" in command else f"{url}/api", timeout=2
                )
                break
            except OSError:
                assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
        else:
            raise AssertionError(f"no answer from {url}: {(folder / 'server.log').read_text()[-2000:]}")
        yield url
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="session")
def jupyter_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="session")
def jupyter_server(jupyter_folder, warm_cache):
    """JupyterLab with one small notebook per lab: the lab, and a cell that breaks it."""
    folder = jupyter_folder
    for name in (*BENCHES, "LiveRun", "Predict"):
        cells = [
            f"from layermatch_lite.labs import {name}\nlab = {name}()\nlab",
            "def broken(state):\n    raise RuntimeError('planted in a callback')\nlab.bench.look = broken\nprint('planted')",
        ]
        if name == "LiveRun":
            cells = [LIVE]
        if name == "Predict":
            cells = list(PREDICT)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    settings = folder / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    yield from serve(
        ["jupyterlab", "--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", "--allow-root",
         "--ip=127.0.0.1"],
        folder,
        warm_cache,
        LAYERMATCH_PREDICTIONS="my_predictions.json",  # where the notebook is
    )


@pytest.fixture
def jupyter(jupyter_server):
    """JupyterLab without the kernels of earlier tests, and so without their labs and trainings."""
    with urllib.request.urlopen(f"{jupyter_server}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{jupyter_server}/api/sessions/{session['id']}", method="DELETE")
        urllib.request.urlopen(request).close()
    return jupyter_server


@pytest.fixture(scope="session")
def classroom(tmp_path_factory, warm_cache):
    """The page of `make classroom`."""
    folder = tmp_path_factory.mktemp("voila")
    notebook = str(ROOT / "notebooks" / "09_classroom.ipynb")
    yield from serve(
        ["voila", notebook, "--template=classroom", "--Voila.ip=127.0.0.1"], folder, warm_cache,
        JUPYTER_PATH=str(ROOT / "layermatch_lite" / "labs"),
    )  # fmt: skip


@pytest.fixture
def page(browser):
    """A page on which every console error, and every request to the outside, is a failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page, wrong = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(f"page error: {e}"))
    inside = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(inside) else wrong.append(f"fetched from outside: {r.url}"))
    yield page
    context.close()
    assert not wrong, wrong


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
        """Alt text, reading, link and the very bytes of the picture."""
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
        return {"alt": look.alt, "reading": look.reading, "link": link, "png": look.png}

    def settle(self, after: dict | None = None) -> dict:
        """Wait until the screen shows what its link says (another one than `after`) and stays so; returns that."""
        last = None
        for _ in range(100):
            shown = self.shown()
            if shown == last and (after is None or shown["link"] != after["link"]) and shown == self.expected():
                return shown
            last = shown
            time.sleep(0.25)
        assert shown | {"png": ""} == self.expected() | {"png": ""}
        raise AssertionError(f"the picture is another one than that of {shown['link']}, or does not come to rest")

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


def run_first_cell(page, jupyter: str, name: str) -> None:
    """Open a notebook in JupyterLab and run its first cell."""
    page.goto(f"{jupyter}/doc/tree/{name}.ipynb")
    page.locator(".jp-CodeCell .cm-content").first.click()
    # Only the status bar waits for the session. The circle above the notebook may say idle before, and a cell run then is not
    # executed, or starts a second session whose kernel takes the place of the first.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.keyboard.press("Shift+Enter")


def in_jupyterlab(page, jupyter: str, name: str) -> OnScreen:
    run_first_cell(page, jupyter, name)
    return OnScreen(page, name, page.locator(".lml-lab").first)


def test_a_live_run_is_started_stopped_and_gone_on_with(page, jupyter):
    run_first_cell(page, jupyter, "LiveRun")
    root = page.locator(".lml-lab").first
    reading, picture = root.locator(".lml-reading"), root.locator("img.lml-picture")
    picture.wait_for()
    assert "Start begins a new run" in reading.inner_text() and "no record yet" in picture.get_attribute("alt")

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


def test_a_prediction_is_made_with_the_keyboard_committed_and_shown(page, jupyter, jupyter_folder):
    run_first_cell(page, jupyter, "Predict")
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
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("1 of 1 pairs are in the right order; the first place is right. Score: 100 of 100.").wait_for()
    assert page.get_by_text("most at step 0").count() == 1
    assert page.locator(".jp-OutputArea-output img[src^='data:image/png']").count() == 2
    for words, shown in zip(page.locator("summary").all(), ("Result: 1 at 0", "Result: B, A"), strict=True):
        words.focus()
        page.keyboard.press("Enter")  # JupyterLab drops the pictures' alt texts
        page.locator("details[open]", has_text=shown).wait_for()
    page.screenshot(path=SCREENSHOTS / "Predict_result.png")
    kept = json.loads((jupyter_folder / "my_predictions.json").read_text())["predictions"]
    assert kept["c"]["attempts"][0]["prediction"] == [0.5, 0.6, 0.5] and kept["o"]["attempts"][0]["blind"]


def in_voila(page, classroom: str, name: str) -> OnScreen:
    """Open the classroom on the lab's tab."""
    page.goto(classroom)
    page.locator("img.lml-picture").first.wait_for()
    tabs = page.locator(".lm-TabBar-tab")
    k = list(BENCHES).index(name)
    tabs.nth(k).click()
    return OnScreen(page, name, page.locator(".lml-lab").nth(k))


@pytest.fixture(params=["jupyterlab", "voila"])
def open_lab(request, page):
    """open_lab(name) -> the lab on the screen, in both places."""
    if request.param == "jupyterlab":
        address = request.getfixturevalue("jupyter")
        return lambda name: in_jupyterlab(page, address, name)
    address = request.getfixturevalue("classroom")
    return lambda name: in_voila(page, address, name)


def serious(page, inside: str) -> list[str]:
    """What axe-core finds serious or critical in the elements that match `inside`."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, context=inside).response["violations"]
    return [f"{v['id']}: {n['html'][:200]}" for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]]


@pytest.mark.parametrize("name", BENCHES)
def test_a_lab_from_its_first_picture_to_its_lesson_link(open_lab, name, request):
    lab = open_lab(name)
    first = lab.settle()
    lab.shoot(request.node.callspec.params["open_lab"])
    label, setting = SLIDERS[name]
    spoken = lab.root.locator("[role=status]").first.element_handle()
    lab.drag(label, 0.45)
    moved = lab.settle(after=first)
    assert spoken.inner_text() == moved["reading"], "a screen reader hears of it: the element is still the same"
    assert f"{setting}=" in moved["link"]
    assert moved["png"] != first["png"] and moved["alt"] != first["alt"]
    lab.press("Reset")
    assert lab.settle(after=moved) == first
    lab.paste(moved["link"])
    assert lab.settle(after=first) == moved
    lab.paste("rubbish")
    lab.error.wait_for()
    assert "no lesson link" in lab.error.inner_text() and lab.link.input_value() == moved["link"]
    assert not serious(lab.page, ".lml-lab"), "with the error on the screen"


@pytest.mark.parametrize("name", ["DecisionLab", "TrainingLab"])
def test_start_pause_and_the_notebook_stays_usable(open_lab, name):
    lab = open_lab(name)
    first = lab.settle()
    if name == "TrainingLab":
        lab.paste(first["link"].replace("steps=300", "steps=600"))
        lab.settle(after=first)
    lab.press("Start")
    lab.page.wait_for_function("r => !r.value.endsWith('step=0')", arg=lab.link.element_handle())
    lab.press("Start")  # once more: nothing breaks
    lab.root.get_by_text("It is running already").wait_for()
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


def test_a_label_is_placed_by_a_click(open_lab):
    lab = open_lab("DecisionLab")
    lab.settle()
    box = lab.picture.bounding_box()
    lab.page.mouse.click(box["x"] + 0.15 * box["width"], box["y"] + 0.35 * box["height"])
    lab.page.wait_for_function(
        "r => r.value.includes('places=') && !r.value.includes('places=&')", arg=lab.link.element_handle()
    )
    shown = lab.settle()
    x, y = lab.bench.point_at(0.15, 0.35)
    placed = lab.bench.State.from_link(shown["link"]).places.split(";")[0].split(",")
    assert abs(float(placed[0]) - x) < 0.05 and abs(float(placed[1]) - y) < 0.05


def test_the_next_wrong_sample(open_lab):
    lab = open_lab("TimeMachine")
    before = lab.settle()
    lab.press("Next wrong one")
    lab.page.wait_for_function("a => a[0].value !== a[1]", arg=[lab.link.element_handle(), before["link"]])
    state = lab.bench.State.from_link(before["link"])
    expected = next_wrong(load_recorded(state.run), state.snapshot, state.sample)
    assert lab.settle()["link"] == state.but(sample=expected).link()


@pytest.mark.parametrize("name", BENCHES)
def test_an_error_in_a_callback_is_seen(page, jupyter, name):
    lab = in_jupyterlab(page, jupyter, name)
    before = lab.settle()
    page.locator(".jp-CodeCell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="planted").wait_for()
    lab.drag(SLIDERS[name][0], 0.6)
    lab.error.wait_for()
    assert "RuntimeError: planted in a callback" in lab.error.inner_text() and lab.error.get_attribute("role") == "alert"
    assert lab.link.input_value() == before["link"] and lab.shown()["png"] == before["png"], "the state before is kept"


FOCUSED = """() => {
  const e = document.activeElement, label = e.labels?.[0]?.innerText;
  return [e.getAttribute("role") || e.tagName.toLowerCase(), e.getAttribute("aria-label") || e.innerText || label || ""];
}"""


def test_every_lab_is_used_with_the_keyboard_alone(page, classroom):
    """Tab goes through every control, each with a name; arrows move a slider, space presses Reset, Enter takes a link."""
    in_voila(page, classroom, next(iter(BENCHES)))
    for k, name in enumerate(BENCHES):
        page.locator(".lm-TabBar-tab").nth(k).click()
        use_with_the_keyboard(page, OnScreen(page, name, page.locator(".lml-lab").nth(k)))


def use_with_the_keyboard(page, lab):
    first = lab.settle()
    handle = lab.root.locator(".noUi-handle").first
    handle.focus()
    seen = [tuple(page.evaluate(FOCUSED))]
    at_the_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    for _ in range(5):
        page.keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
    moved = lab.settle(after=first)
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(tuple(page.evaluate(FOCUSED)))
        if seen[-1][1] == "Reset":
            break
    assert seen[-1][1] == "Reset" and all(told.strip() for role, told in seen if role != "div"), seen
    controls = lab.bench.State.controls()
    sliders = {told for role, told in seen if role == "slider"}
    assert {c.label for c in controls.values() if not c.options and not c.box} <= sliders | {""}, sliders
    page.keyboard.press("Space")
    assert lab.settle(after=moved) == first
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "text"
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(moved["link"])
    page.keyboard.press("Enter")
    assert lab.settle(after=first) == moved


def test_formulas_render_without_the_network(page, classroom):
    page.goto(classroom)
    page.locator("img.lml-picture").first.wait_for()
    assert page.locator("mjx-container").count() >= 1
    assert "$" not in page.locator("#rendered_cells").inner_text()


@pytest.mark.parametrize("encode", [str, quote], ids=["raw", "encoded"])
def test_the_address_of_the_classroom_opens_a_lesson(page, classroom, encode):
    link = "threshold?run=digits_fixmatch&seed=0&snapshot=5&tau=0.3&label=all"
    page.goto(f"{classroom}/?lesson={encode(link)}")
    lab = OnScreen(page, "ThresholdLab", page.locator(".lml-lab").nth(4))
    assert lab.settle()["link"] == link
