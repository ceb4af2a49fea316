"""`log_likelihood` of many pairs of texts, several times as fast as one after the other.

    scores = log_likelihoods(model, tokenizer, [("The capital of France is", " Paris"), ...])

- Many texts go through the model in one call. No text is padded: the linear layers see the tokens of all of them, one
  below the other, and attention is computed text by text (llm/model/cache_pool.py).
- What several texts begin with, such as the context of several endings, is read once (shared_beginnings.py). Its keys
  and values are copied to each of them.
- The head, whose logits would be the largest array, is computed only where a token of a continuation is predicted.
- On a CPU, threads compute several such calls at the same time.

How texts are put together changes how sums are rounded, and nothing else: in float32, sums of some dozens of
log-probabilities differ by less than 1e-4, in float64 by less than 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from llm.evaluation.likelihood import CannotScore, LogLikelihood, score, tokens_to_score
from llm.evaluation.shared_beginnings import Group, Scored, batches_of, groups_of
from llm.inference.generate import place
from llm.model.adapters.attach import AdaptedGPT
from llm.model.cache_pool import CachePool
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.blas import SMALL_MODEL, fitting_blas_threads
from llm.parallel.runtime import threads_to_use
from llm.parallel.threads import map_in_threads
from minigrad import no_grad
from minigrad.backend import Array, array_module, at_least_float32, to_device
from minigrad.tensor import Tensor
from tokenizer import BaseTokenizer

BATCH_TOKENS = 1024  # tokens of a call; on a CPU, more would take more memory and hardly less time
LEAST_TOKENS = 64  # of a call, if there are enough for all threads; products of smaller matrices are less efficient
CACHED = 8  # times as many tokens may have keys and values in memory: shared ones are copied to each text
HEAD_ROWS = 128  # rows of logits in memory at a time

Pair = tuple[str, str]  # a context and its continuation


def log_likelihoods(
    model: GPT,
    tokenizer: BaseTokenizer,
    pairs: Sequence[Pair],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], object] = lambda finished: None,
) -> list[LogLikelihood]:
    """`log_likelihood` of each pair (context, continuation), in their order.

    `batch_tokens`: about so many tokens are read at a time. It decides how much memory is used, not the result.
    `progress` is called with how many more pairs are finished, such as the method `update` of a bar of tqdm.
    Raises CannotScore, a ValueError, for a pair that cannot be scored, before anything is computed.
    """
    texts = list(encode(tokenizer, model.context, pairs))
    found: dict[int, LogLikelihood] = {}
    for number, each in score_batched(model, texts, batch_tokens):
        found[number] = each
        progress(1)
    return [found[number] for number in range(len(pairs))]


def encode(tokenizer: BaseTokenizer, context: int, pairs: Sequence[Pair]) -> Iterator[Scored]:
    """The pairs as ids. Raises CannotScore, a ValueError."""
    for number, pair in enumerate(pairs):
        try:
            yield Scored(number, *tokens_to_score(tokenizer, context, *pair))
        except ValueError as error:
            raise CannotScore("pair", number, str(error)) from None


def score_batched(
    model: GPT, texts: Sequence[Scored], batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[int, LogLikelihood]]:
    """The number of each text, and how likely its targets are, as soon as it is known."""
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens must be at least 1, got {batch_tokens}")
    if not has_fixed_angles(model):
        return ((text.number, score(model, text.ids, text.targets)) for text in texts)
    groups, threads = groups_of(texts), threads_for(model)
    share = -(-sum(each.read for each in groups) // threads)  # of each thread, rounded up
    most = min(batch_tokens, max(share, LEAST_TOKENS))
    return score_in_threads(model, list(batches_of(groups, most, CACHED * most)), threads)


def score_in_threads(model: GPT, batches: Sequence[list[Group]], threads: int) -> Iterator[tuple[int, LogLikelihood]]:
    """Several batches at the same time. While this iterator is used, the model is in evaluation mode."""
    with no_dropout(model), fitting_blas_threads(model.num_parameters()):
        for scores in map_in_threads(partial(score_groups, model), batches, min(threads, max(1, len(batches)))):
            yield from scores


def threads_for(model: GPT) -> int:
    """How many batches are computed at the same time.

    Two threads with a batch each are faster than one batch whose matrix products use two threads: these are only a part
    of the work, and each waits for its last thread. In small models, threads would wait for the interpreter lock.
    """
    # An adapter that is off is off in this thread alone (llm/model/adapters/attach.py).
    if isinstance(model, AdaptedGPT) and not model.switch.on:
        return 1
    is_large = model.device == "cpu" and model.num_parameters() >= SMALL_MODEL
    return threads_to_use(None) if is_large else 1


def has_fixed_angles(model: GPT) -> bool:
    """Whether the rotary angles of a token are the same in texts of every length (llm/model/rope_scaling.py).

    Otherwise a beginning that a shorter text has read is of no use to a longer one.
    """
    return place(model, 1, model.context) == place(model, model.context, model.context)


def score_groups(model: GPT, groups: Sequence[Group]) -> list[tuple[int, LogLikelihood]]:
    """The number of each text of these groups, and how likely its targets are."""
    texts = [text for group in groups for text in group.texts]
    targets = np.concatenate([text.targets for text in texts])  # (N,)
    # A model that has diverged overflows: that is seen in its scores, and needs no warnings of NumPy.
    with no_grad(), np.errstate(all="ignore"):
        x = np.concatenate(read(model, groups))  # (N, C)
        parts = [slice(start, start + HEAD_ROWS) for start in range(0, len(x), HEAD_ROWS)]
        logprobs, greedy = zip(*(predict(model, x[part], targets[part]) for part in parts), strict=True)
    stops = np.cumsum([len(text.targets) for text in texts])[:-1]
    by_text = (np.split(np.concatenate(arrays), stops) for arrays in (logprobs, greedy))
    return [
        (text.number, LogLikelihood(float(p.sum()), bool(g.all()), len(p)))
        for text, p, g in zip(texts, *by_text, strict=True)
    ]


def read(model: GPT, groups: Sequence[Group]) -> list[Array]:
    """For each text of the groups, the vectors (targets, C) that predict its targets."""
    texts = [text for group in groups for text in group.texts]
    virtual = model.config.context - model.context  # learned tokens that an adapter puts before each text
    room = max(len(text.ids) for text in texts) + virtual
    pool = CachePool(model.config, len(texts), room, chunk=room)  # a slot for each text
    stops = np.cumsum([len(group.texts) for group in groups]).tolist()
    slots = [range(stop - len(group.texts), stop) for stop, group in zip(stops, groups, strict=True)]  # of each group
    beginnings = read_into(model, pool, {own[0]: group.beginning for own, group in zip(slots, groups, strict=True)})
    for first, *others in slots:
        for slot in others:
            pool.copy(first, slot, pool.lengths[first])
    tails = (zip(own, group.tails, strict=True) for own, group in zip(slots, groups, strict=True))
    ends = read_into(model, pool, {slot: tail for each in tails for slot, tail in each if tail})
    first_of = [own[0] for own in slots for _ in own]
    return [last_rows(len(text.targets), beginnings[first_of[slot]], ends.get(slot)) for slot, text in enumerate(texts)]


def read_into(model: GPT, pool: CachePool, new: dict[int, list[int]]) -> dict[int, Array]:
    """Read new tokens into some slots of the pool, in one call of the model; returns the vectors (T, C) of each."""
    if not new:
        return {}
    ids, lengths = np.concatenate(list(new.values())), [len(each) for each in new.values()]
    x = model.hidden(ids[None] if len(new) == 1 else ids[:, None], cache=pool.rows(list(new), lengths)).data
    return dict(zip(new, np.split(x.reshape(len(ids), -1), np.cumsum(lengths)[:-1].tolist()), strict=True))


def last_rows(count: int, beginning: Array, end: Array | None) -> Array:
    """The last `count` rows of the two together."""
    if end is None:
        return beginning[-count:]
    return end[-count:] if len(end) >= count else np.concatenate([beginning[len(end) - count :], end])


def predict(model: GPT, x: Array, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For vectors (N, C), the log-probability of each target (N,), in float64, and whether it is the most likely id."""
    logits = at_least_float32(model.logits(Tensor(x)).data)  # (N, V)
    targets = to_device(targets, model.device)
    best, rows = logits.argmax(axis=-1), array_module(x).arange(len(x))
    logits -= logits[rows, best][:, None]
    chosen = logits[rows, targets].astype(np.float64)
    normalizers = np.log(np.exp(logits, out=logits).sum(axis=-1, dtype=np.float64))
    return to_device(chosen - normalizers, "cpu"), to_device(best == targets, "cpu")
