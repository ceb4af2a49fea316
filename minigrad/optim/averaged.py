"""A moving average of the weights, beside any optimizer (Polyak and Juditsky 1992; of all steps but the last, as here,
Tarvainen and Valpola 2017, arXiv:1703.01780).

    after the first step    average <- weights
    after each other one    average <- decay average + (1 - decay) weights

The weights of the last steps jump about the place that they are near to. Their average does not, so it may be the
better model. It is evaluated, used and saved; training goes on with the weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.nn.state import check_state
from minigrad.optim.blocks import Parallel, blocks, run_serially
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.together import Together

AVERAGE, TRAINED, UPDATES = "average", "trained", "average_updates"  # names in the state


class Averaged(Together):
    """`optimizer`, with an average of the parameters. As torch.optim.swa_utils.get_ema_multi_avg_fn(decay).

    In `with optimizer.averaged():` the parameters are the average. Evaluate, write and save there.
    """

    def __init__(self, optimizer: Optimizer, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, not {decay}")
        super().__init__([optimizer])
        self.decay, self.updates = decay, 0
        self.averages = [data.copy() for data in self.own_data()]  # of a shard, where ranks divide the parameters
        self._trained: list[Array] | None = None  # the weights, while the parameters are the average

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        super().step(lr, parallel)
        self.update_averages(parallel)

    def update_averages(self, parallel: Parallel = run_serially) -> None:
        """What follows a step of the optimizer."""
        self.updates += 1
        share = 1 - self.decay if self.updates > 1 else 1.0
        for average, data in zip(self.averages, self.own_data()):
            update_average(average, data, share, parallel)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        if not self.updates or self._trained is not None:  # no average yet; or the parameters are the average already
            yield
            return
        self._trained = [data.copy() for data in self.own_data()]
        self._write(self.averages)
        self.share_update()
        try:
            yield
        finally:
            trained, self._trained = self._trained, None
            self._write(trained)
        self.share_update()  # not after an error: other ranks may do something else then

    def _write(self, arrays: list[Array]) -> None:
        """Make these the parameters."""
        for data, array in zip(self.own_data(), arrays):
            data[...] = array

    # --- saving and loading -------------------------------------------------------------------------------------------

    def moments_size(self) -> int:
        """Bytes of all that is saved beside the parameters: the average or the weights too."""
        return super().moments_size() + sum(p.data.nbytes for group in self.groups for p in group.flat.parameters)

    def state_dict(self, *, copy: bool = True) -> dict[str, np.ndarray]:
        """That of the optimizer, and either the weights or the average.

        The parameters are saved beside this state, so the one that is missing here is the one that they are now.
        """
        saved = (AVERAGE, self.averages) if self._trained is None else (TRAINED, self._trained)
        with self._as_moment(*saved):
            return super().state_dict(copy=copy) | {UPDATES: np.asarray(self.updates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """To be called when the parameters are those that were saved with the state."""
        check_state(type(self).__name__, {UPDATES: ()}, {UPDATES: ()}, {k: x for k, x in state.items() if k == UPDATES})
        name = TRAINED if any(key.startswith(f"{TRAINED}.") for key in state) else AVERAGE
        loaded = [np.empty_like(average) for average in self.averages]
        with self._as_moment(name, loaded):
            super().load_state_dict({key: array for key, array in state.items() if key != UPDATES})
        self.averages = [data.copy() for data in self.own_data()] if name == TRAINED else loaded
        if name == TRAINED:
            self._write(loaded)
            self.share_update()
        self.updates = int(state[UPDATES])

    @contextmanager
    def _as_moment(self, name: str, arrays: list[Array]) -> Iterator[None]:
        """Inside, these arrays are one more moment, so that they are saved and loaded as moments are."""
        for group, array in zip(self.groups, arrays):
            group.moment_names = (*group.moment_names, name)
            group.moments = [*group.moments, array]
        try:
            yield
        finally:
            for i, group in enumerate(self.groups):
                group.moment_names = group.moment_names[:-1]
                *group.moments, arrays[i] = group.moments


def update_average(average: Array, weights: Array, share: float, parallel: Parallel = run_serially) -> None:
    """average <- average + share (weights - average), in place, block by block."""

    def update(chosen: slice) -> None:
        mean, new = average[chosen], weights[chosen]
        for block in blocks(mean):
            mean[block] = new[block] if share == 1 else mean[block] + share * (new[block] - mean[block])

    parallel(update, average.size)
