"""The objective chat: supervised fine-tuning. The model learns to write what assistants have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm.data.errors import DataError
from llm.evaluation.loss import Validation
from llm.inference.chat_prompt import chat_ids
from llm.inference.engine.one_text import one_text_engine
from llm.inference.engine.requests import Request
from llm.inference.sampling import Sampling
from llm.inference.text import SAMPLE_TEMPERATURE, SAMPLE_TOKENS, decode_until_stop, end_ids_of
from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from llm.runs.options import Options
from llm.runs.run import Run
from llm.training.checks import check_prompt
from llm.training.display import stages
from llm.training.task import Parts, SampleWriter, Task, with_vocabulary
from llm.tuning.chat.chatml import chat_tokenizer
from llm.tuning.chat.conversation import LEARNABLE, NOTHING, Encoder, Learnable, answers, content_of, has_empty_answer
from llm.tuning.chat.packing import IGNORED, PADDING, Tokens, make_batch, pack, row_width
from llm.tuning.examples.fields import Message
from llm.tuning.examples.row_batches import RowBatches, some_batches
from llm.tuning.examples.rows import Conversation
from llm.tuning.examples.split import checksum, read_split
from minigrad.tensor import Tensor
from tokenizer import BaseTokenizer


class AnswerTokens:
    """Cross-entropy, in nats, of the tokens that are learned.

    A batch is (inputs, targets, documents), see packing.py. `packed`: rows have several examples.
    """

    def __init__(self, *, packed: bool):
        self.packed = packed

    def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
        inputs, targets, documents = batch  # (B, T) each
        # Padding stands at the end of a row, where no token attends to it. It only counts in the balance of experts.
        has_balance = model.training and model.config.balance_loss > 0
        return model.loss(
            inputs,
            targets,
            documents=documents if self.packed else None,
            mask=documents != PADDING if has_balance else None,
            ignore_index=IGNORED,
            reduction="sum",
            with_balance=has_balance,
        )

    def count(self, batch: Batch) -> float:
        _, targets, _ = batch
        return int((targets != IGNORED).sum())


@dataclass(frozen=True)
class ChatExamples:
    """Examples that can be learned, and what became of the others."""

    kept: list[Tokens]
    cut: int  # how many were longer than the context
    dropped: int  # how many had nothing to learn within the context
    endless: int  # in how many of all the last turn has no token that ends it
    silent: int  # in how many of all an answer to learn is empty

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.kept)

    @property
    def targets(self) -> int:
        return sum(example.targets for example in self.kept)

    def __str__(self) -> str:
        parts = [f"{len(self.kept):,} examples, {self.targets:,} of {self.tokens:,} tokens learned"]
        parts += [f"{self.cut:,} cut"] if self.cut else []
        parts += [f"{self.dropped:,} left out, whose answers begin beyond the context"] if self.dropped else []
        parts += [f"{self.silent:,} with an empty answer, which teach to say nothing"] if self.silent else []
        if self.endless:
            parts.append(f"{self.endless:,} end without a token that ends a turn, so they teach nobody to stop")
        return "; ".join(parts)


class ChatTask(Task):
    """Learn the answers in conversations, and other examples of which a part is learned."""

    name = "chat"
    rows = "examples"

    def __init__(self, options: Options, run: Run):
        training, tuning = options.training, options.tuning
        self.tokenizer = chat_tokenizer(options, run)
        check_prompt(self.tokenizer, training.prompt)
        self.options = with_vocabulary(options, self.tokenizer)
        self.train_rows, self.val_rows = read_split(training.data, tuning.val_data, training.val_fraction, LEARNABLE)
        self.context = self.options.context
        encoder = Encoder(self.tokenizer)
        self.train, self.val = (
            encode_all(encoder, rows, self.context, name)
            for rows, name in ((self.train_rows, "training"), (self.val_rows, "validation"))
        )

    def parts(self, model: GPT) -> Parts:
        training, packing = self.options.training, self.options.tuning.packing
        train, val = self.rows_of(self.train), self.rows_of(self.val)
        batches = RowBatches(train, training.batch_size, training.seed, make_batch, row_width)
        return Parts(
            AnswerTokens(packed=packing),
            batches,
            Validation(some_batches(val, training.batch_size, training.eval_batches, make_batch)),
            data={"train": checksum(self.train_rows), "val": checksum(self.val_rows)},
            description=f"{self.train} ({training.data})\n{len(self.val.kept):,} examples for validation, "
            f"{batches.steps_per_epoch:,} steps an epoch{f' of {len(train):,} packed rows' if packing else ''}",
        )

    def rows_of(self, examples: ChatExamples) -> list[list[Tokens]]:
        """The rows of batches: an example each, or several."""
        if not self.options.tuning.packing:
            return [[example] for example in examples.kept]
        groups = pack([example.width for example in examples.kept], self.context)
        return [[examples.kept[i] for i in group] for group in groups]

    def sample(self, model: GPT, write: SampleWriter) -> str:
        """The answer to --prompt, or else to the first question of the validation data."""
        prompt = self.options.training.prompt
        question = [{"role": "user", "content": prompt}] if prompt else first_question(self.val_rows)
        if not question:
            return super().sample(model, write)
        said = "\n".join(f"{message['role']}: {content_of(message)}" for message in question)
        return f"{said}\nassistant: {write_answer(model, self.tokenizer, question, self.options.training.seed)}"


def first_question(rows: Sequence[Learnable]) -> list[Message]:
    """The messages before the first answer that is learned; of the first row that has both. Else no messages."""
    for row in rows:
        if isinstance(row, Conversation) and (learned := answers(row)) and learned[0] > 0:
            return [*row.messages[: learned[0]]]
    return []


def write_answer(model: GPT, tokenizer: BaseTokenizer, messages: Sequence[Message], seed: int) -> str:
    """What the model answers; a sample to show during training. The caller limits the threads."""
    return write_after(model, tokenizer, chat_ids(tokenizer, messages), seed)


def write_after(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int], seed: int) -> str:
    """What the model writes after these tokens, up to the end of its turn."""
    sampling = Sampling(temperature=SAMPLE_TEMPERATURE)
    request = Request(list(ids), SAMPLE_TOKENS, sampling, seed, stop_ids=end_ids_of(tokenizer))
    written = (token.id for token in one_text_engine(model).run(request))
    return "".join(decode_until_stop(written, tokenizer, mid_text=True))


def encode_all(encoder: Encoder, rows: Sequence, context: int, purpose: str) -> ChatExamples:
    """The rows as tokens. DataError if there would be nothing to learn, or to validate with."""
    whole, endless, silent = [], 0, sum(map(has_empty_answer, rows))
    with stages() as report:
        for number, row in enumerate(rows, 1):
            encoded = encoder(row)
            endless += bool(encoded.turns) and not encoded.turns[-1].has_end
            whole.append(Tokens(encoded.ids.astype(np.int32), encoded.learned))
            report(f"reading {purpose} data", number, len(rows))
    fitting = [example.cut(context) for example in whole]
    kept = [example for example in fitting if example.targets]
    if not kept:
        raise DataError(reason_for_nothing(whole, context, purpose))
    cut = sum(example.width > context for example in whole)
    return ChatExamples(kept, cut, len(whole) - len(kept), endless, silent)


def reason_for_nothing(whole: Sequence[Tokens], context: int, purpose: str) -> str:
    """Why none of the examples has anything to learn."""
    given = f"nothing would be learned from the {len(whole):,} examples for {purpose}: "
    if any(example.targets for example in whole):
        first = min(int(example.learned.argmax()) for example in whole if example.targets)
        return (
            f"{given}all answers begin after token {first:,}, and the model reads {context:,}; give a larger --context"
        )
    return given + NOTHING
