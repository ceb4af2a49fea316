"""Counts made from a configuration alone, against the model itself."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.cost import activation_bytes, forward_flops, parameters, table, training_flops, training_memory
from llm.model.gpt import GPT
from llm.model.presets import preset
from minigrad import no_grad
from minigrad.modes import op_hook
from minigrad.optim import AdamW
from minigrad.precision import cast_weights, precision_named, products_in
from minigrad.profiler.table import size
from tests.llm.gpts import configs


@given(configs())
def test_parameters_are_those_of_the_model(config: GPTConfig) -> None:
    model, counts = GPT(config, rng=None), parameters(config)
    assert counts.total == model.num_parameters()
    found = dict.fromkeys(vars(counts), 0)
    for name, p in model.named_parameters():
        part = next(part for part in ("norm", "attention", "mlp", "embedding", "positions", "head") if part in name)
        found["norms" if part == "norm" else part] += p.size
    assert found == vars(counts)
    assert counts.non_embedding == counts.total - found["embedding"] - found["positions"]


@pytest.mark.parametrize(
    ("name", "total", "used"),
    [("mixtral-8x7b", 46_702_792_704, 12_879_925_248), ("qwen3-30b-a3b", 30_532_122_624, 3_353_032_704)],
)
def test_published_mixtures_have_their_published_sizes(name: str, total: int, used: int) -> None:
    """46.7 and 12.9 billion in the paper of Mixtral, 30.5 and 3.3 billion in that of Qwen3."""
    assert parameters(preset(name)).total == total
    assert parameters(preset(name), used=True).total == used


@pytest.mark.control
def test_a_wrong_count_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.model.cost.counts.branches", lambda config: 1)  # as if gated MLPs had two matrices
    with pytest.raises(AssertionError):
        test_parameters_are_those_of_the_model()


@given(configs(), st.integers(1, 20))
def test_flops_are_those_of_the_matrix_products(config: GPTConfig, length: int) -> None:
    """A hook counts the operations of each linear layer and each attention of a forward pass."""
    config, counted = replace(config, window=None), []

    def count(data, inputs, vjp):
        op = vjp.__qualname__.split(".")[0]
        if op == "linear":
            counted.append(2 * data.size * inputs[0].shape[-1])
        elif op == "attention":
            counted.append(4 * data.size * inputs[1].shape[2])  # q k^T and p v
        return vjp

    model = GPT(config)
    with no_grad(), op_hook(count):
        model(np.zeros((2, length), dtype=int))
    # Biases and norms have 2 FLOPs each by the convention. Of the experts only those of a token count.
    share = {True: config.experts_per_token / (config.experts or 1), False: 1}
    vectors = sum(p.size * share[".experts." in name] for name, p in model.named_parameters() if p.ndim == 1)
    assert sum(counted) == 2 * length * (forward_flops(config, length) - 2 * round(vectors))


def test_windows_of_some_layers_save_flops_there() -> None:
    config = replace(preset("gpt2"), window=100)
    layers = [forward_flops(replace(config, window_layers=tuple(range(n)))) for n in range(13)]
    assert layers[0] == forward_flops(preset("gpt2"))
    assert layers[12] == forward_flops(config)
    assert {before - after for before, after in pairwise(layers)} == {4 * 12 * 64 * (1024 - 100)}


def test_flops_of_gpt2_agree_with_the_formula_of_nanogpt() -> None:
    config, counts = preset("gpt2"), parameters(preset("gpt2"))
    matrices = counts.total - counts.positions
    assert training_flops(config) == 6 * matrices + 12 * 12 * 12 * 64 * 1024
    assert forward_flops(replace(config, window=100)) < forward_flops(config, 512) < forward_flops(config)


ROPE: dict[str, Any] = {"positions": "rope"}
MIXTURE: dict[str, Any] = {"experts": 8, "mlp_dim": 128}
# fmt: off
CHOICES: list[dict[str, Any]] = [
    {}, {"norm_position": "post"}, {"norm_position": "output"}, {"norm_position": "both"}, {"positions": "alibi"},
    {"dropout": 0.1, "tied_head": False}, {"embedding_norm": True, "embedding_scale": 2.0},
    {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "kv_heads": 2},
    {"qk_norm": True}, {"qk_norm": True, "qk_norm_all": True}, {**ROPE, "qk_norm": True, "rope_dim": 8},
    {**ROPE, "rope_layers": (0,)}, {**ROPE, "rope_layers": ()},
    {"parallel": True}, {"parallel": True, "shared_norm": True},
    {"heads": 2},
    {"heads": 2, "window": 70},  # heads of 32: weights of 128 tokens are kept
    {"heads": 2, "window": 20, "window_layers": (0,)}, {"heads": 2, "attention_soft_cap": 5.0},
    MIXTURE, {**MIXTURE, "experts_per_token": 1, "normalize_experts": False},
    {**MIXTURE, "experts_per_token": 5, "mlp": "swiglu", "balance_loss": 0.1},
    {**MIXTURE, "dense_layers": (0,), "dense_mlp_dim": 512},
]
# fmt: on


@pytest.mark.parametrize("choices", CHOICES, ids=str)
def test_activation_bytes_are_what_the_graph_holds(choices: dict) -> None:
    config = GPTConfig(**{"vocab_size": 500, "context": 128, "layers": 2, "heads": 4, "dim": 64} | choices)
    held = bytes_held(GPT(config))
    # Small arrays (one number a row) and Python objects are not counted. They are 1 to 3% here.
    assert held * 0.96 < activation_bytes(config, 8) < held


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("choices", [{}, CHOICES[7], {"parallel": True}, MIXTURE, CHOICES[-1]], ids=str)
def test_with_another_precision_inputs_of_linear_maps_are_held_twice(choices: dict, precision: Any) -> None:
    if precision == "bf16":
        pytest.importorskip("ml_dtypes")
    config = GPTConfig(**{"vocab_size": 500, "context": 128, "layers": 2, "heads": 4, "dim": 64} | choices)
    model = GPT(config)
    flats = [group.flat for group in AdamW(model.named_parameters()).groups]
    chosen = precision_named(precision)
    with cast_weights(flats, chosen), products_in(chosen):
        held = bytes_held(model)
    assert held * 0.96 < activation_bytes(config, 8, half_copies=True) < held
    assert not held * 0.96 < activation_bytes(config, 8), "a control: without the copies the formula is wrong"


@settings(max_examples=settings().max_examples // 2)
@given(configs(vocab_size=500, context=128, layers=2, heads=4, kv_heads=2, dim=64, head_dim=16, mlp_dim=128))
def test_activation_bytes_of_drawn_models_are_what_the_graph_holds(config: GPTConfig) -> None:
    held = bytes_held(GPT(config))
    assert held * 0.96 < activation_bytes(config, 8) < held


@pytest.mark.parametrize("positions", ["alibi", "rope", "sinusoidal", "learned"])
@pytest.mark.parametrize("T", [128, 512])  # attention weights are saved, or computed again
def test_a_way_to_give_positions_takes_what_the_formula_says(positions: str, T: int) -> None:
    """Compared with a model without positions, all else is equal: a term that is small beside the whole shows."""
    # Many heads and one text: what has a number for each pair of tokens, once for all texts, would be the largest part.
    config = GPTConfig(vocab_size=50, context=T, layers=1, heads=16, dim=64, positions=positions)  # type: ignore[arg-type]
    plain = replace(config, positions="none")
    held, predicted = (
        [of(c) for c in (config, plain)] for of in (one_text_held, partial(activation_bytes, batch_size=1))
    )
    # Left out are small arrays with a number for each token, and the sum of embedding and position: at most T * dim.
    assert abs((held[0] - held[1]) - (predicted[0] - predicted[1])) < 1.1 * 4 * T * 64
    assert 4 * T * 64 < 0.1 * 4 * 16 * T * T, "far less than a bias for each pair of tokens"


def one_text_held(config: GPTConfig) -> int:
    return bytes_held(GPT(config), rows=1)


@pytest.mark.parametrize("given_positions", [False, True])
@pytest.mark.parametrize("positions", ["alibi", "rope"])
def test_no_array_has_a_number_for_each_pair_of_tokens(positions: str, given_positions: bool) -> None:
    """The peak of a training step on one long text."""
    T, heads = 1536, 8
    model = GPT(GPTConfig(vocab_size=50, context=T, layers=1, heads=heads, dim=32, positions=positions, window=T))  # type: ignore[arg-type]
    ids = np.zeros((1, T), dtype=int)
    documents = np.arange(T) // 700 if given_positions else None
    model.loss(ids, ids, documents=documents).backward()
    tracemalloc.start()
    model.loss(ids, ids, documents=documents).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 64 * T * heads * 4  # bytes of the scores of 64 queries, the largest block: three or four exist at a time
    assert peak < activation_bytes(model.config) + 6 * block
    assert 6 * block < heads * T * T * 4 / 2
    assert peak < heads * T * T * 4 / 2


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_several_workers_hold_the_rows_of_one_batch_and_a_gradient_of_the_head_each(workers: int) -> None:
    config, V, C = preset("tiny"), preset("tiny").vocab_size, preset("tiny").dim
    one, several = training_memory(config, 6), training_memory(config, 6, workers=workers)
    assert several.activations == one.activations + (workers - 1) * V * C * 4
    assert several.logits == 4 * V * workers * min(6 * 128 // workers, 1024)
    assert (several.weights, several.gradients) == (one.weights, one.gradients)
    forked = training_memory(config, 6, workers=workers, processes=True)
    assert (forked.weights, forked.gradients) == (2 * one.weights, workers * one.gradients)


def bytes_held(model: GPT, rows: int = 8) -> int:
    """Bytes that a forward pass leaves in memory, for 8 texts."""
    ids = np.zeros((rows, model.config.context), dtype=int)
    model.loss(ids, ids)  # tables and buffers that are made only once
    tracemalloc.start()
    loss = model.loss(ids, ids)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert loss.requires_grad
    return held


def test_recomputing_holds_only_the_inputs_of_blocks() -> None:
    model = GPT(GPTConfig(vocab_size=500, context=128, layers=8, heads=4, dim=64))
    model.recompute = True
    one, two = (activation_bytes(replace(model.config, layers=n), 8) for n in (1, 2))
    inputs = 8 * 128 * 64 * 4 * 8  # bytes: 8 texts x 128 tokens x 64 numbers x 4 bytes, for each of 8 layers
    assert bytes_held(model) < 1.04 * (one - (two - one) + inputs) < bytes_held(GPT(model.config)) / 2
    assert training_flops(model.config, recompute=True) < 4 / 3 * training_flops(model.config)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("layers", [3, 8])
def test_the_peak_of_a_backward_pass_is_near_the_prediction(layers: int, recompute: bool) -> None:
    model = GPT(GPTConfig(vocab_size=100, context=128, layers=layers, heads=4, dim=64))
    model.recompute = recompute
    ids = np.zeros((8, 128), dtype=int)
    model.loss(ids, ids).backward()
    tracemalloc.start()
    model.loss(ids, ids).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Gradients of activations come on top, while those that are no longer needed are freed.
    assert 0.8 * peak < activation_bytes(model.config, 8, recompute=recompute) < 1.1 * peak


def test_memory_of_weights_is_linear_in_the_size_of_a_number() -> None:
    single, double = (training_memory(preset("tiny"), 4, itemsize=n) for n in (4, 8))
    assert {name: 2 * n for name, n in vars(single).items()} == vars(double)
    assert single.optimizer == 2 * single.gradients == 2 * single.weights == 8 * parameters(preset("tiny")).total


def test_the_table_allocates_no_model() -> None:
    tracemalloc.start()
    text = table(preset("llama2-7b"), batch_size=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert "6,738,415,616" in text
    assert "KV cache" in text
    assert "4 GiB" in text  # 2 x 32 layers x 4096 x 4096 tokens x 4 bytes
    assert max(map(len, text.splitlines())) < 100


def test_sizes_are_printed_with_units() -> None:
    assert [size(n) for n in (0, 1023, 1536, 3 * 2**30)] == ["0 B", "1023 B", "1.5 KiB", "3 GiB"]
