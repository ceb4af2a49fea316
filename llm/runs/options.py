"""The options of train.py.

TrainOptions has the options of training, GPTConfig (llm/model/config.py) has those of the model, and TuningOptions
(tuning_options.py) those of tuning. The text below a field is its `--help`.
presets.py has values of them that go well together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from llm.model.checks import LARGEST_INT
from llm.model.config import GPTConfig
from llm.model.presets import PRESETS as MODELS
from llm.runs.parallel_options import ParallelOptions
from llm.runs.parsing import DEFAULT_IN_TEXT, flag
from llm.runs.tuning_options import Objective, TuningOptions

T = TypeVar("T")


@dataclass(frozen=True)
class TrainOptions:
    """How to train. The first options are those that are needed most often."""

    # In the order of --help: what is needed most often comes first.
    data: str = "python-help"
    """Text to learn from: a file, a folder, a pattern such as "*.md", or - for standard input.
    Or one of: python-help, python-docs, python-stdlib (all come with Python), shakespeare (is downloaded).
    With --objective translate: dates, or a file of two columns, source and target, with a tab between them.
    """
    tokenizer: str = "bpe"
    """bpe: learn byte-pair encoding with --vocab-size tokens from the text. char: each character is a token.
    Or the path of a tokenizer.json.
    """
    preset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(["default", *MODELS]) + "}")] = "default"
    """Name of a set of values for all options. Options that are given replace the values of the preset."""
    from_: Annotated[str | None, DEFAULT_IN_TEXT, tyro.conf.arg(name="from")] = None
    """Go on training the model at this path: a folder of Hugging Face, a GGUF file, a .bin of llama2.c, or a run.
    Its shape and its tokenizer come from there; only --context may be shorter, and is at most 512 if it is not given.
    The learning rate is small then, 5e-5.
    """
    objective: Objective = "text"
    """What to learn. text: continue the text of --data. The others tune the model at --from, on rows of --data FILE.
    chat: answer. classify: name the class of a text. preference: prefer one of two answers. reward: judge answers.
    reinforce: earn rewards. Their options are shown by --objective NAME --help.
    translate: from one text to another, with an encoder; by --preset transformer-translate, from the start.
    """
    steps: int = 1000
    """Number of updates of the weights."""
    batch_size: int = 16
    """Number of sequences in a batch. Each update uses one batch."""
    lr: float = 1e-3
    """Largest learning rate, reached at the end of the warmup."""
    out: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Folder of the run. Default: a new folder, runs/PRESET-NUMBER."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue the run in --out (default: the newest one in runs/). It keeps its options, except those given now."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train nothing. Print the size of the model, the memory it needs and the predicted time."""
    profile: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure steps 3 to 7: print which operations take how much time, and draw the memory over time in profile.svg.
    Training goes on as usual.
    """
    threads: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Number of cores to use, with threads or, for small models, processes. none, the default: all available ones."""
    device: str = "auto"
    """cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one, else the CPU."""
    prompt: str = ""
    """What the samples begin with. Default: nothing, the model begins a new text."""
    sample_every: int = 500
    """Number of steps between samples, texts that the model writes. 0: only one, at the end."""
    eval_every: int = 100
    """Number of steps between evaluations on the validation text."""
    eval_task: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A task that the model solves at each evaluation: copying, induction, brackets, agreement, arithmetic, spelling,
    or builtin for all of these; or KIND=FILE, as --task of python -m llm.evaluation. Can be given several times. When a
    run is resumed, it is added to those of the run; none drops these.
    """
    eval_task_items: int = 100
    """Number of items of each --eval-task that are used, the first ones. They are the same every time."""
    checkpoint_every: int = 500
    """Number of steps between checkpoints. There is also one for the best evaluation, and one at the end."""
    micro_batches: int = 1
    """Compute a batch in this many parts, one after the other, to save memory: only the rows of one part are in memory
    at a time, however many --threads there are. The gradient stays the same, except that of the balancing loss of
    experts (--balance-loss), which is computed in each part by itself.
    """
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """In what matrix products are computed; weights, sums and losses stay float32. Faster on a GPU, slower on a CPU.
    bf16 needs the package ml_dtypes. fp16 scales the loss, and skips updates in which a gradient overflows.
    """
    cuda_graph: bool = True
    """On a GPU, start a training step as a whole, in a CUDA graph, where that is possible: without dropout, experts,
    adapters and other objectives. --no-cuda-graph: one operation at a time.
    """
    recompute: bool = False
    """Activation checkpointing: keep only the input of each layer for the backward pass, and compute the layer again
    there. Takes much less memory, and a third more time. The gradient stays the same.
    """
    min_lr: float = 1e-4
    """Learning rate at the end."""
    schedule: Literal["cosine", "linear", "constant", "wsd", "inverse_sqrt"] = "cosine"
    """How the learning rate falls from --lr to --min-lr.
    cosine: slowly, then fast, then slowly. linear: evenly. constant: not at all.
    wsd (warmup, stable, decay): only in the last fifth of the steps. inverse_sqrt: in proportion to 1 / sqrt(step).
    """
    warmup: int = 100
    """The learning rate rises from 0 to --lr in this many steps at the beginning.
    If only --steps is given, and is less than in the preset, the warmup is shorter in the same proportion.
    """
    optimizer: Literal["adamw", "muon", "schedule-free"] = "adamw"
    """muon: Muon for the matrices of the layers, AdamW for everything else. schedule-free: AdamW with an average of the
    weights in place of a --schedule; after the warmup, the learning rate stays as it is.
    """
    ema_decay: float = 0.0
    """Evaluate, save and use a moving average of the weights: 0.95 is one of about the last 20 steps. 0: no average."""
    weight_decay: float = 0.1
    """How strongly matrices and embeddings are pulled towards 0. It is multiplied by the learning rate."""
    beta2: float = 0.99
    """AdamW: how slowly the running mean of the squared gradients changes, from 0 to 1 (beta1 is 0.9)."""
    clip: float = 1.0
    """Largest norm of the gradient. If the norm is larger, the gradient is scaled down. 0: no limit."""
    val_fraction: float = 0.1
    """Fraction of the text that is held out for validation."""
    eval_batches: int = 20
    """Number of batches of validation text in an evaluation. They are the same every time."""
    seed: int = 1337
    """Decides the initial weights, the order of the batches, dropout and samples."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            # Only a seed may have any number of digits. Arrays and floats cannot hold the others.
            if isinstance(value, int) and value >= LARGEST_INT and name != "seed":
                raise ValueError(f"{flag(name)} is too large; it must be below 2^63")
        counts = (
            "steps",
            "batch_size",
            "micro_batches",
            "eval_every",
            "eval_batches",
            "checkpoint_every",
            "threads",
            "eval_task_items",
        )
        for name in (*counts, "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{flag(name)} must be at least 1, got {value}")
        for name in ("lr", "min_lr", "warmup", "weight_decay", "clip", "sample_every", "seed"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{flag(name)} must be a number of at least 0, got {value}")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"--val-fraction must lie between 0 and 1, got {self.val_fraction}")
        for name in ("beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{flag(name)} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.ema_decay and self.optimizer == "schedule-free":
            raise ValueError("--optimizer schedule-free has an average of its own; leave --ema-decay out")
        if self.micro_batches > self.batch_size:
            given = f"--micro-batches {self.micro_batches} is more than --batch-size {self.batch_size}"
            raise ValueError(f"{given}; each part needs at least one sequence")


@dataclass(frozen=True)
class Options:
    """Train a GPT on text: python train.py --data my.txt"""

    training: tyro.conf.OmitArgPrefixes[TrainOptions] = field(default_factory=TrainOptions)
    model: Annotated[tyro.conf.OmitArgPrefixes[GPTConfig], tyro.conf.arg(help="The shape of the model.")] = field(
        default_factory=GPTConfig
    )
    tuning: Annotated[tyro.conf.OmitArgPrefixes[TuningOptions], tyro.conf.arg(help=TuningOptions.__doc__)] = field(
        default_factory=TuningOptions
    )

    parallel: Annotated[tyro.conf.OmitArgPrefixes[ParallelOptions], tyro.conf.arg(help=ParallelOptions.__doc__)] = (
        field(default_factory=ParallelOptions)
    )

    @property
    def context(self) -> int:
        """The largest number of tokens of a text. The tokens that an adapter puts before it take a part of the room."""
        context, virtual = self.model.context, self.tuning.virtual_tokens
        if virtual >= context:
            raise ValueError(f"a model with a context of {context} cannot have {virtual} virtual tokens")
        return context - virtual

    def to_json(self) -> dict[str, Any]:
        """For config.json. Options that belong to one command, not to the run, are left out."""
        training = asdict(self.training)
        for name in ("out", "resume", "dry_run", "profile"):
            del training[name]
        training["eval_task"] = list(self.training.eval_task)  # JSON has no tuples
        tuning = {} if self.tuning == TuningOptions() else {"tuning": asdict(self.tuning)}
        return {"model": self.model.to_json(), "training": training, **tuning}

    @classmethod
    def from_json(cls, data: Any) -> Options:
        """The inverse of `to_json`. Raises ValueError if `data` is not a result of `to_json`."""
        # Options that `to_json` leaves out, and those that an older version did not have, get their defaults.
        try:
            training, tuning = _read(TrainOptions, data["training"]), _read(TuningOptions, data.get("tuning", {}))
            return cls(training, GPTConfig.from_json(data["model"]), tuning)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the options of a run: {error!r}") from None


def brief(options: Options) -> Any:
    """The options without those that are seldom needed: what --help shows. These are the further choices of GPTConfig,
    which are many, and, with the objective text, those of tuning.
    """
    hints, further = get_type_hints(GPTConfig), GPTConfig.further_fields()
    hidden = [(name, Annotated[hints[name], tyro.conf.Suppress], default) for name, default in further.items()]
    shape = make_dataclass("Shape", hidden, bases=(GPTConfig,), frozen=True)
    text = f"The shape of the model. {len(further)} more options, such as --experts, are shown by --help-all."
    model = Annotated[tyro.conf.OmitArgPrefixes[shape], tyro.conf.arg(help=text)]  # type: ignore[valid-type]
    # The fields replace those of the same names.
    replaced: list[tuple[str, Any, Any]] = [("model", model, field(default_factory=shape))]
    if options.training.objective == "text":
        replaced.append(("tuning", Annotated[TuningOptions, tyro.conf.Suppress], field(default_factory=TuningOptions)))
    kind = make_dataclass("Brief", replaced, bases=(Options,), frozen=True)
    kind.__doc__ = Options.__doc__
    return kind(options.training, shape(**vars_of(options.model)), options.tuning)


def vars_of(config: GPTConfig) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(config)}


def _read(kind: type[T], data: Any) -> T:
    """Options of one kind from JSON. Raises TypeError for a name that is not one of its fields."""
    if not isinstance(data, dict):
        raise ValueError(f"its options of training are a {type(data).__name__}, not an object")
    for name, field_type in get_type_hints(kind).items():
        if name in data and not _has_type(data[name], field_type):
            raise ValueError(f"{name} cannot be {data[name]!r}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def _has_type(value: Any, kind: Any) -> bool:
    """Whether a value from JSON has the type of a field."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_has_type(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:  # a list in JSON
        return isinstance(value, (list, tuple)) and all(isinstance(each, get_args(kind)[0]) for each in value)
    if isinstance(value, bool):  # which Python takes for an integer
        return kind is bool
    return isinstance(value, kind) or kind is float and isinstance(value, int)


# Training that begins with weights that are good already: small steps, so that not all is forgotten, and weights are
# hardly pulled towards 0.
FROM = TrainOptions(
    steps=500, lr=5e-5, min_lr=0.0, schedule="linear", warmup=50, weight_decay=0.01, beta2=0.999, eval_every=50
)
# What differs from FROM with another objective.
BY_OBJECTIVE: dict[str, dict[str, Any]] = {"chat": {"lr": 2e-5}, "preference": {"lr": 1e-6}, "reinforce": {"lr": 1e-6}}
# Adapters begin without effect and have few weights: they take larger steps. What --lr is multiplied by.
ADAPTER_LR = {"lora_rank": 10.0, "prefix_tokens": 100.0, "prompt_tokens": 100.0}


def tuning_defaults(objective: str, adapters: Iterable[str] = ()) -> TrainOptions:
    """The options of training with --from. `adapters`: the names of their options that are given."""
    training = replace(FROM, **BY_OBJECTIVE.get(objective, {}))
    return replace(training, lr=training.lr * max((ADAPTER_LR[name] for name in adapters), default=1.0))
