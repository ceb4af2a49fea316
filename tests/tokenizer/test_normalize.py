"""Normalizers: with and without alignment they make the same text, that of Hugging Face's library."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import LONG, awkward, cases
from tokenizer.text import huggingface_unicode, normalize
from tokenizer.text.aligned_text import AlignedText
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.normalize import CollapseSpaces, Lowercase, Prepend, Replace, Sequence, UnicodeForm
from tools.make_huggingface_unicode import tables

FORMS = ["NFC", "NFD", "NFKC", "NFKD"]
EVERY = [*map(UnicodeForm, FORMS), Lowercase(), Prepend("X"), Replace(" ", "_"), CollapseSpaces(), BertNormalizer()]
EVERY += [
    BertNormalizer(False, False, False, False),
    BertNormalizer(strip_accents=False),
    BertNormalizer(lowercase=False),
]
EVERY += [Sequence((Prepend("▁"), Replace(" ", "▁")))]
MARKS = st.characters(categories=["Mn", "Mc"])
composed = st.sampled_from(
    [c for c in map(chr, range(0x3100)) if unicodedata.decomposition(c)] + ["각", "가", "\ufb01"]
)
marked = st.lists(MARKS | composed | st.sampled_from("aeo \u1100\u1161\u11a8\u0bc6\u0bbe\u0dd9"), max_size=8).map(
    "".join
)


@pytest.mark.parametrize("normalizer", EVERY, ids=repr)
@settings(max_examples=3 * settings().max_examples)
@given(text=awkward | marked)
def test_alignment_does_not_change_the_text(normalizer: Any, text: str) -> None:
    aligned = normalizer.align(AlignedText.of(text))
    assert aligned.text == normalizer(text)
    assert len(aligned.spans) == len(aligned.text)
    assert all(0 <= start <= end <= len(text) for start, end in aligned.spans)


@pytest.mark.parametrize(
    ("form", "text", "spans"),
    [
        ("NFC", "ae\u0301b", [(0, 1), (1, 2), (3, 4)]),
        ("NFD", "a\u00e9b", [(0, 1), (1, 2), (1, 2), (2, 3)]),
        ("NFKC", "\ufb01x", [(0, 1), (0, 1), (1, 2)]),
    ],
)
def test_which_characters_the_new_ones_stand_for(form: str, text: str, spans: list) -> None:
    assert UnicodeForm(form).align(AlignedText.of(text)).spans == spans


@given(text=awkward | marked)
def test_forms_are_those_of_unicode_except_for_new_marks(text: str) -> None:
    if not normalize.NEW_MARKS.search(text):
        for form in FORMS:
            assert UnicodeForm(form)(text) == unicodedata.normalize(form, text)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["NFC", "NFD", "Lowercase", "BertNormalizer"])
def test_texts_and_spans_are_those_of_hugging_face(kind: str) -> None:
    hf = pytest.importorskip("tokenizers")
    own = UnicodeForm(kind) if kind in FORMS else {"Lowercase": Lowercase, "BertNormalizer": BertNormalizer}[kind]()
    peer = getattr(hf.normalizers, kind)()
    characters = hf.Tokenizer(hf.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    characters.normalizer = peer
    characters.pre_tokenizer = hf.pre_tokenizers.Split(hf.Regex(r"[\s\S]"), "isolated")

    @cases(8)
    @given(awkward | marked)
    def all_is_equal(text: str) -> None:
        assert own(text) == peer.normalize_str(text)
        assert own.align(AlignedText.of(text)).spans == characters.encode(text).offsets

    all_is_equal()


@pytest.mark.parity
@pytest.mark.skipif(not LONG, reason="checks every character: for the long profile")
def test_the_tables_are_what_the_script_writes() -> None:
    pytest.importorskip("tokenizers")
    for name, ranges in tables().items():
        written = getattr(huggingface_unicode, name).replace("\n", " ").split()
        assert written == ranges.split(), Path(huggingface_unicode.__file__).name
