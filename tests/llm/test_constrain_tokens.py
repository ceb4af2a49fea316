"""Masks of allowed tokens: equal to the definition for each kind of tokenizer, and what is drawn from them matches."""

from __future__ import annotations

import copy
import gc
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.constrain import Constraint, PatternError
from llm.inference.constrain.tokens import TokenTrie
from llm.inference.constrain.vocabulary import Vocabulary
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.constraints import patterns, write
from tests.llm.gpts import SEEDS
from tests.tokenizer.helpers import every_kind, file_in, load
from tokenizer import END_OF_TEXT, BaseTokenizer, CharTokenizer, Tokenizer

KINDS = every_kind()
kinds = st.sampled_from(sorted(KINDS))
TEXTS = ["the cat", "日本", "", " a", "cats at the 😀", "a a a", "\ufffd"]


def literal_pattern(texts: list[str]) -> str:
    return "|".join(re.escape(text) for text in texts)


def pattern_for_kinds() -> st.SearchStrategy[str]:
    """Patterns that small vocabularies can write."""
    words = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3).map(literal_pattern)
    return words | patterns() | st.sampled_from(["[the cas]*", "(the|cat| )+", ".*", "[^a]{2,4}", "[日本é]+"])


def constraint_or_none(pattern: str, tokenizer: BaseTokenizer, **options: Any) -> Constraint | None:
    try:
        return Constraint.from_regex(pattern, tokenizer, **options)
    except PatternError:
        return None  # no match, or none of characters that the tokenizer has


@given(kinds, pattern_for_kinds(), st.booleans(), SEEDS)
def test_a_mask_has_the_tokens_whose_bytes_can_be_read(kind: str, pattern: str, mid_text: bool, seed: int) -> None:
    """In the states on the way through a text."""
    constraint = constraint_or_none(pattern, KINDS[kind], mid_text=mid_text)
    rng = np.random.default_rng(seed)
    state = constraint.start() if constraint else None
    for _ in range(6):
        if constraint is None or state is None or state.has_ended:
            return
        trie, automaton = constraint._first if state.is_first else constraint._inside, constraint._automaton
        expected = trie.allowed_reference(automaton, state.remaining)
        expected[constraint._end_ids] = constraint.is_complete(state)
        mask = constraint.allowed(state)
        assert np.array_equal(mask, expected)
        state = constraint.advance(state, int(rng.choice(np.flatnonzero(mask)))) if mask.any() else None


@given(kinds, pattern_for_kinds(), st.booleans(), SEEDS)
def test_what_is_drawn_from_masks_matches(kind: str, pattern: str, mid_text: bool, seed: int) -> None:
    """As `decode` shows it: in the middle of a text, or at its beginning, where some tokenizers leave out a space."""
    tokenizer = KINDS[kind]
    if constraint := constraint_or_none(pattern, tokenizer, mid_text=mid_text):
        ids, is_whole = write(constraint, np.random.default_rng(seed), 30)
        text = tokenizer.decode_bytes(ids, mid_text=mid_text).decode(errors="strict" if is_whole else "ignore")
        assert not is_whole or re.fullmatch(pattern, text)
        assert is_whole or mid_text or tokenizer.decode(ids, errors="ignore") == text


@given(st.lists(st.none() | st.binary(max_size=4), max_size=12), patterns())
def test_any_vocabulary(tokens: list[bytes | None], pattern: str) -> None:
    """Also with equal tokens, tokens without bytes, and without tokens."""
    trie, constraint = TokenTrie(tokens), Constraint.from_regex(f"(?:{pattern})?", KINDS["byte pairs"])
    state = constraint.start().remaining
    mask = trie.allowed(constraint._automaton, state)
    assert np.array_equal(mask, trie.allowed_reference(constraint._automaton, state))
    assert not any(mask[i] for i, token in enumerate(tokens) if not token)


