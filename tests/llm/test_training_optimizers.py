"""Which optimizer trains which parameter, and the memory that it takes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from llm.model.config import GPTConfig
from llm.model.cost import training_memory
from llm.runs.options import TrainOptions
from llm.training.optimizers import make_optimizer
from minigrad.optim import AdamW, Muon, Together
from tests.llm.gpts import configs, random_gpt


@given(configs())
def test_muon_trains_the_matrices_of_the_layers_and_adamw_all_others(config: GPTConfig) -> None:
    model = random_gpt(config, 0)
    together = make_optimizer(model, TrainOptions(optimizer="muon"))
    assert isinstance(together, Together)
    kinds = {name: type(each) for each in together.optimizers for group in each.groups for name in group.names}
    expected = {n: Muon if n.startswith("blocks.") and p.ndim > 1 else AdamW for n, p in model.named_parameters()}
    assert kinds == expected


@given(configs())
def test_the_memory_of_the_moments_is_the_predicted_one(config: GPTConfig) -> None:
    config = replace(config, bias=False, qkv_bias=None, out_bias=None, mlp_bias=None)  # two moments of few numbers
    model = random_gpt(config, 0)
    for kind in ("adamw", "muon", "schedule-free"):
        found = make_optimizer(model, TrainOptions(optimizer=kind)).moments_size()  # type: ignore[arg-type]
        how = {"muon": kind == "muon", "averaged": kind == "schedule-free"}
        assert found == training_memory(config, itemsize=8, **how).optimizer
