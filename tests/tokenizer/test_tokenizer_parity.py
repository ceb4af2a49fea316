"""The same words, merges and ids as Hugging Face's `tokenizers` and as tiktoken."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import tiktoken
from tokenizer import END_OF_TEXT, PADDING, UNKNOWN, CharTokenizer, Tokenizer, load
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer

PROSE = "\n".join(pydoc_data.topics.topics.values())

# Unicode grows, and every library knows another version of it. What Python knows is assigned in all of them.
assigned = st.characters(exclude_categories=["Cs", "Cn"])
borders = [*"aZé日1٣ '\n\r\t\u00a0\u2028\x1c\x85ſ😀\u0301.!_", "'s", "'T", "'lL", "'ve", "  ", " \n"]
awkward = st.lists(st.sampled_from(borders) | assigned, max_size=40).map("".join)


@pytest.fixture(scope="module")
def hf() -> Any:
    return pytest.importorskip("tokenizers")


def hf_byte_pair(hf: Any, pattern: str) -> Any:
    peer = hf.Tokenizer(hf.models.BPE())
    split = hf.pre_tokenizers.Split(hf.Regex(PATTERNS.get(pattern, pattern)), "isolated")
    byte_level = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    peer.pre_tokenizer = hf.pre_tokenizers.Sequence([split, byte_level])
    return peer


def hf_merges(hf: Any, texts: list[str], vocab_size: int, names: list[str], pattern: str) -> list[tuple[int, int]]:
    trainer = hf.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=names,
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer = hf_byte_pair(hf, pattern)
    peer.train_from_iterator(texts, trainer)
    model = json.loads(peer.to_str())["model"]
    return [(model["vocab"][left], model["vocab"][right]) for left, right in model["merges"]]


@pytest.mark.parity
@pytest.mark.parametrize("pattern", PATTERNS)
def test_words_are_those_of_hugging_face(hf: Any, pattern: str) -> None:
    peer = hf.pre_tokenizers.Split(hf.Regex(PATTERNS[pattern]), "isolated")
    own = Pretokenizer(pattern)

    @settings(max_examples=5 * settings().max_examples)
    @given(awkward)
    def words_are_equal(text: str) -> None:
        assert own.split(text) == [word for word, _ in peer.pre_tokenize_str(text)]

    words_are_equal()


@pytest.mark.parity
def test_the_gpt2_pattern_is_the_one_built_into_hugging_face(hf: Any) -> None:
    peer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own = Pretokenizer("gpt2")

    @settings(max_examples=5 * settings().max_examples)
    @given(awkward)
    def words_are_equal(text: str) -> None:
        peers = [text[start:end] for _, (start, end) in peer.pre_tokenize_str(text)]
        assert own.split(text) == peers

    words_are_equal()


@pytest.mark.parity
@pytest.mark.parametrize("pattern", PATTERNS)
def test_merges_of_real_text_are_those_of_hugging_face(hf: Any, pattern: str) -> None:
    own = Tokenizer.train([PROSE], 4096, [END_OF_TEXT, PADDING], pattern)
    assert own.merges == hf_merges(hf, [PROSE], 4096, [END_OF_TEXT, PADDING], pattern)
    assert own.vocab_size == 4096


@pytest.mark.parity
@pytest.mark.parametrize("pattern", ["gpt4", r"[\s\S]+"])
def test_merges_decided_by_ties_are_those_of_hugging_face(hf: Any, pattern: str) -> None:
    @settings(max_examples=5 * settings().max_examples)
    @given(st.lists(st.text("aab ", max_size=60), max_size=5), st.integers(0, 60))
    def merges_are_equal(texts: list[str], merges: int) -> None:
        own = Tokenizer.train(texts, 256 + merges, (), pattern)
        assert own.merges == hf_merges(hf, texts, 256 + merges, [], pattern)

    merges_are_equal()


def check_files(hf: Any, tokenizer: Tokenizer | CharTokenizer, path: Path, texts: st.SearchStrategy[str]) -> None:
    """Hugging Face's library reads the file, gives the same ids and texts, and what it writes is read again."""
    tokenizer.save(path)
    peer = hf.Tokenizer.from_file(str(path))

    @settings(max_examples=5 * settings().max_examples)
    @given(texts)
    def ids_are_equal(text: str) -> None:
        ids = tokenizer.encode(text, allowed_special="all")
        assert peer.encode(text).ids == ids
        assert peer.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)

    ids_are_equal()
    assert peer.get_vocab_size() == tokenizer.vocab_size
    peer.save(str(path))
    assert load(path) == tokenizer


@pytest.mark.parity
@pytest.mark.parametrize("pattern", [*PATTERNS, r"\p{L}+|\p{N}"])
def test_a_saved_tokenizer_gives_the_same_ids_in_hugging_face(hf: Any, pattern: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([PROSE], 1000, [END_OF_TEXT, "<|end|>", "<|end|>of"], pattern)
    pieces = st.sampled_from([END_OF_TEXT, "<|end|>", "of", " the", "  ", "Python's"]) | awkward
    check_files(hf, tokenizer, tmp_path / "tokenizer.json", st.lists(pieces).map("".join))
    check_files(hf, tokenizer, tmp_path / "tokenizer.json", st.sampled_from([PROSE[:10_000]]))


@pytest.mark.parity
def test_a_saved_character_tokenizer_gives_the_same_ids_in_hugging_face(hf: Any, tmp_path: Path) -> None:
    characters = "abAB é日\n\r\u2028\u0301😀<|>.endoftxu\t\x00"
    pieces = st.sampled_from([END_OF_TEXT, UNKNOWN, *characters])
    known = st.lists(pieces).map("".join)
    for names, texts in ([END_OF_TEXT], known), ([UNKNOWN, END_OF_TEXT], st.lists(pieces | assigned).map("".join)):
        if UNKNOWN not in names:
            texts = known.map(lambda text: text.replace(UNKNOWN, ""))
        check_files(hf, CharTokenizer.train(characters, names), tmp_path / "tokenizer.json", texts)


@pytest.mark.parity
def test_an_unknown_character_is_an_error_in_hugging_face_too(hf: Any, tmp_path: Path) -> None:
    CharTokenizer.train("ab").save(tmp_path)
    peer = hf.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    with pytest.raises(Exception, match="UNK"):
        peer.encode("abc")


# Real vocabularies


@pytest.mark.parity
@pytest.mark.shared
@pytest.mark.parametrize(("pattern", "name"), [("gpt2", "r50k_base"), ("gpt4", "cl100k_base")])
def test_words_are_those_of_tiktoken(shared_data: Path, pattern: str, name: str) -> None:
    """tiktoken does not show its words; but the ids of a text are those of its words, one after the other."""
    peer = tiktoken(shared_data / "tokenizers" / f"{name}.tiktoken")

    def check(split: Callable[[str], list[str]]) -> None:
        @settings(max_examples=10 * settings().max_examples)
        @given(awkward | st.text(st.sampled_from(" \n\ra1'"), max_size=12))
        def ids_are_equal(text: str) -> None:
            words = [peer._encode_single_piece(word) for word in split(text)]
            assert sum(words, []) == peer.encode_ordinary(text)

        ids_are_equal()

    check(Pretokenizer(pattern).split)
    with pytest.raises(AssertionError):  # control: the other pattern is noticed
        check(Pretokenizer({"gpt2": "gpt4", "gpt4": "gpt2"}[pattern]).split)
