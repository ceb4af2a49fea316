"""The page in a real browser: a chat that can be stopped, written again, changed and continued from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect

from llm.inference.server.service import Service
from tests.llm.browsers import change_requests, last_answer, let_write, opened, send
from tests.llm.servers import is_free, listening, small_service, small_writer, wait_until

pytestmark = pytest.mark.browser
SHAPE = {"context": 4096, "layers": 2, "heads": 2, "dim": 16}
TEXT = "the cat and the hat"


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(small_writer(**SHAPE))


def never_ending(page: Page, service: Service) -> None:
    bias = {str(end): -100 for end in service.end_ids}
    change_requests(page, "/v1/chat/completions", logit_bias=bias, max_tokens=4000)


def test_a_text_grows_until_it_is_stopped(page: Page, service: Service) -> None:
    never_ending(page, service)
    page.fill("#message", "hello")
    page.click("#send")
    written = page.locator(".written")
    seen = set()
    while len(seen) < 4:  # the test would end by its time limit if nothing came before the end
        seen.add(written.inner_text())
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".facts", has_text="stopped")).to_be_visible()
    wait_until(lambda: is_free(service))  # the server has stopped too
    text = written.inner_text()
    page.wait_for_timeout(200)
    assert written.inner_text() == text
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_a_conversation_is_sent_as_it_is_shown(page: Page) -> None:
    sent = let_write(page, TEXT)
    page.click("#settings-button")
    page.fill("#system", "Be a cat.")
    send(page, "first")
    send(page, "second <|im_end|>")
    assert sent[-1]["messages"] == [
        {"role": "system", "content": "Be a cat."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "second <|im_end|>"},
    ]


def test_settings_are_sent_and_say_what_they_do(page: Page) -> None:
    sent = let_write(page, TEXT)
    page.click("#settings-button")
    values = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.05, "repetition_penalty": 1.2}
    values |= {"frequency_penalty": 0.5, "presence_penalty": -0.5}
    for name, value in values.items():
        before = page.inner_text(f"#{name}-says")
        page.locator(f"#{name}").fill(str(value))
        assert page.inner_text(f"#{name}-says") != before or name in ("temperature", "top_p")
    page.fill("#max_tokens", "50")
    page.fill("#seed", "11")
    page.fill("#stop", "one\ntwo")
    send(page)
    assert sent[0].items() >= (values | {"max_tokens": 50, "seed": 11, "stop": ["one", "two"]}).items()
    page.locator("#temperature").fill("0")
    assert "most likely" in page.inner_text("#temperature-says")
    shares = page.locator("#preview .share").all_inner_texts()
    assert shares[0] == "100%" and set(shares[1:]) == {"–"}


def test_an_answer_can_be_written_again_and_a_seed_repeats_it(page: Page) -> None:
    sent = change_requests(page, "/v1/chat/completions", regex="[a-z ]{20}")
    page.click("#settings-button")
    page.fill("#seed", "5")
    first = send(page).inner_text()
    page.get_by_role("button", name="Retry").click()
    assert last_answer(page).inner_text() == first
    page.fill("#seed", "6")
    page.get_by_role("button", name="Retry").click()
    assert last_answer(page).inner_text() != first
    assert page.locator("article").count() == 2 and [each["seed"] for each in sent] == [5, 5, 6]


def test_an_answer_that_was_cut_can_go_on(page: Page, service: Service) -> None:
    bias = {str(end): -100 for end in service.end_ids}
    change_requests(page, "/v1/chat/completions", logit_bias=bias, max_tokens=8, seed=1)
    sent = change_requests(page, "/v1/completions", logit_bias=bias, max_tokens=8)
    written = send(page, "hi")
    assert "largest number of tokens" in page.inner_text(".facts >> nth=0")
    first = written.locator(".token").all_inner_texts()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("article.answer .facts")).to_contain_text("16 tokens")
    assert written.locator(".token").all_inner_texts()[: len(first) - 1] == first[:-1] and len(sent) == 1


def test_a_message_can_be_changed_and_what_came_after_it_is_dropped(page: Page) -> None:
    sent = let_write(page, TEXT)
    send(page, "first")
    send(page, "second")
    page.get_by_role("button", name="Edit").first.click()
    page.get_by_role("textbox", name="Your message").first.press("Escape")
    expect(page.locator(".bubble").first).to_have_text("first")
    page.get_by_role("button", name="Edit").first.click()
    page.locator("textarea.edit").fill("third")
    page.locator("textarea.edit").press("Enter")
    last_answer(page)
    assert page.locator(".bubble").all_inner_texts() == ["third"]
    assert sent[-1]["messages"] == [{"role": "user", "content": "third"}]


def test_pointing_at_a_token_shows_what_else_might_have_come(page: Page) -> None:
    let_write(page, TEXT)
    written = send(page)
    card = page.locator("#inspector")
    written.locator(".token").nth(1).hover()
    expect(card).to_be_visible()
    assert card.locator("button.alternative").count() in (4, 5)
    assert "%" in card.locator(".card-head strong").inner_text()
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()


def test_an_answer_goes_on_from_another_token(page: Page, service: Service) -> None:
    let_write(page, TEXT)
    sent = change_requests(page, "/v1/completions", max_tokens=5)
    written = send(page, "hi")
    tokens = written.locator(".token")
    before = "".join(tokens.all_inner_texts()[:2])
    tokens.nth(2).click()
    rows = page.locator("button.alternative").filter(has_not_text="end of the text")
    name = rows.first.locator(".token-name").inner_text()
    rows.first.click()
    text = last_answer(page).inner_text()
    assert text.startswith(before) and not text.startswith(TEXT)
    tokenizer = service.tokenizer
    rendered = tokenizer.encode_chat([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    *ids, alternative = sent[0]["prompt"]
    assert ids[: len(rendered)] == rendered and tokenizer.decode(ids[len(rendered) :]) == before
    data = service.names.bytes_of(alternative)
    assert name in (
        data.hex(" "),
        data.decode(errors="replace").replace(" ", "·").replace("\n", "↵").replace("\t", "→"),
    )


def test_the_end_of_the_text_is_an_alternative_too(page: Page, service: Service) -> None:
    def token(text: str, id: int = 1) -> dict[str, Any]:
        return {"id": id, "token": text, "bytes": list(text.encode()), "logprob": -1.0}

    top = [token("<|im_end|>", min(service.end_ids))]
    entries = [token(text) | {"top_logprobs": top} for text in ("one", " two", " three")]
    delta = {"delta": {"content": "one two three"}, "logprobs": {"content": entries}, "finish_reason": "stop"}
    body = f"data: {json.dumps({'choices': [delta]})}\n\ndata: [DONE]\n\n"
    page.route("**/v1/chat/completions", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    written = send(page)
    written.locator(".token").nth(1).click()
    page.locator("button.alternative", has_text="end of the text").click()
    expect(written).to_have_text("one")


def test_the_playground_continues_a_text(page: Page) -> None:
    sent = let_write(page, TEXT, "/v1/completions")
    page.click("#tab-playground")
    page.fill("#text", "I saw ")
    page.click("#write")
    expect(page.locator("#playground-facts", has_text="seed")).to_be_visible()
    assert page.locator("#sheet .written").inner_text() == TEXT and sent[0]["prompt"] == "I saw "
    page.click("#write-on")
    expect(page.locator("#sheet .written")).to_have_text(TEXT + TEXT)
    page.click("#take-over")
    assert page.input_value("#text") == "I saw " + TEXT + TEXT


def test_what_the_server_refuses_is_said_as_a_sentence(page: Page) -> None:
    page.fill("#message", "a" * 5000)
    page.press("#message", "Enter")
    error = page.locator("article.answer .error")
    expect(error).to_contain_text("tokens and the context is 4,096")
    assert error.inner_text()[0].isupper() and error.inner_text().endswith(".")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_a_model_without_a_template_offers_the_playground(browser: Browser) -> None:
    with listening(small_service(small_writer(chats=False))) as port, opened(browser, port) as page:
        expect(page.locator("#playground")).to_be_visible()
        page.click("#tab-chat")
        expect(page.locator("#no-template")).to_contain_text("no chat template")
        expect(page.locator("#composer")).to_be_hidden()
        page.click("#to-playground")
        expect(page.locator("#text")).to_be_focused()


def test_the_page_asks_for_the_api_key(browser: Browser) -> None:
    with listening(small_service(), api_key="secret") as port:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        for key in ("wrong", "secret"):
            page.get_by_label("API key", exact=True).last.fill(key)
            page.keyboard.press("Enter")
        expect(page.locator("#message")).to_be_visible()
        context.close()
