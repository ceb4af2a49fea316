"""A vocabulary with as many added tokens as that of Gemma 3, made from one with few, for benchmarks.tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ADDED_TOKENS = 6415
SOURCES = ("qwen2_5", "llama3", "smollm2", "gpt2")  # the first that is there
SENTENCE = "The quick brown fox jumps over the lazy dog."

Works = dict[str, tuple[Callable[[], Any], float]]


def write_vocabulary(data: Path, folder: Path) -> Path:
    """A tokenizer.json with ADDED_TOKENS, every second one special. FileNotFoundError if there is none to extend."""
    paths = [data / "tokenizers" / name / "tokenizer.json" for name in SOURCES]
    source = next((path for path in paths if path.is_file()), None)
    if source is None:
        raise FileNotFoundError(f"no tokenizer.json in {data / 'tokenizers'}")
    document = json.loads(source.read_bytes())
    added = document["added_tokens"]
    first = 1 + max(*document["model"]["vocab"].values(), *(token["id"] for token in added))
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    for i in range(ADDED_TOKENS - len(added)):
        added.append({"id": first + i, "content": f"<unused{i}>", "special": i % 2 == 0, **flags})
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def works_of(path: Path, text: str) -> dict[str, Works]:
    """What is measured -> library -> (function, megabytes of text)."""
    import tokenizers

    import tokenizer

    theirs, ours = tokenizers.Tokenizer.from_file(str(path)), tokenizer.load(path)
    lines = text.splitlines()
    size = len(text.encode()) / 1e6

    def encode(text: str) -> list[int]:
        return theirs.encode(text, add_special_tokens=False).ids

    def encode_batch(texts: list[str]) -> list[list[int]]:
        return [each.ids for each in theirs.encode_batch(texts, add_special_tokens=False)]

    chat = "".join(f"<unused{i}>user: hello there<unused{i + 1}>\n" for i in range(0, 6000, 2))
    return {
        "a sentence": {
            "tokenizers": (partial(encode, SENTENCE), len(SENTENCE) / 1e6),
            "ours": (partial(ours.encode, SENTENCE, allowed_special="all"), len(SENTENCE) / 1e6),
        },
        "lines, together": {
            "tokenizers": (partial(encode_batch, lines), size),
            "ours": (partial(ours.encode_batch, lines, allowed_special="all"), size),
        },
        "one text": {
            "tokenizers": (partial(encode, text), size),
            "ours": (partial(ours.encode, text, allowed_special="all"), size),
        },
        "a text full of added tokens": {
            "tokenizers": (partial(encode, chat), len(chat) / 1e6),
            "ours": (partial(ours.encode, chat, allowed_special="all"), len(chat) / 1e6),
        },
        "loading the file": {
            "tokenizers": (partial(tokenizers.Tokenizer.from_file, str(path)), path.stat().st_size / 1e6),
            "ours": (partial(tokenizer.load, path), path.stat().st_size / 1e6),
        },
    }
