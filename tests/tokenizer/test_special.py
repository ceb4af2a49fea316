"""A special token in a text is encoded as one only if the caller allows it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import BERT, byte_pairs, every_kind, spellings
from tokenizer import END_OF_TEXT, PADDING, UNKNOWN, AddedToken, BaseTokenizer, CharTokenizer, FormatError, Tokenizer
from tokenizer.formats import vocabularies
from tokenizer.formats.tokenizer_json import parse, serialize
from tokenizer.text.normalize import Lowercase

NAMES = [END_OF_TEXT, "<|end|>", "<|end|>more", "aba"]
TOKENIZER = Tokenizer.train(["abab <|endoftext|> <|end|>more" * 3], 300, NAMES)
CHARACTERS = CharTokenizer.train(["abc<|>endoftextmr "], NAMES)
KINDS = pytest.mark.parametrize("tokenizer", [TOKENIZER, CHARACTERS], ids=["byte pairs", "characters"])
texts = st.lists(st.sampled_from([*NAMES, "ab", "a", "<|", " "])).map("".join)


def split_textbook(text: str, names: list[str]) -> list[str]:
    """At each position the longest name that begins there; what is between is ordinary."""
    pieces, ordinary = [], ""
    while text:
        name = max((name for name in names if text.startswith(name)), key=len, default="")
        if name:
            pieces += [ordinary, name]
            ordinary = ""
        else:
            ordinary += text[0]
        text = text[len(name) or 1 :]
    return [*pieces, ordinary]


@KINDS
@given(text=texts, allowed=st.lists(st.sampled_from(NAMES), unique=True))
def test_allowed_names_become_their_ids(tokenizer: Tokenizer, text: str, allowed: list[str]) -> None:
    expected = []
    for piece in split_textbook(text, allowed):
        expected += [tokenizer.special_tokens[piece]] if piece in allowed else tokenizer.encode_ordinary(piece)
    assert tokenizer.encode(text, allowed_special=allowed, disallowed_special=()) == expected
    assert tokenizer.decode(expected) == text


@KINDS
@given(text=texts)
def test_ordinary_text_never_becomes_a_special_token(tokenizer: Tokenizer, text: str) -> None:
    assert not set(tokenizer.encode_ordinary(text)) & set(tokenizer.special_tokens.values())


@KINDS
def test_the_longest_name_wins(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|end|>more", allowed_special="all") == [tokenizer.special_tokens["<|end|>more"]]
    assert (
        tokenizer.encode("<|end|>more", allowed_special=["<|end|>"], disallowed_special=())[0]
        == tokenizer.special_tokens["<|end|>"]
    )


def test_named_specials() -> None:
    tokenizer = Tokenizer.train([""], 300, [PADDING, END_OF_TEXT])
    assert (tokenizer.padding, tokenizer.end_of_text, tokenizer.unknown) == (0, 1, None)
    assert CharTokenizer.train(["ab"], [UNKNOWN]).unknown == 0


@KINDS
@pytest.mark.parametrize(
    ("allowed", "message"),
    [(END_OF_TEXT, 'collection of names or "all"'), (["<|nope|>"], "'<|nope|>' is not a special token of this")],
)
def test_a_wrong_choice_is_refused(tokenizer: Tokenizer, allowed: object, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("|", r"\|")):
        tokenizer.encode("a", allowed_special=allowed)  # type: ignore[arg-type]


# Added tokens, and those that are refused


@pytest.mark.parametrize(
    ("options", "text", "tokens"),
    [
        ({}, "a <t> b", ["a", " ", "<t>", " ", "b"]),
        ({"lstrip": True}, "a <t> b", ["a", "<t>", " ", "b"]),
        ({"rstrip": True}, "a <t> \n b", ["a", " ", "<t>", "b"]),
        ({"lstrip": True, "rstrip": True}, "<t> <t>", ["<t>", "<t>"]),
        ({"single_word": True}, "a<t> <t>b -<t>.", [*"a<t>", " ", *"<t>b", " ", "-", "<t>", "."]),
    ],
)
def test_how_an_added_token_is_found(options: dict, text: str, tokens: list[str]) -> None:
    trained = Tokenizer.train([""], 256)
    added = [AddedToken("<t>", 256, special=False, **options)]
    tokenizer = byte_pairs([*trained.tokens, b"<t>"], [], added)
    assert [tokenizer.decode([i]) for i in tokenizer.encode(text)] == tokens
    assert tokenizer.encode_with_offsets(text)[0] == tokenizer.encode_ordinary(text) == tokenizer.encode(text)


def test_an_added_token_is_no_piece_of_a_word() -> None:
    """The model of a file uses its own vocab only: an added token is found as a whole, before it, or not at all."""
    document = json.loads(serialize(vocabularies.parse_word_pieces(BERT, {})))
    document["added_tokens"].append({"id": 17, "content": "x", "special": False})
    found = BaseTokenizer.of(parse(document))
    assert spellings(found, "thex cat") == ["the", "x", "cat"]
    document["added_tokens"][-1]["single_word"] = True
    alone = BaseTokenizer.of(parse(document))
    assert spellings(alone, "thex X xs x") == ["[UNK]", "[UNK]", "[UNK]", "x"]
    assert BaseTokenizer.of(parse(json.loads(serialize(alone.record)))) == alone
    document["model"]["vocab"]["x"] = 17
    assert spellings(BaseTokenizer.of(parse(document)), "thex X xs x") == ["[UNK]", "x", "x", "##s", "x"]


def with_merges_to_specials(kind: str, names: list[str], **options: bool) -> dict:
    """A tokenizer.json whose merges make the special tokens `names`, of the letter c only, from left to right."""
    document = json.loads(serialize(every_kind()[kind].record))
    added, model = document["added_tokens"], document["model"]
    id_of = model["vocab"] | {token["content"]: token["id"] for token in added}
    id_of |= {"c" * n: len(id_of) + n - 2 for n in range(2, 6)}
    made = [f"{'c' * n} c" for n in range(1, 5)]
    if isinstance(model["merges"][0], list):
        made = [merge.split(" ") for merge in made]
    model |= {"vocab": id_of, "merges": model["merges"] + made}
    added += [{"id": id_of[name], "content": name, "special": True, **options} for name in names]
    return document


@pytest.mark.parametrize("kind", ["byte pairs", "SentencePiece in JSON"])
def test_merges_make_no_special_token(kind: str) -> None:
    found: Any = BaseTokenizer.of(parse(with_merges_to_specials(kind, ["ccccc"])))
    assert spellings(found, "ccccc", allowed_special="all") == ["ccccc"]
    assert spellings(found, "ccccc", disallowed_special=())[-2:] == ["cc", "ccc"]
    assert BaseTokenizer.of(parse(json.loads(serialize(found.record)))) == found
    assert found != BaseTokenizer.of(parse(with_merges_to_specials(kind, [])))
    for names, options in (["cccc"], {}), (["ccccc"], {"single_word": True}):
        with pytest.raises(FormatError, match=f"merges that make the special token '{names[0]}'"):
            parse(with_merges_to_specials(kind, names, **options))


def test_a_special_token_that_is_plain_text_hides_no_other() -> None:
    """`tokenizers` differs: it finds no "a" in "<a>" even if that is to be plain text."""
    trained = Tokenizer.train([""], 256)
    added = [AddedToken("<a>", 256), AddedToken("a", 257, special=False)]
    tokenizer = byte_pairs([*trained.tokens, b"<a>", b"a"], [], added)
    assert tokenizer.encode("<a>a", allowed_special="all") == [256, 257]
    assert tokenizer.encode_ordinary("<a>a") == [*trained.encode("<"), 257, *trained.encode(">"), 257]


def test_white_space_belongs_to_one_token_only() -> None:
    trained = Tokenizer.train([""], 256)
    added = [AddedToken("\n", 256, special=False, lstrip=True, rstrip=True)]
    tokenizer = byte_pairs([*trained.tokens, b"\n"], [], added)
    letters = trained.encode("ab")
    assert tokenizer.encode_with_offsets("a \n \n\nb\n") == (
        [letters[0], 256, letters[1], 256],
        [(0, 1), (1, 6), (6, 7), (7, 8)],
    )


def test_a_normalized_token_is_found_in_normalized_text() -> None:
    trained = Tokenizer.train([""], 256)
    for normalized, ids in (True, [256]), (False, trained.encode("e")):
        added = [AddedToken("E", 256, special=False, normalized=normalized)]
        tokenizer = byte_pairs([*trained.tokens, b"E"], [], added, normalizer=Lowercase())
        assert tokenizer.encode("e") == ids


@KINDS
def test_a_special_token_that_is_not_allowed_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(
        ValueError, match=r"contains the special token '<\|end\|>' at character 1: pass allowed_special="
    ):
        tokenizer.encode("a<|end|>", disallowed_special=["<|end|>"])
    with pytest.raises(ValueError, match="contains the special token"):
        tokenizer.encode("a<|endoftext|>")
    with pytest.raises(ValueError, match="contains the special token 'ab'"):
        tokenizer.encode("cab", disallowed_special=["ab"])  # any text can be disallowed, as in tiktoken
    with pytest.raises(ValueError, match="disallowed_special is a collection"):
        tokenizer.encode("a", disallowed_special="<|end|>")
    assert tokenizer.encode("a<|end|>", allowed_special=["<|end|>"]) == [
        *tokenizer.encode("a"),
        tokenizer.special_tokens["<|end|>"],
    ]
