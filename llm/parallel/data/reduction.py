"""Adding up the gradients of all ranks while the backward pass goes on.

The flat gradient (minigrad/optim/flat.py) is divided in two ways:

    into buckets    neighbouring parameters, some megabytes. As soon as the gradients of a bucket are complete, it is
                    sent. The last layers are complete first, so they travel while the first layers are computed
    into shards     one for each rank, of equal size (with Muon: of whole matrices, nearly equal). The rank that owns a
                    shard adds up what all ranks have sent of it

           bucket 0          bucket 1          bucket 2
    |-----------------|-----------------|----------------|
    |--------- shard of rank 0 ---------|--------- shard of rank 1 ---------|        (two ranks)

The owner adds in the order of the ranks, so the sum has the same bits every time. Then each rank has the sum of its
shard (reduce-scatter). Without ZeRO, the shards are then sent to all (all-gather). With ZeRO, the owner updates its
shard of the weights, and these are sent instead: as many bytes.

All ranks must begin to send their buckets in the same order. So this order is fixed in the first step, by rank 0.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from llm.parallel.communicators.communicator import Communicator, Wait, reduced
from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.optim.flat import FlatParameters
from minigrad.tensor import Tensor

BUCKET = 1 << 20  # elements: 4 MB of float32. Smaller ones could be sent earlier, but each message takes some time
# A parameter is never divided, so a bucket may be much longer. It is sent in pieces of so many elements for each rank.
# The owner of a piece receives it once from each rank, so only some messages are under way at the same time.
PIECE, UNDER_WAY = BUCKET // 4, 4


class Bucket(NamedTuple):
    """Neighbouring parameters of a flat array."""

    flat: FlatParameters
    start: int
    stop: int
    parameters: tuple[Parameter, ...]


class Reduction:
    """The sums of gradients over the ranks of `group`. For each batch: `begin`, `complete` many times, `finish`.

    `keep_shards`: each rank needs the sums of its own shard only (ZeRO).
    """

    lockstep = False  # whether all ranks must run the model equally often, because they share its parameters
    every_micro_batch = False  # whether gradients are added up after each micro-batch, and not after the last one

    def __init__(
        self, flats: Sequence[FlatParameters], group: Communicator, bucket: int = BUCKET, *, keep_shards: bool = False
    ):
        self.group, self.flats, self.keep_shards = group, list(flats), keep_shards
        self.buckets = [each for flat in flats for each in buckets_of(flat, bucket)]
        self._bucket_of = {p: number for number, each in enumerate(self.buckets) for p in each.parameters}
        self._order: list[int] = []  # the numbers of the buckets, in the order in which they are sent
        self._lock = threading.Lock()

    def begin(self) -> None:
        """To be called before the backward pass that completes the gradients."""
        self._missing = [len(each.parameters) for each in self.buckets]  # gradients that are not complete
        self._sent = 0  # buckets
        self._under_way: list[tuple[FlatParameters, slice, Wait]] = []  # messages, and what is added up from each

    def order(self, parameters: Iterable[Parameter]) -> None:
        """Fix the order of the buckets, if it is not fixed. `parameters`: in the order in which they become complete.

        The first thread of each rank calls this before its first backward pass.
        """
        if not self._order:
            last = dict.fromkeys(range(len(self.buckets)), -1)  # when the last gradient of a bucket is complete
            last |= {self._bucket_of[p]: time for time, p in enumerate(parameters)}
            self._order = self.group.broadcast_object(sorted(last, key=lambda number: last[number]))

    def complete(self, parameter: Parameter) -> None:
        """The gradient of this parameter is complete on this rank. Any thread may call it."""
        with self._lock:
            self._missing[self._bucket_of[parameter]] -= 1
            while self._sent < len(self._order) and not self._missing[self._order[self._sent]]:
                self._send_next(self._order)

    def _send_next(self, order: Sequence[int]) -> None:
        bucket = self.buckets[order[self._sent]]
        self._sent += 1
        self._begin(bucket, self._gradients(bucket))

    def _gradients(self, bucket: Bucket) -> Array:
        """Those of this rank, flat."""
        bucket.flat.fill_missing(bucket.parameters)
        return bucket.flat.grad[bucket.start : bucket.stop]

    def _begin(self, bucket: Bucket, gradients: Array) -> None:
        """Send each rank what is in its shard."""
        size, rank = self.group.size, self.group.rank
        for parts in pieces([overlap(bucket, shard) for shard in bucket.flat.shards(size)]):
            gives = [gradients[moved(part, -bucket.start)] for part in parts]
            wait = self.group.begin_all_to_all(gives, [gives[rank].shape] * size)
            self._under_way.append((bucket.flat, parts[rank], wait))
            self._add_sums(all_but=UNDER_WAY - 1)

    def _add_sums(self, *, all_but: int = 0) -> None:
        """Wait for the messages that are under way, the oldest first, and add up what each brings."""
        while len(self._under_way) > all_but:
            flat, own, wait = self._under_way.pop(0)
            self._keep(flat, own, reduced(wait(), "sum"))

    def _keep(self, flat: FlatParameters, own: slice, sums: Array) -> None:
        flat.grad[own] = sums

    def finish(self) -> None:
        """Send the buckets that were not complete, and wait for the sums."""
        here = [p.grad is not None for flat in self.flats for p in flat.parameters]
        self._send_rest()
        for p in self._present(here):
            if p.grad is None:  # here it is a sum of zeros, and of what other ranks have
                p.grad = Tensor(p.grad_buffer)
        if not self.keep_shards:
            for flat in self.flats:
                gather_shards(flat.grad, flat.shards(self.group.size), self.group)

    def _send_rest(self) -> None:
        order = self._order or range(len(self.buckets))
        while self._sent < len(order):
            self._send_next(order)
        self._add_sums()

    def _present(self, here: list[bool]) -> list[Parameter]:
        """The parameters that have a gradient on any rank. `here`: whether each has one on this rank."""
        everywhere = [any(ranks) for ranks in zip(*self.group.exchange_objects([here] * self.group.size))]
        parameters = [p for flat in self.flats for p in flat.parameters]
        return [p for p, present in zip(parameters, everywhere) if present]


def buckets_of(flat: FlatParameters, size: int) -> list[Bucket]:
    """Neighbouring parameters in buckets of at least `size` elements; the last one may be smaller."""
    buckets, first = [], 0
    for i in range(len(flat.parameters)):
        start, stop = flat.bounds[first], flat.bounds[i + 1]
        if stop - start >= size or i + 1 == len(flat.parameters):
            buckets.append(Bucket(flat, start, stop, tuple(flat.parameters[first : i + 1])))
            first = i + 1
    return buckets


def gather_shards(flat: Array, shards: Sequence[slice], group: Communicator) -> None:
    """Each rank has its shard of `flat`; afterwards all have all."""
    for slices in pieces(shards):
        arrays = group.all_gather(flat[slices[group.rank]], [(each.stop - each.start,) for each in slices])
        for rank, (where, array) in enumerate(zip(slices, arrays)):
            if rank != group.rank:
                flat[where] = array


def pieces(parts: Sequence[slice]) -> Iterator[list[slice]]:
    """The parts, one for each rank, in messages of at most PIECE elements of each."""
    longest = max(part.stop - part.start for part in parts)
    for first in range(0, longest, PIECE):
        yield [slice(min(p.start + first, p.stop), min(p.start + first + PIECE, p.stop)) for p in parts]


def moved(part: slice, by: int) -> slice:
    """The slice, `by` elements further."""
    return slice(part.start + by, part.stop + by)


def overlap(part: Bucket | slice, shard: slice) -> slice:
    """The elements that both have."""
    start, stop = max(part.start, shard.start), min(part.stop, shard.stop)
    return slice(start, max(start, stop))
