"""Text in, text out: a prompt becomes tokens, and the tokens that are generated become text, shown as they come.

Two things keep text back for a moment: a character whose bytes are spread over tokens (tokenizer/text/stream.py), and
what may turn out to be the beginning of a stop string. Everything else is passed on at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from llm.model.gpt import GPT
from tokenizer.models.base import BaseTokenizer
from tokenizer.text.stream import StreamDecoder


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
    """What the model writes after the prompt; arguments as in `stream_text`."""
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
    """Pieces of what the model writes after the prompt, whole characters, never empty.

    Ends with `max_tokens`, with an end-of-text token, or before the first of the strings `stop`. An empty prompt means
    the beginning of a text. Raises ValueError when the tokenizer cannot encode the prompt.
    """
    ids = continue_prompt(model, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    return show(ids, tokenizer, stop)


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
    ids = tokenizer.encode_ordinary(prompt) if prompt else beginning(tokenizer)
    ends = () if tokenizer.end_of_text is None else (tokenizer.end_of_text,)
    return generate(model, ids, max_tokens=max_tokens, sampling=sampling, seed=seed, stop_ids=ends)


def beginning(tokenizer: BaseTokenizer) -> list[int]:
    """What stands before the beginning of a text: the end of another one, or else a newline."""
    if tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text]
    try:
        return tokenizer.encode("\n")
    except ValueError:
        return [0]  # the characters of a text that has no newline


def show(ids: Iterable[int], tokenizer: BaseTokenizer, stop: Sequence[str] = ()) -> Iterator[str]:
    """Pieces of the text of `ids`, up to a stop string."""
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f"stop is a list of strings of at least one character, got {stop!r}")
    return until_stop(decode_stream(ids, tokenizer), stop)


def decode_stream(ids: Iterable[int], tokenizer: BaseTokenizer) -> Iterator[str]:
    """The text that each id completes; all of it together is `tokenizer.decode(ids)`."""
    decoder = StreamDecoder(tokenizer)
    for id in ids:
        yield decoder.feed([id])
    yield decoder.finish()


def until_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """The text of `pieces` up to the stop string that is complete first, however it is split into pieces."""
    held = ""  # what may be the beginning of a stop string
    for piece in pieces:
        held += piece
        end = find_stop(held, stop)
        safe = len(held) - may_begin(held, stop) if end is None else end
        if safe:
            yield held[:safe]
        if end is not None:
            return
        held = held[safe:]
    if held:
        yield held


def find_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string that ends first begins; of two that end together, the longer one. None if there is none."""
    found = [(begin + len(s), begin) for s in stop if (begin := text.find(s)) >= 0]
    return min(found)[1] if found else None


def may_begin(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of `text` that is the beginning of a stop string, but not the whole of it."""
    longest = min(len(text), max(map(len, stop), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in stop)), 0)
