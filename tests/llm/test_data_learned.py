"""A tokenizer is learned once from a text; what the cache gives back is the tokenizer that was learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.data import learned
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.data.errors import DataError
from llm.data.learned import learn_tokenizer
from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer

TEXTS = ["low lower lowest " * 20, "", "newer wider\nnewest " * 9]
KINDS = pytest.mark.parametrize("kind", ["bpe", "char"])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never_learn(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("learned again")

    patch.setattr(learned, "_learn", fail)


@KINDS
def test_the_second_time_it_is_found_and_is_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = Corpus("test", TEXTS)
    expected = Tokenizer.train(TEXTS, 270, [END_OF_TEXT]) if kind == "bpe" else CharTokenizer.train(TEXTS)
    first = learn_tokenizer(corpus, kind, 270)
    prepare(corpus, first)
    never_learn(monkeypatch)
    again = learn_tokenizer(Corpus("elsewhere", TEXTS), kind, 270)
    assert first == again == expected
    called = []
    prepare(corpus, again, progress=lambda stage, *_: called.append(stage))
    assert "tokenizing" not in called, "the tokens of the first are found for the second"


def test_another_text_size_or_kind_is_learned_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    learn_tokenizer(Corpus("test", TEXTS), "bpe", 270)
    never_learn(monkeypatch)
    for texts, kind, size in ((TEXTS[:1], "bpe", 270), (TEXTS, "bpe", 271), (TEXTS, "char", 270)):
        with pytest.raises(AssertionError, match="learned again"):
            learn_tokenizer(Corpus("test", texts), kind, size)


@KINDS
def test_progress_has_a_total_in_each_stage_and_reaches_it(kind: str) -> None:
    calls: dict[str, list[tuple[int, int | None]]] = {}
    corpus = Corpus("test", TEXTS, chunk_characters=50)
    learn_tokenizer(corpus, kind, 270, lambda stage, *numbers: calls.setdefault(stage, []).append(numbers))
    counting = "counting words" if kind == "bpe" else "collecting characters"
    assert list(calls)[:2] == ["reading", counting]
    for stage in ("reading", counting):
        assert len(calls[stage]) > 5
        assert {total for _, total in calls[stage]} == {len("".join(TEXTS))}
        assert calls[stage][-1][0] == len("".join(TEXTS))


@pytest.mark.parametrize("name", ["tokenizer.json", "meta.json"])
def test_damage_is_refused_with_advice_that_helps(cache: Path, name: str) -> None:
    learn_tokenizer(Corpus("test", TEXTS), "bpe", 270)
    (path,) = cache.glob(f"tokenizers/*/{name}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"in the cache is damaged: .*; delete the folder .*, and it will be learned"):
        learn_tokenizer(Corpus("test", TEXTS), "bpe", 270)


def test_too_little_memory_for_learning_is_told_with_advice_about_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **more: object) -> None:
        raise MemoryError("Unable to allocate 5 GiB")

    monkeypatch.setattr(Tokenizer, "train", no_room)
    with pytest.raises(DataError, match=r"not enough memory to learn a tokenizer from test \(Unable.*--tokenizer"):
        learn_tokenizer(Corpus("test", TEXTS), "bpe", 270)
