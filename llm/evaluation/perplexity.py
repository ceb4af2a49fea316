"""How well a model predicts whole texts, of any length, so that models with different tokenizers can be compared.

A text longer than the context is read in windows that overlap. Each token is predicted once, by the window in which it
is among the last ones. With a context of 8 and a stride of 3, where token 0 is the one that begins texts:

    window 1    reads 0 ... 7     predicts 1 ... 8
    window 2    reads 3 ... 10    predicts 9, 10, 11
    window 3    reads 6 ... 13    predicts 12, 13, 14

So each token but those of the first window is predicted from at least context - stride + 1 tokens. With a stride as
long as the context, which is the default, no token is read twice, except that the last window reaches back as far as it
can. That is how EleutherAI's lm-evaluation-harness counts (`loglikelihood_rolling`), but for one thing: where the
tokenizer itself puts a token before each text, as Llama's does, the harness reads it twice and predicts the second one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llm.evaluation.batched import BATCH_TOKENS, score_batched
from llm.evaluation.likelihood import CannotScore
from llm.evaluation.loss import perplexity_of
from llm.evaluation.shared_beginnings import Scored
from llm.evaluation.text import ids_of, predicted_bytes
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer


@dataclass(frozen=True)
class TextScore:
    """How likely a text is, or several texts together. Words and bytes are those of the original text."""

    total: float  # the logarithms of the probabilities of its tokens, added up, in nats
    tokens: int
    words: int
    bytes: int  # in UTF-8

    @property
    def loss(self) -> float:
        """Nats for each token."""
        return -self.total / self.tokens

    @property
    def perplexity(self) -> float:
        """The model is as uncertain as if it had to choose between this many equally likely tokens."""
        return perplexity_of(-self.total / self.tokens)

    @property
    def word_perplexity(self) -> float:
        """The same for words. Models with different tokenizers can be compared by it."""
        return perplexity_of(-self.total / self.words)

    @property
    def bits_per_byte(self) -> float:
        return -self.total / self.bytes / math.log(2)

    def __add__(self, other: TextScore) -> TextScore:
        return TextScore(
            self.total + other.total, self.tokens + other.tokens, self.words + other.words, self.bytes + other.bytes
        )


def score_text(model: GPT, tokenizer: BaseTokenizer, text: str, *, stride: int | None = None) -> TextScore:
    """How well the model predicts a text. See `score_texts`."""
    return score_texts(model, tokenizer, [text], stride=stride)[0]


def score_texts(
    model: GPT,
    tokenizer: BaseTokenizer,
    texts: Sequence[str],
    *,
    stride: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[float], object] = lambda finished: None,
) -> list[TextScore]:
    """How well the model predicts each text.

    `stride`: how many tokens a window after the first one predicts; default: as many as the model's context has.
    Without a token that begins texts, the first token of each is not predicted, and its bytes do not count.
    `batch_tokens`: see `log_likelihoods`. `progress` is called with what part of a text more is finished, such as 0.1.
    Raises CannotScore, a ValueError, for a text with nothing to predict.
    """
    stride = model.context if stride is None else stride
    if not 1 <= stride <= model.context:
        raise ValueError(f"stride must be from 1 to {model.context:,}, the context of the model, got {stride}")
    encoded = list(encode(tokenizer, texts))
    windows = [Scored(n, *each) for n, ids in enumerate(encoded) for each in windows_of(ids, model.context, stride)]
    found: list[list[float]] = [[] for _ in texts]
    for number, score in score_batched(model, windows, batch_tokens):
        found[number].append(score.total)
        progress(score.tokens / (len(encoded[number]) - 1))
    return [
        TextScore(math.fsum(totals), len(ids) - 1, count_words(text), predicted_bytes(tokenizer, ids, text))
        for totals, ids, text in zip(found, encoded, texts, strict=True)
    ]


def encode(tokenizer: BaseTokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    for number, text in enumerate(texts):
        try:
            yield ids_of(tokenizer, text)
        except ValueError as error:
            raise CannotScore("text", number, str(error)) from None


def windows_of(ids: Sequence[int], context: int, stride: int) -> Iterator[tuple[list[int], list[int]]]:
    """Pairs of the ids that a window reads and those that it predicts, so that each id but the first is predicted once.

    The last ones of those read predict: each of them the one that follows.
    """
    begin, stop = 1, min(context + 1, len(ids))  # the first window predicts ids 1 ... context
    while begin < stop:
        yield list(ids[max(0, stop - 1 - context) : stop - 1]), list(ids[begin:stop])
        begin, stop = stop, min(stop + stride, len(ids))


def count_words(text: str) -> int:
    """As the lm-evaluation-harness counts: white space at an end of the text is before or after an empty word."""
    return len(re.split(r"\s+", text))
