"""Many texts, or one long text, to one array of ids. Several processes can share the work; the ids are the same.

A text is given as its segments: ordinary text (str), and the ids of special tokens (int). The ordinary text of all
texts is encoded together, which is much faster than one text after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

import numpy as np

from tokenizer.arrays.ragged import Ragged
from tokenizer.fast.processes import parallel_map, processes_for
from tokenizer.split.chunks import groups_of_about

MAX_PART_CHARACTERS = 1 << 20  # for several processes, longer texts are cut into parts of about this size
MAX_GROUP_CHARACTERS = 1 << 23  # a process encodes about this number of characters together, or fewer


class ManyTextsEncoder(Protocol):
    """What encodes ordinary text: a model, or a `TextEncoder`, which explains the methods."""

    def encode_many(self, texts: Iterable[str]) -> Ragged: ...

    def cut(self, text: str, size: int) -> list[str]: ...


def encode_segments(
    encoder: ManyTextsEncoder,
    texts: Iterable[Iterable[str | int]],
    processes: int | None = None,
    max_part_characters: int = MAX_PART_CHARACTERS,
) -> Ragged:
    """The ids of all `texts`, (ids,) uint32, and how many each text has, (texts,) int64.

    With `processes=None`, the length of the texts decides how many processes are used. A single process reads `texts`
    lazily, so that they may be larger than memory.
    """
    special_ids: list[int] = []  # for each segment, the id of the special token, or -1 for ordinary text
    segment_counts: list[int] = []  # for each text, the number of its segments

    def ordinary_texts() -> Iterator[str]:
        for text in texts:
            before = len(special_ids)
            for segment in text:
                special_ids.append(segment if isinstance(segment, int) else -1)
                if isinstance(segment, str):
                    yield segment
            segment_counts.append(len(special_ids) - before)

    if processes == 1:
        ids, lengths = encoder.encode_many(ordinary_texts())
    else:
        ordinary = list(ordinary_texts())
        processes = processes or processes_for(sum(map(len, ordinary)))
        ids, lengths = encode_in_processes(encoder, ordinary, processes, max_part_characters)
    return with_special_ids(np.array(special_ids, np.int64), np.array(segment_counts, np.int64), ids, lengths)


def encode_in_processes(encoder: ManyTextsEncoder, texts: list[str], processes: int, part_size: int) -> Ragged:
    """`encoder.encode_many(texts)`, by several processes."""
    if processes <= 1:
        return encoder.encode_many(texts)
    parts = [encoder.cut(text, part_size) for text in texts]
    all_parts = list(chain.from_iterable(parts))
    # Several groups for each process, so that all processes end at about the same time.
    size = min(MAX_GROUP_CHARACTERS, sum(map(len, all_parts)) // (4 * processes) + 1)
    results = parallel_map(encoder.encode_many, list(groups_of_about(size, all_parts, len)), processes)
    ids = np.concatenate([np.empty(0, np.uint32), *(ids for ids, _ in results)])
    part_lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in results)])
    text_of_part = np.repeat(np.arange(len(parts)), list(map(len, parts)))
    return ids, np.bincount(text_of_part, part_lengths, len(parts)).astype(np.int64)


def with_special_ids(
    special_ids: np.ndarray, segment_counts: np.ndarray, ids: np.ndarray, lengths: np.ndarray
) -> Ragged:
    """Put the special ids between `ids`, the ids of the ordinary segments. `lengths` are their numbers of ids."""
    is_text = special_ids < 0
    if is_text.all() and (segment_counts == 1).all():
        return ids, lengths  # the usual case: each text is one segment of ordinary text
    segment_lengths = np.ones(len(special_ids), np.int64)
    segment_lengths[is_text] = lengths
    result = np.empty(segment_lengths.sum(), np.uint32)
    is_special = np.zeros(len(result), bool)
    is_special[np.cumsum(segment_lengths)[~is_text] - 1] = True
    result[is_special] = special_ids[~is_text]
    result[~is_special] = ids
    text_of_segment = np.repeat(np.arange(len(segment_counts)), segment_counts)
    return result, np.bincount(text_of_segment, segment_lengths, len(segment_counts)).astype(np.int64)
