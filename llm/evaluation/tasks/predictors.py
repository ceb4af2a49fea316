"""Models as what can solve tasks: a GPT with its tokenizer, and a classifier."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from llm.data.errors import DataError
from llm.evaluation.batched import log_likelihoods
from llm.evaluation.likelihood import LogLikelihood, tokens_to_score
from llm.evaluation.perplexity import TextScore, score_texts
from llm.evaluation.tasks.description import BY_PAIRS
from llm.evaluation.tasks.items import Task
from llm.evaluation.tasks.outcomes import Predictor
from llm.evaluation.text import ids_of
from llm.inference.chat_prompt import chat_ids
from llm.inference.classify import class_outputs, text_ids
from llm.inference.completions import CompletionSettings, complete, stop_ids_of
from llm.inference.sampling import Sampling
from llm.inference.text import start_ids
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.parallel.blas import fitting_blas_threads
from tokenizer import BaseTokenizer

BEGINNING = 1000  # characters of a text, which are enough to see that it is not too short


@dataclass(frozen=True)
class LanguageModel(Predictor):
    """A model that predicts tokens."""

    refusal = "this task needs a classifier, and the model predicts tokens; choose another task"

    model: GPT
    tokenizer: BaseTokenizer
    chat: bool = False  # questions to be answered are messages, in the chat template of the model
    end_ids: Collection[int] = ()  # tokens that end an answer, besides those of which the tokenizer says so
    stride: int | None = None  # see score_texts

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[LogLikelihood]:
        return log_likelihoods(self.model, self.tokenizer, pairs)

    def answers(self, contexts: Sequence[str], max_tokens: int, stop: Sequence[str]) -> list[str]:
        """The likeliest token each time. Of a long context, the model reads the end, so that an answer has room."""
        room = max(self.model.context - max_tokens, self.model.context // 2)
        prompts = [self.prompt(context)[-room:] for context in contexts]
        ends = {*stop_ids_of(self.tokenizer), *self.end_ids}
        settings = CompletionSettings(max_tokens, Sampling(temperature=0.0, top_p=1.0), ends, stop)
        with fitting_blas_threads(self.model.num_parameters()):
            found = complete(self.model, self.tokenizer, prompts, settings, [0] * len(prompts))
        return [each.text for each in found]

    def prompt(self, context: str) -> list[int]:
        if self.chat:
            return chat_ids(self.tokenizer, [{"role": "user", "content": context}])
        begin = self.tokenizer.template.begin_ids()
        return begin + self.tokenizer.encode_ordinary(context) if context else start_ids(self.tokenizer)

    def texts(self, texts: Sequence[str]) -> list[TextScore]:
        return score_texts(self.model, self.tokenizer, texts, stride=self.stride)


@dataclass(frozen=True)
class TextClassifier(Predictor):
    """A model that sorts texts into classes."""

    refusal = "the model is a classifier, which predicts no tokens; only the task classify is for it"

    model: Classifier
    tokenizer: BaseTokenizer

    def classes(self, texts: Sequence[str]) -> list[dict[str, float]]:
        ids = [text_ids(self.tokenizer, text, self.model.context) for text in texts]
        if len(self.model.labels) < 2:
            raise ValueError("the model has a single class, so it is a reward model, which sorts nothing")
        return [dict(zip(self.model.labels, map(float, row), strict=True)) for row in class_outputs(self.model, ids)]


def refuse_unscorable(task: Task, predictor: Predictor) -> None:
    """Raise DataError for the first item that a model cannot score: before the work on the others, which takes long."""
    if not isinstance(predictor, LanguageModel):
        return
    tokenizer, most, score = predictor.tokenizer, predictor.model.context, task.description.score
    for number, item in enumerate(task.items):
        try:
            for pair in item.pairs if score in BY_PAIRS else ():
                tokens_to_score(tokenizer, most, *pair)
            if score == "text":
                ids_of(tokenizer, item.target[:BEGINNING])
        except ValueError as error:
            before = f", or use only the {number:,} before it" if number else ""
            raise DataError(f"{item.place}: {error}; leave this item out{before}") from None


def predictor(model: Any, tokenizer: BaseTokenizer, **options: Any) -> Predictor:
    """A GPT or a classifier as a predictor. `options` are those of LanguageModel."""
    if isinstance(model, Classifier):
        return TextClassifier(model, tokenizer)
    if isinstance(model, Transformer):
        raise ValueError("the model is a translator, which continues no text; train.py has said how good it is")
    return LanguageModel(model, tokenizer, **options)
