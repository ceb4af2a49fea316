"""The presets: sets of values for the options of training and of the model, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm.model.presets import PRESETS as MODELS
from llm.runs.options import Options, TrainOptions
from llm.runs.tuning_options import TuningOptions

LINEAR: dict[str, Any] = {"min_lr": 0.0, "schedule": "linear"}
MUON: dict[str, Any] = {"optimizer": "muon", "warmup": 50, "eval_every": 50, **LINEAR}

DEFAULT = TrainOptions(
    batch_size=12,
    steps=250,
    lr=6e-3,
    weight_decay=0.3,  # it reads its text once. A text that is read nine times needs 2: docs/LOG.md, 2026-12-01
    sample_every=125,
    **MUON,
)
NANOGPT = TrainOptions(
    data="shakespeare", tokenizer="char", batch_size=12, steps=2000, eval_every=250, sample_every=1000
)
# A quarter of nanoGPT's steps is enough: docs/LOG.md, 2026-11-26 and 2026-12-01.
SHAKESPEARE = replace(NANOGPT, steps=500, lr=5e-3, sample_every=250, **MUON)
# As in section 5 of the paper. With equation 3, lr would be 1 / sqrt(dim * warmup) = 6e-3: too much here.
TRANSLATE = TrainOptions(
    data="dates",
    tokenizer="char",
    objective="translate",
    batch_size=64,
    steps=3000,
    lr=2e-3,
    min_lr=0.0,
    schedule="inverse_sqrt",
    warmup=200,
    weight_decay=0.0,
    beta2=0.98,
    sample_every=1000,
)
PUBLISHED = TrainOptions(lr=6e-4, min_lr=6e-5, warmup=700, beta2=0.95)  # for the models of llm/model/presets.py


def presets() -> dict[str, Options]:
    """All presets by name: five with options of their own, and the other models, which share `PUBLISHED`."""
    by_name = {
        "default": Options(DEFAULT, replace(MODELS["shakespeare-char"], vocab_size=4096, context=128)),
        "nanogpt-char": Options(NANOGPT, MODELS["nanogpt-char"]),
        "moe-tiny": Options(DEFAULT, MODELS["moe-tiny"]),
        "shakespeare-char": Options(SHAKESPEARE, MODELS["shakespeare-char"]),
        "transformer-translate": Options(
            TRANSLATE, MODELS["transformer-translate"], TuningOptions(label_smoothing=0.1)
        ),
    }
    by_name |= {name: Options(PUBLISHED, model) for name, model in MODELS.items() if name not in by_name}
    # The name is itself an option.
    return {name: replace(each, training=replace(each.training, preset=name)) for name, each in by_name.items()}
