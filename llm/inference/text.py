"""Text in, text out: a prompt becomes tokens, and generated tokens become text, which is passed on as it comes.

Two things are held back for a moment: a character whose bytes belong to several tokens (the tokenizer's StreamDecoder),
and text that may turn out to be the beginning of a stop string. Everything else is passed on at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer, StreamDecoder

SAMPLE_TOKENS = 120
SAMPLE_TEMPERATURE = 0.6  # low: a small model easily loses its way where unlikely tokens have a chance


def write_sample(model: GPT, tokenizer: BaseTokenizer, prompt: str, seed: int) -> str:
    """What the model writes after the prompt, shown while it is trained."""
    sampling = Sampling(temperature=SAMPLE_TEMPERATURE)
    return write_text(model, tokenizer, prompt, max_tokens=SAMPLE_TOKENS, sampling=sampling, seed=seed)


def write_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str,
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> str:
    """What the model writes after the prompt. The arguments are those of `stream_text`."""
    pieces = stream_text(model, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop)
    return "".join(pieces)


def stream_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str,
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """What the model writes after the prompt, in pieces of whole characters, none of them empty.

    It ends after `max_tokens`, at an end-of-text token, or before the first of the strings `stop`. With an empty prompt
    the model begins a new text. Raises ValueError when the tokenizer cannot encode the prompt.
    """
    ids = continue_prompt(model, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    return decode_until_stop(ids, tokenizer, stop)


def continue_prompt(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str,
    *,
    max_tokens: int,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """The ids that the model writes after the prompt, up to the end of the text."""
    # "Ordinary": the name of a special token in a prompt is text like any other, and gives no control over the model.
    ids = tokenizer.encode_ordinary(prompt) if prompt else beginning(tokenizer)
    ends = () if tokenizer.end_of_text is None else (tokenizer.end_of_text,)
    return generate(model, ids, max_tokens=max_tokens, sampling=sampling, seed=seed, stop_ids=ends)


def beginning(tokenizer: BaseTokenizer) -> list[int]:
    """What a model has seen before the beginning of a text: the end of another text, or else a newline."""
    if tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text]
    try:
        return tokenizer.encode("\n")
    except ValueError:
        return [0]  # a tokenizer of characters, made from a text without a newline


def decode_until_stop(ids: Iterable[int], tokenizer: BaseTokenizer, stop: Sequence[str] = ()) -> Iterator[str]:
    """The text of `ids` up to a stop string, in pieces."""
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f"stop must be a list of strings of at least one character, got {stop!r}")
    return until_stop(decode_stream(ids, tokenizer), stop)


def decode_stream(ids: Iterable[int], tokenizer: BaseTokenizer) -> Iterator[str]:
    """For each id, the text that it completes. Joined, it is `tokenizer.decode(ids)`."""
    decoder = StreamDecoder(tokenizer)
    for id in ids:
        yield decoder.feed([id])
    yield decoder.finish()


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """The text of `pieces` up to the stop string that is complete first. A stop string may span several pieces."""
    held = ""  # text that may be the beginning of a stop string
    for piece in pieces:
        held += piece
        end = find_stop(held, stop)
        # Up to a stop string if there is one. Else all but what the next piece could complete to a stop string.
        safe = len(held) - length_of_possible_stop(held, stop) if end is None else end
        if safe:
            yield held[:safe]
        if end is not None:
            return
        held = held[safe:]
    if held:
        yield held


def find_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string begins that ends first; if two end together, the longer one. None if there is none."""
    found = [(begin + len(s), begin) for s in stop if (begin := text.find(s)) >= 0]
    return min(found)[1] if found else None


def length_of_possible_stop(text: str, stop: Sequence[str]) -> int:
    """The length of the longest suffix of `text` that is the beginning of a stop string, but not the whole of it."""
    longest = min(len(text), max(map(len, stop), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in stop)), 0)
