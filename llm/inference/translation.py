"""From a source to its translation, with the encoder and decoder of llm/model/transformer.py: greedy, or beam search.

A translation begins and ends with the same token, `end`, which is in none of the texts. What beams are compared by is
the score of Wu et al. 2016 (arXiv 1609.08144, equation 14), which the paper uses with alpha 0.6 and 4 beams:

    log P(translation) / ((5 + n) / 6)^alpha        n: the tokens of the translation, with the one that ends it

A search ends when as many translations are complete as there are beams, so with one beam it is greedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from llm.inference.beam import Beginning, check_search, search
from llm.inference.classify import batches_by_length, padded
from llm.inference.logprobs import log_probabilities
from llm.model.kv_cache import KVCache
from llm.model.no_dropout import no_dropout
from llm.model.transformer import Memory, Transformer
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer import BaseTokenizer

ALPHA = 0.6
BEAMS = 4
MORE_TOKENS = 50  # a translation has at most so many tokens more than its source (section 6.1)


def translate(
    model: Transformer, tokenizer: BaseTokenizer, text: str, *, num_beams: int = BEAMS, alpha: float = ALPHA
) -> str:
    """The translation of a text. Raises ValueError if the model cannot read it."""
    ids = source_ids(tokenizer, text, model.context)
    return tokenizer.decode(beam_translation(model, ids, end_id(tokenizer), num_beams=num_beams, alpha=alpha))


def end_id(tokenizer: BaseTokenizer) -> int:
    """The token that begins and ends a translation."""
    if tokenizer.end_of_text is None:
        raise ValueError("the tokenizer has no token for the end of a text, with which a translation begins and ends")
    return tokenizer.end_of_text


def source_ids(tokenizer: BaseTokenizer, text: str, context: int) -> list[int]:
    """What the encoder reads: the text, and the token that ends it."""
    ids = [*tokenizer.encode_ordinary(text), end_id(tokenizer)]
    if len(ids) > context:
        raise ValueError(f"the source has {len(ids):,} tokens with its end, and the model reads at most {context:,}")
    return ids


def longest(model: Transformer, source: Sequence[int]) -> int:
    """How many tokens a translation may have."""
    return min(len(source) + MORE_TOKENS, model.context)


def gnmt_score(total: float, length: int, alpha: float = ALPHA) -> float:
    return total / ((5 + length) / 6) ** alpha


def beam_translation(
    model: Transformer, source: Sequence[int], end: int, *, num_beams: int = BEAMS, alpha: float = ALPHA
) -> list[int]:
    """The ids of the best translation of a source, without the end."""
    check_search(num_beams, alpha, True)
    reader, score = PairReader(model, source, end), partial(gnmt_score, alpha=alpha)
    found = search(reader, score, num_beams, longest(model, source), early_stopping=True, stop_ids=[end])
    return without_end(found[0].ids, end)


class PairReader:
    """A `Reader` of beam.py: beginnings of translations of one source, with a cache."""

    def __init__(self, model: Transformer, source: Sequence[int], end: int):
        self.model, self.end, self.cache = model, end, KVCache(model.config)
        self.memory = read_sources(model, [source])

    def __call__(self, beginnings: Sequence[Beginning]) -> np.ndarray:
        """Only the newest token of each beginning is read."""
        rows = [each.parent for each in beginnings]
        if self.cache.length:
            self.cache.select(rows)
            self.memory = self.memory.select(rows)
        newest = [each.ids[-1] if each.ids else self.end for each in beginnings]
        return np.stack([log_probabilities(row) for row in next_logits(self.model, newest, self.memory, self.cache)])


def greedy_translations(model: Transformer, sources: Sequence[Sequence[int]], end: int) -> list[list[int]]:
    """The ids of a translation of each source, without the end: always the most likely next token. In batches."""
    found: list[list[int]] = [[] for _ in sources]
    for rows in batches_by_length([len(source) for source in sources]):
        for row, ids in zip(rows, _greedy_batch(model, [sources[row] for row in rows], end)):
            found[row] = without_end(ids, end)
    return found


def _greedy_batch(model: Transformer, sources: Sequence[Sequence[int]], end: int) -> list[list[int]]:
    memory, cache = read_sources(model, sources), KVCache(model.config)
    newest, written = np.full(len(sources), end), list[np.ndarray]()
    ended = np.zeros(len(sources), bool)
    for _ in range(max(longest(model, source) for source in sources)):
        # A row that has ended goes on until all have: what it writes then is cut off.
        newest = next_logits(model, newest, memory, cache).argmax(axis=1)  # (B,)
        written.append(newest)
        ended |= newest == end
        if ended.all():
            break
    return [row[: longest(model, source)] for row, source in zip(np.stack(written, axis=1).tolist(), sources)]


def read_sources(model: Transformer, sources: Sequence[Sequence[int]]) -> Memory:
    ids, mask = padded(sources)
    with no_grad(), no_dropout(model):
        return model.encode(to_device(ids, model.device), mask)


def next_logits(model: Transformer, newest: Sequence[int] | np.ndarray, memory: Memory, cache: KVCache) -> np.ndarray:
    """Logits (B, V), on the CPU, of the token after the newest one of each row, which is added to the cache."""
    with no_grad(), no_dropout(model), np.errstate(all="ignore"):
        y = model.decode(to_device(np.array(newest)[:, None], model.device), memory, cache)  # (B, 1, C)
        return to_device(model.logits(y[:, -1]).data, "cpu")


def without_end(ids: Sequence[int], end: int) -> list[int]:
    """What stands before the first end."""
    return list(ids[: ids.index(end)] if end in ids else ids)


def cross_weights(model: Transformer, source: Sequence[int], target: Sequence[int]) -> list[np.ndarray]:
    """How much each target token looks at each source token: (H, T, S) for each layer. A row adds up to 1.

    Row t is where the decoder looks when it has read target[t], to write the token after it.
    """
    weights: list[np.ndarray] = []
    with no_grad(), no_dropout(model):
        memory = read_sources(model, [source])
        y = model.embed(np.array([target]))  # (1, T, C)
        for layer, (keys, values) in zip(model.decoder, memory.keys_and_values):
            before = layer.before_cross(y)  # (1, T, C)
            scores = layer.cross.scale * (layer.cross.queries(before) @ keys.swapaxes(-1, -2))  # (1, H, T, S)
            weights.append(to_device(scores.softmax(axis=-1).data, "cpu")[0])
            y = layer(y, (keys, values), memory.mask)
    return weights
