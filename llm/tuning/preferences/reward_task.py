"""train.py --objective reward: a reward model learns from pairs of which people prefer one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from llm.data.errors import DataError
from llm.evaluation.loss import Validation
from llm.inference.classify import padded
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Batch
from llm.runs.options import Options
from llm.runs.run import Run
from llm.training.task import Parts, SampleWriter, Task, with_vocabulary
from llm.tuning.chat.chatml import chat_tokenizer
from llm.tuning.chat.conversation import Encoder
from llm.tuning.classification.task import HEAD_SEED
from llm.tuning.examples.encoded import read_examples
from llm.tuning.examples.row_batches import RowBatches, some_batches
from llm.tuning.examples.rows import Preference
from llm.tuning.preferences.reward_loss import reward_loss
from minigrad import no_grad
from minigrad.backend import to_device
from minigrad.tensor import Tensor
from tokenizer import BaseTokenizer

LABEL = "reward"  # the only class


class Judged(NamedTuple):
    """A pair: the ids of both texts, and how much better the chosen one is."""

    chosen: list[int]
    rejected: list[int]
    margin: float


class Rewards:
    """The loss of reward_loss.py. A batch is ids and mask (B, 2, T) of chosen and rejected texts, and margins (B,)."""

    def __init__(self, center: float):
        self.center = center

    def loss_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Metrics]:
        ids, mask, margin = batch
        B, _, T = ids.shape
        rewards = model(ids.reshape(2 * B, T), mask=mask.reshape(2 * B, T)).reshape(B, 2)
        chosen, rejected = rewards[:, 0], rewards[:, 1]
        losses = reward_loss(chosen, rejected, margin=margin.astype(rewards.dtype), center=self.center)
        return losses.sum(), {
            "accuracy": ((chosen.data > rejected.data).sum(), B),
            "reward_chosen": (chosen.data.sum(), B),
            "reward_rejected": (rejected.data.sum(), B),
            "reward_margin": ((chosen.data - rejected.data).sum(), B),
        }

    def count(self, batch: Batch) -> float:
        return len(batch[-1])


class RewardTask(Task):
    """Judge answers."""

    name = "reward"
    rows = "pairs"

    def __init__(self, options: Options, run: Run):
        self.tokenizer = chat_tokenizer(options, run)
        self.options = with_vocabulary(options, self.tokenizer)
        self.examples = read_examples(options, Preference, judged_encoder(self.tokenizer, options.context))

    def extend(self, model: GPT) -> Any:
        rng = np.random.default_rng((self.options.training.seed, HEAD_SEED))
        return Classifier(model, [LABEL], rng=rng, pad_id=self.tokenizer.end_of_text)

    def parts(self, model: GPT) -> Parts:
        training, train, val = self.options.training, self.examples.train, self.examples.val
        batches = RowBatches(train, training.batch_size, training.seed, batch_of, longer)
        return Parts(
            Rewards(self.options.tuning.center_rewards),
            batches,
            Validation(some_batches(val, training.batch_size, training.eval_batches, batch_of)),
            data=self.examples.checksums,
            description=f"{len(train):,} training pairs ({training.data}), {batches.steps_per_epoch:,} steps an epoch",
        )

    def about(self) -> dict[str, Any]:
        return {"classes": [LABEL], "pad_id": self.tokenizer.end_of_text}

    def sample(self, model: Any, write: SampleWriter) -> str:
        ids, mask, _ = batch_of(self.examples.val[:1])
        with no_grad(), no_dropout(model):
            (chosen,), (rejected,) = model(to_device(ids[0], model.device), mask=mask[0]).data.tolist()
        return f"a held-out pair gets the rewards {chosen:.3f} (chosen) and {rejected:.3f} (rejected)"


def batch_of(examples: Sequence[Judged]) -> Batch:
    ids, mask = padded([text for example in examples for text in (example.chosen, example.rejected)])  # (2 B, T)
    margins = np.array([example.margin for example in examples])
    return ids.reshape(len(examples), 2, -1), mask.reshape(len(examples), 2, -1), margins


def longer(example: Judged) -> int:
    return max(len(example.chosen), len(example.rejected))


def judged_encoder(tokenizer: BaseTokenizer, context: int) -> Callable[[Preference], Judged | None]:
    """A function that encodes both texts of a row; None if they do not fit: the end of an answer must be judged too."""
    encoder = Encoder(tokenizer)

    def encode(row: Preference) -> Judged | None:
        margin = row.fields.get("margin", 0.0)
        if isinstance(margin, bool) or not isinstance(margin, (int, float)):
            raise DataError(f"{row.place}: margin is {margin!r}; expected a number")
        chosen, rejected = (encoder(side).ids.tolist() for side in (row.chosen, row.rejected))
        return Judged(chosen, rejected, float(margin)) if max(len(chosen), len(rejected)) <= context else None

    return encode
