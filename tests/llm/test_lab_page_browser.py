"""The page of `python -m llm.data show` in a real browser: hostile texts, narrow windows, contrast, paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser

from llm.data.lab.command import main
from llm.data.lab.verdict import Verdict
from tests.llm.browsers import assert_contrast, assert_fits, assert_prints_white, opened_file
from tests.llm.lab_folders import HOSTILE, write_folder

pytestmark = pytest.mark.browser
TITLE = "What was dropped, and why"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = Verdict(False, "a_rule_with_" + "a_long_name_" * 5, 9.5, 9)
    rows = [(f"{HOSTILE} {i} {'w' * 300}", reason if i % 2 else None) for i in range(20)]
    rows += [(f"a text of {i} words " * i, None) for i in range(1, 20)]
    folder = write_folder(
        tmp_path_factory.mktemp("lab") / HOSTILE[:20].replace("/", ""), rows, [(HOSTILE + " x", 0, 0.8)]
    )
    assert main(["show", str(folder)]) == 0
    return folder / "show.html"


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, path: Path) -> None:
    with opened_file(browser, path) as page:
        assert page.title() == TITLE
        assert page.locator("main script, main img, main iframe, main a, main style, [onload], [onerror]").count() == 0
        assert page.locator("svg [onload], svg script").count() == 0
        shown = page.locator("blockquote p").all_inner_texts()
        assert any(
            '<script>document.title = "run"</script><img src=x onerror="document.title=' in text for text in shown
        )
        assert page.locator("h1").is_visible(), "the style of a text would have hidden it"


@pytest.mark.parametrize("width", [320, pytest.param(1180, marks=pytest.mark.slow)])
def test_no_window_is_too_narrow(browser: Browser, path: Path, width: int) -> None:
    with opened_file(browser, path, viewport={"width": width, "height": 640}) as page:
        assert_fits(page)
        wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1"
        wide += " && !e.closest('figure')).map((e) => e.outerHTML.slice(0, 80))"
        assert page.evaluate(wide) == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_text_has_contrast_in_light_and_in_dark(browser: Browser, path: Path, scheme: Any) -> None:
    with opened_file(browser, path, color_scheme=scheme) as page:
        assert_contrast(page)


def test_on_paper_what_is_closed_is_shown_and_the_paper_is_white(browser: Browser, path: Path) -> None:
    with opened_file(browser, path, color_scheme="dark") as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = false))")
        assert_prints_white(page)
        example = page.locator(".card details blockquote").first
        assert example.bounding_box() is not None and example.is_visible()
