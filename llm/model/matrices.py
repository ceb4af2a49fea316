"""Which parameters are matrices inside of layers: those that Muon trains (minigrad/optim/muon.py)."""

from __future__ import annotations

OF_HEADS = (".qkv.weight", ".cross.query.weight", ".cross.key_value.weight")  # projections with rows for each head


def is_inner_matrix(name: str, ndim: int) -> bool:
    """Whether it is a matrix inside of a layer. The experts of a layer are many matrices in one array."""
    return name.startswith(("blocks.", "encoder.", "decoder.")) and ndim >= 2


def has_heads(name: str) -> bool:
    """Whether the rows of this matrix are those of heads, each of which is a matrix of its own."""
    return name.endswith(OF_HEADS)
