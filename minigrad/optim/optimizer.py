"""What all optimizers share: the step over flat arrays, which parameters are decayed, and a state that can be saved.

A subclass names the moments that it keeps for each parameter, and updates one block of elements in place. `step` calls
that `update` in four nested loops:

    for each group              the parameters of one dtype on one device: one flat array (flat.py)
        for each run            neighbours that have a gradient, the same step count and the same decay
            for each slice      in parallel threads, if there are any
                for each block  a part that fits into the cache (blocks.py)

A parameter that has no gradient at a step is skipped entirely, and its moments and step count stay as they are, as in
`torch.optim`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from minigrad.backend import Array, as_array, device_of, to_device
from minigrad.nn.module import Parameter
from minigrad.nn.state import check_state
from minigrad.optim.blocks import Parallel, block_size, blocks, run_serially
from minigrad.optim.flat import FlatParameters
from minigrad.profiler import span
from minigrad.tensor import Tensor


class Optimizer:
    """The base of all optimizers.

    `params`: parameters, or (name, parameter) pairs such as `model.named_parameters()`. With names, a saved state does
    not depend on the order of the parameters. `decay(parameter)`: whether `weight_decay` applies to it. By default it
    applies to all. The usual choice is `lambda p: p.ndim >= 2`: matrices, but neither biases nor the weights of norms.
    `lr` may be assigned, or given to each step.
    """

    make_flat: Callable[[Sequence[Parameter]], FlatParameters] = FlatParameters
    moments: tuple[str, ...] = ()  # the names of the arrays kept for each parameter, of its shape; they begin at 0
    numbers: tuple[str, ...] = ("lr",)  # the names of the attributes that are saved too, each a number

    def __init__(self, params: Iterable, lr: float, weight_decay: float, decay: Callable[[Parameter], bool] | None):
        self.lr, self.weight_decay = at_least_zero("lr", lr), at_least_zero("weight_decay", weight_decay)
        named = named_parameters(params)
        decayed = {name: decay is None or bool(decay(p)) for name, p in named.items()}
        # Decayed parameters come first, so that each kind (decayed or not) is one long slice of the flat arrays.
        names = sorted(named, key=lambda name: not decayed[name])
        self.groups = [
            _Group({name: named[name] for name in group}, decayed, self.make_flat)
            for group in _by_dtype_and_device(names, named)
        ]
        for group in self.groups:
            group.moment_names = self.moments
            group.moments = [self._first_moment(group) for _ in self.moments]

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        """Update every parameter that has a gradient; `lr`, if given, becomes the learning rate.

        `parallel(work, size)` calls `work` with slices that together make up range(size), at once in several threads
        or one after the other. Elements are updated independently of each other, so the result is the same to the bit.
        """
        # Checked here as well: `lr` may have been assigned.
        self.lr = at_least_zero("lr", self.lr if lr is None else lr)
        for group in self.groups:
            group.flat.sync_views()  # raises if something does not fit, before any parameter is updated
        for group in self.groups:
            for indices, elements in group.flat.runs(key=group.update_key):
                self._update_run(group, indices, elements, parallel)
        self.share_update()

    def share_update(self) -> None:
        """Give other ranks the parameters that were changed here, if ranks divide them. Here there are no others."""

    def _update_run(self, group: _Group, indices: range, elements: slice, parallel: Parallel) -> None:
        """Update neighbouring parameters, which have these indices and elements, together."""
        steps, is_decayed = group.update_key(indices[0])  # equal for all parameters of the run
        t = steps + 1  # the first step is number 1, as in the formulas
        group.steps[indices.start : indices.stop] = [t] * len(indices)
        arrays = self._arrays(group, elements)
        weight_decay = self.weight_decay if is_decayed else 0.0

        # The profiler shows the time of each slice under the name of the optimizer.
        @span(type(self).__name__)
        def update_slice(chosen: slice) -> None:
            self._update_slice([array[chosen] for array in arrays], t, weight_decay)

        parallel(update_slice, arrays[0].size)

    def _update_slice(self, arrays: list[Array], t: int, weight_decay: float) -> None:
        """Step `t` for all elements of these flat arrays, block after block."""
        # One scratch array for each thread, used for all its blocks.
        scratch = np.empty_like(arrays[0][: block_size(arrays[0])])
        for block in blocks(arrays[0]):
            p, g, *moments = (array[block] for array in arrays)
            self.update(p, g, *moments, scratch=scratch[: p.size], t=t, lr=self.lr, weight_decay=weight_decay)

    def _first_moment(self, group: _Group) -> Array:
        """The moments of all elements before the first step."""
        return np.zeros_like(group.flat.data)

    def _arrays(self, group: _Group, elements: slice) -> list[Array]:
        """Parameters, gradients and moments of these elements."""
        # Slices of flat arrays are views: writing to them is writing to the parameters and moments.
        return [flat[elements] for flat in (group.flat.data, group.flat.grad, *group.moments)]

    def update(
        self, p: Array, g: Array, *moments: Array, scratch: Array, t: int, lr: float, weight_decay: float
    ) -> None:
        """Update a block of elements `p` and their moments in place, at step `t` = 1, 2, ... of these parameters.

        All arrays are flat and of one size. `g` must stay as it is; `scratch` is free to use.
        """
        raise NotImplementedError

    def own_data(self) -> list[Array]:
        """The flat parameters that are updated here, those of each group; other ranks may update the rest."""
        for group in self.groups:
            group.flat.sync_views()
        return [self._arrays(group, slice(0, group.flat.size))[0] for group in self.groups]

    def zero_grad(self) -> None:
        """Forget all gradients; the next backward() overwrites them."""
        for group in self.groups:
            for p in group.flat.parameters:
                p.grad = None  # the flat gradient is not filled with zeros, which would take a pass over memory

    def gradients(self) -> list[Array]:
        """All existing gradients as a few flat arrays, which may be changed in place."""
        return [g for group in self.groups for g in group.flat.gradients()]

    def counted_once(self, grads: list[Array]) -> list[Array]:
        """Those of the gradients that count in the norm here. Others may have some of the parameters too."""
        return grads

    def whole_norm(self, norm: Array) -> Array:
        """The norm of the gradient of all parameters. `norm`: that of the gradients here, which are all.

        An optimizer that has only a part of them asks those that have the others.
        """
        return norm

    def whole_parameters(self, *, changed: bool) -> AbstractContextManager[None]:
        """Inside, all parameters are whole, to be saved, or to be loaded (`changed`). Here they always are.

        An optimizer that divides them among ranks makes them whole: to be saved, on the first rank.
        """
        return nullcontext()

    def whole_moments(self, *, changed: bool) -> AbstractContextManager[None]:
        """Inside, the moments are whole, to be saved, or to be loaded (`changed`); as `whole_parameters`."""
        return nullcontext()

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the parameters are those to evaluate, to use and to save, if these are not the ones that are trained.

        Some optimizers average the parameters of many steps. Most do not: nothing changes.
        """
        return nullcontext()

    # --- saving and loading -------------------------------------------------------------------------------------------

    def moments_size(self) -> int:
        """Bytes of the moments of all parameters."""
        return sum(len(group.moment_names) * p.data.nbytes for group in self.groups for p in group.flat.parameters)

    def state_dict(self, *, copy: bool = True) -> dict[str, np.ndarray]:
        """Everything that a later run needs to continue bit for bit, as NumPy arrays.

        The names are "lr" (and other `numbers`), and for every parameter "step.NAME" and "MOMENT.NAME", such as
        "exp_avg.head.weight". Settings given to the constructor are not in it. With `copy=False`, moments on the CPU
        share memory with the optimizer.
        """
        # Numbers are arrays without axes, so that the state can be written as safetensors.
        state = {name: np.asarray(getattr(self, name), np.float64) for name in self.numbers}
        for group in self.groups:
            state |= {f"step.{name}": np.asarray(t) for name, t in zip(group.names, group.steps)}
        with self.whole_moments(changed=False):
            for name, view in self._moment_views():
                array = to_device(view, "cpu")
                state[name] = array.copy() if copy else array
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict()`. If anything does not fit, one ValueError lists it and nothing has changed."""
        numbers = [*self.numbers, *(f"step.{name}" for group in self.groups for name in group.names)]
        with self.whole_moments(changed=True):
            views = dict(self._moment_views())
            shapes = {name: view.shape for name, view in views.items()} | dict.fromkeys(numbers, ())
            check_state(type(self).__name__, shapes, shapes, state)
            for name, view in views.items():  # written into the flat moments, through their views
                view[...] = to_device(as_array(state[name]), device_of(view))
        for group in self.groups:  # the step counts are in the bias corrections, so they must be restored as well
            group.steps = [int(state[f"step.{name}"]) for name in group.names]
        for name in self.numbers:
            setattr(self, name, float(state[name]))

    def _moment_views(self) -> Iterable[tuple[str, Array]]:
        """("MOMENT.NAME", a view of the flat moments in the shape of the parameter) for each."""
        for group in self.groups:
            for moment, flat in zip(group.moment_names, group.moments):
                yield from zip((f"{moment}.{name}" for name in group.names), group.flat.views(flat))


class _Group:
    """Parameters of one dtype on one device: their flat arrays, one flat array for each moment, and their step counts.

    Each parameter has a step count of its own, because those without a gradient are skipped.
    """

    def __init__(
        self,
        named: Mapping[str, Parameter],
        decayed: Mapping[str, bool],
        make_flat: Callable[[Sequence[Parameter]], FlatParameters],
    ):
        # All of these have one entry for each parameter, in the order of the flat arrays.
        self.names = list(named)
        self.decayed = [decayed[name] for name in named]
        self.steps = [0] * len(named)
        self.flat = make_flat(list(named.values()))
        self.moment_names: tuple[str, ...] = ()
        self.moments: list[Array] = []  # a flat array for each of these names

    def update_key(self, i: int) -> tuple[int, bool]:
        """Neighbours with equal keys are updated together: with the same step count and the same decay."""
        return self.steps[i], self.decayed[i]  # in ordinary training there are two kinds: decayed and not decayed


def _by_dtype_and_device(names: Iterable[str], named: Mapping[str, Parameter]) -> Iterable[list[str]]:
    """The names, in their order, in one list for each dtype and device of their parameters."""
    groups: dict[tuple, list[str]] = {}  # a dict keeps the order in which keys come first
    for name in names:
        groups.setdefault((named[name].dtype, named[name].device), []).append(name)
    return groups.values()


def named_parameters(params: Iterable) -> dict[str, Parameter]:
    """`params` as name -> parameter; a parameter without a name gets its position. Raises if one cannot be trained.

    Frozen parameters, which require no gradient, are left out: an optimizer keeps nothing for them.
    """
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise TypeError(f"expected a list of parameters or model.named_parameters(), not a {type(params).__name__}")
    named: dict[str, Parameter] = {}
    seen: set[int] = set()  # ids of parameters: one that is listed twice would be updated twice
    for i, item in enumerate(params):
        name, p = item if isinstance(item, tuple) else (str(i), item)
        if not isinstance(p, Parameter):
            raise TypeError(f"parameter {name} is a {type(p).__name__}; make it a minigrad.nn.Parameter")
        # float16 has 11 significant bits: adding less than about 1/2048 of a weight to it changes nothing.
        if p.dtype.itemsize < 4:
            raise TypeError(
                f"parameter {name} is {p.dtype}, in which small updates are lost; train it in float32 "
                f"and compute with a copy that is cast to {p.dtype}"
            )
        if name in named or id(p) in seen:
            raise ValueError(f"parameter {name} is listed twice")
        seen.add(id(p))
        if p.requires_grad:
            named[name] = p
    if not named:
        raise ValueError("there are no parameters to train")
    return named


def at_least_zero(name: str, value: float) -> float:
    """`value` as a Python number. Raises ValueError if it is negative, infinite or NaN."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, not {value}")
    return float(value)  # a NumPy scalar would promote float32 arrays to float64
