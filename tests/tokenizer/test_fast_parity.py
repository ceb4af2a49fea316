"""The vectorised path gives the ids of tiktoken and of Hugging Face's library, with the vocabularies of real models."""

from __future__ import annotations

import pydoc_data.topics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tokenizer.helpers import tiktoken
from tokenizer import Tokenizer

PROSE = "\n".join(pydoc_data.topics.topics.values())
BORDERS = "aAZé日1٣½ \n\r\t\u00a0\u2028\x1c\x85ſ😀\u0301\u0903.!_/'sSdDmMtTlLvVeErRǅʰ❤\ufe0f"
SMALL = ["aA日\u0301'.s /\n", "aA日\u0301 ", "'sSlL", "./\n\r\u0301a ", " \n\ta.1", "❤\ufe0f a'"]
AWKWARD = st.one_of(
    st.text(st.sampled_from(BORDERS) | st.characters(exclude_categories=["Cs"]), max_size=24),
    st.sampled_from(SMALL).flatmap(lambda letters: st.text(letters, max_size=16)),
    st.sampled_from([PROSE[:3000], "a" * 5000, "\n /" * 30, " " * 300, "日本" * 40]),
)


def vectorised(tokenizer: Tokenizer, text: str) -> list[int]:
    """The vectorised path, even for short texts."""
    encoder = tokenizer.model.text_encoder.vector_encoder
    assert encoder
    return encoder.encode([text])[0].tolist()


@pytest.mark.parity
@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["r50k_base", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cl100k_base", "o200k_base"))]
)
def test_ids_are_those_of_tiktoken(shared_data: Path, name: str) -> None:
    peer = tiktoken(shared_data / "tokenizers" / f"{name}.tiktoken")
    own = Tokenizer.load(shared_data / "tokenizers" / f"{name}.tiktoken")

    @settings(max_examples=35 * settings().max_examples)  # 17,500 for each encoding in the long profile
    @given(AWKWARD)
    def ids_are_equal(text: str) -> None:
        assert vectorised(own, text) == peer.encode_ordinary(text)

    ids_are_equal()
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    shuffled = "".join(np.random.default_rng(0).permutation(everything))
    for text in PROSE, shuffled:
        assert vectorised(own, text) == peer.encode_ordinary(text)
        assert own.decode(own.encode_array(text, disallowed_special=())) == text


@pytest.mark.parity
@pytest.mark.shared
@pytest.mark.parametrize("name", [pytest.param("llama3", marks=pytest.mark.slow), "qwen2_5"])
def test_ids_are_those_of_hugging_face(shared_data: Path, name: str) -> None:
    hf = pytest.importorskip("tokenizers")
    peer = hf.Tokenizer.from_file(str(shared_data / "tokenizers" / name / "tokenizer.json"))
    own = Tokenizer.load(shared_data / "tokenizers" / name)
    normalize = own.normalizer or (lambda text: text)
    known = st.characters(exclude_categories=["Cs", "Cn"])  # each library has its own version of Unicode

    @settings(max_examples=15 * settings().max_examples)
    @given(
        st.text(st.sampled_from(BORDERS) | known, max_size=24)
        | st.sampled_from([PROSE[:3000], " \n" * 99, "日本" * 40])
    )
    def ids_are_equal(text: str) -> None:
        assume("<|" not in text)  # hypothesis knows the names of special tokens from somewhere
        assert vectorised(own, normalize(text)) == peer.encode(text, add_special_tokens=False).ids

    ids_are_equal()
