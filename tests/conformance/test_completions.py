"""/v1/completions by the `openai` package, as OpenAI's reference of its API describes it."""

from __future__ import annotations

from typing import Any

import pytest

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.parity


def complete(client: Any, target: Any, **body: Any) -> Any:
    return client.completions.create(**{"model": target.model, "max_tokens": 12, "temperature": 0, **body})


def test_an_answer_has_all_parts(client: Any, target: Any) -> None:
    answer = complete(client, target, prompt="The cat")
    assert answer.object == "text_completion" and answer.id and answer.created > 0 and answer.model
    (choice,) = answer.choices
    assert choice.index == 0 and isinstance(choice.text, str) and choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens <= 12
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_is_the_answer_in_pieces(client: Any, target: Any) -> None:
    text = complete(client, target, prompt="The cat").choices[0].text
    chunks = list(complete(client, target, prompt="The cat", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == text
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] in ("stop", "length") and set(reasons[:-1]) <= {None}
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_usage_of_a_stream_is_told_if_asked(client: Any, target: Any) -> None:
    usage = complete(client, target, prompt="The cat").usage
    *others, last = complete(client, target, prompt="The cat", stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.total_tokens == usage.total_tokens
    assert all(chunk.usage is None for chunk in others)


def test_prompts_may_be_texts_ids_and_lists_of_either(client: Any, target: Any) -> None:
    texts = [complete(client, target, prompt=prompt).choices[0].text for prompt in ("The cat", "A hat")]
    both = complete(client, target, prompt=["The cat", "A hat"])
    assert [choice.index for choice in both.choices] == [0, 1] and [choice.text for choice in both.choices] == texts
    one = complete(client, target, prompt=[70, 71, 72])
    assert one.usage.prompt_tokens == 3
    several = complete(client, target, prompt=[[70, 71, 72], [73]])
    assert several.choices[0].text == one.choices[0].text and len(several.choices) == 2


def test_n_texts_are_indexed(client: Any, target: Any) -> None:
    answer = complete(client, target, prompt=["The", "A"], n=2, temperature=1)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2, 3]


def test_the_same_seed_gives_the_same_text(client: Any, target: Any) -> None:
    body = {"prompt": "The", "temperature": 1.5, "max_tokens": 30}
    texts = {complete(client, target, seed=7, **body).choices[0].text for _ in range(3)}
    others = {complete(client, target, seed=seed, **body).choices[0].text for seed in range(8, 12)}
    assert len(texts) == 1 and len(others) > 1


def test_a_text_ends_before_a_stop_string(client: Any, target: Any) -> None:
    text = complete(client, target, prompt="The cat", max_tokens=20).choices[0].text
    stop = text[3:6]  # may begin within a token, and end within another
    for stops in (stop, ["never, never", stop]):
        choice = complete(client, target, prompt="The cat", max_tokens=20, stop=stops).choices[0]
        assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")
        chunks = complete(client, target, prompt="The cat", max_tokens=20, stop=stops, stream=True)
        assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text


def test_log_probabilities_have_a_place_for_each_token(client: Any, target: Any) -> None:
    choice = complete(client, target, prompt="The cat", logprobs=3).choices[0]
    lists = choice.logprobs
    count = len(lists.tokens)
    assert len(lists.token_logprobs) == len(lists.top_logprobs) == len(lists.text_offset) == count
    assert all(logprob <= 0 for logprob in lists.token_logprobs)
    for logprob, best in zip(lists.token_logprobs, lists.top_logprobs, strict=True):
        assert 3 <= len(best) <= 4 and logprob == max(best.values()), "greedy: the token is the likeliest"


def test_echo_gives_the_prompt_and_how_likely_it_is(client: Any, target: Any) -> None:
    choice = complete(client, target, prompt="The cat", echo=True, logprobs=1, max_tokens=1).choices[0]
    assert choice.text.startswith("The cat")
    lists = choice.logprobs
    assert lists.token_logprobs[0] is None and lists.top_logprobs[0] is None
    assert all(logprob <= 0 for logprob in lists.token_logprobs[1:])
    assert lists.text_offset == sorted(lists.text_offset)
    # Of ids, there is a place for each of them and one for the new token: nothing is put before ids.
    lists = complete(client, target, prompt=[70, 71, 72], echo=True, logprobs=1, max_tokens=1).choices[0].logprobs
    assert len(lists.token_logprobs) == 4
    nothing_new = complete(client, target, prompt="The cat", echo=True, max_tokens=0).choices[0]
    assert nothing_new.text == "The cat"


def test_a_bias_changes_what_is_written(client: Any, target: Any) -> None:
    choice = complete(client, target, prompt="The cat", max_tokens=3, logit_bias={"70": 100}, logprobs=0).choices[0]
    assert len(set(choice.logprobs.tokens)) == 1 and choice.text == choice.logprobs.tokens[0] * 3


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": -1},
        {"max_tokens": -5},
        {"n": 0},
        {"stop": 3},
        {"best_of": 3},
        {"prompt": []},
        {"logit_bias": {"x": 1}},
        {"response_format": {"type": "sound"}},
    ],
    ids=str,
)
def test_what_is_not_possible_is_refused(client: Any, target: Any, body: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=target.model, prompt=body.get("prompt", "The"), extra_body=body)
    assert refused.value.body["message"] and refused.value.body["type"] == "invalid_request_error"  # type: ignore[index]
