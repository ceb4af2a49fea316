"""The rows of a family's table of tensors: our names -> the names in the file.

    "blocks.*.mlp.down": "model.layers.*.mlp.down_proj"

The first * is the number of a layer, the second one that of an expert. Each row stands for a weight and a bias, where
the model has both. Where a tensor of ours is not one of theirs, a function below says how it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from llm.hub.weights import Part, PlusOne, RowsAfter, Same, Transposed, heads_in_turns, stack
from llm.model.config import GPTConfig


@dataclass(frozen=True)
class Kept:
    """The tensors of the file that one of ours is made of, and how."""

    names: tuple[str, ...]
    part: Callable[..., Part]  # takes our configuration, and the names with the numbers filled in


TensorNames = dict[str, str | Kept]


def qkv(names: str) -> Kept:
    """Queries, keys and values, each a tensor, with the letters q, k and v in the place of {}."""
    return Kept(
        tuple(names.format(letter) for letter in "qkv"),
        lambda config, *three: stack(three, (config.heads, config.key_heads, config.key_heads)),
    )


def gate_up(gate: str, up: str) -> Kept:
    """The gate and the up-projection of an MLP, each a tensor."""
    return Kept((gate, up), lambda config, *both: stack(both, (1, 1)))


def qkv_in_turns(name: str) -> Kept:
    """Queries, keys and values of head 0, then those of head 1 ..., in one tensor."""
    return Kept((name,), lambda config, name: heads_in_turns(name, config.heads, config.head_size))


def transposed(name: str) -> Kept:
    """The matrix is (in, out) in the file."""
    return Kept((name,), lambda config, name: Transposed(name) if name.endswith(".weight") else Same(name))


def plus_one(name: str) -> Kept:
    """The weights of a norm are stored as the difference to 1."""
    return Kept((name,), lambda config, name: PlusOne(name))


def rows_after(unused: int, name: str) -> Kept:
    """The first rows of the table are not used."""
    return Kept((name,), lambda config, name: RowsAfter(name, unused))


def parts_of(table: TensorNames, config: GPTConfig) -> dict[str, Part]:
    """Our tensors, and how each is kept in the file. Some of them may not be in the model."""
    ranges, parts = (range(config.layers), range(config.experts or 0)), dict[str, Part]()
    for ours, theirs in table.items():
        kept = theirs if isinstance(theirs, Kept) else Kept((theirs,), lambda config, name: Same(name))
        patterns = [name.replace("*", "{}") for name in (ours, *kept.names)]
        for numbers in product(*ranges[: ours.count("*")]):
            filled = [pattern.format(*numbers) for pattern in patterns]
            for kind in ("weight", "bias"):
                our_name, *names = (f"{name}.{kind}" for name in filled)
                parts[our_name] = kept.part(config, *names)
    return parts
