"""The options of train.py for tuning a model: adapters, frozen weights, and what each --objective asks for.

The text below a field is its `--help`. Each objective has a block of fields. Their values can not be changed when a run
is resumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from llm.model.checks import LARGEST_INT
from llm.runs.parsing import DEFAULT_IN_TEXT, flag

PreferenceLoss = Literal[
    "sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "sppo_hard", "apo_zero", "sigmoid_norm", "simpo",
    "orpo", "kto",
]  # fmt: skip
Objective = Literal["text", "chat", "classify", "preference", "reward", "reinforce", "translate"]
Algorithm = Literal["reinforce", "rloo", "grpo", "dr_grpo", "dapo", "gspo", "ppo"]
LEAST = {  # the smallest values of numbers
    "lora_rank": 1, "prefix_tokens": 0, "prompt_tokens": 0, "group_size": 1, "max_tokens": 1, "sample_epochs": 1,
    "beta": 0, "clip_low": 0, "clip_high": 0, "center_rewards": 0,
}  # fmt: skip
LORA = ("lora_alpha", "lora_dropout", "rslora", "dora")  # options that mean nothing without --lora-rank
BELONGS_TO: dict[str, tuple[Objective, ...]] = {
    "val_data": ("chat", "classify", "preference", "reward", "reinforce", "translate"),
    "packing": ("chat",),
    "preference": ("preference",),
    "beta": ("preference", "reinforce"),
    "label_smoothing": ("preference", "translate"),
    "gamma": ("preference",),
    "center_rewards": ("reward",),
    "balance": ("classify",),
    **dict.fromkeys(
        ("reward", "algorithm", "group_size", "max_tokens", "temperature", "sample_epochs", "baseline",
         "advantage_scale", "ratio", "clip_low", "clip_high", "normalization", "kl", "mask_truncated"),
        ("reinforce",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class TuningOptions:
    """How a model is tuned."""

    # --- what is trained: adapters beside frozen weights, or some of the weights
    lora_rank: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """LoRA: train two matrices of this rank beside each of --lora-targets, and none of the model's own weights.
    none, the default: no LoRA.
    """
    lora_alpha: Annotated[float | None, DEFAULT_IN_TEXT] = None
    """LoRA: what the two matrices add is multiplied by alpha / rank. none, the default: alpha is the rank."""
    lora_targets: str = "all-linear"
    """LoRA: names of layers with commas between them, or all-linear: all but the embedding and the head."""
    lora_dropout: float = 0.0
    """LoRA: dropout on the input of the two matrices."""
    rslora: bool = False
    """LoRA: multiply by alpha / sqrt(rank) instead of alpha / rank."""
    dora: bool = False
    """LoRA: train the length of each row of a matrix by itself (DoRA)."""
    prefix_tokens: int = 0
    """Prefix tuning: train keys and values of this many tokens before the text, in each layer. 0: none."""
    prompt_tokens: int = 0
    """Prompt tuning: train the embeddings of this many tokens before the text. 0: none."""
    freeze: str = ""
    """Weights that are not trained: names of parts, or patterns, with commas between them, such as
    "embedding,blocks.0,*.mlp". A number N: the embeddings and the first N blocks.
    """

    # --- chat, and all that learns from rows of a file
    val_data: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A file of its own for validation. none, the default: --val-fraction of the rows of --data."""
    packing: bool = False
    """chat: put several examples into each row of a batch, as many as the context has room for (best fit). They do not
    see each other. --batch-size is then the number of rows.
    """

    # --- preference: learn from pairs of a chosen and a rejected answer
    preference: PreferenceLoss = "sigmoid"
    """preference: the loss. sigmoid: DPO. The others are explained in llm/tuning/preferences/losses.py.
    All but simpo and orpo compare with the model at --from.
    """
    beta: float | None = None
    """preference: how strongly the model is held to the one at --from. none, the default: 0.1, and 2 for simpo.
    reinforce: how much the divergence from it counts. none: as the algorithm has it. 0: not at all.
    """
    label_smoothing: float = 0.0
    """preference: the probability that a label is wrong, for sigmoid, robust, exo_pair and simpo.
    translate: the part of the probability of the right token that is spread evenly over the whole vocabulary.
    """
    gamma: float = 0.5
    """preference: for simpo, by how much the chosen answer should be better."""

    # --- reward: a model that judges answers
    center_rewards: float = 0.0
    """reward: weight of the loss that keeps the mean of rewards near 0."""

    # --- classify: name the class of a text
    balance: bool = False
    """classify: use as many texts of each class as there are of the rarest, chosen with --seed."""
    # --- reinforce
    reward: str = "exact"
    """reinforce: what a completion earns. exact: 1 if it is the "answer" of the row. regex:PATTERN: 1 if that matches
    somewhere. length:N: 1 for N characters. reward-model:PATH: what a model of --objective reward says.
    Or FILE.py:function, see llm/tuning/reinforcement/rewards.py.
    """
    algorithm: Algorithm = "grpo"
    """reinforce: how rewards become a loss. The further options change parts of it; by default they are its own."""
    group_size: int | None = None
    """reinforce: completions of each prompt. --batch-size is a multiple of it: the number of completions in a step.
    none, the default: 1 for reinforce and ppo, 8 for the others, which compare the completions of a prompt.
    """
    max_tokens: int = 64
    """reinforce: the largest number of tokens of a completion."""
    temperature: float = 1.0
    """reinforce: the temperature with which completions are sampled. The loss has it too."""
    sample_epochs: int | None = None
    """reinforce: updates with each sample. none, the default: 4 for ppo, 1 for the others."""
    baseline: Literal["auto", "none", "running", "batch", "group", "leave_one_out"] = "auto"
    """reinforce: what rewards are compared with."""
    advantage_scale: Literal["auto", "group", "batch", "none"] = "auto"
    """reinforce: divide advantages by the standard deviation of the group, of the batch, or not at all."""
    ratio: Literal["auto", "none", "token", "sequence", "product"] = "auto"
    """reinforce: the ratio of old and new probabilities, of each token or of a whole completion."""
    clip_low: float | None = None
    """reinforce: ratios below 1 minus this number are clipped."""
    clip_high: float | None = None
    """reinforce: ratios above 1 plus this number are clipped."""
    normalization: Literal["auto", "token", "sequence", "constant"] = "auto"
    """reinforce: what losses are divided by: all tokens, the tokens of each completion, or a constant."""
    kl: Literal["auto", "k1", "k3"] = "auto"
    """reinforce: how the divergence is estimated, if --beta is not 0."""
    mask_truncated: bool | None = None
    """reinforce: learn nothing from completions that were cut off."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and value >= LARGEST_INT:
                raise ValueError(f"{flag(name)} is too large; it must be below 2^63")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{flag(name)} must be a number, got {value}")
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{flag(name)} must be at least {least}, got {value}")
        for is_wrong, sentence in self._contradictions():
            if is_wrong:
                raise ValueError(sentence)

    def _contradictions(self) -> list[tuple[bool, str]]:
        """What is not possible, or not possible together, and what to say about it."""
        kinds = (self.lora_rank is not None) + bool(self.prefix_tokens) + bool(self.prompt_tokens)
        of_lora = [name for name in LORA if self.lora_rank is None and self.is_given(name)]
        lora_dropout, smoothing = self.lora_dropout, self.label_smoothing
        return [
            (not 0 <= lora_dropout < 1, f"--lora-dropout must be at least 0 and below 1, got {lora_dropout}"),
            (not 0 <= smoothing < 0.5, f"--label-smoothing must be at least 0 and below 0.5, got {smoothing}"),
            (
                self.temperature <= 0,
                f"--temperature must be above 0, got {self.temperature}; without chance nothing is explored",
            ),
            (bool(of_lora), f"{', '.join(map(flag, of_lora))} belongs to LoRA; give --lora-rank too"),
            (kinds > 1, "give one of --lora-rank, --prefix-tokens and --prompt-tokens: a model has one adapter"),
            (
                self.packing and self.virtual_tokens > 0,
                "--packing puts several texts into a row; --prefix-tokens and --prompt-tokens stand before one",
            ),
            (
                bool(self.freeze) and self.has_adapters,
                "--freeze is not needed with adapters, which freeze the weights of the model already; leave it out",
            ),
        ]

    def is_given(self, name: str) -> bool:
        """Whether an option has another value than by default."""
        return bool(getattr(self, name) != next(field.default for field in fields(self) if field.name == name))

    def foreign(self, objective: str) -> str | None:
        """The name of an option that is given and belongs to other objectives only."""
        return next((n for n, known in BELONGS_TO.items() if objective not in known and self.is_given(n)), None)

    @property
    def has_adapters(self) -> bool:
        """Whether adapters are trained, and the weights of the model are not."""
        return self.lora_rank is not None or self.virtual_tokens > 0

    @property
    def virtual_tokens(self) -> int:
        """How many learned tokens stand before each text."""
        return self.prefix_tokens + self.prompt_tokens
