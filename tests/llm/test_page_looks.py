"""The page in a real browser: Markdown, hostile texts, tokens, attention; keys, narrow windows, contrast."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, Route, expect

from llm.inference.server.service import Service
from tests.llm.browsers import CONTRASTS, NAMELESS, last_answer, let_write, opened, send
from tests.llm.servers import small_service, small_writer

pytestmark = pytest.mark.browser
SHAPE = {"context": 4096, "layers": 2, "heads": 2, "dim": 16}
MARKDOWN = """# A title

Some **bold** and *slanted* `a < b` text, [a link](https://example.org/x).

1. one
   - inner
2. two **

> said

```python
for i in [1]:
    print("**not bold**")
```
https://example.org/y. 2 * 3 * 4, snake_case_name"""
HOSTILE = """<img src=x onerror=alert(1)> <script>alert(2)</script>
[x](javascript:alert(3)) [y](data:text/html,<script>alert(4)</script>) [z]( JaVaScRiPt:alert(5))
![i](https://example.org/i.png) <a href="javascript:alert(6)">a</a> [q](https://example.org/"onclick="alert(7))

```"><svg/onload=alert(8)>
<iframe srcdoc="<script>alert(9)</script>"></iframe>"""


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(small_writer(**SHAPE))


def test_markdown_is_shown(page: Page) -> None:
    let_write(page, MARKDOWN)
    written = send(page)
    expected = {"h3": ["A title"], "strong": ["bold"], "em": ["slanted"], "blockquote": ["said"], "ul > li": ["inner"]}
    expected |= {"p code": ["a < b"], "pre": ['for i in [1]:\n    print("**not bold**")']}
    assert {selector: written.locator(selector).all_inner_texts() for selector in expected} == expected
    assert written.locator("ol > li").count() == 2 and written.locator("ol > li").last.inner_text() == "two **"
    links = written.locator("a")
    assert [link.get_attribute("href") for link in links.all()] == ["https://example.org/x", "https://example.org/y"]
    assert {link.get_attribute("rel") for link in links.all()} == {"noopener noreferrer nofollow"}
    assert written.locator("p").last.inner_text().endswith("2 * 3 * 4, snake_case_name")


def test_a_hostile_answer_is_only_text(page: Page) -> None:
    """`opened` also fails if a script runs, or if the browser had to forbid something."""
    let_write(page, HOSTILE)
    written = send(page)
    text = written.inner_text()
    for part in (
        "<img src=x onerror=alert(1)>",
        "<script>alert(2)</script>",
        "[x](javascript:alert(3))",
        "<iframe srcdoc=",
    ):
        assert part in text
    assert written.locator("img, script, svg, iframe, [onclick], [onerror], [onload]").count() == 0
    hrefs = [link.get_attribute("href") or "" for link in written.locator("a").all()]
    assert hrefs and all(href.startswith("https://example.org/") for href in hrefs)
    page.get_by_role("button", name="Colours").click()
    assert written.inner_text().rstrip() == HOSTILE


def test_colours_are_explained(page: Page) -> None:
    let_write(page, "the cat and the hat")
    written = send(page)
    expect(page.locator(".legend")).to_be_hidden()
    page.get_by_role("button", name="Colours").click()
    expect(page.locator(".legend")).to_be_visible()
    names = page.locator(".legend span").all_inner_texts()
    assert names == ["80% or more", "40% or more", "15% or more", "4% or more", "less"]
    background = "element => getComputedStyle(element).backgroundColor"
    for token in written.locator(".token").all():
        level = int((token.get_attribute("class") or "").split("surprise-")[1][0])
        assert token.evaluate(background) == page.locator(".legend span").nth(level).evaluate(background)
    page.get_by_role("button", name="Colours").click()
    expect(page.locator(".legend")).to_be_hidden()


def test_the_same_text_from_a_reader_is_only_text_too(page: Page) -> None:
    let_write(page, "ok")
    send(page, HOSTILE)
    assert page.locator(".bubble").inner_text() == HOSTILE
    page.click("#tab-tokenizer")
    page.fill("#source", HOSTILE)
    expect(page.locator("#coloured")).to_contain_text("<iframe srcdoc=")
    assert page.locator("#coloured :not(.token), .bubble *").count() == 0


@pytest.fixture(scope="module")
def still_page(browser: Browser, port: int) -> Iterator[Page]:
    """For many examples, which change nothing on the page."""
    with opened(browser, port) as page:
        yield page


PIECES = [*'ab1 \n*_`~[](){}<>#-+.)>!\\"🙂', "\n\n", "**", "```", "](", "https://a.b/", "1. ", "  - ", "\n> "]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(max_examples=15 * settings().max_examples)
def test_each_character_of_a_text_is_shown_at_most_once_and_in_order(still_page: Page, text: str) -> None:
    """And what is not shown is a sign, a space, or a part of an address."""
    script = """async (text) => {
      const { blocks } = await import("./markdown.js");
      const shown = [];
      for (const { build } of blocks(text)) build((from, to) => (shown.push([from, to]), text.slice(from, to)));
      const hidden = shown.reduce(([rest, at], [from, to]) => [rest + text.slice(at, from), to], ["", 0]);
      return [shown, hidden[0] + text.slice(hidden[1])];
    }"""
    shown, hidden = still_page.evaluate(script, text)
    edges = [place for part in shown for place in part]
    assert edges == sorted(edges)
    assert "🙂" not in hidden or "](" in text or "```" in text or "~~~" in text


@pytest.mark.control
def test_a_page_that_makes_html_of_texts_is_noticed(browser: Browser, port: int) -> None:
    def change(route: Route) -> None:
        source = route.fetch().text()
        spoil = "if (typeof children[0] === 'string') element.innerHTML = children[0]; else element.append("
        spoiled = source.replace("element.append(", spoil)
        assert spoiled != source
        route.fulfill(body=spoiled, content_type="text/javascript")

    def show() -> None:
        with opened(browser, port, before=lambda page: page.route("**/dom.js", change)) as page:
            let_write(page, "ok")
            send(page, HOSTILE)

    with pytest.raises(AssertionError, match="Content Security Policy"):
        show()


@pytest.mark.parametrize("text", ["*" * 20_000, "[" * 20_000, "`" * 20_000, "> " * 5000, "- " * 5000, "**a" * 5000])
def test_a_text_of_signs_takes_no_time(still_page: Page, text: str) -> None:
    script = """async (text) => {
      const { blocks } = await import("./markdown.js");
      const begin = performance.now();
      const nodes = blocks(text).map(({ build }) => build((start, end) => text.slice(start, end)));
      return [performance.now() - begin, nodes.map((node) => node.textContent).join("").length];
    }"""
    milliseconds, length = still_page.evaluate(script, text)
    assert milliseconds < 2000 and length <= len(text)


def test_tokens_are_those_of_the_tokenizer(page: Page, service: Service) -> None:
    page.click("#tab-tokenizer")
    text = "the café 🙂 and 漢\n<|im_end|>"
    page.fill("#source", text)
    ids = service.tokenizer.encode_ordinary(text)
    expect(page.locator("#counts")).to_contain_text(
        f"{len(ids)} tokens · {len(text)} characters · {len(text.encode())} bytes"
    )
    assert page.locator("#coloured").inner_text().replace("↵\n", "\n") == text
    page.focus("#coloured")
    for number, id in enumerate(ids):
        page.keyboard.press("ArrowRight")
        shown = page.inner_text("#about-token")
        assert shown.startswith(f"Token {number + 1}:") and f"id {id} · " in shown
        assert f"bytes {service.names.bytes_of(id).hex(' ')}" in shown


def test_attention_of_a_token_by_layer_and_head(page: Page, service: Service) -> None:
    from llm.inference.inspection import attention_weights

    let_write(page, "the cat and the hat")
    written = send(page, "hi")
    sent: list[dict[str, Any]] = []
    page.on("request", lambda each: sent.append(json.loads(each.post_data)) if "attention" in each.url else None)
    written.locator(".token").nth(3).click()
    page.get_by_role("button", name="Where did the model look?").click()
    for name, value in (("layer", 2), ("head", 1), ("head", 2)):
        page.locator(f"#attention-{name}").fill(str(value))
    page.wait_for_function("() => document.querySelectorAll('#attention-list li').length === 5")
    page.wait_for_timeout(500)
    expected = attention_weights(service.model, sent[-1]["ids"], 1)[1, -1]
    shares = [float(each.rstrip("%")) for each in page.locator("#attention-list .share").all_inner_texts()]
    assert shares == pytest.approx(sorted(100 * expected, reverse=True)[:5], abs=0.51)
    assert sent[-1]["layer"] == 1 and sent[-1]["head"] == 1 and sent[-1]["position"] == len(sent[-1]["ids"]) - 1
    place = page.inner_text("#attention-token")
    page.click("#attention-before")
    expect(page.locator("#attention-token")).not_to_have_text(place)
    page.keyboard.press("Escape")
    expect(page.locator("#attention")).to_be_hidden()


def test_all_can_be_done_with_the_keyboard(page: Page) -> None:
    let_write(page, "the cat and the hat")
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    last_answer(page)
    for _ in range(4):  # over Copy, Colours and Retry to the answer
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.className").startswith("written")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    second = page.locator(".written .token").nth(1).inner_text()
    expect(page.locator(".written .token.current")).to_have_text(second)
    expect(page.locator("#announcer p").last).to_contain_text("%")
    page.keyboard.press("Enter")
    assert "continue from here" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Escape")
    expect(page.locator("#inspector")).to_be_hidden()
    assert page.evaluate("document.activeElement.className").startswith("written")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    last_answer(page)
    assert page.locator(".written .token").first.inner_text() + second != page.locator(".written").inner_text()
    page.focus("#tab-chat")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#playground")).to_be_visible()
    expect(page.locator("#tab-playground")).to_be_focused()


def test_a_screen_reader_hears_answers_in_sentences_and_a_name_for_each_control(page: Page) -> None:
    let_write(page, "One sentence. And another one.\nThe end")
    send(page)
    heard = page.locator("#announcer p").all_inner_texts()
    assert " ".join(heard) == "One sentence. And another one. The end" and len(heard) <= 3
    assert page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("width", [320, *(pytest.param(width, marks=pytest.mark.slow) for width in (390, 700))])
def test_no_window_is_too_narrow(browser: Browser, port: int, width: int) -> None:
    with opened(browser, port, viewport={"width": width, "height": 640}, has_touch=True) as page:
        let_write(page, "```\n" + "x = 1; " * 40 + "\n```\n" + "w" * 300 + " **" + "b" * 90 + "**")
        send(page, "v" * 200)
        places = "document.querySelectorAll('html, .scroll, #settings, dialog')"
        check = f"[...{places}].map((each) => each.scrollWidth - each.clientWidth)"
        assert max(page.evaluate(check)) <= 0
        page.locator(".written p .token").first.tap()
        box = page.locator("#inspector").bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
        page.get_by_role("button", name="Close").first.tap()
        for button in ("#settings-button", "#settings-close", "#tab-playground", "#tab-tokenizer"):
            page.tap(button)
            assert max(page.evaluate(check)) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_in_dark(browser: Browser, port: int, scheme: Any) -> None:
    with opened(browser, port, color_scheme=scheme) as page:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(map(int, re.findall(r"\d+", background)[:3])) < 300
        assert is_dark == (scheme == "dark")
        let_write(page, MARKDOWN)
        send(page)
        page.click("#settings-button")
        page.locator(".written .token").first.click()
        low = page.evaluate(CONTRASTS)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Colours").click()
        low += page.evaluate(CONTRASTS)
        page.click("#tab-tokenizer")
        page.locator("#coloured .token").nth(20).click()
        expect(page.locator("#attention-list li").first).to_be_visible()
        low += page.evaluate(CONTRASTS)
        assert len(low) > 100 and [each for each in low if each[0] < 4.5] == []


@pytest.mark.control
def test_the_check_of_contrasts_notices_a_pale_text(page: Page) -> None:
    page.evaluate("document.querySelector('#welcome p').style.color = '#aaaaaa'")
    assert [text for contrast, text in page.evaluate(CONTRASTS) if contrast < 4.5]
