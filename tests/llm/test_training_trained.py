"""What is trained beside frozen weights: the prediction of memory, against what tracemalloc measures."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from llm.hub.tuned import add_adapter
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.model.cost import activation_bytes, training_flops, training_memory
from llm.model.frozen import freeze
from llm.model.gpt import GPT
from llm.runs.options import TrainOptions
from llm.runs.tuning_options import TuningOptions
from llm.training.setup import make_optimizer
from llm.training.trained import WITHOUT_LOGITS, _trained_part, texts_of_a_row
from llm.tuning.classification.task import Classes
from llm.tuning.preferences.reward_task import Rewards
from llm.tuning.preferences.task import Preferences

SIZES: dict[str, Any] = {"vocab_size": 2000, "context": 128, "layers": 3, "heads": 4, "dim": 64}
LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "tied_head": False}
CONFIGS = {"gpt2": GPTConfig(**SIZES), "llama": GPTConfig(**SIZES, **LLAMA)}
CHOICES: list[dict[str, Any]] = [
    {"lora_rank": 8}, {"lora_rank": 16, "lora_dropout": 0.1}, {"lora_rank": 4, "lora_targets": "qkv"},
    {"lora_rank": 8, "dora": True}, {"prompt_tokens": 8}, {"freeze": "2"}, {"freeze": "3"}, {"freeze": "embedding"},
    {"freeze": "*.mlp"},
]  # fmt: skip
each = [pytest.mark.parametrize("name", CONFIGS), pytest.mark.parametrize("choices", CHOICES, ids=str)]


def tuned(name: str, choices: dict[str, Any]) -> tuple[GPT, TuningOptions]:
    model, tuning = GPT(CONFIGS[name]), TuningOptions(**choices)
    add_adapter(model, tuning, seed=0)
    freeze(model, tuning.freeze)
    model.train()
    return model, tuning


@each[0]
@each[1]
def test_activation_bytes_are_what_the_graph_holds(name: str, choices: dict[str, Any]) -> None:
    model, tuning = tuned(name, choices)
    ids = np.zeros((8, SIZES["context"] - tuning.virtual_tokens), int)
    model.loss(ids, ids)
    tracemalloc.start()
    loss = model.loss(ids, ids)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert loss.requires_grad
    predicted = activation_bytes(model.config, 8, trained=_trained_part(model.config, tuning, ""))
    # The first frozen layer that is in no graph, and small arrays: within 10%.
    assert 0.9 * held < predicted < 1.1 * held


@each[0]
@each[1]
def test_gradients_and_optimizer_are_those_of_what_is_trained(name: str, choices: dict[str, Any]) -> None:
    model, tuning = tuned(name, choices)
    optimizer = make_optimizer(model, TrainOptions())
    memory = training_memory(model.config, 2, trained=_trained_part(model.config, tuning, ""))
    moments = [array for key, array in optimizer.state_dict(copy=False).items() if key.startswith("exp_avg")]
    assert memory.optimizer == sum(array.nbytes for array in moments)
    assert memory.gradients == memory.optimizer // 2
    assert memory.weights == sum(p.data.nbytes for p in model.parameters())
    assert training_flops(model.config) > training_flops(model.config, trained=_trained_part(model.config, tuning, ""))


@each[0]
@pytest.mark.parametrize("objective", ["classify", "preference", "reward"])
def test_activation_bytes_of_an_objective_are_what_its_graph_holds(name: str, objective: str) -> None:
    ids, model, of = np.ones((4, 2, SIZES["context"]), int), GPT(CONFIGS[name]), dict[str, Any]()
    of["preference"] = Preferences(TuningOptions()), model, (ids, ids, np.zeros((4, 2), np.float32))
    of["classify"] = Classes(), Classifier(model, 2), (ids[:, 0], np.ones(ids[:, 0].shape, bool), np.zeros(4, int))
    of["reward"] = Rewards(0.0), Classifier(model, 1), (ids, np.ones(ids.shape, bool), np.zeros(4, np.float32))
    loss_of, model, batch = of[objective]
    loss_of.loss_sum(model, batch)
    tracemalloc.start()
    loss, _ = loss_of.loss_sum(model, batch)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert loss.requires_grad
    rows = 4 * texts_of_a_row(objective)
    assert 0.9 * held < activation_bytes(CONFIGS[name], rows, has_logits=objective not in WITHOUT_LOGITS) < 1.1 * held
