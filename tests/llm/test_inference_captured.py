"""Tokens that are read by CUDA graphs have the logits of those that are read without one, and texts are the same.

On the stand-in, which refuses in a capture what CUDA and CuPy refuse, or under the mark `gpu` on CuPy.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm import generate as write_text
from llm.inference import captured
from llm.inference.captured import CacheOnDevice, CapturedDecoder, obstacle, one_text_pool
from llm.inference.engine.engine import Engine
from llm.inference.engine.one_text import AHEAD, CapturedEngine, one_text_engine
from llm.inference.engine.requests import Request
from llm.inference.engine.speculation import PromptLookup
from llm.inference.generate import generate, next_logits
from llm.inference.sampling import Sampling
from llm.model import cache_pool, masks
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.model.rope_scaling import RopeScaling
from llm.tuning import add_lora, add_prefix
from minigrad import no_grad
from minigrad.cuda import cublaslt
from tests import fake_cupy
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids
from tokenizer import CharTokenizer

pytestmark = pytest.mark.usefixtures("cupy")
PROMPTS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=30)
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "kv_heads": 1, "bias": False, "window": 5},
}


@pytest.fixture(autouse=True)
def _small_rooms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs for 4, 8, 16 and 24 tokens, and a warning wherever there is none."""
    monkeypatch.setattr(captured, "LEAST_ROOM", 4)
    captured.warn_once.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def make(shape: str = "gpt2", **others: Any) -> GPT:
    sizes = {"vocab_size": VOCAB, "context": CONTEXT, "layers": 2, "heads": 4, "dim": 16}
    return random_gpt(GPTConfig(**sizes | SHAPES[shape] | others), seed=1).to("cuda")


def begin(model: GPT, prompt: np.ndarray) -> CapturedDecoder:
    """A decoder after a prompt (T,)."""
    pool = one_text_pool(model)
    with no_grad():
        model.hidden(prompt[None], cache=pool.rows([0]))
    return CapturedDecoder(model, pool)


def is_stand_in() -> bool:
    return sys.modules["cupy"] is fake_cupy.cupy


# --- the same logits --------------------------------------------------------------------------------------------------


