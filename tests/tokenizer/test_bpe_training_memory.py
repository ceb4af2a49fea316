"""Learning takes little memory where texts have no spaces, and says what to do if there is not enough."""

from __future__ import annotations

import base64
import random
import string
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer.arrays.tally import Tally
from tokenizer.cli.commands import main
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.training import learn as learning
from tokenizer.training import word_row
from tokenizer.training.learn import learn
from tokenizer.training.vocabulary import Vocabulary
from tokenizer.training.word_row import OUTSIDE, WordRow

SIZE = 400_000


def letters(size: int) -> str:
    return "".join(random.Random(0).choices(string.ascii_lowercase, k=size))


def lines_of_base64(size: int) -> str:
    return base64.encodebytes(random.Random(0).randbytes(size * 3 // 4)).decode()


# Measured: 24 and 35 bytes for each byte of this text, 14 and 20 of long ones; before, 63 and 52 of this text.
@pytest.mark.parametrize(
    ("text", "limit"), [(letters(SIZE), 30), (lines_of_base64(SIZE), 42)], ids=["letters", "base64"]
)
def test_memory_for_each_byte_without_spaces(text: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_row, "MAX_BLOCK_BITS", 12, raising=False)  # as small beside this text as it usually is
    learn(["low lower"], Pretokenizer("gpt4"), 258)  # makes the tables of Unicode
    tracemalloc.start()
    learn([text], Pretokenizer("gpt4"), 400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(text) < limit


def test_not_enough_memory_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError("Unable to allocate 9 EiB")

    monkeypatch.setattr(learning, "count_words", no_memory)
    with pytest.raises(MemoryError) as caught:
        learn(["low"], Pretokenizer("gpt4"), 300)
    assert "learn the vocabulary from fewer texts" in caught.value.__notes__[0]
    (tmp_path / "text.txt").write_text("low lower")
    assert main(["train", str(tmp_path / "text.txt"), "-n", "300", "-o", str(tmp_path / "o")]) == 1
    assert "there is not enough memory; learn the vocabulary from fewer texts" in capsys.readouterr().err


# The parts


@given(st.dictionaries(st.binary(min_size=1, max_size=9), st.integers(1, 2**40), max_size=12), st.data())
def test_pairs_in_blocks_are_those_of_all_words(words: dict[bytes, int], data: st.DataObject) -> None:
    sizes = {"MAX_BLOCK_BITS": data.draw(st.integers(0, 6)), "WORDS_PER_BLOCK": data.draw(st.integers(1, 5))}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(word_row, name, size)
        ids = data.draw(st.permutations(range(256)))
        row = WordRow(words, ids)
        assert row.tokens.numpy.tolist() == [OUTSIDE, *(i for w in words for i in [*(ids[b] for b in w), OUTSIDE])]
        counts: dict[tuple[int, int], int] = {}
        places: dict[tuple[int, int], list[int]] = {}
        tokens = row.tokens.numpy.tolist()
        weights = [0, *(count for word, count in words.items() for _ in range(len(word) + 1))]
        for i, pair in enumerate(zip(tokens, tokens[1:])):
            if min(pair) >= 0:
                counts[pair] = counts.get(pair, 0) + weights[i]
                places.setdefault(pair, []).append(i)
        floor = data.draw(st.sampled_from([0, *counts.values()]))
        found = row.find(row.count_pairs().at_least(floor))
        groups = {(k >> 32, k & 0xFFFFFFFF): (count, at.tolist()) for k, count, at in found.at_least(0)}
        assert groups == {pair: (count, places[pair]) for pair, count in counts.items() if count >= floor}


@given(st.lists(st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 2**50), st.integers(0, 9)), min_size=1)))
def test_a_tally_adds_up(parts: list[dict[int, tuple[int, int]]]) -> None:
    tally = Tally(columns=2)
    expected: dict[int, list[int]] = {}
    for part in parts:
        keys = sorted(part)
        tally.add(np.array(keys), *np.array([part[key] for key in keys]).T)
        for key in keys:
            expected[key] = [a + b for a, b in zip(expected.get(key, [0, 0]), part[key])]
    keys, first, second = tally.total()
    assert keys.tolist() == sorted(expected)
    assert [list(sums) for sums in zip(first.tolist(), second.tolist())] == [expected[key] for key in sorted(expected)]


@pytest.mark.parametrize("count", [1, 127, 128, 2**15, 2**31 - 1, 2**31, 2**62])
def test_counts_of_any_size(count: int) -> None:
    vocabulary = Vocabulary([], 258)
    learning.learn_incremental({b"ab": count, b"ba": 1}, vocabulary)
    assert vocabulary.counts == [count, 1]
