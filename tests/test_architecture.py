"""The rooms keep to themselves: who may import whom, no circles, nothing happens on import, files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("minigrad", "tokenizer", "llm")
ALLOWED = {  # third-party and project packages that a room may import; the standard library goes without saying
    "minigrad": {"minigrad", "numpy", "cupy", "cupyx"},
    "tokenizer": {"tokenizer", "numpy", "regex", "jinja2"},  # jinja2 is optional: chat templates
    "llm": {"llm", "minigrad", "tokenizer", "numpy", "safetensors", "tqdm", "matplotlib", "tyro", "threadpoolctl"},
}
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Everything that a file imports when it runs, anywhere in it, as absolute dotted names."""
    package, found = module.split(".") if is_package else module.split(".")[:-1], set()
    only_for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def imported_by(path: Path) -> set[str]:
    return imports(ast.parse(path.read_text("utf-8")), name_of(path), path.name == "__init__.py")


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes on some circle of the graph; none if there is no circle."""
    left = {node: set(targets) & graph.keys() - {node} for node, targets in graph.items()}
    while ends := {node for node, targets in left.items() if not targets}:
        left = {node: targets - ends for node, targets in left.items() if node not in ends}
    return sorted(left)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    used = {name.split(".")[0] for name in imported_by(path)} - {""} - sys.stdlib_module_names
    assert used <= ALLOWED[path.relative_to(ROOT).parts[0]]


def test_no_two_files_import_each_other_in_a_circle() -> None:
    files = {name_of(path): path for path in SOURCES if path.name != "__init__.py"}
    assert circle({name: imported_by(path) for name, path in files.items()}) == []


def test_a_circle_would_be_found() -> None:
    """Negative control."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert imports(ast.parse("from . import x\nfrom ..b import y"), "p.q.r", False) >= {"p.q.x", "p.b.y"}


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_room_prints_nothing_changes_no_setting_and_loads_no_other_room(room: str) -> None:
    code = (
        "import os, sys, threading; before = dict(os.environ), sys.getswitchinterval(), threading.active_count(); "
        f"import {room}; "
        f"assert before == (dict(os.environ), sys.getswitchinterval(), threading.active_count()); "
        f"print(sorted(set(sys.modules) & {{'minigrad', 'tokenizer', 'llm', 'cupy', 'matplotlib', 'tyro'}} - "
        f"{{{room!r}}}))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_short_and_says_what_is_in_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 300
    assert ast.get_docstring(ast.parse(text)), "a module opens with what is here and how it fits"
