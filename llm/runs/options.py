"""What `train.py` can be told: the options of training, beside those of the model (llm/model/config.py), and presets of
both.

The text below a field is its `--help`. A preset is where the other options start from.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from llm.model.config import GPTConfig
from llm.model.presets import PRESETS as MODELS


@dataclass(frozen=True)
class TrainOptions:
    """How to train."""

    preset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(["default", *MODELS]) + "}")] = "default"
    """Where all other options start from; any of them can be given beside it."""
    data: str = "python-docs"
    """Text to learn from: a file, a folder, a glob, - (standard input), or python-docs, python-stdlib, shakespeare."""
    tokenizer: str = "bpe"
    """"bpe" learns --vocab-size tokens from the text, "char" takes its characters; or the path of a tokenizer.json."""
    val_fraction: float = 0.1
    """Share of the text that is held out for validation."""
    out: str | None = None
    """Folder of the run. Default: a new one, runs/PRESET-NUMBER."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --out (default: the newest in runs/), with its options; those given here replace them."""
    steps: int = 1000
    """Updates of the weights."""
    batch_size: int = 16
    """Sequences per update."""
    micro_batches: int = 1
    """Work through a batch in this many parts, to save memory; the gradient stays that of the whole batch."""
    lr: float = 1e-3
    """Learning rate after the warmup."""
    min_lr: float = 1e-4
    """Learning rate at the end."""
    schedule: Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt"] = "cosine"
    """How the learning rate goes from the one to the other; wsd: warmup, stable, decay over the last fifth."""
    warmup: int = 100
    """Steps in which the learning rate rises from near 0."""
    beta2: float = 0.99
    """AdamW: memory of the squared gradients (beta1 is 0.9)."""
    weight_decay: float = 0.1
    """AdamW: pull of matrices and embeddings towards 0, times the learning rate."""
    clip: float = 1.0
    """Largest norm of the gradient; 0: leave it."""
    eval_every: int = 100
    """Steps between evaluations."""
    eval_batches: int = 20
    """Batches of validation text in an evaluation, the same each time."""
    checkpoint_every: int = 500
    """Steps between checkpoints; there is also one for each best evaluation, and at the end."""
    sample_every: int = 500
    """Steps between samples of what the model writes; 0: only at the end."""
    prompt: str = ""
    """What the samples begin with. Default: the beginning of a text."""
    seed: int = 1337
    """Decides weights, order of the batches, dropout and samples."""
    threads: int | None = None
    """Cores to use, by threads or, for small models, processes. Default: all that are available."""
    device: str = "auto"
    """cpu, cuda, cuda:N, or auto: a GPU when there is one."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train nothing: print sizes, memory and predicted time."""
    profile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Watch steps 3 to 7 of this command: print where their time goes, draw their live memory in profile.svg; then go
    on.
    """

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "micro_batches",
            "eval_every",
            "eval_batches",
            "checkpoint_every",
            "threads",
        ):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        for name in ("lr", "min_lr", "warmup", "weight_decay", "clip", "sample_every", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be a number of at least 0, got {getattr(self, name)}"
                )
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"--val-fraction must lie between 0 and 1, got {self.val_fraction}")
        if not 0 <= self.beta2 < 1:
            raise ValueError(f"--beta2 must be at least 0 and below 1, got {self.beta2}")
        if self.micro_batches > self.batch_size:
            raise ValueError(
                f"--micro-batches {self.micro_batches} is more than --batch-size {self.batch_size}; a part needs a "
                "sequence"
            )


@dataclass(frozen=True)
class Options:
    """Train a GPT on text: python train.py --data my.txt"""

    training: tyro.conf.OmitArgPrefixes[TrainOptions] = field(default_factory=TrainOptions)
    model: Annotated[tyro.conf.OmitArgPrefixes[GPTConfig], tyro.conf.arg(help="The shape of the model.")] = field(
        default_factory=GPTConfig
    )

    def to_json(self) -> dict[str, Any]:
        """For config.json: what makes the run, without the options that are about the command."""
        training = {
            name: value
            for name, value in asdict(self.training).items()
            if name not in ("out", "resume", "dry_run", "profile")
        }
        return {"model": self.model.to_json(), "training": training}

    @classmethod
    def from_json(cls, data: Any) -> Options:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        try:
            training, model = dict(data["training"]), data["model"]
            for name, kind in get_type_hints(TrainOptions).items():
                if name in training and not _is_a(training[name], kind):
                    raise ValueError(f"{name} cannot be {training[name]!r}")
            return cls(TrainOptions(**training), GPTConfig.from_json(model))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the options of a run: {error!r}") from None


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of the type of a field."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    return isinstance(value, kind) or kind is float and isinstance(value, int)


def presets() -> dict[str, Options]:
    """All presets by name: three that fix everything, and the shapes of known models with ordinary training options."""
    small = replace(MODELS["shakespeare-char"], vocab_size=4096, context=128)
    letters = TrainOptions(
        data="shakespeare", tokenizer="char", batch_size=12, steps=2000, eval_every=250, sample_every=1000
    )
    faster = replace(letters, steps=1000, lr=5e-3, min_lr=0.0, schedule="linear", eval_every=100, sample_every=500)
    # the default reads its text nine times: it needs more decay than either
    found = {
        "default": Options(
            TrainOptions(
                steps=500, batch_size=12, lr=4e-3, min_lr=0.0, schedule="linear", weight_decay=2.0, sample_every=250
            ),
            small,
        ),
        "nanogpt-char": Options(letters, MODELS["nanogpt-char"]),
        "shakespeare-char": Options(faster, MODELS["shakespeare-char"]),
    }
    for name, model in MODELS.items():
        found.setdefault(name, Options(TrainOptions(lr=6e-4, min_lr=6e-5, warmup=700, beta2=0.95), model))
    return {name: replace(options, training=replace(options.training, preset=name)) for name, options in found.items()}
