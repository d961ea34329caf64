"""The site and the slides, built from the notebooks as they are: whole, readable and without a network."""

import importlib.util
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from layermatch_lite.labs.lessons import STATES

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DECKS = [p.stem for p in NOTEBOOKS if not p.stem.startswith("09")]
LOADS = {"src", "srcset", "poster", "data"}  # attributes that make a browser fetch something, as does <link href>

pytestmark = pytest.mark.slow


spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


def made(what, out):
    """As `make site` and `make slides` do. A warning (a dead link, a formula not understood) fails."""
    done = subprocess.run([sys.executable, ROOT / "docs" / "build.py", what, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The teachers' edition, which holds every page of the students'."""
    return made("site-teachers", tmp_path_factory.mktemp("built") / "site")


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    return made("slides", tmp_path_factory.mktemp("built") / "slides")


class Page(HTMLParser):
    """What a page refers to and what it shows."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.alts, self.names, self.leaves = [], [], [], set(), 0
        self.formulas, self.formula_text, self.inside, self.prose = 0, [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.names.add(found.get("id"))
        self.loads += [v for k, v in attributes if k in LOADS or (tag in ("link", "use") and k == "href")]
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.alts += [found.get("alt")] if tag == "img" else []
        self.leaves += found.get("class") == "page"
        self.formulas += tag == "math"
        if tag in ("math", "script", "style", "pre", "code"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.prose.append(data)
        elif "math" in self.inside:
            self.formula_text.append(data)


@pytest.fixture(scope="module")
def site_pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.fixture(scope="module")
def slide_pages(slides):
    return {path: Page(path) for path in slides.rglob("*.html")}


@pytest.fixture(params=["site_pages", "slide_pages"])
def pages(request):
    return request.getfixturevalue(request.param)


def test_every_link_and_picture_leads_somewhere(pages):
    for path, page in pages.items():
        for url in page.links + page.loads:
            parts = urlsplit(url)
            if parts.scheme in ("http", "https", "data"):
                continue
            assert not parts.scheme and not parts.netloc, (path.name, url)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path.name, url)
            if target.name == "labs.html" and parts.fragment:
                next(s for s in STATES if parts.fragment.startswith(f"{s.lab}?")).from_link(unquote(parts.fragment))
            elif target in pages and parts.fragment and not url.startswith("#svg-"):
                assert unquote(parts.fragment) in pages[target].names, (path.name, url)


def test_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        assert not [url for url in page.loads if "//" in url.split(",")[0] and not url.startswith("data:")], path.name
        styles = [path.parent / unquote(urlsplit(url).path) for url in page.loads if ".css" in url]
        for text in [path.read_text(encoding="utf-8")] + [p.read_text(encoding="utf-8") for p in styles]:
            assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text), path.name


def test_every_picture_keeps_its_alt_text(pages):
    for path, page in pages.items():
        assert all(alt and len(alt) > 20 for alt in page.alts), path.name
    for notebook in NOTEBOOKS:
        if page := next((p for path, p in pages.items() if path.name.split(".")[0] == notebook.stem), None):
            assert page.alts, f"{notebook.stem} shows pictures, its labs' among them"


def test_every_formula_is_mathml(pages):
    for path, page in pages.items():
        assert not re.search(r"[\\&]|merror", "".join(page.formula_text)), path.name
        assert not re.search(r"\$[^$]*\\\w+[^$]*\$", "".join(page.prose)), f"{path.name}: LaTeX left over"
    assert sum(page.formulas for page in pages.values()) > 50


def test_every_notebook_has_its_page(site, site_pages):
    assert all(site / "notebooks" / f"{p.stem}.html" in site_pages for p in NOTEBOOKS)
    start = site_pages[site / "index.html"].links
    assert all(f"notebooks/{p.stem}.html" in start for p in NOTEBOOKS)
    assert all(f"{p.stem}.html" in start for p in (ROOT / "docs").glob("*.md") if p.stem != "index")


def test_the_students_site_has_no_answers(tmp_path, monkeypatch):
    """Neither pages nor links nor sources. Sphinx builds the pages just as it does the teachers'."""
    editions = []
    monkeypatch.setattr(build, "build_site", lambda out, teachers: editions.append(teachers) or out.mkdir())
    build.main(["site", str(tmp_path / "site")])
    assert editions == [False]
    build.gather(pages := tmp_path, teachers=False)
    names = {p.name for p in pages.glob("*.md")}
    assert {"index.md", "theory.md", "glossary.md", "rooms.md"} <= names and not names & {"exam.md", "teaching.md"}
    assert not [p for p in pages.rglob("*") if {"solutions", "tasks", "tasks.py"} & set(p.parts)], "the answers' source"
    for path in [*pages.glob("*.md"), *pages.glob("notebooks/*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n".join(c["source"] for c in build.nbformat.read(path, 4).cells if c["cell_type"] == "markdown")
        assert not re.search(r"(exam|teaching)\.(html|md)|^(exam|teaching)$", text, re.MULTILINE), path.name
        for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", text):
            assert (path.parent / link).exists(), (path.name, link)


def test_somebody_elses_folder_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SystemExit) as refusal:
        build.main(["slides", str(tmp_path)])
    assert str(tmp_path) in refusal.value.code
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]


def test_every_notebook_is_a_deck(slides, slide_pages):
    assert {p.name for p in slide_pages} == {"index.html", *(f"{name}.slides.html" for name in DECKS)}
    assert all(f"{name}.slides.html" in slide_pages[slides / "index.html"].links for name in DECKS)
    for name in DECKS:
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert slide_pages[slides / f"{name}.slides.html"].leaves > max(8, len(cells) / 3), name


def test_slides_show_closing_sentences_and_results(monkeypatch):
    """The three sentences and the tables below them are open to read; of predictions that nobody made only results stay."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    from slides import as_slides

    for name in DECKS:
        notebook = build.read_still(ROOT / "notebooks" / f"{name}.ipynb")
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        (closing,) = [o.data["text/markdown"] for o in outputs if o.get("metadata", {}).get("takeaways")]
        assert "No prediction" not in str(outputs), name
        cells = as_slides(notebook).cells
        assert closing in [c.source for c in cells] and "<details>" not in str(cells), name
        results = [o.data["text/markdown"] for o in outputs if "**Result:**" in o.get("data", {}).get("text/markdown", "")]
        assert {c.source for c in cells} >= set(results), name


@pytest.fixture
def tab(browser):
    """A tab that notes what it asks for and what goes wrong in it."""
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    tab.foreign, tab.errors = [], []
    tab.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else tab.foreign.append(r.url))
    tab.on("requestfailed", lambda r: tab.errors.append(r.url[:200]))
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    tab.close()


def test_every_page_opens_as_a_file(tab, pages):
    """No server, no network: nothing else is asked for, no script fails, every picture is there."""
    for path in pages:
        tab.goto(path.as_uri(), wait_until="load")
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)"), path.name
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            f"{path.name} is wider than the window"
        )
        assert not tab.foreign and not tab.errors, (path.name, tab.foreign, tab.errors)


def test_the_search_needs_no_server(tab, site):
    tab.goto((site / "search.html").as_uri() + "?q=confirmation+bias")
    tab.wait_for_selector("#search-results li a")
    tab.click("#search-results li a")
    tab.wait_for_selector("article h1")
    assert "notebooks/" in tab.url and not tab.foreign and not tab.errors


def test_slides_fit_and_can_be_read_from_the_back(tab, slides):
    """No slide is wider than the screen, one that is longer scrolls, and no prose is smaller than 22 of 720 pixels."""
    for name in DECKS:
        tab.goto((slides / f"{name}.slides.html").as_uri())
        tab.wait_for_function("window.Reveal && Reveal.isReady()")
        total = tab.evaluate("Reveal.getTotalSlides()")
        for step in range(total):
            size, over, height = tab.evaluate(
                """() => {
                    const page = Reveal.getCurrentSlide().querySelector(".page");
                    const box = page.getBoundingClientRect();
                    return [parseFloat(getComputedStyle(page).fontSize), page.scrollWidth - page.clientWidth, box.bottom];
                }"""
            )
            assert size >= 22 and over <= 0 and height <= 721, (name, step, size, over, height)
            tab.evaluate("Reveal.next()")
        assert tab.evaluate("Reveal.isLastSlide()"), name
