"""The objective translate: an encoder and a decoder learn from pairs of a source and its target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from llm.data.errors import DataError
from llm.data.learned import LEARNED
from llm.evaluation.loss import Evaluation, Validation
from llm.evaluation.statistics import Share
from llm.inference.classify import padded
from llm.inference.terminal.cross_attention_picture import draw_cross_attention
from llm.inference.translation import beam_translation, end_id, greedy_translations, source_ids, translate
from llm.model.transformer import IGNORED, Transformer, check_config
from llm.parallel.objective import Batch
from llm.parallel.workers import Workers
from llm.runs.options import Options
from llm.runs.run import ATTENTION, Run
from llm.training.checks import check_prompt
from llm.training.display import bar
from llm.training.task import Parts, SampleWriter, Task, kept_tokenizer, with_vocabulary
from llm.training.text import check_vocab_size
from llm.tuning.examples.row_batches import RowBatches, some_batches
from llm.tuning.examples.split import checksum, divide
from llm.tuning.translation.pairs import Pair, read_pairs
from minigrad.tensor import Tensor
from tokenizer import END_OF_TEXT, BaseTokenizer, CharTokenizer, Tokenizer
from tokenizer import load as load_tokenizer

EVALUATED = 100  # held-out pairs that are translated at each evaluation
REPORTED = 500  # and at the end, also with beam search
SHOWN = 3  # in a sample
TRANSLATES = "translates"  # what config.json says of the task


class Example(NamedTuple):
    source: list[int]  # with the end
    target: list[int]  # with an end on both sides
    pair: Pair


class Translation:
    """Cross-entropy, in nats, of the tokens of the target, and of its end.

    A batch is sources (B, S), the mask of their real tokens (B, S), targets (B, T), and what follows each of their
    tokens (B, T). Only training has label smoothing: so the validation loss can be compared, whatever was chosen.
    """

    def __init__(self, label_smoothing: float):
        self.label_smoothing = label_smoothing

    def loss_sum(self, model: Any, batch: Batch) -> Tensor:
        source, mask, target, following = batch
        smoothing = self.label_smoothing if model.training else 0.0
        return model.loss(source, target, following, mask=mask, label_smoothing=smoothing, reduction="sum")

    def count(self, batch: Batch) -> float:
        return int((batch[-1] != IGNORED).sum())


def make_batch(examples: Sequence[Example]) -> Batch:
    """As in the docstring of Translation. The target of training is the input of the decoder, one token later."""
    source, mask = padded([example.source for example in examples])
    target, real = padded([example.target[:-1] for example in examples])
    following, _ = padded([example.target[1:] for example in examples])
    return source, mask, target, np.where(real, following, IGNORED)


@dataclass(frozen=True)
class TranslationValidation:
    """The loss, and the share of some held-out pairs whose greedy translation is the target."""

    validation: Validation
    examples: Sequence[Example]

    def evaluate(self, workers: Workers) -> Evaluation:
        evaluation = self.validation.evaluate(workers)
        model: Any = workers.model
        found = greedy(model, self.examples)
        return replace(evaluation, metrics={**evaluation.metrics, "exact": share(found, self.examples).value})


class TranslateTask(Task):
    """Translate a text."""

    name = "translate"
    rows = "pairs"

    def __init__(self, options: Options, run: Run):
        training, tuning = options.training, options.tuning
        check_config(options.model)
        train, val = divide(training.data, tuning.val_data, training.val_fraction, read_pairs)
        kept = kept_tokenizer(options, run)
        self.tokenizer = kept or make_tokenizer(training.tokenizer, options.model.vocab_size, [*train, *val])
        self.end = end_id(self.tokenizer)
        check_prompt(self.tokenizer, training.prompt)
        self.options = with_vocabulary(options, self.tokenizer)
        self.checksums = {"train": checksum(train), "val": checksum(val)}
        self.train, self.val = map(self.encode, (train, val))

    def encode(self, pairs: Sequence[Pair]) -> list[Example]:
        found, context = [], self.options.context
        for pair in pairs:
            target = [self.end, *self.tokenizer.encode_ordinary(pair.target), self.end]
            try:
                source = source_ids(self.tokenizer, pair.source, context)
                if len(target) > context + 1:
                    raise ValueError(f"the target has {len(target) - 1:,} tokens with its end, and the model "
                                     f"writes at most {context:,}")  # fmt: skip
            except ValueError as error:
                raise DataError(f"{pair.place}: {error}; give a longer --context, or another file") from None
            found.append(Example(source, target, pair))
        return found

    def extend(self, model: Any) -> Any:
        # `model` is a GPT of this shape, whose weights are not needed.
        return Transformer(self.options.model, np.random.default_rng(self.options.training.seed))

    def parts(self, model: Any) -> Parts:
        training, train, val = self.options.training, self.train, self.val
        batches = RowBatches(train, training.batch_size, training.seed, make_batch, lambda one: len(one.source))
        validation = Validation(some_batches(val, training.batch_size, training.eval_batches, make_batch))
        return Parts(
            Translation(self.options.tuning.label_smoothing),
            batches,
            TranslationValidation(validation, spread(val, EVALUATED)),
            data=self.checksums,
            description=f"{len(train):,} training pairs ({training.data}) and {len(val):,} for validation, "
            f"{batches.steps_per_epoch:,} steps an epoch",
        )

    def about(self) -> dict[str, Any]:
        return {TRANSLATES: True}

    def sample(self, model: Any, write: SampleWriter) -> str:
        """The prompt, or some held-out sources, with their translations."""
        prompt = self.options.training.prompt
        if prompt:
            return f"{prompt} -> {translate(model, self.tokenizer, prompt)}"
        some = self.val[:SHOWN]
        found = [self.tokenizer.decode(ids) for ids in greedy(model, some)]
        return "\n".join(line(example.pair, text) for example, text in zip(some, found))

    def report(self, model: Any, run: Run) -> str:
        """How many of the held-out pairs are exactly right, greedy and with beams; and a picture of attention."""
        some = spread(self.val, REPORTED)
        with closing(bar(iterable=some, desc="translating held-out pairs", leave=False)) as examples:
            beams = [beam_translation(model, example.source, self.end) for example in examples]
        draw_cross_attention(model, self.tokenizer, some[0].pair.source, run.folder / ATTENTION)
        return (
            f"held-out pairs, exactly as they should be:\n  greedy       {share(greedy(model, some), some)}\n"
            f"  beam search  {share(beams, some)}\nwhere it looks: {run.folder / ATTENTION}"
        )


def spread(examples: Sequence[Example], count: int) -> Sequence[Example]:
    """At most so many, evenly from all of them: a file may be sorted."""
    return examples[:: -(-len(examples) // count)]


def greedy(model: Transformer, examples: Sequence[Example]) -> list[list[int]]:
    return greedy_translations(model, [example.source for example in examples], examples[0].target[0])


def share(found: Sequence[Sequence[int]], examples: Sequence[Example]) -> Share:
    return Share(sum([*ids] == each.target[1:-1] for ids, each in zip(found, examples, strict=True)), len(examples))


def line(pair: Pair, found: str) -> str:
    return f"{pair.source} -> {found}{'' if found == pair.target else f' (right: {pair.target})'}"


def make_tokenizer(kind: str, vocab_size: int, pairs: Sequence[Pair]) -> BaseTokenizer:
    """One tokenizer for both sides, as section 5.1 has it. Learned from all pairs, or the one at the path `kind`."""
    check_vocab_size(kind, vocab_size)
    if kind not in LEARNED:
        return load_tokenizer(kind)
    texts = [text for pair in pairs for text in (pair.source, pair.target)]
    if kind == "char":
        return CharTokenizer.train(texts, special_tokens=(END_OF_TEXT,))
    return Tokenizer.train(texts, vocab_size, special_tokens=(END_OF_TEXT,))
