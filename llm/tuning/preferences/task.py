"""train.py --objective preference: of two answers to the same prompt, the model learns to prefer the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from llm.evaluation.loss import Validation
from llm.hub.tuned import base_model
from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Batch
from llm.parallel.runtime import threads_to_use
from llm.runs.options import Options
from llm.runs.run import REFERENCE, Run
from llm.runs.tuning_options import TuningOptions
from llm.training.display import stages
from llm.training.task import Parts, SampleWriter, Task, with_vocabulary, without_dropout
from llm.tuning.chat.chatml import chat_tokenizer
from llm.tuning.chat.conversation import Encoder
from llm.tuning.chat.packing import Tokens
from llm.tuning.chat.task import write_after
from llm.tuning.examples.encoded import read_examples
from llm.tuning.examples.row_batches import RowBatches, some_batches
from llm.tuning.examples.rows import Preference
from llm.tuning.preferences.completions import completion_lengths, completion_logps, ids_and_targets
from llm.tuning.preferences.losses import LOSSES, preference_loss
from llm.tuning.preferences.reference import Pair, empty, read_reference, reference_logps, write_reference
from minigrad.tensor import Tensor
from tokenizer import BaseTokenizer

USUAL_BETA = {"simpo": 2.0}
OTHER_BETA = 0.1


class Preferences:
    """A loss of losses.py. A batch is ids and targets (B, 2, T) of chosen and rejected texts (completions.py), and
    the log-probabilities (B, 2) that the reference gives to both.
    """

    def __init__(self, tuning: TuningOptions):
        self.kind = tuning.preference
        self.beta = USUAL_BETA.get(self.kind, OTHER_BETA) if tuning.beta is None else tuning.beta
        if self.beta == 0:
            raise ValueError("--beta must be above 0 for --objective preference, got 0")
        self.label_smoothing, self.gamma = tuning.label_smoothing, tuning.gamma

    def loss_sum(self, model: GPT, batch: Batch) -> tuple[Tensor, Metrics]:
        ids, targets, reference = batch
        B, _, T = ids.shape
        # Chosen and rejected texts go through the model together: (2 B, T).
        logps = completion_logps(model, ids.reshape(2 * B, T), targets.reshape(2 * B, T)).reshape(B, 2)
        lengths = completion_lengths(targets)  # (B, 2)
        losses = preference_loss(
            *(logps[:, 0], logps[:, 1], reference[:, 0], reference[:, 1]),
            chosen_tokens=lengths[:, 0],
            rejected_tokens=lengths[:, 1],
            kind=self.kind,
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            gamma=self.gamma,
        )
        return losses.sum(), self.metrics(logps.data, reference, lengths)

    def metrics(self, logps: Any, reference: Any, lengths: Any) -> Metrics:
        """Rewards, as the loss implies them; and how far the model has moved, in nats per token of the answers."""
        B = len(logps)
        if LOSSES[self.kind].reference:
            ratios = logps - reference
            drift = {"drift": (abs(ratios / np.maximum(lengths, 1)).sum(), 2 * B)}
        else:
            ratios, drift = logps / np.maximum(lengths, 1), {}
        chosen, rejected = (self.beta * ratios[:, i] for i in (0, 1))
        return {
            "reward_chosen": (chosen.sum(), B),
            "reward_rejected": (rejected.sum(), B),
            "reward_margin": ((chosen - rejected).sum(), B),
            "accuracy": ((chosen > rejected).sum(), B),
            **drift,
        }

    def count(self, batch: Batch) -> float:
        return len(batch[0])


class PreferenceTask(Task):
    """Prefer one of two answers."""

    name = "preference"
    rows = "pairs"

    def __init__(self, options: Options, run: Run):
        self.tokenizer = chat_tokenizer(options, run)
        self.options = with_vocabulary(without_dropout(options), self.tokenizer)
        self.objective = Preferences(options.tuning)
        check_loss(options.tuning)
        self.examples = read_examples(options, Preference, pair_encoder(self.tokenizer, options.context))
        self.is_restored = run.exists and run.checkpoints.exist  # then the model has been trained already
        self.reference = empty(len(self.examples.train), len(self.examples.val))
        if (path := run.folder / REFERENCE).exists():
            self.reference = read_reference(path, self.examples.checksums)

    def parts(self, model: GPT) -> Parts:
        training, train, val = self.options.training, self.examples.train, self.examples.val
        lengths = [max(text.width for text in pair) for pair in train]
        make_batch = partial(self.batch, "train")
        batches = RowBatches(range(len(train)), training.batch_size, training.seed, make_batch, lengths.__getitem__)
        if LOSSES[self.objective.kind].reference:
            self.complete_reference(model, {"train": used_in(batches, training.steps), "val": list(range(len(val)))})
        validation = some_batches(
            range(len(val)), training.batch_size, training.eval_batches, partial(self.batch, "val")
        )
        return Parts(
            self.objective,
            batches,
            Validation(validation),
            data=self.examples.checksums,
            description=f"{len(train):,} training pairs ({training.data}), {batches.steps_per_epoch:,} steps an epoch; "
            f"loss {self.objective.kind}, beta {self.objective.beta:g}",
        )

    def pairs(self, part: str) -> list[Pair]:
        return self.examples.train if part == "train" else self.examples.val

    def batch(self, part: str, rows: Sequence[int]) -> Batch:
        texts = [text for row in rows for text in self.pairs(part)[row]]
        ids, targets = (array.reshape(len(rows), 2, -1) for array in ids_and_targets(texts))
        return ids, targets, self.reference[part][list(rows)]

    def complete_reference(self, model: GPT, wanted: dict[str, list[int]]) -> None:
        """Compute what is not known yet of the pairs with these numbers."""
        missing = {part: [row for row in rows if np.isnan(self.reference[part][row]).any()]
                   for part, rows in wanted.items()}  # fmt: skip
        if not any(missing.values()):
            return
        if self.is_restored and not self.options.tuning.has_adapters:
            model = base_model(str(self.options.training.from_), self.options.model)
        threads = threads_to_use(self.options.training.threads) if model.device == "cpu" else 1
        with stages() as report:
            for part, rows in missing.items():
                pairs = [self.pairs(part)[row] for row in rows]
                self.reference[part][rows] = reference_logps(model, pairs, report, threads=threads)

    def sample(self, model: GPT, write: SampleWriter) -> str:
        """What the model writes after --prompt, or else its answer to the first held-out prompt."""
        if self.options.training.prompt:
            return super().sample(model, write)
        chosen, _ = self.examples.val[0]
        prompt = chosen.ids[: int(chosen.learned.argmax())].tolist()
        answer = write_after(model, self.tokenizer, prompt, self.options.training.seed) if prompt else ""
        return self.tokenizer.decode(prompt) + answer

    def write(self, run: Run) -> None:
        if LOSSES[self.objective.kind].reference:
            write_reference(run.folder / REFERENCE, self.reference, self.examples.checksums)


def used_in(batches: RowBatches, steps: int) -> list[int]:
    """The numbers of the examples in the batches of so many steps; all of them from an epoch on."""
    if steps >= batches.steps_per_epoch:
        return list(range(len(batches.examples)))
    return sorted({number for step in range(steps) for number in batches.indices(step)})


def check_loss(tuning: TuningOptions) -> None:
    """Raise ValueError for options that do not fit the loss."""
    if tuning.label_smoothing and not LOSSES[tuning.preference].smoothing:
        known = ", ".join(name for name, loss in LOSSES.items() if loss.smoothing)
        raise ValueError(f"--preference {tuning.preference} has no --label-smoothing; use one of {known}")
    if tuning.is_given("gamma") and tuning.preference != "simpo":
        raise ValueError(f"--preference {tuning.preference} has no --gamma; it belongs to simpo")


def pair_encoder(tokenizer: BaseTokenizer, context: int) -> Callable[[Preference], Pair | None]:
    """A function that encodes both texts of a row; None if nothing is left of one of the answers."""
    encoder = Encoder(tokenizer)

    def encode(row: Preference) -> Pair | None:
        both = (encoder(side) for side in (row.chosen, row.rejected))
        chosen, rejected = (Tokens(text.ids, text.learned).cut(context) for text in both)
        return (chosen, rejected) if chosen.targets and rejected.targets else None

    return encode
