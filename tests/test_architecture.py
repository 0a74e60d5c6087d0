"""The shape of the code: no import cycles, nothing loose, no hidden layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("engine", "tui", "scripts")


def modules() -> dict[str, Path]:
    """Every module of the program by its dotted name."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imported_by(file: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports anywhere: at its top, in a function, for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield member if member in known else node.module


def test_no_module_imports_itself_in_a_circle() -> None:
    known = modules()
    graph = {
        name: {other for other in imported_by(file, known) if other in known and other != name}
        for name, file in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        message = "import cycle: " + " -> ".join(error.args[1])
        raise AssertionError(message) from None


def test_a_cycle_is_found(tmp_path: Path) -> None:
    lazy = tmp_path / "a.py"
    lazy.write_text("def f():\n    from b import g\n    return g\n")
    assert list(imported_by(lazy, {"b": tmp_path / "b.py"})) == ["b"]


def test_the_root_of_the_engine_has_folders_only() -> None:
    loose = {file.name for file in (ROOT / "engine").glob("*.py")}
    assert loose == {"__init__.py", "prompts.py"}


def test_packages_import_nothing() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("__init__.py"):
            nodes = ast.parse(file.read_text(encoding="utf-8")).body
            assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes), file
