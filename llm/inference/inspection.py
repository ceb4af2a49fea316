"""What happens inside the model while it reads a text: where it looks, and what each layer would say.

The model computes as always. For the time of a call, a copy of it whose layers are watched takes its place: the copy
shares all weights, and the model itself is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy

import numpy as np

from llm.model.attention import Attention
from llm.model.block import Block
from llm.model.gpt import GPT
from llm.model.kv_cache import UpdateCache
from llm.model.masks import LayerSettings
from llm.model.mlp import MLP
from llm.model.no_dropout import no_dropout
from minigrad import no_grad
from minigrad.backend import Array, array_module, to_device
from minigrad.nn import Module, ModuleList
from minigrad.tensor import Tensor


def residual_stream(model: GPT, ids: Sequence[int]) -> list[np.ndarray]:
    """What the layers read and write: the embedding of the text, then the result of each block. Each is (T, C)."""
    return [to_device(x.data, "cpu")[0] for x in _residual_stream(model, ids)]


def logit_lens(model: GPT, ids: Sequence[int], position: int = -1) -> np.ndarray:
    """What the model would say after the token at `position`, if each block were the last one: logits (layers + 1, V).

    The first row is that of the embedding; the last is the model's answer. nostalgebraist 2020, "interpreting GPT: the
    logit lens".
    """
    return np.stack([_logits(model, x[:, position])[0] for x in _normed_stream(model, ids)])


def logit_lens_from(model: GPT, ids: Sequence[int], first: int) -> Iterator[np.ndarray]:
    """`logit_lens` after each token from number `first` on: for the embedding, then each block, logits (T - first, V).

    One after the other, because all of them together may be larger than the memory.
    """
    for x in _normed_stream(model, ids):
        yield _logits(model, x[:, first:])[0]


def attention_weights(model: GPT, ids: Sequence[int], layer: int) -> np.ndarray:
    """How much each token looks at each other one in a layer, counted from 0: (H, T, T). A row adds up to 1.

    Entry (h, t, s): the weight that head h gives to token s when it computes token t.
    """
    if not 0 <= layer < model.config.layers:
        raise ValueError(f"layers are counted from 0 to {model.config.layers - 1}, got {layer}")
    return next(all_attention_weights(model, ids, first=layer, last=layer))


def all_attention_weights(
    model: GPT, ids: Sequence[int], *, first: int = 0, last: int | None = None
) -> Iterator[np.ndarray]:
    """`attention_weights` of the layers from `first` to `last`, one after the other. The text is read once."""
    inputs: list[tuple[Tensor, LayerSettings]] = []
    blocks: list[Block] = model.blocks[: None if last is None else last + 1]  # later ones change nothing
    watched = [copy(block) for block in blocks]
    for block in watched:
        block.attention = WatchedAttention(block.attention, inputs)  # type: ignore[assignment]
    with no_grad(), no_dropout(model):
        # `decode` of a block would not call the watched attention.
        _read(model, ids, [WatchedBlock(block, can_decode=False) for block in watched])
    for block, (x, settings) in list(zip(blocks, inputs, strict=True))[first:]:
        with no_grad(), no_dropout(model):
            weights = to_device(_weights(block.attention, x, settings), "cpu")
        yield weights


def mlp_inputs(model: GPT, ids: Sequence[int]) -> list[np.ndarray | None]:
    """What the activation function of each block reads: (T, F), of a gated network the gate. None: it has experts."""
    blocks = [copy(block) for block in model.blocks[:]]
    watched = [WatchedMLP(block.mlp) if isinstance(block.mlp, MLP) else None for block in blocks]
    for block, mlp in zip(blocks, watched):
        block.mlp = mlp or block.mlp  # type: ignore[assignment]
    with no_grad(), no_dropout(model):
        _read(model, ids, [WatchedBlock(block, can_decode=False) for block in blocks])
    found = [None if mlp is None else to_device(mlp.found[0], "cpu")[0] for mlp in watched]
    branches = 2 if model.config.gated else 1  # the gate comes first
    return [None if x is None else x[:, : x.shape[1] // branches] for x in found]


# --- how it is done ---------------------------------------------------------------------------------------------------


class WatchedBlock(Module):
    """A block that reports what it reads and what it writes."""

    def __init__(
        self, block: Block, report: Callable[[Tensor, Tensor], object] | None = None, *, can_decode: bool = True
    ):
        # Not the block itself: a module that is assigned to another one gets a new name.
        self.apply, self.apply_to_one = block.forward, block.decode
        self.can_decode = can_decode and block.can_decode
        self.report = report or (lambda x, y: None)

    def forward(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
        y = self.apply(x, settings, update_cache)
        self.report(x, y)
        return y

    def decode(self, x: Array, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Array:
        before = x.copy()
        y = self.apply_to_one(x, settings, update_cache)
        self.report(Tensor(before[:, None]), Tensor(y[:, None].copy()))
        return y


class WatchedAttention(Module):
    """An attention that adds its inputs to a list."""

    def __init__(self, attention: Attention, inputs: list[tuple[Tensor, LayerSettings]]):
        self.apply, self.inputs = attention.forward, inputs

    def forward(self, x: Tensor, settings: LayerSettings, update_cache: UpdateCache | None = None) -> Tensor:
        self.inputs.append((x, settings))
        return self.apply(x, settings, update_cache)


class WatchedMLP(Module):
    """A feed-forward network that keeps the results of its first projection."""

    def __init__(self, mlp: MLP):
        self.apply, self.project, self.found = mlp.forward, mlp.up.forward, list[Array]()

    def forward(self, x: Tensor) -> Tensor:
        self.found.append(self.project(x).data)
        return self.apply(x)


class Identity(Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def _residual_stream(model: GPT, ids: Sequence[int]) -> list[Tensor]:
    streams: list[Tensor] = []

    def report(x: Tensor, y: Tensor) -> None:
        streams.extend([y] if streams else [x, y])

    with no_grad(), no_dropout(model):
        _read(model, ids, [WatchedBlock(block, report) for block in model.blocks[:]])
    return streams


def _normed_stream(model: GPT, ids: Sequence[int]) -> Iterator[Tensor]:
    """What the head would read if the embedding, or each block, were the last layer: (1, T, C)."""
    for x in _residual_stream(model, ids):
        with no_grad():
            normed = x if model.config.norm_position == "post" else model.norm(x)
        yield normed


def _logits(model: GPT, x: Tensor) -> np.ndarray:
    with no_grad():
        return to_device(model.logits(x).data, "cpu")


def _read(model: GPT, ids: Sequence[int], blocks: Sequence[WatchedBlock]) -> None:
    """Read a text with these blocks instead of the model's own."""
    if not len(ids):
        raise ValueError("there is no text to look at; give at least one token")
    if model.context < model.config.context:  # these would be among what is shown, or missing there
        raise ValueError("the inside of a model with a prefix or a prompt is not shown; show that of the model itself")
    other = copy(model)
    other.recompute = False
    other.blocks = ModuleList(blocks)
    other.hidden(np.array([ids]))


def _weights(attention: Attention, x: Tensor, settings: LayerSettings) -> Array:
    """The weights (H, T, T) for x (1, T, C)."""
    # Attention returns weights @ values. If the values are rows of the identity matrix, these are the weights. A value
    # has D elements, so it is done for D columns of the weights at a time.
    T, H, D = x.shape[1], attention.config.heads, attention.config.head_size
    watched = copy(attention)
    watched.out = Identity()  # type: ignore[assignment]
    columns = []
    for start in range(0, T, D):

        def with_identity(k: Tensor, v: Tensor, start: int = start) -> tuple[Tensor, Tensor]:
            xp = array_module(k.data)
            identity = xp.arange(T)[:, None] == xp.arange(start, start + D)  # (T, D)
            return k, Tensor(xp.broadcast_to(identity.astype(k.dtype), v.shape))

        y = watched(x, settings, with_identity)  # (1, T, H * D)
        columns.append(y.data.reshape(T, H, D).swapaxes(0, 1))  # (H, T, D)
    return array_module(x.data).concatenate(columns, axis=2)[:, :, :T]