@given(config=configs(experts=None), seed=SEEDS, prompt=st.integers(1, CONTEXT - 1), dtype=st.sampled_from("fd"))
def test_the_logits_are_those_without_a_graph(config: GPTConfig, seed: int, prompt: int, dtype: str) -> None:
    """Of every token up to the end of the context, and once more after the text was shortened."""
    assume(config.positions != "alibi")
    model, rng = random_gpt(config, seed, np.dtype(dtype)), np.random.default_rng(seed)
    text, cache = token_ids(rng, CONTEXT), KVCache(config)
    expected = [next_logits(model, text[:prompt], cache)]
    expected += [next_logits(model, text[t : t + 1], cache) for t in range(prompt, CONTEXT)]
    decoder = begin(model.to("cuda"), text[:prompt])
    # Sums in another order, of numbers that grow from layer to layer. In float64, 300 models differed by 7e-15 at most.
    close = {"rtol": 0, "atol": (1e-12 if dtype == "d" else 1e-3) * np.abs(expected).max()}
    for begin_again in (prompt, prompt + (CONTEXT - prompt) // 2):
        decoder.pool.truncate(0, begin_again)
        for t in range(begin_again, CONTEXT):
            np.testing.assert_allclose(decoder.read(int(text[t])).get(), expected[1 + t - prompt], **close)
    with pytest.raises(ValueError, match="room for 24 tokens"):
        decoder.read(0)


CHANGES = {
    "no mask": (masks, "hiding_bias", lambda query, keys, window, like: like[:, None, :, :1] * 0),
    "a position that stays": (CacheOnDevice, "advance", lambda self, positions: None),
    "garbage where no token is yet": (cache_pool, "untouched_array", lambda shape, like: _garbage(shape, like)),
    "a window that is forgotten": (
        masks,
        "hiding_bias",
        lambda query, keys, window, like: _bias(query, keys, None, like),
    ),
}
_bias = masks.hiding_bias


def _garbage(shape: tuple[int, ...], like: Any) -> Any:
    array = like.__class__(shape, like.dtype)
    array.fill(np.nan)
    return array


@pytest.mark.control
@pytest.mark.parametrize("change", [None, *CHANGES])
def test_mistakes_are_found(monkeypatch: pytest.MonkeyPatch, change: str | None) -> None:
    model, text = make("llama"), token_ids(np.random.default_rng(3), 12)
    cache = KVCache(model.config)
    expected = [
        next_logits(model, text[:4], cache),
        *(next_logits(model, text[t : t + 1], cache) for t in range(4, 12)),
    ]
    if change:
        monkeypatch.setattr(*CHANGES[change])
    decoder = begin(model, text[:4])
    found = [decoder.read(int(text[t])).get() for t in range(4, 12)]
    assert np.allclose(found, expected[1:], **FLOAT64_SUMS) == (change is None)


def test_a_graph_is_recorded_once_for_each_room() -> None:
    decoder = begin(make(), token_ids(np.random.default_rng(0), 2))
    for length in range(3, CONTEXT + 1):
        decoder.read(1)
        rooms = [room for room, _ in decoder.graphs]
        assert rooms == [room for room in (4, 8, 16, 24) if room < 2 * length and (length > 16 or room < 24)]


def test_lora_is_captured() -> None:
    model = make()
    add_lora(model)
    for name, p in model.named_parameters():
        if "lora" in name:
            p.data[...] += 0.1
    text, cache = token_ids(np.random.default_rng(0), 9), KVCache(model.config)
    next_logits(model, text[:3], cache)
    decoder = begin(model, text[:3])
    for id in text[3:]:
        expected = next_logits(model, [id], cache)
        np.testing.assert_allclose(decoder.read(int(id)).get(), expected, **FLOAT64_SUMS)


# --- the same texts ---------------------------------------------------------------------------------------------------


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    texts=st.lists(st.tuples(PROMPTS, SEEDS), min_size=1, max_size=3),
    max_tokens=st.integers(0, 40),
    sampling=st.builds(
        Sampling, temperature=st.sampled_from([0.0, 1.0]), repetition_penalty=st.sampled_from([1.0, 1.3])
    ),
    stop_ids=st.sampled_from([(), (3, 4)]),
    draft=st.sampled_from([None, PromptLookup(3, 2)]),
    slide=st.booleans(),
)  # fmt: skip
def test_an_engine_with_graphs_writes_what_other_engines_write(
    shape: str, texts: list, max_tokens: int, sampling: Sampling, stop_ids: tuple, draft: Any, slide: bool
) -> None:
    """One text after the other, which may begin alike, and go beyond the context."""
    model = make(shape)
    plain, graphs = Engine(model), one_text_engine(model)
    for ids, seed in texts:
        if not slide:
            ids = ids[:CONTEXT]
        request = Request(ids, max_tokens, sampling, seed, stop_ids, draft=draft, slide=slide)
        results = []
        for engine in (plain, graphs):
            generation = engine.submit(request)
            tokens = list(engine.follow(generation))
            results.append((tokens, generation.finish_reason, generation.end, generation.visible_ids))
            assert engine.slots.pool.lengths[0] == len(engine.slots.texts[0])
        assert results[0] == results[1]
    assert isinstance(graphs, CapturedEngine) and graphs.decoder is not None


