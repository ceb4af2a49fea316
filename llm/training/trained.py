"""What a run trains, where that is not the whole model: for the prediction of memory and time."""

from __future__ import annotations

from functools import lru_cache

from llm.hub.source import open_model
from llm.hub.tuned import add_adapter
from llm.model.adapters.lora import LoRA
from llm.model.config import GPTConfig
from llm.model.cost import Trained, parameters
from llm.model.frozen import freeze
from llm.model.gpt import GPT
from llm.runs.options import Options
from llm.runs.tuning_options import TuningOptions

PAIRS = "translate"  # the objective whose model is a Transformer, not a GPT
WITHOUT_LOGITS = ("classify", "reward")  # objectives whose loss is not that of next tokens


def texts_of_a_row(objective: str) -> int:
    """How many texts a row of a batch has."""
    return 2 if objective in ("preference", "reward") else 1  # a chosen and a rejected one


def trained_part(options: Options) -> Trained | None:
    """What is trained; None: all weights. Raises ValueError if --freeze or --lora-targets fit nothing."""
    tuning = options.tuning
    if not tuning.has_adapters and not tuning.freeze:
        return None
    # LoRA finds matrices by the names that the family gives them.
    family = "" if tuning.lora_rank is None else open_model(str(options.training.from_)).family
    return _trained_part(options.model, tuning, family)


@lru_cache(1)
def _trained_part(config: GPTConfig, tuning: TuningOptions, family: str) -> Trained:
    model = GPT(config, rng=None)  # zeros, which take no memory until they are written
    model.family = family
    add_adapter(model, tuning, seed=0)
    freeze(model, tuning.freeze)
    names = [name for name, _ in model.named_trainable()]
    return Trained(
        numbers=sum(p.size for _, p in model.named_trainable()),
        added=model.num_parameters() - parameters(config).total,
        frozen_layers=0 if tuning.has_adapters else lowest_layer(names, config.layers),
        head=("embedding.weight" if config.tied_head else "head.weight") in names,
        per_token=numbers_per_token(model),
    )


def lowest_layer(names: list[str], layers: int) -> int:
    """The first layer that a gradient reaches, when parameters of these names are trained."""
    if any(name.startswith(("embedding", "positions")) for name in names):
        return 0
    return min((int(name.split(".")[1]) for name in names if name.startswith("blocks.")), default=layers)


def numbers_per_token(model: GPT) -> int:
    """What LoRA adds to the graph: x A for each update, the input with dropout, and with DoRA the output once more."""
    total = 0
    for layer in (module for _, module in model.named_modules() if isinstance(module, LoRA)):
        out_features, in_features = layer.weight.shape
        ranks = sum(len(update.A.data) for update in layer.updates)
        has_lengths = any(update.magnitude is not None for update in layer.updates)
        total += ranks + (in_features if layer.dropout_rate else 0) + (out_features if has_lengths else 0)
    return total
