"""Texts to probabilities of classes: what generate.py --classify prints, and how classifiers are trained to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llm.inference.text import start_ids
from llm.model.classifier import Classifier
from llm.model.no_dropout import no_dropout
from minigrad import no_grad, ops
from minigrad.backend import to_device
from tokenizer import BaseTokenizer

BATCH_TOKENS = 2048  # about as many are computed at a time, with the padding


def text_ids(tokenizer: BaseTokenizer, text: str, context: int) -> list[int]:
    """What a classifier reads: the beginning of the text, as much as the context has room for."""
    ids = tokenizer.template.begin_ids() + tokenizer.encode_ordinary(text) if text else start_ids(tokenizer)
    return ids[:context]


def padded(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ids (N, T) int64, filled up on the right, and the mask (N, T) bool of those that are real."""
    lengths = np.array([len(ids) for ids in texts])
    mask = np.arange(lengths.max()) < lengths[:, None]  # (N, T)
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate([np.asarray(text) for text in texts])
    return ids, mask


def class_outputs(classifier: Classifier, texts: Sequence[Sequence[int]]) -> np.ndarray:
    """The probability of each class for each text, (N, classes), from ids. If there is one class: its logit."""
    found = np.empty((len(texts), len(classifier.labels)))
    with no_grad(), no_dropout(classifier):
        for rows in batches_by_length([len(ids) for ids in texts]):
            ids, mask = padded([texts[row] for row in rows])
            logits = classifier(to_device(ids, classifier.device), mask=mask)
            found[rows] = to_device((ops.softmax(logits) if len(classifier.labels) > 1 else logits).data, "cpu")
    return found


def batches_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The numbers of texts with these lengths, in batches. Those of about the same length come together, to have little
    padding.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[row] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
