"""Good files of every format, and ways to damage them: one value of the JSON is changed, bytes are cut or flipped."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

from tests.tokenizer.helpers import BERT, TEXT, every_kind, gguf_file, llama2c_file, model_file, pieces
from tokenizer import Tokenizer
from tokenizer.formats import tokenizer_json
from tokenizer.text.byte_alphabet import spell

Files = dict[str, bytes]  # the files of a folder, by name

# What a value of a JSON file may be replaced by: numbers at the edges of types, texts that mean something somewhere.
VALUES: list[Any] = [None, True, False, 0, 1, 5, -1, 255, 2**31, 2**63, 2**70, 10**400, 1.5, -0.0, 1e308, float("nan")]
VALUES += [
    float("inf"),
    "",
    " ",
    "x",
    "a" * 2000,
    "\ud800",
    "\0",
    "\u2581",
    "##",
    "<0x41>",
    "Ġ",
    "[UNK]",
    "{{ 1 // 0 }}",
]
VALUES += [
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "(",
    "(" * 3000,
    "(?r)a",
    "(a|a)*b",
    r"\p{",
    "a{1,9999999}",
]
VALUES += [[], [1], [None], ["x"], ["x", 1], [[]], [{}], {}, {"x": 1}, {"type": None}, {"type": "NFC"}, {"type": []}]
VALUES += [{"type": "Sequence"}, {"String": ""}, {"Regex": "(?R)*|a"}, {"Regex": r"\s+"}, {"content": "x"}, {"id": 0}]


def good_files() -> dict[str, Files]:
    """A folder of each format."""
    kinds = every_kind()
    trained = Tokenizer.train([TEXT], 300, pattern="gpt2")
    spelled = {spell(token or b""): i for i, token in enumerate(trained.tokens)}
    rows = [f"{spell(trained.tokens[a] or b'')} {spell(trained.tokens[b] or b'')}" for a, b in trained.merges]
    texts, scores, types = map(list, zip(*pieces()))
    ranks = b"".join(base64.b64encode(token or b"") + b" %d\n" % i for i, token in enumerate(trained.tokens))
    end = {"300": {"content": "<|x|>", "special": True}, "301": {"content": "<t>", "special": False, "rstrip": True}}
    chat = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": end, "add_prefix_space": False}
    settings |= {"chat_template": chat, "bos_token": {"content": "<|x|>"}, "eos_token": "<|x|>"}
    bert = {"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True, "chat_template": chat}
    chats = {"chat_template": [{"name": "default", "template": chat}, {"name": "tool_use", "template": chat}]}
    gpt2 = {"model": "gpt2", "pre": "gpt-2", "tokens": [*spelled, "<|x|>"], "token_type": [1] * len(spelled) + [3]}
    llama = {"model": "llama", "tokens": texts, "scores": scores, "token_type": types, "bos_token_id": 1}
    return {
        **{
            name: {"tokenizer.json": tokenizer_json.serialize(kinds[kind].record)}
            for name, kind in [("byte pairs", "byte pairs"), ("characters", "characters"), ("pieces", "WordPiece")]
        },
        "SentencePiece in JSON": {"tokenizer.json": tokenizer_json.serialize(kinds["SentencePiece in JSON"].record)},
        "many parts": {"tokenizer.json": json.dumps(many_parts(trained)).encode()},
        "tiktoken": {"r50k_base.tiktoken": ranks},
        "GPT-2": {"encoder.json": json.dumps(spelled).encode(), "vocab.bpe": "\n".join(rows).encode()},
        "Qwen": {
            "vocab.json": json.dumps(spelled).encode(),
            "merges.txt": "\n".join(["#version: 0.2", *rows]).encode(),
            "tokenizer_config.json": json.dumps(settings).encode(),
        },
        "BERT": {"vocab.txt": "\n".join(BERT).encode(), "tokenizer_config.json": json.dumps(bert).encode()},
        "BERT's list": {"vocab.json": json.dumps(BERT).encode(), "tokenizer_config.json": json.dumps(chats).encode()},
        "SentencePiece": {"tokenizer.model": model_file(pieces()), "chat_template.jinja": chat.encode()},
        "llama2.c": {"tok.bin": llama2c_file(pieces())},
        "GGUF of GPT-2": {"a.gguf": gguf_file({**gpt2, "merges": rows, "chat_template": chat})},
        "GGUF of Llama": {"a.gguf": gguf_file(llama)},
        "GGUF of BERT": {"a.gguf": gguf_file({"model": "bert", "tokens": BERT})},
    }


def many_parts(trained: Tokenizer) -> dict[str, Any]:
    """A tokenizer.json with a normalizer, a split, a template and added tokens of every kind."""
    document = json.loads(tokenizer_json.serialize(trained.record))
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    n = len(trained.tokens)
    names = {"<s>": "special", "<tool>": "normalized", "<w>": "single_word", "<l>": "lstrip"}
    document["added_tokens"] = [
        {"id": n + i, "content": c, **flags, flag: True} for i, (c, flag) in enumerate(names.items())
    ]
    steps = [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": "é"}, "content": "e"}, {"type": "Lowercase"}]
    document["normalizer"] = {"type": "Sequence", "normalizers": steps}
    split = {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}
    document["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [split, document["decoder"] | {"add_prefix_space": False}],
    }
    special = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    parts = [special, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    template = {
        "single": parts[:2],
        "pair": parts,
        "special_tokens": {"<s>": {"id": "<s>", "ids": [n], "tokens": ["<s>"]}},
    }
    document["post_processor"] = {
        "type": "Sequence",
        "processors": [document["decoder"], {"type": "TemplateProcessing", **template}],
    }
    return document


def change_value(data: bytes, choose: random.Random) -> bytes:
    """One value of the JSON is replaced by another, removed, or repeated under another name."""
    owner: Any = [json.loads(data)]
    document, key = owner, 0
    # Descend at random, so that the few values that say how to tokenize are hit as often as the many tokens.
    while isinstance(owner[key], (dict, list)) and owner[key] and choose.random() < 0.8:
        owner = owner[key]
        key = choose.choice(list(owner)) if isinstance(owner, dict) else choose.randrange(len(owner))
    way = choose.randrange(8)
    if way == 0 and owner is not document:
        del owner[key]
    elif way == 1 and isinstance(owner, dict):
        owner[choose.choice(["x", "type", "vocab", "content"])] = owner[key]
    else:
        owner[key] = choose.choice(VALUES)
    return json.dumps(document[0]).encode()


def flip_bit(data: bytes, choose: random.Random) -> bytes:
    at = choose.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << choose.randrange(8)]) + data[at + 1 :]


def replace_bytes(data: bytes, choose: random.Random) -> bytes:
    start, size = choose.randrange(len(data)), choose.randrange(1, 9)
    new = choose.choice([b"\xff", b"\0", b"\n", b"\x80", b"\xff\xff\xff\xff\xff\xff\xff\xff", choose.randbytes(size)])
    return data[:start] + new + data[start + choose.choice([0, len(new)]) :]


def cut(data: bytes, choose: random.Random) -> bytes:
    start = choose.randrange(len(data))
    return data[:start] + choose.choice([b"", data[start + choose.randrange(1, 20) :]])


WAYS: list[Callable[[bytes, random.Random], bytes]] = [change_value, flip_bit, replace_bytes, cut]


def damage(files: Files, choose: random.Random) -> Files:
    """One of the files is damaged in one way."""
    name = choose.choice(sorted(files))
    ways = WAYS * 2 if name.endswith(".json") else WAYS[1:]
    way = choose.choice([change_value, change_value, change_value, *ways] if name.endswith(".json") else ways)
    return {**files, name: way(files[name], choose)}
