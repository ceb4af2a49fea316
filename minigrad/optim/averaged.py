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

from minigrad.backend import Array, as_array, device_of, to_device
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
        self.averages = [group.flat.data.copy() for group in self.groups]
        self._trained: list[Array] | None = None  # the weights, while the parameters are the average

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        super().step(lr, parallel)
        self.update_averages(parallel)

    def update_averages(self, parallel: Parallel = run_serially) -> None:
        """What follows a step of the optimizer."""
        self.updates += 1
        share = 1 - self.decay if self.updates > 1 else 1.0
        for group, average in zip(self.groups, self.averages):
            update_average(average, group.flat.data, share, parallel)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        if not self.updates or self._trained is not None:  # no average yet; or the parameters are the average already
            yield
            return
        self._trained = [group.flat.data.copy() for group in self.groups]
        self._set_parameters(self.averages)
        try:
            yield
        finally:
            self._set_parameters(self._trained)
            self._trained = None

    def _set_parameters(self, arrays: list[Array]) -> None:
        for group, array in zip(self.groups, arrays):
            group.flat.sync_views()
            group.flat.data[...] = array

    # --- saving and loading -------------------------------------------------------------------------------------------

    def moments_size(self) -> int:
        """Bytes of all that is saved beside the parameters: the average and the weights too."""
        return super().moments_size() + 2 * sum(average.nbytes for average in self.averages)

    def state_dict(self, *, copy: bool = True) -> dict[str, np.ndarray]:
        """That of the optimizer, with the average and the weights. One of the two is what the parameters are now."""
        state = super().state_dict(copy=copy) | {UPDATES: np.asarray(self.updates)}
        trained = self._trained or [group.flat.data for group in self.groups]
        for name, view in self._views(trained):
            array = to_device(view, "cpu")
            state[name] = array.copy() if copy else array
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        views = dict(self._views([group.flat.data for group in self.groups]))
        shapes: dict[str, tuple[int, ...]] = {name: view.shape for name, view in views.items()} | {UPDATES: ()}
        check_state(type(self).__name__, shapes, shapes, {name: state[name] for name in shapes if name in state})
        super().load_state_dict({name: array for name, array in state.items() if name not in shapes})
        for name, view in views.items():
            view[...] = to_device(as_array(state[name]), device_of(view))
        self.updates = int(state[UPDATES])

    def _views(self, trained: list[Array]) -> Iterator[tuple[str, Array]]:
        for kind, arrays in ((AVERAGE, self.averages), (TRAINED, trained)):
            for group, array in zip(self.groups, arrays):
                yield from zip((f"{kind}.{name}" for name in group.names), group.flat.views(array))


def update_average(average: Array, weights: Array, share: float, parallel: Parallel = run_serially) -> None:
    """average <- average + share (weights - average), in place, block by block."""

    def update(chosen: slice) -> None:
        mean, new = average[chosen], weights[chosen]
        for block in blocks(mean):
            mean[block] = new[block] if share == 1 else mean[block] + share * (new[block] - mean[block])

    parallel(update, average.size)
