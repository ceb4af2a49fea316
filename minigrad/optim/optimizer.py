"""What all optimizers share: flat parameters with their moments, the loop over blocks, and a state that can be saved.

A subclass says which moments it keeps and how one block is updated in place. Parameters that have no gradient at a
step are skipped entirely, their moments and step counts included, as in `torch.optim`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.backend import as_array, device_of, to_device
from minigrad.nn.module import Parameter
from minigrad.nn.state import check_state
from minigrad.optim.flat import FlatParameters, alone, block_size, blocks
from minigrad.profiler import span
from minigrad.tensor import Tensor


class Optimizer:
    """Base of SGD and AdamW.

    `params`: parameters, or (name, parameter) pairs such as `model.named_parameters()`; names make the saved state
    independent of their order. `decay`: which parameters `weight_decay` applies to; all, unless given. `lr` may be
    assigned, or given to each step.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, params: Iterable, lr: float, weight_decay: float, decay: Callable[[Parameter], bool] | None):
        self.lr, self.weight_decay = at_least_zero("lr", lr), at_least_zero("weight_decay", weight_decay)
        named = named_parameters(params)
        decayed = {name: decay is None or bool(decay(p)) for name, p in named.items()}
        self.groups = [
            _Group({name: named[name] for name in names}, decayed, self.moments)
            for names in _alike(sorted(named, key=lambda name: not decayed[name]), named)
        ]

    def step(self, lr: float | None = None, share: Callable = alone) -> None:
        """Update every parameter that has a gradient; `lr`, if given, becomes the learning rate.

        `share(work, size)` calls `work(part)` with slices that make up range(size), in threads if it likes: elements
        are updated independently of each other, so the result is the same to the bit.
        """
        self.lr = at_least_zero("lr", self.lr if lr is None else lr)
        for group in self.groups:
            group.flat.gather()
        for group in self.groups:
            # neighbours with the same step count (it is in the bias corrections) and decay are one slice
            for indices, where in group.flat.runs(key=group.treatment):
                self._update_run(group, indices, where, share)

    def _update_run(self, group: _Group, indices: range, where: slice, share: Callable) -> None:
        steps, decayed = group.treatment(indices[0])
        group.steps[indices.start : indices.stop] = [steps + 1] * len(indices)
        arrays = [flat[where] for flat in (group.flat.data, group.flat.grad, *group.moments)]
        settings: dict[str, Any] = {
            "t": steps + 1,
            "lr": self.lr,
            "weight_decay": self.weight_decay if decayed else 0.0,
        }

        @span(type(self).__name__)
        def update(part: slice) -> None:
            mine = [array[part] for array in arrays]
            scratch = np.empty_like(mine[0][: block_size(mine[0])])
            for block in blocks(mine[0]):
                p, g, *moments = (array[block] for array in mine)
                self.update(p, g, *moments, scratch=scratch[: p.size], **settings)

        share(update, arrays[0].size)

    def update(self, p: Any, g: Any, *moments: Any, scratch: Any, t: int, lr: float, weight_decay: float) -> None:
        """Update the block `p` of parameters and its moments in place, at these parameters' step `t` = 1, 2, ...; `g`
        must stay as it is, `scratch` is free to use."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward() overwrites them."""
        for group in self.groups:
            for p in group.flat.parameters:
                p.grad = None

    def gradients(self) -> list:
        """All gradients there are, as few flat arrays that may be changed in place."""
        return [g for group in self.groups for g in group.flat.gradients()]

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Everything a later run needs to go on bit for bit, as NumPy arrays: "lr", and "step.NAME" and "MOMENT.NAME"
        of every parameter.

        Settings given to the constructor are not in it. With `copy=False`, moments on the CPU share memory with the
        optimizer.
        """
        state = {"lr": np.asarray(self.lr, np.float64)}
        for group in self.groups:
            state |= {f"step.{name}": np.asarray(t) for name, t in zip(group.names, group.steps)}
        for name, view in self._moment_views():
            array = to_device(view, "cpu")
            state[name] = array.copy() if copy else array
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict()`. Raises one ValueError that lists all names that do not fit, before anything
        has changed."""
        views = dict(self._moment_views())
        numbers = ["lr", *(f"step.{name}" for group in self.groups for name in group.names)]
        shapes = {name: view.shape for name, view in views.items()} | dict.fromkeys(numbers, ())
        check_state(type(self).__name__, shapes, shapes, state)
        for name, view in views.items():
            view[...] = to_device(as_array(state[name]), device_of(view))
        for group in self.groups:
            group.steps = [int(state[f"step.{name}"]) for name in group.names]
        self.lr = float(state["lr"])

    def _moment_views(self) -> Iterable[tuple[str, Any]]:
        for group in self.groups:
            for moment, flat in zip(self.moments, group.moments):
                yield from zip((f"{moment}.{name}" for name in group.names), group.flat.views(flat))


class _Group:
    """Parameters of one dtype and device, decayed ones first: their flat arrays, moments (one flat array each) and
    steps so far."""

    def __init__(self, named: Mapping[str, Parameter], decayed: Mapping[str, bool], moments: Iterable[str]):
        self.names = list(named)
        self.decayed = [decayed[name] for name in named]
        self.steps = [0] * len(named)
        self.flat = FlatParameters(list(named.values()))
        self.moments = [np.zeros_like(self.flat.data) for _ in moments]

    def treatment(self, i: int) -> tuple[int, bool]:
        """What must be equal for parameters to be updated together."""
        return self.steps[i], self.decayed[i]


def _alike(names: Iterable[str], named: Mapping[str, Parameter]) -> Iterable[list[str]]:
    """The names by dtype and device of their parameters, in order."""
    alike: dict[tuple, list[str]] = {}
    for name in names:
        alike.setdefault((named[name].dtype, named[name].device), []).append(name)
    return alike.values()


def named_parameters(params: Iterable) -> dict[str, Parameter]:
    """`params` as name -> parameter, positions being the names of those that come without; raises on what cannot be
    trained."""
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise TypeError(f"expected a list of parameters or model.named_parameters(), not a {type(params).__name__}")
    named: dict[str, Parameter] = {}
    seen: set[int] = set()
    for i, item in enumerate(params):
        name, p = item if isinstance(item, tuple) else (str(i), item)
        if not isinstance(p, Parameter):
            raise TypeError(f"parameter {name} is a {type(p).__name__}; make it a minigrad.nn.Parameter")
        if p.dtype.itemsize < 4:
            raise TypeError(
                f"parameter {name} is {p.dtype}, in which small updates are lost; train a float32 master "
                f"and cast a copy of it"
            )
        if name in named or id(p) in seen:
            raise ValueError(f"parameter {name} is listed twice")
        named[name] = p
        seen.add(id(p))
    if not named:
        raise ValueError("there are no parameters to train")
    return named


def at_least_zero(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, not {value}")
    return float(value)  # a NumPy scalar would promote float32 arrays to float64
