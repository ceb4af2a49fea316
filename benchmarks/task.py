"""The task that all competitors get: the configuration of a model, its weights, token ids and settings, in a folder.

The program writes the task once, and each competitor reads it in its own process, one array at a time. So no process
needs twice the memory of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm.model.config import GPTConfig

Device = Literal["cpu", "cuda"]

GPT2_124M: dict[str, Any] = {"vocab_size": 50304, "layers": 12, "heads": 12, "dim": 768}
SMALL: dict[str, Any] = {"vocab_size": 4096, "context": 256, "layers": 6, "heads": 6, "dim": 384}
TINY: dict[str, Any] = {"vocab_size": 65, "context": 64, "layers": 4, "heads": 4, "dim": 128}
LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}

TRAINING: dict[str, tuple[GPTConfig, int]] = {  # configuration, batch
    "a": (GPTConfig(**TINY), 12),
    "b": (GPTConfig(**SMALL), 8),
    "c": (GPTConfig(**GPT2_124M, context=512), 2),
    "c1k": (GPTConfig(**GPT2_124M, context=1024), 2),
    "llama-a": (GPTConfig(**TINY, **LLAMA, kv_heads=2), 12),
    "llama-b": (GPTConfig(**SMALL, **LLAMA, kv_heads=3), 8),
    "smallest": (GPTConfig(vocab_size=17, context=8, layers=2, heads=2, dim=16), 4),  # for tests of the benchmark
}
DECODING: dict[str, GPTConfig] = {
    "124m": GPTConfig(**GPT2_124M, context=1024),
    "384": GPTConfig(**SMALL),
    "128": GPTConfig(**TINY | {"context": 256}),
    "smallest": GPTConfig(vocab_size=17, context=128, layers=2, heads=2, dim=16),
}


@dataclass(frozen=True)
class Task:
    """Batches of `batch` texts of `config.context` tokens, for `threads` threads on the CPU, or for a GPU.

    `folder` holds the arrays.
    """

    folder: Path
    config: GPTConfig
    batch: int = 1
    threads: int = 1
    device: Device = "cpu"

    @classmethod
    def read(cls, folder: Path) -> Task:
        fields = json.loads((folder / "task.json").read_text())
        return cls(folder, GPTConfig.from_json(fields.pop("config")), **fields)

    def write(self, batches: int = 4) -> Task:
        """Put the task into its folder, with the initial weights of the model and with made-up batches of ids."""
        from llm.model.gpt import GPT  # not at the top: other libraries read tasks without loading our engine

        shape = batches, self.batch, self.config.context + 1
        return self.save(GPT(self.config, rng=0).state_dict(), learnable_ids(shape, self.config.vocab_size))

    def save(self, weights: dict[str, Any], ids: np.ndarray) -> Task:
        """Put the task into its folder, with weights by the names of our model, and ids (batches, B, T + 1)."""
        fields = asdict(self) | {"config": self.config.to_json()}
        fields.pop("folder")
        (self.folder / "task.json").write_text(json.dumps(fields))
        np.savez(self.folder / "weights.npz", **weights)
        np.save(self.folder / "ids.npy", ids)
        return self

    def weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) for each parameter, by the names of our model."""
        with np.load(self.folder / "weights.npz") as arrays:
            for name in arrays.files:
                yield name, arrays[name]

    def ids(self) -> np.ndarray:
        """The ids (batches, B, T + 1), int64."""
        return np.load(self.folder / "ids.npy")


def learnable_ids(shape: tuple[int, ...], vocab_size: int) -> np.ndarray:
    """Ids in which each token has four possible successors, so that a model can learn something and the loss moves."""
    rng = np.random.default_rng(1)
    ids = rng.integers(0, vocab_size, shape)
    for t in range(1, shape[-1]):
        ids[..., t] = (7 * ids[..., t - 1] + rng.integers(0, 4, shape[:-1])) % vocab_size
    return ids