@given(temperature=st.sampled_from([0.0, 1.0]), count=st.integers(0, 3), seed=SEEDS)
def test_log_probabilities_are_the_same(temperature: float, count: int, seed: int) -> None:
    model = make()
    request = Request([1, 2], 9, Sampling(temperature), seed, top_logprobs=count, prompt_logprobs=True)
    plain, graphs = (list(engine.run(request)) for engine in (Engine(model), CapturedEngine(model)))
    for a, b in zip(plain, graphs, strict=True):
        assert a.id == b.id
        assert a.logprob == pytest.approx(b.logprob, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_likeliest_tokens_are_chosen_on_the_gpu(shape: str) -> None:
    model = make(shape)
    expected = list(generate(model, [1, 2, 3], max_tokens=16, sampling=Sampling(temperature=0)))
    decoder = begin(model, np.array([1, 2, 3]))
    with no_grad():  # the token after the prompt comes from its logits
        first = int(next_logits(model, [1, 2, 3]).argmax())
    fake_cupy.reset()
    assert [first, *decoder.write(first, 15)] == expected
    if is_stand_in():
        captures = len(decoder.graphs)
        assert fake_cupy.syncs.count("tolist()") == 1 and len(fake_cupy.syncs) == 1 + 2 * captures


def test_a_program_writes_with_graphs() -> None:
    letters = CharTokenizer.train(["abcdefghijklm"])
    on_cpu, on_gpu = make().to("cpu"), make()
    fake_cupy.reset()
    text = write_text(on_gpu, letters, "abc", max_tokens=30, seed=2)
    assert "graph" in fake_cupy.launches or not is_stand_in()
    assert text == write_text(on_cpu, letters, "abc", max_tokens=30, seed=2)


@pytest.mark.parametrize("layers", [2, 4])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_how_many_operations_a_token_starts(monkeypatch: pytest.MonkeyPatch, layers: int, temperature: float) -> None:
    """Whoever changes these numbers knows it. A graph has 11 operations, 17 for a layer, and 6 to choose a token."""
    if not is_stand_in():
        pytest.skip("counts the operations of the stand-in")
    monkeypatch.setattr(captured, "LEAST_ROOM", 16)
    counts = []
    for make_engine in (Engine, CapturedEngine):
        engine = make_engine(make(layers=layers))
        generation = engine.submit(Request([1], 30, Sampling(temperature)))
        engine.step()  # the graph for 16 tokens is recorded
        fake_cupy.reset()
        before = len(generation.tokens)
        engine.step()
        new = len(generation.tokens) - before
        counts.append((new, len(fake_cupy.launches), len(fake_cupy.syncs), len(fake_cupy.uploads)))
    ahead = AHEAD if temperature == 0 else 1
    assert counts == [(1, 5 + 22 * layers, 1, 2), (ahead, 1 + ahead, 1, 0)]
    (graph,) = engine.decoder.graphs.values()
    assert len(graph._graph._recording.work) == 11 + 17 * layers + (6 if temperature == 0 else 0)


# --- what is not possible ---------------------------------------------------------------------------------------------


OBSTACLES: dict[str, dict[str, Any]] = {
    "experts": {"experts": 2},
    "ALiBi": {"positions": "alibi"},
    "length of the text": {"positions": "rope", "rope_scaling": RopeScaling("dynamic", 2.0, original_context=8)},
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_models_that_cannot_be_captured_write_without_graphs_and_say_so_once(reason: str) -> None:
    model = make(**OBSTACLES[reason])
    with pytest.warns(RuntimeWarning, match=reason):
        engine = one_text_engine(model)
    one_text_engine(model)  # says nothing more
    assert type(engine) is Engine
    expected = list(generate(model, [1, 2], max_tokens=30, seed=5))
    assert [token.id for token in engine.run(Request([1, 2], 30, seed=5))] == expected


def test_other_obstacles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle(make()) == ""
    assert "not on a GPU" in obstacle(make().to("cpu"))
    assert type(one_text_engine(make().to("cpu"))) is Engine
    with_prefix = make()
    add_prefix(with_prefix, tokens=2)
    assert "learned tokens" in obstacle(with_prefix)
    assert "half types" in obstacle(GPT(make().config, dtype=np.float16).to("cuda"))

    def missing() -> Any:
        raise cublaslt.Failed("libcublasLt was not found")

    monkeypatch.setattr(cublaslt, "library", missing)
    assert "cublasLt" in obstacle(make())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("good", [0, 1, 2])
def test_where_recording_fails_the_text_goes_on_without_graphs(
    monkeypatch: pytest.MonkeyPatch, good: int, temperature: float
) -> None:
    """After `good` graphs: also in the middle of tokens that are written ahead."""
    model, calls = make(), []

    def refuse(work: Any) -> Any:
        calls.append(work)
        if len(calls) > good:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        return capture(work)

    capture = captured.capture
    monkeypatch.setattr(captured, "capture", refuse)
    sampling, engine = Sampling(temperature), CapturedEngine(model)
    with pytest.warns(RuntimeWarning, match="Invalidated"):
        found = [token.id for token in engine.run(Request([1, 2], 30, sampling, seed=5))]
    assert found == list(generate(model, [1, 2], max_tokens=30, sampling=sampling, seed=5))
    assert len(calls) == good + 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_end_the_text_with_an_error(temperature: float) -> None:
    model = make()
    engine = CapturedEngine(model)
    generation = engine.submit(Request([1, 2], 20, Sampling(temperature)))
    while len(generation.tokens) < 3:
        engine.step()
    model.embedding.weight.data[...] = np.nan
    while not generation.finished:
        engine.step()
    assert generation.finish_reason == "error"
    assert "largest logit of the model is nan" in str(generation.error)
    assert len(generation.tokens) < AHEAD + 4
