"""What holds the package together: its lists of dependencies, its imports, its public names."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import layermatch_lite

ROOT = Path(__file__).parents[1]


def pyproject():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = lambda start: re.findall(r'^ {4}"([^"]+)"', text.split(start)[1].split("\n]")[0], re.MULTILINE)
    return block("\ndependencies = ["), block("\ndev = [")


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_-]+", requirement)[0].lower()


def test_the_three_lists_agree():
    """Every direct dependency has a range in pyproject and pins within it; environment.yml installs exactly these two files."""
    from packaging.requirements import Requirement

    direct = [Requirement(r) for part in pyproject() for r in part]
    pins = [
        Requirement(line)
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and line[0] != "#"
    ]
    assert {r.name for r in direct} == {p.name for p in pins}
    for requirement in direct:
        for python in ("3.10", "3.11", "3.12", "3.13", "3.14"):
            versions = [
                next(iter(p.specifier)).version
                for p in pins
                if p.name == requirement.name and (p.marker is None or p.marker.evaluate({"python_version": python}))
            ]
            assert len(versions) == 1, f"{requirement.name} on Python {python}: {versions}"
            assert versions[0] in requirement.specifier, requirement.name
    environment = (ROOT / "environment.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in environment and "--editable .[dev]" in environment
    assert "--constraint constraints.txt" in makefile and '--editable ".[dev]"' in makefile


def test_what_is_installed_is_what_is_pinned():
    from importlib.metadata import version

    from packaging.requirements import Requirement

    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("only the environment that `make` creates promises the pins")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and line[0] != "#" and ((p := Requirement(line)).marker is None or p.marker.evaluate()):
            assert version(p.name).split("+")[0] in p.specifier, line


def test_every_package_is_in_the_list_that_a_wheel_is_built_from():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'^ {4}"([^"]+)"', text.split("\npackages = [")[1].split("\n]")[0], re.MULTILINE)
    elsewhere = dict(re.findall(r'^"([\w.]+)" = "(\w+)"$', text.split("[tool.setuptools.package-dir]")[1], re.MULTILINE))
    assert elsewhere == {f"layermatch_lite.course.{name}": name for name in ("notebooks", "solutions")}
    found = [".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "layermatch_lite").rglob("__init__.py")]
    assert sorted(listed) == sorted([*found, *elsewhere])


def test_import_is_light():
    heavy = (
        "torch",
        "torchvision",
        "umap",
        "numba",
        "ipywidgets",
        "matplotlib",
        "seaborn",
        "pandas",
        "sklearn",
        "scipy.stats",
        "PIL",
    )
    code = f"import sys, layermatch_lite; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names():
    for name in layermatch_lite.__all__:
        thing = getattr(layermatch_lite, name)
        assert not callable(thing) or thing.__doc__, name


def test_the_library_trains_without_the_notebooks_packages():
    """A GPU image may lack jupyter, widgets and UMAP."""
    blocked = ("umap", "ipywidgets", "jupyterlab", "IPython", "mnist1d", "numba")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked!r}))  # None: importing it raises
from layermatch_lite import TrainConfig, train
print(train(TrainConfig(steps=2, batch_size=8, device="cpu"), progress=True).finished)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_the_layout_shows_the_idea():
    """Few places at the top, small files, one name for one module, and a core that is read in a sitting."""
    package = ROOT / "layermatch_lite"
    top = [p for p in package.iterdir() if not p.name.startswith("__pycache__")]
    files = [p for p in package.rglob("*.py") if p.name not in ("__init__.py", "__main__.py")]
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert len([p for p in top if p.is_dir()]) <= 8 and len([p for p in top if p.is_file()]) <= 6
    assert max(lines.values()) <= 400, max(lines, key=lines.get)
    names = [p.name for p in files]
    assert len(set(names)) == len(names), sorted({n for n in names if names.count(n) > 1})
    assert sum(n for p, n in lines.items() if p.parent.name == "core") <= 700
    assert lines[package / "core" / "minimal.py"] <= 60


def test_no_module_imports_itself_by_way_of_others():
    """Nor inside of functions: what needs that is in the wrong place."""
    package = ROOT / "layermatch_lite"
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in package.rglob("*.py")}

    def imported(name, path):
        inside = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("layermatch_lite")):
                base = inside[: len(inside) + 1 - node.level] if node.level else []
                source = ".".join(base + ([node.module] if node.module else []))
                yield from (f"{source}.{a.name}" if f"{source}.{a.name}" in modules else source for a in node.names)

    graph = {name: set(imported(name, path)) & set(modules) - {name} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules
