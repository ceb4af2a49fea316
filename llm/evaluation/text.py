"""How well a model predicts a text. `llm.evaluate` is this function.

The text is cut into windows of the model's context, as in training. Each token is predicted once, from the tokens
before it in its window. So the first tokens of a window, which have few before them, have a higher loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.evaluation.likelihood import beginning
from llm.evaluation.loss import Evaluation, in_short_parts
from llm.model.classifier import refuse_classifier
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.blas import fitting_blas_threads
from minigrad import no_grad
from tokenizer import BaseTokenizer


def evaluate_text(model: GPT, tokenizer: BaseTokenizer, text: str) -> Evaluation:
    """The mean loss in nats per token of a text, with perplexity and bits per byte.

    The model predicts each token, also the first one if the tokenizer has a token after which texts begin. Raises
    ValueError for a text that is too short, or that the tokenizer cannot encode.
    """
    refuse_classifier(model)
    ids = ids_of(tokenizer, text)
    predicted = len(ids) - 1
    loss = sum_of_losses(model, np.array(ids)) / predicted
    return Evaluation(loss, predicted_bytes(tokenizer, ids, text) / predicted)


def ids_of(tokenizer: BaseTokenizer, text: str) -> list[int]:
    """The ids of a text, with one that begins texts before them if the tokenizer has one: all others are predicted."""
    ids = beginning(tokenizer) + tokenizer.encode_ordinary(text)
    if len(ids) < 2:
        raise ValueError(f"the text {text!r} is too short to be evaluated; give one with more tokens")
    return ids


def predicted_bytes(tokenizer: BaseTokenizer, ids: Sequence[int], text: str) -> int:
    """The bytes of the text, without those of its first token if nothing predicts that one."""
    first = [] if beginning(tokenizer) else ids[:1]
    return len(text.encode("utf-8", "surrogatepass")) - len(tokenizer.decode_bytes(first))


def sum_of_losses(model: GPT, ids: np.ndarray) -> float:
    """The losses of all tokens (N,) but the first, added up."""
    context, (inputs, targets) = model.context, (ids[:-1], ids[1:])
    whole = len(inputs) // context * context  # tokens in windows of full length; the last window is shorter
    windows = (inputs[:whole].reshape(-1, context), targets[:whole].reshape(-1, context))
    parts = in_short_parts(windows, model.device) if whole else []
    if whole < len(inputs):
        parts.append((inputs[None, whole:], targets[None, whole:]))
    with no_grad(), no_dropout(model), fitting_blas_threads(model.num_parameters()):
        return sum(model.loss(*part, reduction="sum", with_balance=False).item() for part in parts)
