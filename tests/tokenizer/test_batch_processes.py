"""A batch is encoded in this process, unless more are asked for."""

from __future__ import annotations

import multiprocessing

import pytest

from tokenizer import Tokenizer

TEXTS = [f"low lower lowest {number} " * 2000 for number in range(40)]


def test_a_batch_starts_no_process_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("another process")

    tokenizer = Tokenizer.train(TEXTS[:1], vocab_size=280)
    monkeypatch.setattr(multiprocessing, "get_context", refuse)
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(TEXTS)] == TEXTS
    with pytest.raises(AssertionError, match="another process"):
        tokenizer.encode_batch(TEXTS, processes=2)
