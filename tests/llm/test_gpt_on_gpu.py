"""A GPT on a GPU: it trains and reads as on the CPU.

The GPU is the stand-in for CuPy (tests/fake_cupy) or, under the mark `gpu`, a real one.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from llm.evaluation.batched import log_likelihoods
from llm.evaluation.likelihood import log_likelihood
from llm.inference.beam import beam_search
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Request
from llm.inference.generate import generate
from llm.model.adapters.merge import LoRAOn, merge
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.parallel.threads import Threads
from llm.training.command import parse, start
from llm.training.mixed_precision import MixedPrecision
from llm.training.objectives import NextToken
from llm.training.step import train_step
from llm.tuning import add_lora, add_prefix, add_prompt
from minigrad import no_grad, random
from minigrad.optim import AdamW, clip_grad_norm
from tests import fake_cupy
from tests.llm.adapted import adapt
from tests.llm.trainings import write_sample
from tokenizer import CharTokenizer

V, B, T = 11, 2, 7
# fmt: off
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "kv_heads": 1, "bias": False,
              "tied_head": False},
    "interleaved": {"positions": "rope", "rope_interleaved": True, "qk_norm": True, "mlp": "gelu"},
    "alibi": {"positions": "alibi", "mlp": "geglu", "norm_position": "post", "kv_heads": 2},
    "sinusoidal": {"positions": "sinusoidal", "mlp": "relu_squared", "window": 3},
    "none": {"positions": "none", "soft_cap": 5.0, "dropout": 0.2},
    "experts": {"experts": 4, "balance_loss": 0.1, "dense_layers": (1,), "dense_mlp_dim": 9},
}
# fmt: on


def make(name: str) -> GPT:
    config = GPTConfig(vocab_size=V, context=16, layers=2, heads=4, dim=16, **SHAPES[name])
    return GPT(config, rng=1, dtype=np.float64)


def optimizer(model: GPT) -> AdamW:
    return AdamW(model.named_parameters(), lr=0.01, weight_decay=0.1, decay=lambda p: p.ndim >= 2)


def tokens(seed: int, shape: tuple[int, int] = (B, T)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, shape)


def assert_same_state(on_gpu: GPT, on_cpu: GPT) -> None:
    expected = on_cpu.state_dict()
    for name, array in on_gpu.state_dict().items():
        np.testing.assert_allclose(
            array, expected[name], rtol=1e-7, atol=1e-10, err_msg=name
        )  # Adam divides by small numbers


@pytest.mark.parametrize("name", SHAPES)
def test_trains_as_on_the_cpu_without_a_sync(cupy, name):
    on_cpu, on_gpu = make(name), make(name).to("cuda")
    ids, targets = tokens(2), tokens(3)
    losses = []
    for model, x, y in ((on_cpu, ids, targets), (on_gpu, cupy.asarray(ids), cupy.asarray(targets))):
        random.seed(4)
        update = optimizer(model)
        fake_cupy.reset()
        # How many tokens each expert gets is a number that Python must know, once for each layer with experts.
        with nullcontext() if name == "experts" else fake_cupy.no_sync():
            for _ in range(2):
                update.zero_grad()
                loss = model.loss(x, y)
                loss.backward()
                clip_grad_norm(update, 0.5)
                update.step()
        losses.append(loss.item())
    assert len(fake_cupy.syncs) == (3 if name == "experts" else 1)  # two steps, and `item`
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert_same_state(on_gpu, on_cpu)


def test_a_training_step_waits_for_the_gpu_only_to_report(cupy):
    """Once, at the end: for the losses of both parts and the norm of the gradient together."""
    on_cpu, on_gpu = make("gpt2"), make("gpt2").to("cuda")
    results = []
    for model in (on_cpu, on_gpu):
        update = optimizer(model)
        fake_cupy.reset()
        worker, batch = Threads(model, NextToken(), 1), (tokens(2), tokens(3))
        results.append(train_step(worker, update, batch, lr=0.01, clip=1.0, micro_batches=2))
    assert len(fake_cupy.syncs) <= 1
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-9)
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-9)
    assert_same_state(on_gpu, on_cpu)


@pytest.mark.parametrize("layers", [2, 4])
def test_how_many_operations_a_training_step_starts(layers):
    """Whoever changes these numbers knows it: 45 for a step and 61 for a layer, and one wait for the GPU.

    The norm, clipping and AdamW are 5 of the 45, for any number of parameters.
    """
    with fake_cupy.installed():
        config = GPTConfig(vocab_size=17, context=8, layers=layers, heads=2, dim=16)
        model = GPT(config, rng=0).to("cuda")
        update, worker = optimizer(model), Threads(model, NextToken(), 1)
        ids = np.random.default_rng(0).integers(0, 17, (2, 9))
        for _ in range(2):  # the first step also makes arrays of ones, which are kept
            fake_cupy.reset()
            train_step(worker, update, (ids[:, :-1], ids[:, 1:]), lr=1e-4, clip=1.0)
        assert len(fake_cupy.launches) == 45 + 61 * layers
        of_update = {"squares", "norm_of_squares", "clip", "adamw"}
        assert sum(name in of_update for name in fake_cupy.launches) == 5
        assert len(fake_cupy.syncs) == 1


@pytest.mark.parametrize("layers", [1, 3])
def test_a_step_in_bfloat16_starts_fewer_operations(layers):
    """Most casts are gone: cublasLt writes float32, and attention is a kernel of its own in each pass."""
    pytest.importorskip("ml_dtypes")
    mixed = MixedPrecision("bf16")
    with fake_cupy.installed():
        config = GPTConfig(vocab_size=17, context=8, layers=layers, heads=2, dim=32)
        model = GPT(config, rng=0).to("cuda")
        update, worker = optimizer(model), Threads(model, mixed.objective(NextToken()), 1)
        ids = np.random.default_rng(0).integers(0, 17, (2, 9))
        for _ in range(2):
            fake_cupy.reset()
            train_step(worker, update, (ids[:, :-1], ids[:, 1:]), lr=1e-4, clip=1.0, mixed=mixed)
        assert len(fake_cupy.launches) == 50 + 48 * layers
        assert fake_cupy.launches.count("astype") == 6 + 11 * layers  # factors: 3 of attention, 8 of the products
        assert len(fake_cupy.syncs) == 1


@pytest.mark.parametrize("name", SHAPES)
def test_padding_packing_and_a_cache_give_the_logits_of_the_cpu(cupy, name):
    on_cpu, on_gpu = make(name).eval(), make(name).to("cuda").eval()
    ids = tokens(5)
    mask, documents = np.arange(T) >= [[0], [3]], np.arange(T)[None] // [[4], [2]]
    with no_grad():
        for options in ({"mask": mask}, {"documents": documents}, {"positions": np.arange(T) + 2}):
            found = on_gpu(ids, **options).data
            assert isinstance(found, cupy.ndarray)
            np.testing.assert_allclose(found.get(), on_cpu(ids, **options).data, rtol=1e-9, atol=1e-11)
        cache = KVCache(on_gpu.config)
        pieces = [on_gpu(piece, cache=cache).numpy() for piece in (ids[:, :4], ids[:, 4:5], ids[:, 5:])]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), on_cpu(ids).data, rtol=1e-9, atol=1e-11)


ADAPTERS = {
    "lora": (add_lora, {"targets": "all-linear"}),
    "both ends": (add_lora, {"targets": ["embedding", "head"]}),
    "dora": (add_lora, {"dora": True}),
    "prefix": (add_prefix, {"tokens": 3}),
    "prompt": (add_prompt, {"tokens": 3}),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_train_and_write_as_on_the_cpu(cupy, name):
    on_cpu, on_gpu = make("llama"), make("llama").to("cuda")
    for model in (on_cpu, on_gpu):
        adapt(model, ADAPTERS[name], 1)
        update = optimizer(model)
        model.loss(*(cupy.asarray(tokens(n)) if model is on_gpu else tokens(n) for n in (2, 3))).backward()
        update.step()
    assert_same_state(on_gpu, on_cpu)
    with no_grad():
        for found in (on_gpu(tokens(5)), on_gpu.eval()(tokens(5), cache=KVCache(on_gpu.config))):
            np.testing.assert_allclose(found.numpy(), on_cpu.eval()(tokens(5)).data, rtol=1e-6, atol=1e-9)
    if isinstance(on_gpu, LoRAOn):
        merge(on_gpu)
        np.testing.assert_allclose(on_gpu(tokens(5)).numpy(), on_cpu(tokens(5)).data, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generates_the_same_tokens_with_one_sync_a_token(cupy, name):
    on_cpu, on_gpu = make(name), make(name).to("cuda")
    fake_cupy.reset()
    written = list(generate(on_gpu, [1, 2, 3], max_tokens=20, seed=6))  # beyond the context of 16
    assert len(fake_cupy.syncs) <= len(written) == 20
    assert written == list(generate(on_cpu, [1, 2, 3], max_tokens=20, seed=6))


@pytest.mark.slow
def test_beam_search_finds_the_same_texts(cupy):
    on_gpu, on_cpu = make("llama").to("cuda").eval(), make("llama").eval()
    options = {"num_beams": 3, "max_tokens": 16, "stop_ids": [4]}  # beyond the context of 16
    found, expected = (beam_search(model, [1, 2, 3], **options) for model in (on_gpu, on_cpu))
    assert [beam.ids for beam in found] == [beam.ids for beam in expected]


@pytest.mark.slow
def test_the_training_command_runs_on_a_gpu(cupy, tmp_path, capsys):
    """From text to a sample, with evaluation, checkpoint and resume: the losses are those of the CPU."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 40)
    losses = []
    for device in ("cpu", "cuda"):
        command = (
            f"--data {tmp_path / 'text.txt'} --tokenizer char --out {tmp_path / device} --device {device} "
            f"--context 8 --layers 1 --heads 2 --dim 8 --batch-size 4 --steps 3 --eval-every 2 --eval-batches 1 "
            f"--checkpoint-every 2 --sample-every 0"
        ).split()
        start(*parse(command), write_sample)
        start(*parse([*command, "--resume", "--steps", "4"]), write_sample)
        lines = (tmp_path / device / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train_loss"] for line in lines])
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert "validation" in capsys.readouterr().out


@pytest.mark.parametrize("name", SHAPES)
def test_an_engine_writes_as_on_the_cpu(cupy, name):
    requests = [Request(tokens(seed, (1, n))[0].tolist(), max_tokens=20, seed=seed) for seed, n in ((5, 3), (6, 9))]
    texts = []
    for model in (make(name), make(name).to("cuda")):
        model.eval()
        engine = Engine(model, slots=2, chunk=4)
        generations = [engine.submit(request) for request in requests]
        while engine.running or engine.waiting:
            engine.step()
        texts.append([generation.ids for generation in generations])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", SHAPES)
def test_many_texts_are_scored_as_on_the_cpu(cupy, name):
    on_cpu, on_gpu = make(name), make(name).to("cuda")
    letters = CharTokenizer.train(["abcdefghijk"])
    pairs = [("abcdefghijk", "ab"), ("abcdefghijk", "ccc"), ("abcdefghijk", "c"), ("d", "efgh"), ("kkkkk" * 4, "a")]
    found = log_likelihoods(on_gpu, letters, pairs, batch_tokens=20)
    expected = [log_likelihood(on_cpu, letters, *pair) for pair in pairs]
    np.testing.assert_allclose([f.total for f in found], [e.total for e in expected], rtol=1e-9)
    assert [f[1:] for f in found] == [e[1:] for e in expected]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_model_of_half_types_uses_the_kernels(cupy, name):
    """Each layer: two norms, four products with bias or gelu, attention and two sums; no array is widened."""
    dtype = np.dtype(name) if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    config = GPTConfig(vocab_size=17, context=8, layers=2, heads=2, dim=32, mlp="gelu_tanh")
    model, ids = GPT(config, rng=0, dtype=dtype).eval(), np.random.default_rng(0).integers(0, 17, (2, 8))
    with no_grad():
        expected = model(ids).numpy().astype(float)
        model.to("cuda")
        fake_cupy.reset()
        logits = model(ids)
    assert logits.dtype == dtype
    np.testing.assert_allclose(logits.numpy().astype(float), expected, rtol=0, atol=2e-2 * abs(expected).max())
    if cupy is fake_cupy.cupy:
        assert "astype" not in fake_cupy.launches
        assert len(fake_cupy.launches) <= 4 + 10 * 2
