"""generation_config.json: what is written is read here and by transformers, and what is not possible is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.errors import HubError
from llm.hub.generation_defaults import GenerationDefaults
from tests.tokenizer.damage import VALUES
from tokenizer import Tokenizer

ids = st.integers(0, 1 << 20)
numbers = st.floats(0.01, 4, allow_subnormal=False)
optional = st.none()
defaults = st.builds(
    GenerationDefaults,
    end_tokens=st.lists(ids, max_size=3, unique=True).map(tuple),
    begin_token=optional | ids,
    pad_token=optional | ids,
    do_sample=optional | st.booleans(),
    temperature=optional | numbers,
    top_k=optional | st.integers(0, 100),
    top_p=optional | st.floats(0.01, 1),
    min_p=optional | st.floats(0, 1),
    typical_p=optional | st.floats(0.01, 1),
    repetition_penalty=optional | numbers,
)


@given(defaults)
def test_what_is_written_is_read_back_and_by_transformers_too(written: GenerationDefaults) -> None:
    library = pytest.importorskip("transformers")
    with TemporaryDirectory() as name:
        written.write(Path(name))
        assert GenerationDefaults.read(name) == written
        theirs = library.GenerationConfig.from_pretrained(name)
    ends = theirs.eos_token_id
    assert written.end_tokens == (() if ends is None else tuple(ends) if isinstance(ends, list) else (ends,))
    for name in ("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty"):
        assert getattr(written, name) == getattr(theirs, name)
    assert (written.begin_token, written.pad_token) == (theirs.bos_token_id, theirs.pad_token_id)


def test_ids_that_it_does_not_name_are_those_of_the_config(tmp_path: Path) -> None:
    assert GenerationDefaults.read(tmp_path) == GenerationDefaults()
    (tmp_path / "config.json").write_text('{"eos_token_id": [1, 2], "bos_token_id": 3, "temperature": 9}')
    assert GenerationDefaults.read(tmp_path) == GenerationDefaults((1, 2), 3)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7, "pad_token_id": null, "top_p": 0.5}')
    assert GenerationDefaults.read(tmp_path) == GenerationDefaults((7,), 3, top_p=0.5)


def test_those_of_a_gguf_file() -> None:
    own = Tokenizer.train(["the cat"], 262, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot|>"])
    values = {"tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 3, "tokenizer.ggml.bos_token_id": 1}
    assert GenerationDefaults.of_gguf(values, own) == GenerationDefaults((2, 3, 0), 1)
    wrong = {"tokenizer.ggml.eos_token_id": -1, "tokenizer.ggml.bos_token_id": 2**32 - 1}
    assert GenerationDefaults.of_gguf(wrong, own) == GenerationDefaults((0, 2))
    assert GenerationDefaults.of_gguf(values, None) == GenerationDefaults()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"eos_token_id": "2"},
            "generation_config.json: eos_token_id=['2'] is not possible; it must be an id or a list",
        ),
        ({"eos_token_id": [2, -1]}, "eos_token_id=[2, -1] is not possible"),
        ({"bos_token_id": True}, "bos_token_id=True is not possible; it must be an id"),
        ({"temperature": math.nan}, "temperature=nan is not possible; it must be a number of at least 0"),
        ({"top_p": 0}, "top_p=0 is not possible; it must be a number above 0 and at most 1"),
        ({"top_k": 1.5}, "top_k=1.5 is not possible; it must be a whole number of at least 0"),
        ({"repetition_penalty": 0}, "repetition_penalty=0 is not possible"),
        ({"do_sample": 1}, "do_sample=1 is not possible; it must be true or false"),
        ([], "generation_config.json: it holds a list, not an object"),
    ],
)
def test_errors_name_the_file_and_the_field(values: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    with pytest.raises(HubError) as caught:
        GenerationDefaults.read(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@given(st.sampled_from([*GenerationDefaults((1, 2), 0, 3, True, 0.5, 1, 0.9, 1.1).to_json()]), st.sampled_from(VALUES))
def test_any_value_is_read_or_refused_in_one_sentence(name: str, value: Any) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "generation_config.json").write_text(json.dumps({name: value}))
        problem = problem_of(folder)
    assert not problem or problem.startswith(folder) and "\n" not in problem


def problem_of(folder: str) -> str:
    try:
        GenerationDefaults.read(folder)
    except HubError as error:
        return str(error)
    return ""
