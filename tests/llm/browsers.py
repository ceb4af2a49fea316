"""A real browser for tests of the page: Chromium, driven by the package playwright. Without them tests are skipped."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of this machine: the one that MINIGRAD_BROWSER names, or one that is on the path."""
    path = os.environ.get("MINIGRAD_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium, or set MINIGRAD_BROWSER to its path")
    with sync_playwright() as driver:
        # Without its sandbox it also runs as root, as in containers; it sees no other pages than those of the tests.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, port: int, *, before: Callable[[Page], object] = lambda page: None, **options: Any
) -> Iterator[Page]:
    """The page of the server, in a window of its own. Fails if the browser has something to complain about.

    `before` is called with the page before its files are loaded.
    """
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"a script has run: {dialog.message}") or dialog.dismiss())
    before(page)
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("#app", state="visible")
    yield page
    context.close()
    serious = [each for each in complaints if "status of 4" not in each]  # which says that a request was refused
    assert not serious, "\n".join(serious)


@contextmanager
def opened_file(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """A page in a file, with all its details open. Fails if it asks for anything, or if the browser complains."""
    context = browser.new_context(**{"viewport": {"width": 1180, "height": 900}, **options})
    page, asked, complaints = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    yield page
    context.close()
    assert asked == [path.as_uri()] and complaints == []


def assert_fits(page: Page) -> None:
    """The page is not wider than its window."""
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def assert_contrast(page: Page, least: int = 50) -> None:
    """More than `least` texts are seen, and each stands out from its background as much as WCAG asks (AA: 4.5)."""
    found = page.evaluate(CONTRASTS)
    assert len(found) > least and [each for each in found if each[0] < 4.5] == []


def assert_prints_white(page: Page) -> None:
    """On paper the page is white, also if it is dark on the screen."""
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"


def change_requests(page: Page, path: str, **fields: Any) -> list[dict[str, Any]]:
    """Add fields to what the page sends to a path; returns the list of bodies, which grows."""
    sent: list[dict[str, Any]] = []

    def change(route: Route) -> None:
        body = json.loads(route.request.post_data or "{}")
        sent.append(body)
        route.continue_(post_data=json.dumps(body | fields))

    page.route(f"**{path}", change)
    return sent


def let_write(page: Page, text: str, path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
    """Let the model write this text: the server allows it no other tokens."""
    return change_requests(page, path, regex=re.escape(text), max_tokens=1000)


def send(page: Page, text: str = "hello") -> Locator:
    """Send a message; returns the answer, when it is complete."""
    page.fill("#message", text)
    page.press("#message", "Enter")
    return last_answer(page)


def last_answer(page: Page) -> Locator:
    answer = page.locator("article.answer").last
    answer.locator(".facts", has_text="seed").wait_for()
    return answer.locator(".written")


# For each element with text of its own that can be seen: its contrast to its background, as WCAG computes it.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => top.slice(0, 3).map((value, i) => (value * top[3] + below[i] * (255 - top[3])) / 255);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (element === null) return [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement));
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!isText || !element.checkVisibility({ visibilityProperty: true }) || element.closest(".for-ears")) continue;
    const background = behind(element);
    const [a, b] = [light(over(rgba(getComputedStyle(element).color), background)), light(background)];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.className + ": " + element.textContent]);
  }
  return found;
}"""

# Elements that can be reached and that a screen reader could not name.
NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, [tabindex], [role=tab], dialog")]
  .filter((each) => !(each.getAttribute("aria-label") || each.getAttribute("aria-labelledby") || each.labels?.length
    || (each.tagName === "BUTTON" && each.textContent.trim())))
  .map((each) => each.outerHTML)"""
