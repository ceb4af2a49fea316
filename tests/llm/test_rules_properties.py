"""What holds for every rule and edit and any text: no exception, no surprise, and no waiting."""

from __future__ import annotations

import pickle
import re
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm.data.lab.rules import STEPS, Change, Limit
from llm.data.lab.rules.encoding import repair
from llm.data.lab.rules.fineweb import filled_lines
from llm.data.lab.rules.language import language
from llm.data.lab.rules.ngrams import repeated, repeated_reference, top, top_reference
from llm.data.lab.rules.personal import EMAIL_MASK, IP_MASK, PHONE_MASK
from llm.data.lab.rules.repetition import _lines, _paragraphs
from llm.data.lab.rules.split import Words, split_words_reference
from llm.data.lab.rules.words import unwanted_words
from llm.data.lab.verdict import Edited, Verdict

WORDS = unwanted_words(["bad", "x-rated", "very bad", "悪"])
LIMITS = [*(step for step in STEPS.values() if isinstance(step, Limit)), WORDS, *map(language, ["de", "ru", "ja"])]
CHANGES = [step for step in STEPS.values() if isinstance(step, Change)]
# What the steps look for, so that drawn texts are not only noise.
PIECES = [
    "the", "be", "I", "don't", "bad", "Mr.", "U.S.", "...", "…", "-", "•", "#", "{", "[1]", "[", "]", "[edit]",
    "1", "\n", "\n\n", "\r\n", "\r", " ", "\t", "\x00", "\x85", "\u2028", ".", "!", "?", "\"", "”",
    "javascript", "lorem ipsum", "use cookies", "privacy policy", "x" * 1001, "@", "a@b.cd", "ada",
    "example.com", "|", EMAIL_MASK, PHONE_MASK, IP_MASK, "163.36.107.25", "2606:4700::1", "2831823829", "(283)",
    "-182-", "3829", "+44", "20 7946 0958", "Ã", "©", "â", "€", "™", "Â", "ƒ", "\xa0", "Ð", "¿", "ð", "Ÿ", "˜",
    "\x80", "é", "e\u0301", "\u0323", "ﬁ", "\ud83d", "\ude00", "\ufffd", "\ufeff", "日本", "の", "的", "привет",
    "и", "مرحبا", "한글",
]  # fmt: skip
texts = st.text(st.characters(), max_size=60) | st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
prose = st.lists(
    st.sampled_from(["the", "sea", "the sea", "of", "and", "a b,", ".", "x", "-", "sun's"]), max_size=80
).map(" ".join)
each_limit = pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
each_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)


@each_limit
@given(text=texts)
@example(text="")
@example(text="\n")
def test_a_rule_says_the_same_again_and_gives_its_reason(limit: Limit, text: str) -> None:
    verdict = limit(text)
    assert verdict == limit("".join(list(text))), "the same characters, another string"
    assert (verdict.rule, verdict.threshold) == (limit.name, limit.threshold)
    assert np.isfinite(verdict.number) and isinstance(verdict.number, int | float)
    assert verdict.kept is (
        verdict.number in (limit.threshold, sorted([verdict.number, limit.threshold])[limit.bound == "at least"])
    )


@each_limit
@given(text=prose, low=st.floats(-1, 60), high=st.floats(-1, 60))
def test_a_stricter_threshold_never_keeps_more(limit: Limit, text: str, low: float, high: float) -> None:
    low, high = sorted([low, high])
    mild, strict = (low, high) if limit.bound == "at least" else (high, low)
    assert limit.at(mild)(text).kept >= limit.at(strict)(text).kept


@each_change
@given(text=texts)
@example(text="[[1]2]")
@example(text="a@b.cd@c.de")
@example(text="Ãƒ" + "ƒ" * 20)
@example(text="Ã\x00©")
@example(text=" \n 283-182-3829.2831823829")
@example(text="(283)-182-3829(283)-182-3829+44 20 7946 0958")
@example(text="2606:4700::1.163.36.107.25")
def test_to_edit_again_changes_nothing(change: Change, text: str) -> None:
    edited = change(text)
    assert isinstance(edited, Edited)
    again = change(edited.text)
    assert again == Edited(edited.text, again.counts)
    assert not any(again.counts.values())
    assert all(count > 0 for count in edited.counts.values())
    if edited.text == text:
        assert not edited.counts or set(edited.counts) <= {"email", "phone", "ip"}


