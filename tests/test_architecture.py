"""The rules of docs/architecture.md, held against the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_clickseg"

# From the ground up. A module imports from its own room and from rooms before it.
ROOMS = (
    ("errors", "boxes", "memory", "limits", "plane_view", "label_blocks"),
    (
        "clicks",
        "image",
        "image_checks",
        "image_colors",
        "image_levels",
        "image_values",
        "imagefiles",
        "overlay",
    ),
    ("tasks", "device", "networks"),
    ("refinement",),
    ("models",),
    ("prediction",),
    ("encoding", "exporting"),
    ("session",),
    ("evaluation", "training"),
    ("preferences", "samples", "worker", "main_thread"),
    ("binding",),
    ("napari_layers",),
    ("commands", "widgets", "writers"),
    ("cli",),
)
# Rooms that know neither napari nor Qt.
ENGINE = {name for room in ROOMS[:9] for name in room}
GUI = {"napari", "qtpy", "superqt", "magicgui", "vispy", "PyQt6", "PySide6"}


def module_name(file: Path) -> str:
    """Dotted name of a file, without the package's own."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(name: str, *, at_import_time: bool) -> Iterator[str]:
    """Names a module imports, dotted; those for type checkers do not count."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            if at_import_time and function:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                # `from package import name` may import a module of that name.
                for alias in child.names:
                    longer = f"{child.module}.{alias.name}"
                    inside = longer.removeprefix("napari_clickseg.")
                    yield longer if inside in FILES else child.module
            yield from visit(child)

    yield from visit(ast.parse(FILES[name].read_text()))


def own(name: str, *, at_import_time: bool) -> set[str]:
    """Modules of this package that a module imports."""
    found = imports(name, at_import_time=at_import_time)
    return {
        m.removeprefix("napari_clickseg").removeprefix(".")
        for m in found
        if m.split(".")[0] == "napari_clickseg"
    } - {""}


def room(name: str) -> int:
    """Number of the room that a module stands in."""
    return next(i for i, r in enumerate(ROOMS) if name.split(".")[0] in r)


@pytest.mark.parametrize("name", [n for n in FILES if n])
def test_nothing_imports_upward(name):
    upward = {m for m in own(name, at_import_time=False) if room(m) > room(name)}
    assert not upward


@pytest.mark.parametrize("name", [n for n in FILES if n.split(".")[0] in ENGINE])
def test_the_engine_knows_neither_napari_nor_qt(name):
    found = {m.split(".")[0] for m in imports(name, at_import_time=False)}
    assert not found & GUI


def test_no_circles_at_import_time():
    graph = {name: own(name, at_import_time=True) for name in FILES if name}
    done: set[str] = set()

    def follow(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                follow(other, (*path, name))
            done.add(name)

    for name in graph:
        follow(name, ())


@pytest.mark.parametrize("module", ["napari_clickseg", "napari_clickseg.samples"])
def test_importing_is_light(module):
    """Neither torch nor napari nor a Qt binding comes with the package."""
    heavy = {"torch", "napari", "skimage", "PyQt6", "PySide6"}
    code = f"import sys, {module}; print(*{heavy!r} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not result.stdout.split()


@pytest.mark.parametrize(("given", "kept"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep(monkeypatch, given, kept):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    code = "import os, napari_clickseg; print(os.environ['OMP_WAIT_POLICY'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == kept


def test_the_page_shows_the_tree_as_it_is():
    page = (ROOT / "docs" / "architecture.md").read_text()
    tree = page.split("```text")[1].split("```")[0].splitlines()[2:]
    shown, folder = set(), ""
    for line in filter(str.strip, tree):
        # Names, then their description after two spaces.
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if not line.startswith("    "):
            folder = names[0] if names[0].endswith("/") else ""
        shown |= {folder + n for n in names if n.endswith(".py")}
    real = {f.relative_to(PACKAGE).as_posix() for f in FILES.values()}
    assert shown == {n for n in real if not n.endswith("__init__.py")}


def test_no_file_is_long():
    """A file that cannot be read in one sitting is two files."""
    lengths = {n: len(f.read_text().splitlines()) for n, f in FILES.items()}
    assert not {name: n for name, n in lengths.items() if n > 420}
