"""From text to text: a prompt becomes tokens, and the generated tokens become text, piece by piece.

Not all text can be shown at once: engine/text_stream.py says what has to wait.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence

from llm.inference.engine.one_text import one_text_engine
from llm.inference.engine.requests import Request, Token
from llm.inference.engine.text_stream import TextStream
from llm.inference.generate import first_in_context
from llm.inference.sampling import Sampling
from llm.model.classifier import refuse_classifier
from llm.model.gpt import GPT
from llm.parallel.blas import fitting_blas_threads
from tokenizer import BaseTokenizer
from tokenizer.text.chat_template import named_tokens

# For the samples that are shown during training. The temperature is low: if a small model draws unlikely tokens, its
# text soon makes no sense.
SAMPLE_TOKENS = 120
SAMPLE_TEMPERATURE = 0.6


def write_sample(model: GPT, tokenizer: BaseTokenizer, prompt: str, seed: int) -> str:
    """What the model writes after the prompt; a sample to show during training. The caller limits the threads."""
    sampling = Sampling(temperature=SAMPLE_TEMPERATURE)
    ids = continue_prompt(model, tokenizer, prompt, max_tokens=SAMPLE_TOKENS, sampling=sampling, seed=seed)
    return "".join(decode_until_stop(ids, tokenizer, mid_text=bool(prompt)))


def write_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str = "",
    *,
    max_tokens: int = 200,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> str:
    """What the model writes after the prompt. The arguments are those of `stream_text`. `llm.generate`."""
    pieces = stream_text(model, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed, stop=stop)
    return "".join(pieces)


def stream_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str = "",
    *,
    max_tokens: int = 200,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """What the model writes after the prompt, in pieces of whole characters, none of them empty. `llm.stream`.

    It ends after `max_tokens`, at an end-of-text token, or before the first of the strings `stop`. With an empty prompt
    the model begins a new text. The same `seed` gives the same text. Raises ValueError when the tokenizer cannot encode
    the prompt. Warns when the model cannot read all of a long prompt.
    """
    ids = continue_prompt(model, tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    return with_fitting_threads(model, decode_until_stop(ids, tokenizer, stop, mid_text=bool(prompt)))


def with_fitting_threads(model: GPT, pieces: Iterator[str]) -> Iterator[str]:
    """The pieces. Each is computed with one thread, if that is best for a model of this size."""
    parameters = model.num_parameters()
    while True:
        # The limit ends before the piece is yielded, so the caller's own matrix products are not slowed down.
        with fitting_blas_threads(parameters):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


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
    refuse_classifier(model)
    ids = prompt_ids(model, tokenizer, prompt)
    request = Request(ids, max_tokens, sampling or Sampling(), seed, stop_ids=end_ids_of(tokenizer))
    return (token.id for token in one_text_engine(model).run(request))


def prompt_ids(model: GPT, tokenizer: BaseTokenizer, prompt: str) -> list[int]:
    """What the model is given to read. Warns when it cannot read all of a long prompt."""
    # "Ordinary": if the prompt contains the name of a special token, it is encoded like any other text. So somebody who
    # can only choose the prompt cannot insert special tokens.
    ids = tokenizer.template.begin_ids() + tokenizer.encode_ordinary(prompt) if prompt else start_ids(tokenizer)
    if left_out := first_in_context(len(ids), model.context):
        warnings.warn(
            f"the prompt has {len(ids):,} tokens and the model reads at most {model.context:,}; "
            f"the first {left_out:,} are left out",
            stacklevel=4,  # the caller of `stream_text`
        )
    return ids


def end_ids_of(tokenizer: BaseTokenizer) -> set[int]:
    """The tokens that end a text: the end of a document, and for a model for chats also that of an answer."""
    of_answer = tokenizer.token_to_id(named_tokens(tokenizer.settings).get("eos_token", ""))
    return {i for i in (tokenizer.end_of_text, of_answer) if i is not None}


def start_ids(tokenizer: BaseTokenizer) -> list[int]:
    """What to give a model that shall begin a new text. In training, new texts came after the end of another text."""
    if begin := tokenizer.template.begin_ids():
        return begin  # a model of somebody else, such as Llama: <s>
    if tokenizer.end_of_text is not None:
        return [tokenizer.end_of_text]
    try:
        return tokenizer.encode("\n")
    except ValueError:
        return [0]  # a tokenizer of characters, made from a text without a newline


def decode_until_stop(
    ids: Iterable[int], tokenizer: BaseTokenizer, stop: Sequence[str] = (), *, mid_text: bool = False
) -> Iterator[str]:
    """The text of `ids` up to a stop string, in pieces, none of them empty.

    `mid_text`: it continues a text, such as a prompt. Raises ValueError for stop strings that are not possible.
    """
    stream = TextStream(tokenizer, stop, mid_text=mid_text)

    def pieces() -> Iterator[str]:
        for id in ids:
            if text := stream.feed([Token(id)]).text:
                yield text
            if stream.found_stop:
                return
        if text := stream.finish().text:
            yield text

    return pieces()