@given(st.text(st.sampled_from("é日😀a"), min_size=1, max_size=4))
def test_characters_may_be_divided_between_tokens(text: str) -> None:
    tokenizer = Tokenizer.train(["no such characters"], 258, [END_OF_TEXT])  # each byte beyond ASCII is a token
    constraint = Constraint.from_regex("[é日😀a]+", tokenizer)
    state = constraint.start()
    for k, byte in enumerate(data := text.encode()):
        (token,) = [tokenizer.id_of(bytes([byte]))]
        assert constraint.allowed(state)[token]
        state = constraint.advance(state, token)
        is_whole = k + 1 == len(data) or data[k + 1] & 0xC0 != 0x80
        assert constraint.is_complete(state) == constraint.allowed(state)[tokenizer.end_of_text] == is_whole


def test_special_tokens_are_never_text() -> None:
    """Also where the pattern allows any text. The end of the text is allowed where the pattern is complete."""
    names = [END_OF_TEXT, "<|user|>", "<|padding|>", "<|unknown|>"]
    for tokenizer in (Tokenizer.train(["a b"], 264, names), CharTokenizer.train(["<|user>ab"], names)):
        constraint = Constraint.from_regex("a.*", tokenizer)
        ids = [tokenizer.special_tokens[name] for name in names]
        start = constraint.start()
        assert not constraint.allowed(start)[ids].any()
        state = constraint.advance(start, tokenizer.id_of("a"))
        assert constraint.allowed(state)[ids].tolist() == [True, False, False, False]
        other = Constraint.from_regex("a.*", tokenizer, end_ids=[ids[1]])
        assert other.allowed(state)[ids].tolist() == [False, True, False, False]
        with pytest.raises(ValueError, match="not allowed"):
            constraint.advance(state, ids[1])


def test_after_the_end_nothing_is_allowed() -> None:
    tokenizer = KINDS["byte pairs"]
    constraint = Constraint.from_regex("a", tokenizer)
    state = constraint.advance(constraint.start(), tokenizer.id_of("a"))
    assert np.flatnonzero(constraint.allowed(state)).tolist() == [tokenizer.end_of_text]
    ended = constraint.advance(state, tokenizer.end_of_text)  # type: ignore[arg-type]
    assert ended.has_ended and constraint.is_complete(ended) and not constraint.allowed(ended).any()
    with pytest.raises(ValueError, match="not allowed"):
        constraint.advance(ended, tokenizer.id_of("a"))
    without_end = Constraint.from_regex("a", tokenizer, end_ids=[])
    assert not without_end.allowed(state).any()


def test_states_are_values() -> None:
    """A program can go back to an earlier state, and masks cannot be damaged."""
    tokenizer = KINDS["byte pairs"]
    constraint = Constraint.from_regex("(ab|ac)*", tokenizer)
    a, b, c = (tokenizer.id_of(letter) for letter in "abc")
    first = constraint.advance(constraint.start(), a)
    mask = constraint.allowed(first).copy()
    assert constraint.advance(first, b) == constraint.advance(first, c)
    assert constraint.advance(constraint.advance(first, b), a) == first
    assert np.array_equal(constraint.allowed(first), mask)
    with pytest.raises(ValueError, match="read-only"):
        constraint.allowed(first)[0] = True
    for wrong in (a, -1, 10**9):
        with pytest.raises(ValueError, match="not allowed"):
            constraint.advance(first, wrong)


def test_a_model_may_have_more_logits_than_there_are_tokens() -> None:
    tokenizer = KINDS["byte pairs"]
    constraint = Constraint.from_regex(".*", tokenizer, vocab_size=512)
    mask = constraint.allowed(constraint.start())
    assert mask.shape == (512,) and not mask[tokenizer.vocab_size :].any()


def test_a_tokenizer_that_can_write_no_match_is_refused() -> None:
    with pytest.raises(PatternError, match="can write no text"):
        Constraint.from_regex("[xyz]+", CharTokenizer.train(["abc"]))


def test_no_way_ends_where_the_tokenizer_has_no_token() -> None:
    """`ax` could be begun, but not ended: x has no token."""
    tokenizer = CharTokenizer.train(["abc"])
    constraint = Constraint.from_regex("ax|bc", tokenizer)
    assert np.flatnonzero(constraint.allowed(constraint.start())).tolist() == [tokenizer.id_of("b")]