@each_change
@pytest.mark.parametrize("text", ["", "Nothing is wrong here.", "Café, naïve – “so”.\nÜber Ödön, Ørsted: 你好!"])
def test_what_is_in_order_is_left_alone(change: Change, text: str) -> None:
    if change.name not in ("c4_terminal_punct", "c4_few_words", "nfkc"):
        assert change(text) == Edited(text)


@given(text=texts | prose)
@example(text="a..b--c don’t U.S.")
def test_the_words_are_those_of_the_regular_expression(text: str) -> None:
    words = Words(text)
    expected = split_words_reference(text)
    assert words.strings() == expected
    assert words.values(len).tolist() == [len(word) for word in expected]
    assert words.starts.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    ranks, count = words.ranks
    assert count == len(set(expected)) and set(ranks.tolist()) == set(range(count))
    assert [expected.index(word) for word in expected] == [ranks.tolist().index(rank) for rank in ranks.tolist()]


@given(text=prose | texts, n=st.integers(1, 12))
def test_ngrams_are_counted_as_the_plain_loops_do(text: str, n: int) -> None:
    assert top(text, n) == top_reference(text, n)
    if n >= 5:
        assert repeated(text, n) == repeated_reference(text, n)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3000), kinds=st.integers(1, 3000), copies=st.integers(1, 3))
def test_ngrams_of_long_texts_are_counted_as_the_plain_loops_do(seed: int, size: int, kinds: int, copies: int) -> None:
    words = np.random.default_rng(seed).integers(0, kinds, size)
    text = " ".join(map(str, np.tile(words, copies)))
    for n in (2, 3, 4):
        assert top(text, n) == top_reference(text, n)
    for n in range(5, 11):
        assert repeated(text, n) == repeated_reference(text, n)


@given(text=st.text("a \n", max_size=30))
def test_lines_and_paragraphs_are_those_of_the_regular_expressions(text: str) -> None:
    assert _lines(text) == re.split(r"\n+", text)
    assert _paragraphs(text) == re.split(r"\n{2,}", text.strip())
    assert filled_lines(text) == [line for line in re.split(r"\n", text) if line.strip()]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co"]), max_size=40), st.integers(1, 3))
@example("𐀀", 2)
def test_a_text_that_was_decoded_wrongly_is_found_again_if_nothing_in_it_is_doubtful(text: str, times: int) -> None:
    # Several groups in a row are beyond doubt; signs between them that are ASCII are not touched.
    text = re.sub("[\ufeff\ufffd\ufffe\uffff]|[\x80-\xff]", "", text)
    text = re.sub("([^\x00-\x7f])", r"\1\1", text)
    wrong = text
    for _ in range(times):
        wrong = wrong.encode().decode("latin-1")
    assert repair(wrong).text == text


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("donâ€™t", "don’t"), ("cafÃ© crÃ¨me", "café crème"), ("cÅ“ur", "cœur"), ("Ã–sterreich", "Österreich"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"), ("ðŸ˜€", "😀"), ("ÃƒÂ©", "é"), ("10 â‚¬, 5 Â£", "10 €, 5 £"), ("ï»¿Text", "Text"),
        ("\x93quoted\x94", "“quoted”"), ("a\x00b\ufffdc", "abc"), ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("\ud83d\ude00 \ud83d", "😀 "), ("« À la CAFÉ»", "« À la CAFÉ»"), ("à\xa0« la", "à\xa0« la"),
        ("IRMÃ”", "IRMÃ”"), ("café…”", "café…”"), ("â€œsoâ€\ufffd, â€œsoâ€.", "“so”, “so”."),
        ("Où ça? “LÀ”…", "Où ça? “LÀ”…"),
    ],
)  # fmt: skip
def test_wrong_decoding_is_repaired_and_what_may_be_meant_is_left(wrong: str, right: str) -> None:
    assert repair(wrong).text == right
    assert bool(repair(wrong).counts) == (wrong != right)


