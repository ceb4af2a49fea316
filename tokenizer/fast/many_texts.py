"""Many texts, or one long text, to one array of ids, by one process or several. The ids never depend on how many.

A text comes as its segments: ordinary text (str), and the ids of special tokens (int). All ordinary text of all texts
is encoded together, which is much faster than text by text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from tokenizer.arrays.ragged import Ragged
from tokenizer.fast.processes import parallel_map, processes_for
from tokenizer.split.chunks import groups_of_texts

MAX_CUT_CHARACTERS = 1 << 20  # of one text, that a process takes at a time
MAX_GROUP_CHARACTERS = 1 << 23  # of many texts, that are encoded together


class ManyTextsEncoder(Protocol):
    """How ordinary text is encoded (see `TextEncoder`)."""

    def encode_many(self, texts: Iterable[str]) -> Ragged: ...

    def cut(self, text: str, size: int) -> list[str]: ...


def encode_segments(
    encoder: ManyTextsEncoder,
    texts: Iterable[Iterable[str | int]],
    processes: int | None = None,
    max_cut_characters: int = MAX_CUT_CHARACTERS,
) -> Ragged:
    """The ids of all `texts`, (ids,) uint32, and how many each text has, (texts,) int64. None: as many as pay."""
    rows = [list(text) for text in texts]
    ordinary = [segment for row in rows for segment in row if isinstance(segment, str)]
    if processes is None:
        processes = processes_for(sum(map(len, ordinary)))
    if processes <= 1:
        ids, lengths = encoder.encode_many(ordinary)
    else:
        ids, lengths = encode_in_processes(encoder, ordinary, processes, max_cut_characters)
    return with_special_ids(rows, ids, lengths)


def encode_in_processes(encoder: ManyTextsEncoder, texts: list[str], processes: int, max_cut_characters: int) -> Ragged:
    cuts = [encoder.cut(text, max_cut_characters) for text in texts]
    every_cut = list(chain.from_iterable(cuts))
    # Several groups for each process, because some take longer than others.
    size = min(MAX_GROUP_CHARACTERS, sum(map(len, every_cut)) // (4 * processes) + 1)
    results = parallel_map(encoder.encode_many, list(groups_of_texts(every_cut, size)), processes)
    ids = np.concatenate([np.empty(0, np.uint32), *(ids for ids, _ in results)])
    cut_lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in results)])
    owners = np.repeat(np.arange(len(cuts)), list(map(len, cuts)))
    return ids, np.bincount(owners, cut_lengths, len(cuts)).astype(np.int64)


def with_special_ids(rows: Sequence[Sequence[str | int]], ids: np.ndarray, lengths: np.ndarray) -> Ragged:
    """Put the ids of special tokens between those of ordinary text, which are given for all rows together."""
    segment_count = sum(map(len, rows))
    if len(lengths) == segment_count and all(len(row) == 1 for row in rows):
        return ids, lengths  # the usual case: each text is one segment of ordinary text
    special = np.array([segment if isinstance(segment, int) else -1 for row in rows for segment in row], np.int64)
    is_text = special < 0
    segment_lengths = np.ones(segment_count, np.int64)
    segment_lengths[is_text] = lengths
    result = np.empty(segment_lengths.sum(), np.uint32)
    ends = np.cumsum(segment_lengths)
    is_special_position = np.zeros(len(result), bool)
    is_special_position[ends[~is_text] - 1] = True
    result[is_special_position] = special[~is_text]
    result[~is_special_position] = ids
    owners = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    return result, np.bincount(owners, segment_lengths, len(rows)).astype(np.int64)
