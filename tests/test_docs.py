"""What the pages say is true: code in README and CONTRIBUTING runs, files that they name exist, and sizes are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigrad.gradcheck import gradcheck
from minigrad.gradcheck.choices import Choices
from minigrad.gradcheck.examples import elementwise as examples
from minigrad.ops import elementwise
from tests.minigrad import checks
from tools.structure import PACKAGES, read_sources, with_sizes

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ((ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", python_blocks(README))
def test_the_code_of_the_readme_runs(block: str) -> None:
    exec(block, {})


def test_the_operation_that_contributing_adds_passes_the_checks() -> None:
    operation, catalogue_line, reference_line = python_blocks(CONTRIBUTING)
    file: dict[str, Any] = dict(vars(elementwise))
    exec(operation, file)  # as if it stood in elementwise.py
    sinh = file["sinh"]
    ops = type("ops", (), {"sinh": sinh})
    _, draw = eval(f"{{{catalogue_line}}}", {**vars(examples), "ops": ops})["sinh"]
    reference = eval(f"{{{reference_line}}}", {"np": np})["sinh"]
    for seed in range(5):
        example = draw(Choices(seed))
        checks.check_value(sinh, reference, example)
        gradcheck(sinh, example.inputs)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_links_to_exist(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_source_files_that_a_page_names_exist(page: str) -> None:
    named = set(
        re.findall(
            r"`((?:minigrad|tokenizer|llm|tests|benchmarks|tools|docs)/[\w./]+)`", (ROOT / page).read_text("utf-8")
        )
    )
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_reading_order_of_the_readme_names_every_room_and_its_sizes() -> None:
    sources = read_sources(ROOT)
    rows = re.findall(r"^\| (?:\d+ \| )?`([\w./]+)` \| ([\d,]+) \|", README, re.MULTILINE)
    said = {name.rstrip("/"): int(lines.replace(",", "")) for name, lines in rows}
    for name, lines in said.items():
        inside = [s for s in sources if s.path == ROOT / name or (ROOT / name) in s.path.parents]
        assert abs(sum(source.lines for source in inside) - lines) <= 0.1 * lines + 10, name
    folders = {".".join(source.folder.split(".")[:2]) for source in sources} - set(PACKAGES)
    assert {folder.replace(".", "/") for folder in folders} <= said.keys() | {str(Path(name).parent) for name in said}


def test_the_sizes_in_the_readme_can_be_updated() -> None:
    """python tools/structure.py --update-readme"""
    wrong = re.sub(r"` \| [\d,]+ \|", "` | 1 |", README).replace(" lines, an afternoon", "0 lines, an afternoon")
    assert with_sizes(wrong, ROOT) == with_sizes(README, ROOT) != wrong
    rows = re.findall(r"^\| \d+ \| `([\w./]+)` \|", README, re.MULTILINE)
    said = re.search(r"main path, .*?: ([\d,]+) lines", README, re.DOTALL)
    assert said is not None
    lines = sum(len((ROOT / name).read_text("utf-8").splitlines()) for name in rows)
    assert abs(lines - int(said[1].replace(",", ""))) <= 0.05 * lines
