"""Recorded ids of real vocabularies, in every format in which these exist."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.tokenizer.helpers import load, spellings

GOLDEN = [  # the name in golden.json, the file or folder
    ("r50k_base", "r50k_base.tiktoken"),
    ("cl100k_base", "cl100k_base.tiktoken"),
    ("o200k_base", "o200k_base.tiktoken"),
    ("r50k_base", "gpt2/encoder.json"),
    ("r50k_base", "gpt2/vocab.bpe"),
    ("hf:gpt2", "gpt2"),
    ("hf:llama3", "llama3"),
    ("hf:qwen2_5", "qwen2_5"),
    ("hf:smollm", "smollm2"),
    ("sp:llama2", "llama2"),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "path"), GOLDEN)
def test_recorded_ids(shared_data: Path, name: str, path: str) -> None:
    tokenizer = load(shared_data / "tokenizers" / path)
    golden = json.loads((shared_data / "tokenizers" / "golden.json").read_text(encoding="utf-8"))
    for text, ids in zip(golden["strings"], golden["enc"][name], strict=True):
        encoded = (
            tokenizer.encode(text, allowed_special="all") if name.startswith("hf:") else tokenizer.encode_ordinary(text)
        )
        assert encoded == ids
        assert tokenizer.decode(ids) == (tokenizer.normalizer(text) if name == "hf:qwen2_5" else text)


@pytest.mark.shared
def test_a_recorded_story(shared_data: Path) -> None:
    tokenizer = load(shared_data / "stories260K" / "tok512.bin")
    ids = np.load(shared_data / "stories260K" / "golden_hf.npz")["greedy"].tolist()
    story = (shared_data / "stories260K" / "golden_t0_n200_once_upon_a_time.txt").read_text(encoding="utf-8")
    assert story.strip().startswith(tokenizer.decode(ids, skip_special_tokens=True)[:400])
    assert tokenizer.encode(tokenizer.decode(ids[1:]), add_special_tokens=True)[:20] == ids[:20]


@pytest.mark.shared
def test_recorded_ids_of_bert(shared_data: Path) -> None:
    """The ids are those of `bert-base-uncased` for the examples of its paper's code."""
    tokenizer = load(shared_data / "tokenizers" / "bert" / "bert-base-uncased.vocab.json")
    assert spellings(tokenizer, "UNaffable Héllo,\x00 推!") == ["una", "##ffa", "##ble", "hello", ",", "[UNK]", "!"]
    assert tokenizer.encode("hello world", add_special_tokens=True) == [101, 7592, 2088, 102]
    assert tokenizer.encode_pair("hello", "world") == [101, 7592, 102, 2088, 102]
    assert tokenizer.decode([101, 7592, 2088, 102], skip_special_tokens=True) == "hello world"
    assert (tokenizer.padding, tokenizer.unknown, tokenizer.end_of_text) == (0, 100, 102)


@pytest.mark.shared
def test_known_encodings_have_their_special_tokens(shared_data: Path) -> None:
    folder = shared_data / "tokenizers"
    names = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260, "<|endofprompt|>": 100276}
    cl100k = load(folder / "cl100k_base.tiktoken")
    assert cl100k.special_tokens == {"<|endoftext|>": 100257, **names}
    assert (cl100k.vocab_size, cl100k.end_of_text, cl100k.tokens[100256]) == (100277, 100257, None)
    assert load(folder / "o200k_base.tiktoken").special_tokens == {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}
    assert load(folder / "r50k_base.tiktoken").special_tokens == {"<|endoftext|>": 50256}
