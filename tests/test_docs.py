"""README and docs/: links, lesson links and commands exist; tables and results are those of the notebooks."""

import re
from pathlib import Path

import nbformat
import pytest

import notebooks
from layermatch_lite.cli import parser
from layermatch_lite.labs import page as labs_page
from layermatch_lite.labs.lessons import PLANS, STATES

ROOT = Path(__file__).parents[1]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
LABS = {state.lab: state for state in STATES}
LINK = re.compile(rf"[`=\"#]((?:{'|'.join(LABS)})\?[^`\"]*)[`\"]")


def test_every_link_leads_somewhere():
    """Files, and in the pages the headings, in Markdown's inline and reference links."""
    slug = lambda heading: re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
    anchors = {p.resolve(): set(map(slug, re.findall(r"^#+ (.*)$", PAGES[p.name], re.MULTILINE))) for p in PATHS}
    for path in PATHS:
        links = re.findall(r"(?:\]\(|^\[[^\]]+\]: )([^)#\s]*)(?:#([\w-]+))?", PAGES[path.name], re.MULTILINE)
        for target, anchor in links:
            if ":" in target:  # elsewhere
                continue
            goal = (path.parent / target).resolve() if target else path.resolve()
            assert goal.exists(), (path.name, target)
            assert not anchor or goal not in anchors or anchor in anchors[goal], (path.name, target, anchor)


def test_the_map_names_every_part_of_the_package():
    parts = {p.name + "/" * p.is_dir() for p in (ROOT / "layermatch_lite").iterdir() if not p.name.startswith("_")}
    assert not [part for part in parts if f"`{part}`" not in PAGES["README.md"]]


def test_every_section_of_a_notebook_exists():
    """`notebook [03](...), section "Ten runs"`: the heading ends with its minutes, or with (optional), the pointer does not."""
    named = re.compile(r'\]\(\.\./notebooks/(\w+)\.ipynb\), section "([^"]+)"')
    found = [pointer for text in PAGES.values() for pointer in named.findall(text)]
    assert len(found) >= 5
    for notebook, section in found:
        text = (ROOT / "notebooks" / "text" / f"{notebook}.py").read_text(encoding="utf-8")
        assert re.search(rf"^# ##+ {re.escape(section)}(?: \([^()]*\))?$", text, re.MULTILINE), (notebook, section)


def test_every_section_in_the_guides_plans_exists():
    """What a plan shows: the number of a notebook, and after it titles of its sections in quotes."""
    plans = PAGES["teaching.md"].split("## 45 minutes")[1].split("## Predictions")[0]
    found = 0
    for shown in re.findall(r"^\| \d+–\d+ \| ([^|]*) \|", plans, re.MULTILINE):
        text = ""
        for number, section in re.findall(r'(?<!\w)(0\d)(?!\w)|"([^"]+)"', re.sub(r"\]\([^)]*\)", "", shown)):
            if number:
                text = next((ROOT / "notebooks" / "text").glob(f"{number}_*.py")).read_text(encoding="utf-8")
            else:
                found += 1
                assert re.search(rf"^# ##+ {re.escape(section)}(?: \([^()]*\))?$", text, re.MULTILINE), section
    assert found >= 15


def test_every_lesson_link_opens_its_lab():
    found = {link for text in PAGES.values() for link in LINK.findall(text)}
    assert len(found) >= 12
    for link in found:
        assert LABS[link.split("?")[0]].from_link(link).link() == link


def test_next_goes_through_the_guides_plans():
    for plan in PLANS:
        section = PAGES["teaching.md"].split(f"\n## {plan.name}")[1].split("\n## ")[0]
        assert LINK.findall(section) == plan.links, plan.name


@pytest.mark.slow
def test_the_guide_says_of_each_link_what_its_lab_shows(browser, tmp_path):
    """Every number in a row stands in the lab's own words for its link, which are the same on every machine."""
    (tmp_path / "labs.html").write_text(labs_page.whole_page(), encoding="utf-8")
    table = PAGES["teaching.md"].split("## Lesson links")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]*)` \| (.*) \|$", table, re.MULTILINE)
    number = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?")
    numbers = lambda text: {float(v) for v in number.findall(text.replace("−", "-"))}
    assert len(rows) >= 12
    page = browser.new_page()
    page.goto((tmp_path / "labs.html").as_uri())
    for link, text in rows:
        page.evaluate("link => { location.hash = link; }", link)
        page.wait_for_function("link => document.querySelector('.lml-link').value === link", arg=link)
        shown = numbers(page.locator(".lml-sentence").inner_text())
        assert (said := numbers(text)) and said <= shown | {1.0}, (link, said - shown)
    page.close()


def test_every_command_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = parser()._subparsers._group_actions[0].choices
    for name, text in PAGES.items():
        assert set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", text, re.MULTILINE)) <= set(targets), name
        assert set(re.findall(r"layermatch-lite ([a-z]+)", text)) <= set(commands), name


def test_the_times_are_those_of_the_notebooks():
    assert f"<!-- times -->\n{notebooks.table_of_times()}\n<!-- /times -->" in PAGES["teaching.md"]


def results():
    """Notebook -> its prediction's result, in words."""
    for path in sorted((ROOT / "notebooks").glob("0[0-8]*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for output in cell.get("outputs", []):
                if said := re.search(r"Result: (.*)\. No prediction", str(output.get("data", {}).get("text/markdown", ""))):
                    yield path.stem[:2], said[1]


def test_the_results_of_the_predictions_are_those_of_the_notebooks():
    table = dict(re.findall(r"^\| (0\d) \| [^|]* \| ([^|]*) \|$", PAGES["teaching.md"].split("## Predictions")[1], re.MULTILINE))
    seen = dict(results())
    assert set(table) == set(seen) == {f"0{k}" for k in range(9)}
    assert table["00"].split(", ") == seen["00"].split(", ")
    number = lambda text: [float(v.replace("−", "-")) for v in re.findall(r"[-−+]?\d+(?:\.\d+)?", text)]
    for name in ("02", "03", "04"):  # curves: the values before "at ..."
        assert number(table[name]) == pytest.approx([float(v) for v in re.findall(r"([-\d.e]+) at", seen[name])], abs=0.006), name
    for name in ("01", "05", "07", "08"):
        assert number(table[name]) == pytest.approx(number(seen[name]), abs=0.006), name


def test_tables_in_the_exam_are_recorded_ones():
    """An interval stands in docs/results.md, or was printed by a notebook."""
    known = "".join(p.read_text(encoding="utf-8") for p in [ROOT / "docs" / "results.md", *(ROOT / "notebooks").glob("*.ipynb")])
    intervals = re.findall(r"[+−-]\d\.\d{3} \[[+−-]\d\.\d{3}, [+−-]\d\.\d{3}\]", PAGES["exam.md"])
    assert len(intervals) >= 5
    assert not [i for i in intervals if i not in known and i.replace("−", "-") not in known]


def test_every_promise_is_held_by_a_test_that_is_there():
    rows = [line for line in PAGES["reliability.md"].splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)`: ([^|`]+)", row)
        assert named, row
        for file, phrases in named:
            text = (ROOT / "tests" / file).read_text(encoding="utf-8")
            for phrase in filter(None, (p.strip(" ,") for p in phrases.split(";"))):
                assert re.search(rf"^def test_\w*{re.sub(r'[ -]', '_', phrase)}", text, re.MULTILINE), (file, phrase)


def test_solutions_are_named_rightly():
    assert all((ROOT / path).is_file() for text in PAGES.values() for path in re.findall(r"`(solutions/\d\d_\w+\.py)`", text))
