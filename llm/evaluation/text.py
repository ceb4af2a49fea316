"""How well a model predicts a text. `llm.evaluate` is this function.

The text is cut into windows of the model's context, as in training. Each token is predicted once, from the tokens
before it in its window. So the first tokens of a window, which have few before them, have a higher loss.
"""

from __future__ import annotations

import numpy as np

from llm.evaluation.loss import Evaluation, part_tokens
from llm.model.gpt import GPT
from llm.parallel.blas import fitting_blas_threads
from minigrad import no_grad
from tokenizer import BaseTokenizer


def evaluate_text(model: GPT, tokenizer: BaseTokenizer, text: str) -> Evaluation:
    """The mean loss in nats per token of a text, with perplexity and bits per byte.

    The model predicts each token, also the first one if the tokenizer has an end-of-text token, after which texts
    begin. Raises ValueError for a text that is too short, or that the tokenizer cannot encode.
    """
    ids = tokenizer.encode_ordinary(text)
    if tokenizer.end_of_text is not None:
        ids = [tokenizer.end_of_text, *ids]
    if len(ids) < 2:
        raise ValueError(f"the text {text!r} is too short to be evaluated; give one with more tokens")
    predicted = len(ids) - 1
    bytes_predicted = len(tokenizer.decode(ids[1:]).encode("utf-8", "surrogatepass"))
    loss = sum_of_losses(model, np.array(ids)) / predicted
    return Evaluation(loss, bytes_predicted / predicted)


def sum_of_losses(model: GPT, ids: np.ndarray) -> float:
    """The losses of all tokens (N,) but the first, added up."""
    context, training, total = model.config.context, model.training, 0.0
    inputs, targets = ids[:-1], ids[1:]
    whole = len(inputs) // context * context  # tokens in windows of full length; the last window is shorter
    rows = max(1, part_tokens(model.device) // context)  # windows at a time
    model.eval()
    try:
        with no_grad(), fitting_blas_threads(model.num_parameters()):
            for begin in range(0, whole, rows * context):
                part = slice(begin, min(begin + rows * context, whole))
                windows = (a[part].reshape(-1, context) for a in (inputs, targets))
                total += model.loss(*windows, reduction="sum").item()
            if whole < len(inputs):
                total += model.loss(inputs[None, whole:], targets[None, whole:], reduction="sum").item()
    finally:
        model.train(training)
    return total
