"""The format of a file is recognised by its content; a damaged or unknown file is refused by name."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import BERT, TEXT, byte_pairs, gguf_file, llama2c_file, model_file, pieces, spellings
from tokenizer import BaseTokenizer, FormatError, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer, load
from tokenizer.bpe.merge_table import last_parts, merges_of_ranks
from tokenizer.formats import gguf
from tokenizer.text.byte_alphabet import spell

TRAINED = Tokenizer.train([TEXT], 300, pattern="gpt2")
RANKS = b"".join(base64.b64encode(token or b"") + b" %d\n" % i for i, token in enumerate(TRAINED.tokens))
SPELLED = {spell(token or b""): i for i, token in enumerate(TRAINED.tokens)}
MERGES = "#version: 0.2\n" + "".join(
    f"{spell(TRAINED.tokens[a] or b'')} {spell(TRAINED.tokens[b] or b'')}\n" for a, b in TRAINED.merges
)
VOCAB = json.dumps(SPELLED).encode()
WITH_END = json.dumps(SPELLED | {"<|endoftext|>": 300}).encode()
GPT2: dict[str, Any] = {
    "model": "gpt2",
    "pre": "gpt-2",
    "tokens": [*SPELLED, "<|x|>", "unused", "<t>"],
    "token_type": [1] * len(SPELLED) + [3, 5, 4],
    "merges": MERGES.splitlines()[1:],
    "eos_token_id": len(SPELLED),
}
TEXTS, SCORES, TYPES = map(list, zip(*pieces()))
LLAMA: dict[str, Any] = {"model": "llama", "tokens": TEXTS, "scores": SCORES, "token_type": TYPES}


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


@pytest.mark.parametrize(
    ("files", "options", "kind"),
    [
        ({"tokenizer.model": model_file(pieces())}, {}, SentencePieceTokenizer),
        ({"tokenizer.model": RANKS}, {"pattern": "gpt2"}, Tokenizer),
        ({"any.tiktoken": RANKS}, {"pattern": "gpt2"}, Tokenizer),
        ({"r50k_base.tiktoken": RANKS}, {"special_tokens": ["<|endoftext|>"]}, Tokenizer),
        ({"p50k_base.tiktoken": RANKS}, {"special_tokens": {"<|endoftext|>": 400}}, Tokenizer),
        ({"encoder.json": VOCAB, "vocab.bpe": MERGES}, {}, Tokenizer),
        ({"vocab.json": WITH_END, "merges.txt": MERGES}, {}, Tokenizer),
        ({"vocab.json": VOCAB, "merges.txt": MERGES}, {"special_tokens": {"<|x|>": 300}}, Tokenizer),
        ({"vocab.txt": "\n".join(BERT)}, {}, WordPieceTokenizer),
        ({"tok.bin": llama2c_file(pieces())}, {}, SentencePieceTokenizer),
        ({"model.gguf": gguf_file(GPT2)}, {}, Tokenizer),
        ({"model.gguf": gguf_file(LLAMA)}, {}, SentencePieceTokenizer),
        ({"model.gguf": gguf_file({"model": "bert", "tokens": BERT})}, {}, WordPieceTokenizer),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_folder_or_its_file_is_recognised(files: dict, options: dict, kind: type, tmp_path: Path) -> None:
    folder = write(tmp_path, files)
    tokenizer = load(folder, **options)
    assert type(tokenizer) is kind
    assert all(load(folder / name, **options) == tokenizer for name in files)
    if kind is Tokenizer:
        assert tokenizer.encode_ordinary(TEXT) == TRAINED.encode(TEXT)
        for name, i in tokenizer.special_tokens.items():
            assert tokenizer.encode(name, allowed_special="all") == [i]


@pytest.mark.parametrize("names", [["<|x|>"], ["<|x|>", "Ġmat"], [], {"<|x|>": 300, "<|y|>": 305}])
def test_special_tokens_are_given_by_name_or_with_their_ids(names: Any, tmp_path: Path) -> None:
    vocab = SPELLED | {"<|x|>": 300}
    write(tmp_path, {"vocab.json": json.dumps(vocab), "merges.txt": MERGES})
    tokenizer = load(tmp_path, special_tokens=names)
    assert tokenizer.special_tokens == {
        name: {**vocab, **names}[name] if isinstance(names, dict) else vocab[name] for name in names
    }
    for name, i in tokenizer.special_tokens.items():
        assert tokenizer.encode(name, allowed_special="all") == [i]


@pytest.mark.parametrize("name", ["words.json", "words.txt"])
def test_vocabularies_of_bert(name: str, tmp_path: Path) -> None:
    marked = [piece[2:] if piece.startswith("##") else piece if piece[0] == "[" else "▁" + piece for piece in BERT]
    for data in (
        json.dumps(BERT),
        json.dumps({piece: i for i, piece in enumerate(BERT)}),
        json.dumps(marked),
        "\n".join(BERT),
    ):
        if name == "words.txt" or "\n" not in data:
            tokenizer = load(write(tmp_path, {name: data}) / name)
            assert spellings(tokenizer, "Cats sat.") == ["cat", "##s", "sa", "##t", "."]
    assert tokenizer.encode("the", add_special_tokens=True) == [2, 5, 3]


def test_settings_of_bert_are_used(tmp_path: Path) -> None:
    write(tmp_path, {"vocab.txt": "\n".join(BERT), "tokenizer_config.json": '{"do_lower_case": false}'})
    assert spellings(load(tmp_path), "the The") == ["the", "[UNK]"]


@pytest.mark.parametrize("name", ["tokenizer_class", "do_lower_case", "strip_accents", "chat_template"])
def test_a_setting_of_null_says_nothing(name: str, tmp_path: Path) -> None:
    for files in (SURROUNDED, {"vocab.txt": "\n".join(BERT)}):
        folder = tmp_path / "-".join(files)
        folder.mkdir()
        plain = load(write(folder, files))
        assert load(write(folder, {"tokenizer_config.json": json.dumps({name: None})})) == plain


def test_a_byte_level_vocabulary_may_learn_the_mark_of_ends_of_words(tmp_path: Path) -> None:
    """Its merges make `</w>` from bytes, as from any other text."""
    trained = Tokenizer.train(["<w>a</w><w>b</w>" * 9], 270, pattern=r"[\s\S]+")
    spelled = {spell(token or b""): i for i, token in enumerate(trained.tokens)}
    assert any(spelling.endswith("</w>") for spelling in spelled)
    merges = "\n".join(
        f"{spell(trained.tokens[a] or b'')} {spell(trained.tokens[b] or b'')}" for a, b in trained.merges
    )
    own = load(write(tmp_path, {"vocab.json": json.dumps(spelled), "merges.txt": merges}), pattern=r"[\s\S]+")
    assert own.encode("<w>a</w>") == trained.encode("<w>a</w>")


def test_the_empty_token_of_whisper(tmp_path: Path) -> None:
    """The last line of its multilingual.tiktoken is `= 50256`: a token without bytes, which no text is encoded as."""
    for name in ("multilingual.tiktoken", "tokenizer.model"):
        folder = tmp_path / name
        folder.mkdir()
        path = folder / name
        path.write_bytes(RANKS + b"= 300\n")
        tokenizer = load(path, pattern="gpt2", special_tokens=["<|x|>"])
        assert (tokenizer.tokens[300], tokenizer.special_tokens) == (b"", {"<|x|>": 301})
        assert tokenizer.encode_array(TEXT * 50).tolist() == TRAINED.encode(TEXT * 50)
        assert tokenizer.decode([300, *TRAINED.encode("the"), 300]) == "the"
        ids = np.array([300, *TRAINED.encode(TEXT), 300] * 9)
        assert tokenizer.decode_bytes(ids) == TEXT.encode() * 9
        tokenizer.save(folder / "again.tiktoken")
        assert load(folder / "again.tiktoken", pattern="gpt2", special_tokens=["<|x|>"]) == tokenizer
        tokenizer.save(folder / "again.json")
        assert load(folder / "again.json").tokens == tokenizer.tokens


def test_settings_with_a_surrogate_are_saved(tmp_path: Path) -> None:
    tokenizer = load(write(tmp_path, SURROUNDED | {"tokenizer_config.json": json.dumps({"name": "\ud800"})}))
    (tmp_path / "new").mkdir()
    tokenizer.save(tmp_path / "new")
    assert load(tmp_path / "new").settings == {"name": "\ud800"}


def test_padding_and_truncation_are_left_out_with_a_word(tmp_path: Path) -> None:
    """sentence-transformers saves them. They change no id of a text that fits."""
    TRAINED.save(tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    more = {"padding": {"strategy": "BatchLongest", "pad_id": 0}, "truncation": {"max_length": 8, "stride": 0}}
    for names in (["padding"], ["truncation"], ["truncation", "padding"]):
        (tmp_path / "tokenizer.json").write_text(json.dumps(document | {name: more[name] for name in names}))
        with pytest.warns(UserWarning, match=f"the {' and '.join(names)} of a tokenizer.json is left out"):
            assert load(tmp_path) == TRAINED


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"padding": {"strategy": "BatchLongest"}}))
    command = [sys.executable, "-m", "tokenizer", "inspect", "-t", str(path), "--text", "a"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith("tokenizer: the padding of a tokenizer.json is left out")
    assert result.stderr.count("\n") == 1


def test_a_refusal_names_the_first_part_that_is_not_supported(tmp_path: Path) -> None:
    TRAINED.save(tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    byte_level = document["decoder"]
    digits = {"type": "Digits", "individual_digits": False}
    split = {"type": "Split", "pattern": {"Regex": "[0-9]{3}"}, "behavior": "Isolated", "invert": False}
    falcon = [{"type": "Punctuation", "behavior": "Contiguous"}, byte_level, digits, split]
    words = {"type": "WordLevel", "vocab": {"[UNK]": 0, "hello": 1}, "unk_token": "[UNK]"}
    quick_tour = {"pre_tokenizer": {"type": "Whitespace"}, "decoder": None}
    changes: list[tuple[dict, str]] = [
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": falcon}}, 'pre_tokenizer = {"type": "Punctuation"'),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": falcon[1:]}}, 'pre_tokenizer = {"type": "ByteLevel"'),
        (quick_tour, 'pre_tokenizer.type = "Whitespace"'),
        ({"decoder": None}, 'decoder = null, which gives no text back: {"type": "ByteLevel"} does'),
        ({"model": words, **quick_tour}, 'a model of type "WordLevel" and a pre_tokenizer that makes words'),
        (
            {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}},
            'a model of type "Unigram", which is not supported (BPE',
        ),
    ]
    for change, message in changes:
        (tmp_path / "tokenizer.json").write_text(json.dumps(document | change))
        with pytest.raises(FormatError) as caught:
            load(tmp_path)
        assert message in str(caught.value)


def test_settings_say_which_tokens_are_added_and_how_text_is_split(tmp_path: Path) -> None:
    added = {"300": {"content": "<|x|>", "special": True}, "301": {"content": "<t>", "special": False, "rstrip": True}}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    write(tmp_path, {"vocab.json": VOCAB, "merges.txt": MERGES, "tokenizer_config.json": json.dumps(settings)})
    tokenizer = load(tmp_path)
    assert tokenizer.encode("<t>  a<|x|>", allowed_special=["<|x|>"]) == [301, *TRAINED.encode("a"), 300]
    assert (tokenizer.pattern, tokenizer.normalizer.form) == ("qwen2", "NFC")


SURROUNDED = {"vocab.json": VOCAB, "merges.txt": MERGES}
WRONG: list[dict[str, Any]] = [
    *({"tokenizer_class": value} for value in (5, [], {}, True)),
    *({name: value} for name in ("do_lower_case", "strip_accents", "add_prefix_space") for value in ([], 1, "yes", {})),
    *({"chat_template": value} for value in ([1], 5, {}, [{"name": "x"}], [{"name": 1, "template": "x"}], "\ud800")),
    *({"added_tokens_decoder": value} for value in (5, [1], {"x": {}}, {"1": 5}, {"1" * 5000: {}}, {"-1": {}})),
]
# Words of CLIP and GPT-1 end in "</w>": letters at the ends of words are tokens of their own, as bytes are.
ENDS = SPELLED | {spelling + "</w>": 300 + i for i, spelling in enumerate(["a", "b", "ab"])}
CLIP: list[dict] = [
    {"vocab.json": json.dumps(ENDS), "merges.txt": "#version: 0.2\na b</w>\n"},
    {"vocab.json": json.dumps(SPELLED | {"a</w>": 300}), "merges.txt": MERGES},
    {"encoder.json": json.dumps(ENDS), "vocab.bpe": "a b</w>\n"},
]
TEKKEN = json.dumps({"config": {"pattern": "."}, "vocab": [{"rank": 0, "token_bytes": "AA=="}], "special_tokens": []})
REFUSED: list[tuple[dict, dict, str]] = [
    ({"vocab.json": json.dumps([*BERT, 5])}, {}, "contains something that is not text"),
    ({"vocab.json": json.dumps([*BERT, None])}, {}, "contains something that is not text"),
    ({"any.tiktoken": RANKS}, {}, "give pattern=, or name the file after one of gpt2, r50k_base, p50k_base"),
    ({"r50k_base.tiktoken": RANKS[:-5]}, {}, "line 300 is not a token"),
    ({"r50k_base.tiktoken": b"!! 3\n"}, {}, "line 1 is not a token"),
    ({"r50k_base.tiktoken": RANKS.replace(b" 7\n", b" 8\n")}, {}, "the same rank"),
    ({"r50k_base.tiktoken": RANKS.replace(b"IQ== 0\n", b"")}, {}, "no token for the byte 0x21"),
    ({"r50k_base.tiktoken": RANKS}, {"special_tokens": {"<|x|>": 3}}, "has a token with the id 3"),
    (
        {"tokenizer_config.json": "[]", "r50k_base.tiktoken": RANKS},
        {},
        "tokenizer_config.json is not a table of settings",
    ),
    (
        {"tokenizer_config.json": "{", "r50k_base.tiktoken": RANKS},
        {},
        "tokenizer_config.json is damaged: it is not JSON",
    ),
    (
        {"chat_template.jinja": b"\xff", "r50k_base.tiktoken": RANKS},
        {},
        "chat_template.jinja is damaged: it is not text",
    ),
    (
        {"r50k_base.tiktoken": RANKS},
        {"special_tokens": {"<|x|>": -1}},
        "cannot give the special token '<|x|>' the id -1",
    ),
    ({"r50k_base.tiktoken": RANKS}, {"special_tokens": {"<|x|>": 10**9}}, "the id 1000000000"),
    (
        {"a.tiktoken": RANKS, "b.tiktoken": RANKS},
        {"pattern": "gpt2"},
        "holds several vocabularies, such as a.tiktoken and b",
    ),
    (SURROUNDED | {"merges.txt": MERGES + "zz zz\n"}, {}, 'the merge "zz zz" is not a pair'),
    (SURROUNDED | {"merges.txt": b"\xff\n"}, {}, "not text in UTF-8"),
    (SURROUNDED, {"special_tokens": ["<|x|>"]}, "has no token '<|x|>'"),
    (SURROUNDED | {"tokenizer_config.json": '{"tokenizer_class": "CLIPTokenizer"}'}, {}, "belongs to a CLIPTokenizer"),
    ({"vocab.txt": "the\n[UNK]\n"}, {}, "it has no [CLS]"),
    *(
        (SURROUNDED | {"tokenizer_config.json": json.dumps(wrong)}, {}, f"asks for {next(iter(wrong))} = ")
        for wrong in WRONG
    ),
    *((clip, options, "marked ends of words") for clip in CLIP for options in ({}, {"pattern": "gpt2"})),
    ({"tekken.json": TEKKEN}, {}, "is a tekken.json of Mistral"),
    ({"tokenizer.model": model_file(pieces())}, {"pattern": "gpt2"}, "leave out pattern and special_tokens"),
    ({"tokenizer.model": b"\x00\x01\x02"}, {}, "is not a vocabulary in a known format"),
    ({"tokenizer.model": b""}, {}, "is not a vocabulary in a known format"),
    ({"tok.bin": llama2c_file(pieces())[:-1]}, {}, "it ends within its token"),
    ({"a.gguf": gguf_file(GPT2)}, {"pattern": "gpt2"}, "leave out pattern and special_tokens"),
    (
        {"a.gguf": gguf_file(GPT2 | {"model": "t5"})},
        {},
        "asks for tokenizer.ggml.model = 't5', which is not supported (gpt2, llama",
    ),
    (
        {"a.gguf": gguf_file(GPT2 | {"pre": "kimi-k2"})},
        {},
        "asks for tokenizer.ggml.pre = 'kimi-k2', which is not supported (gpt-2, ",
    ),
    ({"a.gguf": gguf_file(GPT2 | {"pre": ["gpt-2"]})}, {}, "asks for tokenizer.ggml.pre = ['gpt-2'], which"),
    ({"a.gguf": gguf_file(GPT2 | {"merges": ["a b c"]})}, {}, 'the merge "a b c" is not a pair'),
    ({"a.gguf": gguf_file(GPT2 | {"tokens": [1, 2]})}, {}, "its tokens are not a list of texts"),
    (
        {"a.gguf": gguf_file(GPT2 | {"token_type": [1, 2]})},
        {},
        "its token_type is not a list with one number for each of its 303",
    ),
    ({"a.gguf": gguf_file(LLAMA | {"scores": "?"})}, {}, "its scores is not a list"),
    ({"a.gguf": b"GGUF\x01\0\0\0"}, {}, "is GGUF of version 1"),
    ({"a.gguf": gguf_file(GPT2).replace(b"pre\x08", b"pre\x0f")}, {}, "it has a value of the unknown kind 15"),
    ({"a.gguf": gguf_file(GPT2).replace(b"<|x|>", b"<|\xff|>")}, {}, "is not UTF-8"),
]


@pytest.mark.parametrize(("files", "options", "message"), REFUSED)
def test_errors_name_the_file_and_the_problem(files: dict, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        load(write(tmp_path, files) / ("tekken.json" if "tekken.json" in files else ""), **options)
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)


def test_the_settings_of_a_gguf_file(tmp_path: Path) -> None:
    own = load(write(tmp_path, {"a.gguf": gguf_file(GPT2 | {"bos_token_id": 300, "add_bos_token": True})}) / "a.gguf")
    assert own.encode("<t>the<|x|>", allowed_special=["<|x|>"], add_special_tokens=True) == [
        300,
        302,
        *TRAINED.encode("the"),
        300,
    ]
    assert own.settings == {"bos_token": "<|x|>", "eos_token": "<|x|>"}
    assert own.tokens[301] is None
    model = load(write(tmp_path, {"a.model": model_file(pieces())}) / "a.model")
    assert load(write(tmp_path, {"b.gguf": gguf_file(LLAMA | {"bos_token_id": 1})}) / "b.gguf") == model


@given(st.data(), st.sampled_from([gguf_file(GPT2), gguf_file(LLAMA)]))
def test_a_truncated_gguf_file_is_damaged(data: st.DataObject, whole: bytes) -> None:
    with pytest.raises(FormatError, match="is damaged: it ends within its table"):
        gguf.parse(whole[: data.draw(st.integers(4, len(whole) - 65))])


def test_the_name_decides_the_format_that_is_written(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "my.tiktoken")
    again = load(tmp_path / "my.tiktoken", pattern="gpt2")
    assert (again.tokens, again.merges) == (TRAINED.tokens, TRAINED.merges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"merges": TRAINED.merges[::-1]}, "not in the order of its ids"),
        ({"merges": TRAINED.merges[1:]}, "not in the order of its ids"),
        ({"tokens": [None, *TRAINED.tokens[1:]]}, "not every byte is a token"),
    ],
)
def test_what_tiktoken_would_read_differently_is_not_written(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        BaseTokenizer.of(TRAINED.record._replace(**change)).save(tmp_path / "my.tiktoken")
    with pytest.raises(ValueError, match="only byte-level tokenizers"):
        load(write(tmp_path, {"tok.bin": llama2c_file(pieces())})).save(tmp_path / "my.tiktoken")


# Merges from ranks


@given(st.text("ab ", max_size=60), st.integers(0, 30))
def test_the_merges_of_ranks_are_those_that_were_learned(text: str, merges: int) -> None:
    trained = Tokenizer.train([text], 256 + merges, pattern="gpt2")
    rank_of = {token: i for i, token in enumerate(trained.tokens) if token is not None}
    if len(trained.merges) == len({trained.tokens[a] + trained.tokens[b] for a, b in trained.merges}):  # type: ignore[operator]
        assert merges_of_ranks(rank_of) == trained.merges


def textbook(data: bytes, rank_of: dict[bytes, int]) -> list[int]:
    """tiktoken's rule: join the neighbours that are the token of the lowest rank."""
    parts = [data[i : i + 1] for i in range(len(data))]
    while pairs := [(rank_of[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in rank_of]:
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [rank_of[part] for part in parts]


WORDS = st.binary(min_size=2, max_size=5).map(lambda data: bytes(byte % 3 + 97 for byte in data))


@given(st.lists(WORDS, unique=True, max_size=12), st.text("abc", min_size=1, max_size=14))
def test_any_ranks_give_the_ids_of_tiktokens_rule(words: list[bytes], text: str) -> None:
    tokens = [*(bytes([byte]) for byte in range(256)), *words]
    rank_of = {token: i for i, token in enumerate(tokens)}
    merges = merges_of_ranks(rank_of)
    expected = [rank_of[text.encode()]] if text.encode() in rank_of else textbook(text.encode(), rank_of)
    for own in (
        byte_pairs(tokens, None, pattern=r"[\s\S]+", ignore_merges=True),
        byte_pairs(tokens, merges, pattern=r"[\s\S]+", ignore_merges=True),
    ):
        assert own.encode(text) == expected
        assert own.merges == merges
    assert all(b"".join(last_parts(word, rank_of)) == word for word in words)
