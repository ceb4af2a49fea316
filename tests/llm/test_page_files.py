"""The files of the page: short, by themselves, without any way to make HTML of a text, and part of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "llm" / "inference" / "server" / "page"


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_file_of_the_page_is_short_and_asks_nothing_of_others(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"""(src|href|url|from|import)\b\s*[=(]?\s*["']?(https?:)?//""", text)
    if path.suffix in (".js", ".css"):
        assert text.startswith(("//", "/*")), "a file begins with what is in it"
    if path.suffix == ".html":
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=)", text)


def test_each_file_is_used_and_each_name_is_a_file() -> None:
    texts = [path.read_text("utf-8") for path in FOLDER.iterdir()]
    named = {name for text in texts for name in re.findall(r"""["'](?:\./)?([\w-]+\.(?:js|css|svg))["']""", text)}
    assert named | {"index.html"} == {path.name for path in FOLDER.iterdir()}


def test_an_installed_package_has_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["llm.inference.server"]
    found = {path for pattern in patterns for path in (FOLDER.parent).glob(pattern)}
    assert found == set(FOLDER.iterdir())


def test_the_elements_that_a_script_asks_for_are_there() -> None:
    html = (FOLDER / "index.html").read_text("utf-8")
    ids = set(re.findall(r' id="([\w-]+)"', html))
    assert len(ids) == len(re.findall(r" id=", html)), "each id is given once"
    asked = {id for path in FOLDER.glob("*.js") for id in re.findall(r'byId\("([\w-]+)"\)', path.read_text("utf-8"))}
    sliders = set(re.findall(r'name: "(\w+)"', (FOLDER / "controls.js").read_text("utf-8")))
    assert asked - ids - sliders == set()