SENTENCES = [
    "Où est l’hôtel « Étoile » ? Ça coûte 10 € — c’est cher…", "L'œuvre du cœur, à la façon de Noël.",
    "Größe, Übung, Öl und Straße: „Ja“, sagte Ärger.", "¿Qué? El niño comió piñas en España.",
    "Zażółć gęślą jaźń — łódź", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Привет, мир!", "Καλημέρα κόσμε",
    "你好，世界。", "日本語のテキスト", "한국어", "I ❤ it 😀👍 — “quoted” ‘single’ 5 £ ½ °C ©®™",
    "São Paulo, coração, avó", "Åse på båten, Ærø, Øl", "İstanbul’da güneş çok güzel",
    "Thủ đô Hà Nội có nhiều người", "שלום עולם", "مرحبا بالعالم", "−5 °C × 3 ± 2 → ∞",
]  # fmt: skip


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_in_many_languages_are_found_again_and_harmed_by_no_repair(sentence: str) -> None:
    assert repair(sentence) == Edited(sentence)
    assert repair(sentence.encode().decode("latin-1")).text == sentence
    # Windows-1252, and Latin-1 for the five bytes that it has no sign for: what browsers do
    signs = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in sentence.encode()]
    assert repair("".join(signs)).text == sentence


def test_what_is_edited_is_counted() -> None:
    assert repair("Ã© and Ã©\x00\ufffd\r\n").counts == {"mojibake": 2, "control": 1, "replacement": 1, "line_end": 1}
    assert STEPS["nfc"]("e\u0301") == Edited("é", {"nfc": 1})
    assert STEPS["nfkc"]("ﬁ") == Edited("fi", {"nfkc": 1})
    assert STEPS["email"]("a@b.cd a@b.cd").counts == {"email": 2}
    assert STEPS["c4_policy"]("Nothing.\nWe use cookies.\n").counts == {"policy": 1}
    assert STEPS["example_email"]("a@b.cd, c@d.ef, g@h.ij").text == (
        "email@example.com, firstname.lastname@example.org, email@example.com"
    )


AWKWARD = [
    "a", "a ", ".", "!", "!x", "-", "\n", "1", "1.", "283-", "(", "+1", "@", "a@", "a.", "a!", "[", "[1]", "]",
    "Ã", "Ãƒ", "ƒ", "é", "\u0301\u0323", "{", "\x00", "\ud800", "2001:", "2", "a'", "日", "the sea of ", "#",
    "\"", "!\"", "\r",
]  # fmt: skip


@pytest.mark.parametrize("piece", AWKWARD, ids=ascii)
def test_no_text_takes_time_that_grows_with_the_square_of_its_length(piece: str) -> None:
    text = (piece * 30_000)[:30_000] + "é x"  # what a pattern hoped for does not come
    start = time.process_time()
    for step in [*STEPS.values(), WORDS]:
        step(text)
    # One square of 30 thousand, at 5 ns: 4 s. Without any, all steps together take 0.2 s on a busy machine.
    assert time.process_time() - start < 2


@pytest.mark.slow
@pytest.mark.parametrize("piece", AWKWARD, ids=ascii)
def test_a_million_characters_take_seconds(piece: str) -> None:
    """A step that takes the square of the time would need hours."""
    text = (piece * 1_000_000)[:1_000_000]
    start = time.process_time()
    for step in [*STEPS.values(), WORDS]:
        step(text)
    assert time.process_time() - start < 30


def test_the_steps_travel_to_other_processes() -> None:
    for step in [*STEPS.values(), WORDS]:
        copy = pickle.loads(pickle.dumps(step))
        assert copy("A bad text.") == step("A bad text.")


def test_words_are_found_again_when_the_dictionary_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.data.lab.rules.split._MOST_STRETCHES", 3)
    first = Words("one two three four five")
    second = Words("five six, one")
    assert (first.strings(), second.strings()) == (["one", "two", "three", "four", "five"], ["five", "six", ",", "one"])
    assert Verdict(False, "gopher_short_doc", 3, 50) == STEPS["gopher_short_doc"]("five six, one")
