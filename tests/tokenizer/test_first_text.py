"""What the first text after loading pays for: tables are built when enough words have come, and in one pass."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import byte_pairs, model_file, pieces
from tokenizer import SentencePieceTokenizer, Tokenizer, load
from tokenizer.bpe import many_words
from tokenizer.bpe.batch import PairTable
from tokenizer.bpe.many_words import ManyWordsEncoder
from tokenizer.bpe.rank_pairs import RankPairs
from tokenizer.formats.merges import BETWEEN, find_parts, find_parts_definition, read_merges
from tokenizer.formats.records import FormatError
from tokenizer.models import byte_bpe, sentencepiece
from tokenizer.text.byte_alphabet import unspell, unspell_all

TEXT = "".join(f"low{i} lower{i * i} newest " for i in range(3000))
TRAINED = Tokenizer.train([TEXT], 2000)
KINDS = {"merges": TRAINED, "ranks": byte_pairs([*TRAINED.tokens], None)}


@pytest.mark.parametrize("kind", KINDS)
@given(words=st.lists(st.text("lowernst0123456789é", min_size=1, max_size=12), max_size=60), rate=st.floats(0, 0.05))
def test_words_have_the_same_ids_before_and_after_the_table_is_built(kind: str, words: list[str], rate: float) -> None:
    encoder = KINDS[kind].model.word_encoder
    many = ManyWordsEncoder(encoder, min_words_for_batch=2, words_for_table=rate)
    data = [word.encode() for word in words]
    for part in data[:10], data, data[::-1]:
        ids, counts = many.encode(part)
        assert ids.tolist() == [i for word in part for i in encoder.encode_word(word)]
        assert counts.tolist() == [len(encoder.encode_word(word)) for word in part]


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_new_words_do_not_pay_for_the_table_of_all_pairs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    name, make = {"ranks": ("RankPairs", RankPairs), "merges": ("PairTable", PairTable.of)}[kind]
    counting = lambda table: built.append(1) or make(table)  # noqa: E731
    monkeypatch.setattr(many_words, name, SimpleNamespace(of=counting) if kind == "merges" else counting)
    many = ManyWordsEncoder(KINDS[kind].model.word_encoder, words_for_table=0.1)
    words = [f"x{i}y".encode() for i in range(1000)]
    many.encode(words[:100])
    assert built == []
    many.encode(words[100:])
    assert built == [1]


@given(st.lists(st.text("aĠĊ日é\u00ad \U0001f600\ud800\u0143\u0144", max_size=4)))
def test_many_spellings_are_read_as_each_alone(spellings: list[str]) -> None:
    assert unspell_all(spellings) == [unspell(spelling) for spelling in spellings]


parts = st.sampled_from(["a", "b"])
wrong = st.sampled_from(["a", "a b a", ["a"], ["a", "x"], ["a", 1], ["a", ["b"]], "x a", None, 5, {"a": 1, "b": 2}, []])


@given(st.lists(st.tuples(parts, parts), max_size=6), st.booleans(), st.data())
def test_merges_are_read_in_both_forms_and_the_wrong_one_is_named(
    merges: list[tuple[str, str]], as_text: bool, data: st.DataObject
) -> None:
    spelling = ["a", "b", "ab", "aa", "ba", "bb"]
    written: list = [" ".join(pair) if as_text else list(pair) for pair in merges]
    assert read_merges(written, spelling, ()) == [(spelling.index(a), spelling.index(b)) for a, b in merges]
    written.insert(data.draw(st.integers(0, len(written))), data.draw(wrong))
    with pytest.raises(FormatError, match="is damaged: the merge .* is not a pair of its tokens"):
        read_merges(written, spelling, ())


words = st.text(f"ab é\u2581\U0001f600{BETWEEN}\ud800", max_size=3) | st.sampled_from(["a" * 23, "b" * 24, "é" * 40])


@given(st.data(), st.lists(words, unique=True, max_size=12), st.sampled_from(["text", "list", "both"]))
def test_merges_are_found_together_as_each_alone(data: st.DataObject, vocabulary: list[str], form: str) -> None:
    known = st.sampled_from(vocabulary) | words if vocabulary else words
    pairs = data.draw(st.lists(st.tuples(known, known), max_size=8))
    vocabulary += dict.fromkeys(left + right for left, right in pairs[::2] if left + right not in vocabulary)
    spelled = [text for pair in pairs for text in pair] + vocabulary
    spelling = [text if data.draw(st.booleans()) else None for text in vocabulary]
    as_text = [form == "text" or form == "both" and i % 2 == 0 for i in range(len(pairs))]
    merges: list = [" ".join(pair) if text else list(pair) for pair, text in zip(pairs, as_text)]
    expected = find_parts_definition(merges, spelling)
    found = find_parts(merges, spelling)
    is_usual = len(set(as_text)) == 1 and vocabulary and not regex.search(f"[{BETWEEN}\ud800]", "".join(spelled))
    is_usual = is_usual and not (form == "text" and " " in "".join(spelled)) and "" not in spelled
    assert (found is not None) >= bool(is_usual)
    assert found is None or all(map(np.array_equal, found, expected))


@pytest.mark.parametrize("kind", [Tokenizer, SentencePieceTokenizer])
def test_a_tokenizer_that_is_only_loaded_makes_no_tables_for_encoding(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    if kind is Tokenizer:
        TRAINED.save(path)
    else:
        (tmp_path / "a.model").write_bytes(model_file(pieces()))
        load(tmp_path / "a.model").save(path)
    expected = load(path).encode(TEXT[:5000])
    with monkeypatch.context() as patched:
        for module in byte_bpe, sentencepiece:
            patched.setattr(module, "merge_table", lambda *_: pytest.fail("a table was made"))
        tokenizer = load(path)
        assert isinstance(tokenizer, kind)
        assert tokenizer.decode(expected) == TEXT[:5000]
    assert tokenizer.encode(TEXT[:5000]) == expected


def test_the_garbage_collector_runs_again_after_loading(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    for is_on in (True, False):
        gc.enable() if is_on else gc.disable()
        try:
            load(tmp_path)
            with pytest.raises(FileNotFoundError):
                load(tmp_path / "missing")
            assert gc.isenabled() == is_on
        finally:
            gc.enable()
