"""The encoder and the decoder of 2017: what sees what, the cache, the loss, gradients, sizes; and PyTorch's."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad
from llm.model.attention import Attention
from llm.model.config import GPTConfig
from llm.model.cost import activation_bytes, forward_flops, parameters
from llm.model.kv_cache import KVCache
from llm.model.positions import sinusoids
from llm.model.presets import preset
from llm.model.transformer import IGNORED, PAPER, CrossAttention, FullAttention, Transformer
from llm.runs.presets import presets
from llm.training.step import learning_rate
from minigrad import Tensor, no_grad
from minigrad.gradcheck import gradcheck
from tests.llm.gpts import FLOAT64_SUMS, SEEDS, VOCAB
from tests.llm.test_model_gradients import set_parameter
from tests.llm.transformers import configs, is_noticed, random_pairs, random_transformer

# --- what sees what ---------------------------------------------------------------------------------------------------


@given(configs(), SEEDS)
def test_padding_changes_nothing(config: GPTConfig, seed: int) -> None:
    model, rng = random_transformer(config, seed), np.random.default_rng(seed)
    source, mask, target, following = random_pairs(rng, 3)
    together = model(source, target, mask).numpy()
    losses = model.loss(source, target, following, mask=mask, reduction="none").numpy()
    for row in range(3):
        real, end = int(mask[row].sum()), int((following[row] != IGNORED).sum())
        alone = [part[row : row + 1] for part in (source[:, :real], target[:, :end], following[:, :end])]
        np.testing.assert_allclose(together[row, :end], model(*alone[:2]).numpy()[0], **FLOAT64_SUMS)
        np.testing.assert_allclose(losses[row, :end], model.loss(*alone, reduction="none").numpy()[0], **FLOAT64_SUMS)
        assert (losses[row, end:] == 0).all()


@given(configs(), SEEDS, st.integers(0, 4))
def test_no_target_token_sees_a_later_one(config: GPTConfig, seed: int, place: int) -> None:
    model, rng = random_transformer(config, seed), np.random.default_rng(seed)
    source, target = rng.integers(0, VOCAB, (2, 4)), rng.integers(0, VOCAB, (2, 5))
    changed = target.copy()
    changed[:, place:] = (changed[:, place:] + 1) % VOCAB
    before, after = model(source, target).numpy(), model(source, changed).numpy()
    np.testing.assert_allclose(before[:, :place], after[:, :place], **FLOAT64_SUMS)
    assert not np.isclose(before[:, place], after[:, place]).all()


def each_sees_all(model: Transformer, source: np.ndarray) -> bool:
    """Whether what is kept of each source token changes with any other one."""
    for layer in model.encoder:
        layer.attention.qkv.weight.data *= 0.1  # type: ignore[attr-defined]  # no weight is near 0
    kept = model.encode(source).keys_and_values[0][0].numpy()  # (1, H, S, D)
    for place in range(source.shape[1]):
        changed = source.copy()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        other = model.encode(changed).keys_and_values[0][0].numpy()
        if not (abs(other - kept).max(axis=(0, 1, 3)) > 1e-9).all():
            return False
    return True


@given(configs(bias=True), SEEDS)
def test_every_source_token_sees_all_others(config: GPTConfig, seed: int) -> None:
    model = random_transformer(replace(config, mlp="gelu"), seed)
    assert each_sees_all(model, np.random.default_rng(seed).integers(0, VOCAB, (1, 5)))


@settings(max_examples=max(1, settings().max_examples // 2))
@given(configs(), SEEDS, st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_a_cache_changes_nothing(config: GPTConfig, seed: int, lengths: list[int]) -> None:
    model, rng = random_transformer(config, seed), np.random.default_rng(seed)
    source, mask, *_ = random_pairs(rng, 2)
    target, cache = rng.integers(0, VOCAB, (2, sum(lengths))), KVCache(config)
    with no_grad():
        memory = model.encode(source, mask)
        parts = [model.decode(part, memory, cache).numpy() for part in np.split(target, np.cumsum(lengths)[:-1], 1)]
        expected = model.decode(target, memory).numpy()
        np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, **FLOAT64_SUMS)
        # Rows that are chosen go on as if they had been there from the start.
        rows, more = [1, 0, 1], rng.integers(0, VOCAB, (3, 1))
        cache.select(rows)
        found = model.decode(more, memory.select(rows), cache).numpy()
        whole = model.decode(np.concatenate([target[rows], more], axis=1), model.encode(source[rows], mask[rows]))
    np.testing.assert_allclose(found[:, 0], whole.numpy()[:, -1], **FLOAT64_SUMS)


@pytest.mark.control
@pytest.mark.parametrize("fault", ["encoder is causal", "decoder is not", "mask is lost", "positions begin again"])
def test_a_wrong_view_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check: Any = test_every_source_token_sees_all_others
    more: list[Any] = []
    if fault == "encoder is causal":
        monkeypatch.setattr(FullAttention, "_attend", Attention._attend)
    if fault == "decoder is not":
        monkeypatch.setattr(Attention, "_attend", FullAttention._attend)
        check, more = test_no_target_token_sees_a_later_one, [2]
    if fault == "mask is lost":
        forward = CrossAttention.forward
        monkeypatch.setattr(CrossAttention, "forward", lambda self, y, k, v, mask: forward(self, y, k, v, None))
        check = test_padding_changes_nothing
    if fault == "positions begin again":
        embed = Transformer.embed
        monkeypatch.setattr(Transformer, "embed", lambda self, ids, start=0: embed(self, ids))
        check, more = test_a_cache_changes_nothing, [[2, 1]]
    config = replace(preset("transformer-translate"), vocab_size=VOCAB, layers=1, dim=16, context=16)
    assert is_noticed(check, config, *more)


# --- the loss, its gradient, and the learning rate --------------------------------------------------------------------


@given(configs(), SEEDS, st.floats(0, 0.9))
def test_label_smoothing_is_its_definition(config: GPTConfig, seed: int, smoothing: float) -> None:
    model = random_transformer(config, seed)
    source, mask, target, following = random_pairs(np.random.default_rng(seed), 2)
    logits = model(source, target, mask).numpy()
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = np.full(logits.shape, smoothing / VOCAB) + (1 - smoothing) * (np.arange(VOCAB) == following[..., None])
    expected = np.where(following == IGNORED, 0, -(wanted * logprobs).sum(-1))
    found = model.loss(source, target, following, mask=mask, label_smoothing=smoothing, reduction="none").numpy()
    np.testing.assert_allclose(found, expected, **FLOAT64_SUMS)
    plain = model.loss(source, target, following, mask=mask, reduction="sum").item()
    picked = np.take_along_axis(logprobs, np.maximum(following, 0)[..., None], -1)[..., 0]
    assert plain == pytest.approx(-picked[following != IGNORED].sum(), rel=1e-10)


def test_every_number_of_the_gradient_of_a_tiny_model() -> None:
    config = GPTConfig(vocab_size=4, context=4, layers=1, heads=1, dim=3, mlp_dim=2, mlp="gelu", norm_eps=0.1, **_PAPER)
    model, rng = random_transformer(config, 0), np.random.default_rng(0)
    source, mask, target, following = random_pairs(rng, 2, vocab=4)
    names, given_parameters = zip(*model.named_parameters())

    def loss(*values: Tensor) -> Tensor:
        for name, value in zip(names, values):
            set_parameter(model, name, value)
        return model.loss(source, target, following, mask=mask, label_smoothing=0.1)

    gradcheck(loss, [p.data.copy() for p in given_parameters], mode="full", seed=0, name="the loss")


def test_activation_checkpointing_changes_no_gradient() -> None:
    config = replace(preset("transformer-translate"), vocab_size=VOCAB, layers=1, dim=8)
    found = []
    for recompute in (False, True):
        model, rng = random_transformer(config, 0), np.random.default_rng(0)
        model.recompute = recompute
        model.train()
        minigrad.seed(0)  # dropout
        source, mask, target, following = random_pairs(rng, 2)
        model.loss(source, target, following, mask=mask).backward()
        found.append([p.grad.numpy() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) == len(list(model.parameters()))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, **FLOAT64_SUMS)


_PAPER: dict[str, Any] = {"positions": "sinusoidal", "norm_position": "post"}


@given(st.integers(1, 4000), st.integers(0, 20_000), st.integers(1, 1024))
def test_the_learning_rate_is_equation_3(warmup: int, step: int, dim: int) -> None:
    """lrate = dim^-0.5 min(n^-0.5, n warmup^-1.5), with n counted from 1."""
    training = replace(presets()["transformer-translate"].training, steps=20_001, warmup=warmup - 1)
    n, peak = step + 1, (dim * warmup) ** -0.5
    expected = dim**-0.5 * min(n**-0.5, n * warmup**-1.5)
    assert learning_rate(replace(training, lr=peak))(step) == pytest.approx(expected, rel=1e-12)


# --- sizes ------------------------------------------------------------------------------------------------------------


@given(configs())
def test_parameters_are_counted(config: GPTConfig) -> None:
    assert parameters(config, pairs=True).total == Transformer(config, None).num_parameters()


def test_the_graph_holds_what_was_predicted() -> None:
    config = replace(preset("transformer-translate"), vocab_size=500, context=96, dropout=0.0)
    model, ids = Transformer(config), np.zeros((8, 96), int)
    model.loss(ids, ids, ids, mask=ids == 0)
    tracemalloc.start()
    loss = model.loss(ids, ids, ids, mask=ids == 0)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert loss.requires_grad
    assert 0.9 * held < activation_bytes(config, 8, pairs=True) < 1.1 * held  # as for other objectives


def test_the_paper_s_base_model_has_65_million_parameters() -> None:
    config = replace(preset("transformer-translate"), vocab_size=37_000, layers=6, heads=8, dim=512)
    assert round(parameters(config, pairs=True).total / 1e6) in (63, 65)  # table 3 says 65, of "about 37000" tokens
    assert forward_flops(config, pairs=True) > 1.5 * forward_flops(config)  # the head is the same


@pytest.mark.parametrize("name", PAPER)
def test_choices_that_would_change_nothing_are_refused(name: str) -> None:
    others: dict[str, Any] = {"positions": "rope", "norm_position": "pre", "experts": 2, "soft_cap": 1.0}
    others |= {"attention_soft_cap": 1.0, "window": 2, "embedding_scale": 2.0, "kv_heads": 1}
    base: dict[str, Any] = {"layers": 1, "heads": 2, "dim": 8, **_PAPER}
    if name == "parallel":
        base["norm_position"] = "pre"
    with pytest.raises(ValueError, match="is not possible with an encoder and a decoder"):
        Transformer(GPTConfig(**base | {name: others.get(name, not PAPER[name])}))


# --- PyTorch ----------------------------------------------------------------------------------------------------------


def torch_twin(model: Transformer, torch: Any) -> Any:
    """torch.nn.Transformer with the weights of `model`.

    PyTorch has one norm more behind the last layer of each half, which the paper has not: they are taken out. Its
    attention to the source has one matrix for queries, keys and values; ours are two, because they read two texts.
    """
    config, state = model.config, {name: torch.tensor(array) for name, array in model.state_dict().items()}
    twin = torch.nn.Transformer(
        config.dim, config.heads, config.layers, config.layers, config.mlp_size, 0.0, batch_first=True,
        dtype=torch.float64, bias=config.bias,
    )  # fmt: skip
    twin.encoder.norm = twin.decoder.norm = None
    parts = {"self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "linear1.": "mlp.up.",
             "linear2.": "mlp.down.", "multihead_attn.out_proj.": "cross.out."}  # fmt: skip
    parts |= {f"norm{n}.": f"norm{n}." for n in (1, 2)}

    def array(half: str, layer: str, rest: str) -> Any:
        kind = "weight" if rest.endswith("weight") else "bias"
        if rest.startswith("multihead_attn.in_proj"):
            return torch.cat([state[f"{half}.{layer}.cross.{part}.{kind}"] for part in ("query", "key_value")])
        theirs = rest.removesuffix(kind)
        if half == "decoder" and theirs == "norm3.":
            return state[f"{half}.{layer}.norm3.{kind}"]
        return state[f"{half}.{layer}.{parts[theirs]}{kind}"]

    names = [name.split(".", 3) for name in twin.state_dict()]
    twin.load_state_dict({".".join(name): array(name[0], name[2], name[3]) for name in names})
    return twin.eval()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@given(configs(norm="layernorm", mlp="relu", head_dim=None), SEEDS)
def test_it_is_the_transformer_of_pytorch(config: GPTConfig, seed: int) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    model = random_transformer(config, seed)
    source, mask, target, following = random_pairs(np.random.default_rng(seed), 3)
    table = torch.tensor(model.embedding.weight.numpy())

    def embedded(ids: np.ndarray) -> Any:
        waves = torch.tensor(sinusoids(np.arange(ids.shape[1]), config.dim, np.float64))
        return table[torch.tensor(ids)] * config.dim**0.5 + waves

    hidden, padding = torch.tensor(~mask), torch.tensor(following == IGNORED)
    causal = torch.ones(target.shape[1], target.shape[1]).triu(1).bool()
    y = torch_twin(model, torch)(
        embedded(source), embedded(target), tgt_mask=causal, src_key_padding_mask=hidden,
        memory_key_padding_mask=hidden, tgt_key_padding_mask=padding,
    )  # fmt: skip
    expected, counts = (y @ table.T).detach().numpy(), following != IGNORED
    found = model(source, target, mask).numpy()
    np.testing.assert_allclose(found[counts], expected[counts], rtol=1e-10, atol=1e-10)
