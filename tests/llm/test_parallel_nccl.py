"""Ranks on GPUs compute what ranks on the CPU compute: here with stand-ins for CuPy and NCCL, which carries bytes."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.nccl import GPUs, use_own_device
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.shards import shard
from llm.parallel.zero import matrices
from llm.parallel.zero.matrices import SplitMuon
from minigrad.nn import Parameter
from tests import fake_cupy

MAILBOXES: dict[Any, queue.SimpleQueue] = {}
LOCK, KEYS, GROUPED = threading.Lock(), iter(range(10**9)), threading.local()


class NcclCommunicator:
    """Between groupStart and groupEnd nothing is received, as in NCCL. Arguments as those of CuPy's class."""

    def __init__(self, ndev: int, commId: tuple[int, ...], rank: int):
        assert len(commId) == 128 and 0 <= rank < ndev
        self.key, self.rank, self.size = commId, rank, ndev

    def _mailbox(self, source: int, to: int) -> queue.SimpleQueue:
        with LOCK:
            return MAILBOXES.setdefault((self.key, source, to), queue.SimpleQueue())

    def _do(self, action: Callable[[], None]) -> None:
        waiting = getattr(GROUPED, "actions", None)
        action() if waiting is None else waiting.append(action)

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        assert count > 0 and datatype == 1 and peer != self.rank and stream
        self._do(lambda: self._mailbox(self.rank, peer).put(ctypes.string_at(sendbuf, count)))

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        def action() -> None:
            data = self._mailbox(peer, self.rank).get(timeout=20)
            assert len(data) == count and datatype == 1 and stream
            ctypes.memmove(recvbuf, data, count)

        self._do(action)


def group_end() -> None:
    actions, GROUPED.actions = GROUPED.actions, None
    for action in sorted(actions, key=lambda action: action.__name__ == "action"):  # sends are called <lambda>
        action()


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with fake_cupy.installed() as cupy, pytest.MonkeyPatch.context() as patch:
        nccl = ModuleType("cupy.cuda.nccl")
        nccl.__dict__.update(
            NcclCommunicator=NcclCommunicator, NCCL_UINT8=1, groupEnd=group_end,
            get_unique_id=lambda: (next(KEYS), *[0] * 127), groupStart=lambda: setattr(GROUPED, "actions", []),
        )  # fmt: skip
        patch.setitem(__import__("sys").modules, "cupy.cuda.nccl", nccl)
        patch.setattr(cupy.cuda, "nccl", nccl, raising=False)
        event = SimpleNamespace(done=True)
        for name, value in {"ptr": 7, "record": lambda self: event, "wait_event": lambda self, event: None}.items():
            patch.setattr(cupy.cuda.Stream, name, value, raising=False)
        patch.setattr(cupy.cuda.Stream, "__init__", lambda self, non_blocking=False: None)
        patch.setattr(cupy.ndarray, "data", property(lambda a: SimpleNamespace(ptr=a._host.ctypes.data)), raising=False)
        yield cupy


def exchange(group: Communicator, put: Callable[[Any], Any], seed: int, dtype: str) -> list[Any]:
    """What a rank gets from each kind of message."""
    n, rank = group.size, group.rank
    array = np.random.default_rng((seed, rank)).integers(-99, 99, (3, 2 * n)).astype(dtype)
    parts = [put(array[:, 2 * r : 2 * r + 2]) for r in range(n)]
    found = [*group.all_to_all(parts), group.reduce_scatter(parts), group.all_reduce(put(array)), group.sent]
    found += [*group.all_gather(put(array[:rank]), [(r, 2 * n) for r in range(n)])]
    found.append(group.broadcast(put(array) if rank == 0 else None))
    group.send(put(array.T), (rank + 1) % n)
    found.append(group.receive((rank - 1) % n, (2 * n, 3), dtype))
    group.finish_sends()
    part = group.split(rank % 2)
    return [*found, part.size, part.all_reduce(put(array)), group.sent]


@given(st.integers(2, 4), st.integers(0, 99), st.sampled_from(["float32", "float16", "float64", "int64"]))
@settings(max_examples=10)
def test_each_message_brings_what_it_brings_between_processors(gpu: Any, size: int, seed: int, dtype: str) -> None:
    wanted = run_ranks(size, lambda group: exchange(group, np.asarray, seed, dtype))
    found = run_ranks(size, lambda group: exchange(GPUs(group), gpu.asarray, seed, dtype))
    for rank in range(size):
        for a, b in zip(wanted[rank], found[rank], strict=True):
            assert isinstance(b, int) or type(b) is gpu.ndarray and b.dtype == a.dtype
            np.testing.assert_array_equal(a, b if isinstance(b, int) else b.get())


def test_a_rank_without_a_gpu_is_refused(gpu: Any) -> None:
    use_own_device(0)
    with pytest.raises(ValueError, match="rank 1 of this machine needs a GPU of its own, but there are 1"):
        use_own_device(1)


CONFIG = GPTConfig(vocab_size=11, layers=1, heads=2, dim=8)


def direction(group: Communicator, name: str, put: Callable[[Any], Any]) -> Any:
    """The part of this rank of the step that Muon takes, for a matrix that is divided among two ranks."""
    whole = np.random.default_rng(3).standard_normal(dict(GPT(CONFIG).named_parameters())[name].shape)
    own = shard(CONFIG, name, whole.shape, group.rank, group.size)
    optimizer = SplitMuon([(name, Parameter(whole))])
    mesh: Any = SimpleNamespace(tensor=group)
    optimizer.part = SimpleNamespace(config=CONFIG, shapes={name: whole.shape}, mesh=mesh)  # type: ignore[assignment]
    return optimizer.direction(name, put(own.part(whole)))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["blocks.0.mlp.up.weight", "blocks.0.attention.out.weight"])  # by rows, by columns
def test_ranks_on_gpus_put_the_matrices_of_muon_together(gpu: Any, name: str) -> None:
    wanted = run_ranks(2, lambda group: direction(group, name, np.asarray))
    found = run_ranks(2, lambda group: direction(GPUs(group), name, gpu.asarray))
    for a, b in zip(wanted, found, strict=True):
        assert type(b) is gpu.ndarray
        np.testing.assert_array_equal(a, b.get())  # the stand-in computes by NumPy


@pytest.mark.control
def test_a_matrix_put_together_on_the_host_is_noticed(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "array_module", lambda a: np)
    with pytest.raises(Exception, match="cupy|NumPy array"):
        run_ranks(2, lambda group: direction(GPUs(group), "blocks.0.mlp.up.weight", gpu.asarray))


@pytest.mark.gpu
def test_on_a_real_gpu_a_group_of_one_rank_gets_what_it_gives() -> None:
    cupy = pytest.importorskip("cupy")
    pytest.importorskip("cupy.cuda.nccl")

    def rank(group: Communicator) -> Any:
        use_own_device(0)
        return GPUs(group).all_reduce(cupy.arange(5.0)).get()

    np.testing.assert_array_equal(run_ranks(1, rank)[0], np.arange(5.0))
