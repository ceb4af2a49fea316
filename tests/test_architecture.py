"""The rooms keep to themselves: who may import whom, no circles, nothing happens on import, files are short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tools.structure import (
    PACKAGES,
    Source,
    circle,
    file_graph,
    folder_graph,
    imported_names,
    read_source,
    read_sources,
    report,
)

ROOT = Path(__file__).parents[1]
SOURCES = read_sources(ROOT)
ALLOWED = {  # packages that a room may import; the standard library goes without saying
    "minigrad": {"minigrad", "numpy", "cupy", "cupyx", "ml_dtypes"},  # ml_dtypes is optional: precision.py
    "tokenizer": {"tokenizer", "numpy", "regex", "jinja2"},  # jinja2 is optional: chat templates
    "llm": {
        "llm",
        "minigrad",
        "tokenizer",
        "numpy",
        "safetensors",
        "tqdm",
        "matplotlib",
        "tyro",
        "threadpoolctl",
        "gguf",
        "starlette",  # starlette and uvicorn are optional: llm/inference/server
        "uvicorn",
        "pyarrow",  # pyarrow, zstandard and trafilatura are optional: forms of text that llm/data reads
        "zstandard",
        "trafilatura",
        "mpi4py",  # optional: the lab of llm/data on several machines
    },
}
# Folders from the top floor to the ground floor. A folder may import from the floors below its own.
FLOORS = {
    "llm": ["report", "tuning", "training", "evaluation", "inference", "data", "hub parallel", "runs", "model"],
    "tokenizer": ["cli", "models", "fast formats training", "bpe", "text", "split", "arrays"],
    "minigrad": ["optim", "profiler", "nn", "gradcheck", "fused", "cuda ops"],
}
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@each_source
def test_a_room_imports_only_what_it_may(source: Source) -> None:
    used = {name.split(".")[0] for name in source.imports} - {""} - sys.stdlib_module_names
    assert used <= ALLOWED[source.name.split(".")[0]]


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(file_graph(SOURCES)) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    assert circle(folder_graph(SOURCES)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_folder_imports_only_from_the_floors_below(package: str) -> None:
    floor = {f"{package}.{name}": number for number, names in enumerate(FLOORS[package]) for name in names.split()}
    graph = {folder: targets for folder, targets in folder_graph(SOURCES).items() if folder.split(".")[0] == package}
    assert {folder for folder in graph if folder.count(".") == 1} == floor.keys(), "each folder has its floor"
    upward = {(folder, t) for folder in floor for t in graph[folder] & floor.keys() if floor[t] <= floor[folder]}
    assert upward == set()


@pytest.mark.control
def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


@pytest.mark.control
def test_imports_within_functions_and_for_types_are_found(tmp_path: Path) -> None:
    code = "from . import x\nfrom ..b import y"
    assert imported_names(ast.parse(code), "p.q.r", is_package=False) >= {"p.q.x", "p.b.y"}
    files = {
        "p/a/one.py": "def f():\n    from p.b.two import g\n",
        "p/b/two.py": "if TYPE_CHECKING:\n    from p.a.one import f\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    sources = [read_source(tmp_path / name, tmp_path) for name in files]
    assert circle(file_graph(sources)) == ["p.a.one", "p.b.two"]
    assert circle(folder_graph(sources)) == ["p.a", "p.b"]


def test_the_structure_can_be_printed() -> None:
    text = report(ROOT)
    assert "circles of files: none; of folders: none" in text
    assert f"{sum(source.lines for source in SOURCES)} " in text


@pytest.mark.parametrize("room", PACKAGES)
def test_importing_a_room_prints_nothing_changes_no_setting_and_loads_no_other_room(room: str) -> None:
    others = {"minigrad", "tokenizer", "llm", "cupy", "matplotlib", "tyro"} - {room}
    code = (
        f"import os, sys, threading\n"
        f"settings = lambda: (dict(os.environ), sys.getswitchinterval(), threading.active_count())\n"
        f"before = settings()\n"
        f"import {room}\n"
        f"assert settings() == before\n"
        f"print(sorted(set(sys.modules) & {others}))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@each_source
def test_a_file_is_short_and_says_what_is_in_it(source: Source) -> None:
    assert source.lines <= 300
    assert ast.get_docstring(ast.parse(source.text)), "a module opens with what is here and how it fits"


@pytest.mark.parametrize("source", [source for source in SOURCES if source.is_init], ids=lambda source: source.name)
def test_the_reading_order_of_a_folder_names_every_file_and_folder_in_it(source: Source) -> None:
    order = ast.get_docstring(ast.parse(source.text)) or ""
    inside = [path for path in source.path.parent.iterdir() if path.suffix in (".py", ".cu") or path.is_dir()]
    names = {path.name for path in inside} - {"__init__.py", "__main__.py", "__pycache__"}
    assert {name for name in names if name not in order and name.removesuffix(".py") not in order.split()} == set()
