"""Offsets without the spaces at the ends of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import byte_pairs
from tokenizer import AddedToken, Tokenizer
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.prefix import Prefix

TRAINED = Tokenizer.train(["the cat  sat on   the mat\n" * 3], 290, pattern="gpt2")
SIZE = TRAINED.vocab_size


def trimming(*added: AddedToken, keeps_first: bool = False, prefix: bool = False) -> Tokenizer:
    tokens = [*TRAINED.tokens, *(token.content.encode() for token in added)]
    spaced = Prefix() if prefix else None
    trim = OffsetTrimming(keeps_first)
    return byte_pairs(tokens, TRAINED.merges, added, "gpt2", prefix=spaced, trim_offsets=trim)


@given(st.text("the cas\n"), st.booleans())
def test_spans_leave_out_spaces(text: str, keeps_first: bool) -> None:
    ids, spans = trimming(keeps_first=keeps_first).encode_with_offsets(text)
    untrimmed = TRAINED.encode_with_offsets(text)[1]
    for k, (i, (start, end), (before, after)) in enumerate(zip(ids, spans, untrimmed)):
        token = TRAINED.decode([i])
        leading = len(token) - len(token.lstrip(" "))
        if keeps_first and k == 0 and leading == 1:
            leading = 0
        assert start == min(before + leading, after)
        assert end == max(start, after - (len(token) - len(token.rstrip(" "))))


@pytest.mark.parametrize(("keeps_first", "first"), [(True, (0, 3)), (False, (1, 3))])
def test_the_post_processor_decides_whether_the_first_space_is_a_prefix(
    keeps_first: bool, first: tuple[int, int]
) -> None:
    """It does, whatever the pre-tokenizer has done: both can be in a file."""
    for prefix in True, False:
        text = "the cat" if prefix else " the cat"
        _, spans = trimming(keeps_first=keeps_first, prefix=prefix).encode_with_offsets(text)
        assert spans == ([first, (4, 7)] if prefix else [(0 if keeps_first else 1, 4), (5, 8)])


def test_an_added_token_is_trimmed_by_the_text_in_which_it_was_found() -> None:
    tokenizer = trimming(
        AddedToken("<t>", SIZE, special=False, lstrip=True, rstrip=True), AddedToken("Ġx", SIZE + 1, special=False)
    )
    assert tokenizer.encode_with_offsets("a \u00a0<t>\n Ġx", add_special_tokens=True) == (
        [TRAINED.id_of("a"), SIZE, SIZE + 1],
        [(0, 1), (3, 6), (9, 10)],
    )