def test_constraints_share_the_work_for_a_tokenizer_while_it_lives() -> None:
    tokenizer = copy.copy(KINDS["byte pairs"])
    one, two = (Constraint.from_regex(pattern, tokenizer) for pattern in ("a", "b+"))
    assert one._inside is two._inside
    count = len(Vocabulary.made)
    del one, two, tokenizer
    gc.collect()
    assert len(Vocabulary.made) == count - 1


def test_masks_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = KINDS["byte pairs"]
    monkeypatch.setattr("llm.inference.constrain.constraint.KEPT_MASK_BYTES", 3 * tokenizer.vocab_size)
    constraint = Constraint.from_regex("a{9}", tokenizer)
    state = constraint.start()
    for _ in range(9):
        assert constraint.allowed(state) is constraint.allowed(state)
        state = constraint.advance(state, tokenizer.id_of("a"))
    assert len(constraint._masks) == 3


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["smollm2", "llama2/tokenizer.model", pytest.param("gpt2/tokenizer.json", marks=pytest.mark.slow)]
)
def test_masks_of_real_vocabularies(shared_data: Any, name: str) -> None:
    tokenizer = load(file_in(shared_data, name))
    constraint = Constraint.from_regex(r"[a-zé日 ]{1,3}|\d+", tokenizer)
    state = constraint.start().remaining
    trie = constraint._inside
    assert np.array_equal(
        trie.allowed(constraint._automaton, state), trie.allowed_reference(constraint._automaton, state)
    )


def test_an_untrained_model_at_temperature_2_writes_valid_json() -> None:
    """It has no idea of JSON: without the constraint, none of these texts would be valid."""
    tokenizer = Tokenizer.train(['{"name": "Ann", "age": 31, "likes": ["tea", "日本"]}'] * 3, 300, [END_OF_TEXT])
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, context=64, layers=1, heads=1, dim=8), rng=0)
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name"],
    }
    constraint = Constraint.from_schema(schema, tokenizer)
    texts = [draw_text(model, tokenizer, constraint, seed) for seed in range(5)]
    for text in texts:
        value = json.loads(text)
        assert set(value) <= {"name", "age"} and len(value["name"]) <= 12 and isinstance(value.get("age", 1), int)
    assert len(set(texts)) == 5
    free = Constraint.from_regex(r"[\x00-\U0010ffff]{40}", tokenizer)
    with pytest.raises(json.JSONDecodeError):
        json.loads(draw_text(model, tokenizer, free, seed=0))


def draw_text(model: GPT, tokenizer: BaseTokenizer, constraint: Constraint, seed: int) -> str:
    """At temperature 2."""
    rng, state = np.random.default_rng(seed), constraint.start()
    end: Any = tokenizer.end_of_text
    ids = [end]
    while not state.has_ended:
        logits = model(np.array([ids[-64:]])).data[0, -1] / 2
        logits[~constraint.allowed(state)] = -np.inf
        p = np.exp(logits - logits.max(), dtype=np.float64)
        ids.append(int(rng.choice(len(p), p=p / p.sum())))
        state = constraint.advance(state, ids[-1])
    return tokenizer.decode(ids[1:-1])


@pytest.mark.control
def test_a_mask_with_one_token_too_many_is_noticed() -> None:
    """`advance` refuses a token that a wrong mask allows."""
    tokenizer = KINDS["byte pairs"]
    constraint = Constraint.from_regex("[0-9]+", tokenizer)
    wrong = constraint.allowed(constraint.start()).copy()
    wrong[tokenizer.id_of("a")] = True
    trie = constraint._inside
    assert not np.array_equal(wrong, trie.allowed_reference(constraint._automaton, constraint.start().remaining))
    with pytest.raises(ValueError, match="not allowed"):
        constraint.advance(constraint.start(), tokenizer.id_of("a"))
