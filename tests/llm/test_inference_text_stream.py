"""Text and tokens as a stream: nothing that was shown is taken back, and nothing of a stop string is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm.inference.engine.requests import Token
from llm.inference.engine.text_stream import Piece, TextStream
from tokenizer import Tokenizer

BYTES = Tokenizer.train(["low lower lowest ÄÖ 🐢🐢 stop"], vocab_size=270)
TEXTS = st.text(st.sampled_from("abs top.ÄÖ🐢"), max_size=20)


def pieces(ids: list[int], stop: list[str]) -> list[Piece]:
    stream = TextStream(BYTES, stop, mid_text=True)
    shown = []
    for id in ids:
        shown.append(stream.feed([Token(id)]))
        if stream.found_stop:
            break
    return [*shown, stream.finish()]


@given(TEXTS, st.lists(st.sampled_from(["stop", "to", "Ä", "p.", "🐢s", "aaa"]), max_size=2))
def test_the_text_ends_before_the_stop_string_that_is_complete_first(text: str, stop: list[str]) -> None:
    shown = "".join(piece.text for piece in pieces(BYTES.encode(text), stop))
    ends = sorted((end, -len(s)) for s in stop for end in range(len(text) + 1) if text[:end].endswith(s))
    assert shown == (text[: ends[0][0] + ends[0][1]] if ends else text)


@given(TEXTS, st.lists(st.sampled_from(["stop", "to", "Ä", "p."]), max_size=2))
def test_tokens_are_shown_with_their_text(text: str, stop: list[str]) -> None:
    ids = BYTES.encode(text)
    shown = pieces(ids, stop)
    for number in range(len(shown) + 1):
        tokens = [token.id for piece in shown[:number] for token in piece.tokens]
        assert tokens == ids[: len(tokens)]
        known = "".join(piece.text for piece in shown[:number]).encode()
        # A token is never shown before its text. It may begin a character that the next token completes.
        assert known.startswith(BYTES.decode_bytes(tokens)[: len(known)])
        assert len(BYTES.decode_bytes(tokens)) <= len(known) + 3
    if not stop:
        assert [token.id for piece in shown for token in piece.tokens] == ids


def test_of_a_stop_string_neither_text_nor_tokens_are_shown() -> None:
    shown = pieces(BYTES.encode("abs") + BYTES.encode("to") + BYTES.encode("p."), ["stop"])
    assert "".join(piece.text for piece in shown) == "ab"
    tokens = [token.id for piece in shown for token in piece.tokens]
    assert BYTES.decode(tokens) == "ab"


def test_a_character_that_is_never_completed() -> None:
    broken = BYTES.encode_bytes("🐢".encode()[:2])
    assert [piece.text for piece in pieces(broken, [])] == [""] * len(broken) + ["\N{REPLACEMENT CHARACTER}"]
    assert len(pieces(broken, [])[-1].tokens) == len(broken)
