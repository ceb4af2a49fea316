"""Several patterns one after the other: each cuts the words that the one before it has left."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizer.split.pretokenizer import Pretokenizer


class SplitSequence:
    """Used like a Pretokenizer; `pattern` is the tuple of its patterns. SmolLM first isolates digits, for example."""

    def __init__(self, patterns: Iterable[str]):
        self.steps = [Pretokenizer(pattern) for pattern in patterns]
        self.pattern = tuple(step.pattern for step in self.steps)

    def split(self, text: str) -> list[str]:
        """The words of `text`, in order; joined, they are `text` again."""
        words = [text] if text else []
        for step in self.steps:
            words = [part for word in words for part in step.split(word)]
        return words
