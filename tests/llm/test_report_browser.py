"""The report of a run in a real browser: hostile texts, narrow windows, contrast, paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser

from llm.report.command import main
from tests.llm.browsers import assert_contrast, assert_fits, assert_prints_white, opened_file
from tests.llm.trainings import train

pytestmark = pytest.mark.browser
HOSTILE = "<script>document.title='run'</script><style>h1{display:none}</style>"
HOSTILE += "<img src=x onerror=\"document.title='run'\"> "


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "text.txt").write_text(HOSTILE * 30)
    words = ["--steps", "4", "--eval-every", "2", "--sample-every", "2", "--context", "64", "--heads", "2"]
    names = ["<i>first", "second"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE", str(folder / "cache"))
        for seed, name in enumerate(names):
            sample = lambda *_: HOSTILE + "w" * 300
            assert train(folder / name, *words, "--seed", str(seed), sample=sample) == 0
        out = folder / "report.html"
        assert main([str(folder / names[0]), "--against", str(folder / names[1]), "-o", str(out)]) == 0
    return out


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, path: Path) -> None:
    with opened_file(browser, path) as page:
        assert page.title() == "<i>first and second"
        assert page.locator("main script, main style, main a, main i i, [onload], [onerror]").count() == 0
        assert all(source.startswith("data:") for source in page.locator("img").evaluate_all("x => x.map(i => i.src)"))
        assert HOSTILE.strip()[:40] in page.locator("blockquote p").first.inner_text()
        assert page.locator("h1").is_visible(), "the style of a text would have hidden it"
        assert page.locator(".columns").count() >= 6  # chapters with two runs side by side


@pytest.mark.parametrize("width", [320, pytest.param(1180, marks=pytest.mark.slow)])
def test_no_window_is_too_narrow(browser: Browser, path: Path, width: int) -> None:
    with opened_file(browser, path, viewport={"width": width, "height": 640}) as page:
        assert_fits(page)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_text_has_contrast_in_light_and_in_dark(browser: Browser, path: Path, scheme: Any) -> None:
    with opened_file(browser, path, color_scheme=scheme) as page:
        assert_contrast(page)


def test_on_paper_the_page_is_white(browser: Browser, path: Path) -> None:
    with opened_file(browser, path, color_scheme="dark") as page:
        assert_prints_white(page)
