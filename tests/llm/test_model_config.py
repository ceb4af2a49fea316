"""The model's configuration and the named shapes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.model.presets import PRESETS, preset
from llm.runs.parsing import REGISTRY

# fmt: off
BAD = [
    ("vocab_size", 0), ("context", -1), ("layers", 1.5), ("heads", True), ("dim", "64"),
    ("kv_heads", 0), ("head_dim", 2.0), ("mlp_dim", "wide"), ("window", 0),
    ("positions", "relative"), ("norm", None), ("norm_position", "middle"), ("mlp", ["gelu"]),
    ("bias", 1), ("qk_norm", "yes"), ("tied_head", None), ("rope_interleaved", 0),
    ("rope_base", 0), ("norm_eps", float("nan")), ("soft_cap", -1.0), ("dropout", 1.0), ("dropout", -0.1),
]
# fmt: on


@pytest.mark.parametrize(("name", "value"), BAD)
def test_error_names_what_was_given(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}=.* is not possible; use ") as error:
        GPTConfig(**{name: value})
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


def test_heads_must_fit() -> None:
    with pytest.raises(ValueError, match="dim=100 is not a multiple of heads=12"):
        GPTConfig(dim=100)
    with pytest.raises(ValueError, match="kv_heads must divide heads"):
        GPTConfig(kv_heads=5)
    with pytest.raises(ValueError, match="must be even, but it is 3"):
        GPTConfig(head_dim=3, positions="rope")
    assert GPTConfig(dim=100, head_dim=8, heads=12).head_size == 8
    assert GPTConfig(head_dim=3, positions="alibi").head_size == 3


def test_fields_left_at_none_follow_the_others() -> None:
    config = GPTConfig(dim=96, heads=4)
    assert (config.key_heads, config.head_size, config.mlp_size) == (4, 24, 384)
    config = replace(config, dim=192, heads=2, mlp="swiglu")
    assert (config.key_heads, config.head_size, config.mlp_size) == (2, 96, 512)
    assert replace(config, kv_heads=1, head_dim=8, mlp_dim=10).mlp_size == 10


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = preset(name)
    assert GPTConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_errors_name_the_key() -> None:
    data = GPTConfig().to_json()
    with pytest.raises(ValueError, match="unknown in a model configuration: n_layer;"):
        GPTConfig.from_json(data | {"n_layer": 3})
    del data["dim"]
    with pytest.raises(ValueError, match="missing in a model configuration: dim;"):
        GPTConfig.from_json(data)
    with pytest.raises(ValueError, match="this is a list"):
        GPTConfig.from_json([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layers='2' is not possible"):
        GPTConfig.from_json(GPTConfig().to_json() | {"layers": "2"})


def test_help_documents_every_field(capsys: pytest.CaptureFixture) -> None:
    tyro = pytest.importorskip("tyro")
    with pytest.raises(SystemExit):
        tyro.cli(GPTConfig, args=["--help"], registry=REGISTRY)
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    body = ast.parse(Path(inspect.getfile(GPTConfig)).read_text()).body
    fields = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == "GPTConfig").body
    documented = [
        (field.target.id, after.value.value)
        for field, after in pairwise(fields)
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr)
    ]
    assert [name for name, _ in documented] == [field.name for field in dataclasses.fields(GPTConfig)]
    for name, words in documented:
        assert f"--{name.replace('_', '-')}" in text
        assert words[:30] in text


# the published counts; Hugging Face's gpt2-xl has 1,557,611,200 and Llama 2 7B 6,738,415,616
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("llama2-7b", 6_738_415_616),
        ("smollm2-135m", 134_515_008),
        ("qwen3-0.6b", 596_049_920),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, count: int) -> None:
    assert parameters(preset(name)).total == count


def test_unknown_preset_lists_the_names() -> None:
    with pytest.raises(ValueError, match="no preset 'gpt5'; choose from gpt2, gpt2-medium"):
        preset("gpt5")
