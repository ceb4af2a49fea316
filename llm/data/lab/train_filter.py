"""The command `python -m llm.data train-filter`: a filter is learned from texts to keep and texts to drop.

Of the texts, eight tenths are learned from, one tenth chooses the threshold, one tenth tells how many errors are made.
The ROC curve and its area come from both of the latter: the filter has seen none of these texts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llm.console import escaped
from llm.data.documents import Document
from llm.data.lab.filters.curve import choose_threshold, curve_of
from llm.data.lab.filters.examples import Example, Parts, divide, sample
from llm.data.lab.filters.features import Features
from llm.data.lab.filters.learned import LearnedFilter, save_filter
from llm.data.lab.filters.picture import draw_filter
from llm.data.lab.filters.training import Fit, fit
from llm.data.lab.problem_count import ProblemCount
from llm.data.reading import read_documents
from llm.data.records import read_records
from llm.runs.files import make_folder, prepare_file

ROUGH = 30  # documents: of fewer, a share of 0% may as well be 10%


@dataclass(frozen=True)
class TrainFilter:
    """Learn a filter from documents to keep and documents to drop, and tell how well it does."""

    good: tuple[str, ...]
    """Documents to keep: files, folders or patterns. With --table: the label of such rows."""
    bad: tuple[str, ...]
    """Documents to drop: files, folders or patterns. With --table: the label of such rows."""
    out: Path
    """The file of the filter, such as spam.safetensors. A picture of it is written beside it: spam.png."""
    table: str | None = None
    """A file of both kinds: JSON lines, .csv or .tsv with the columns `text` and `label`."""
    lose: float = 0.01
    """The share of the good documents that the threshold may cost. Within it, most of the bad ones are dropped."""
    most: int = 20_000
    """Of each kind, at most so many documents are used, at random. 10,000 long ones take about 500 MB."""
    show: int = 5
    """How many errors of each kind are printed."""
    seed: int = 0
    """Decides which documents are learned from, and in which order."""

    def __post_init__(self) -> None:
        if not 0 <= self.lose < 1 or self.most < 1 or self.show < 0 or self.seed < 0:
            raise ValueError(
                "--lose must be at least 0 and less than 1, --most at least 1, --show and --seed at least 0"
            )
        if self.out.suffix == ".png" or self.out.is_dir():
            kind = "a folder" if self.out.is_dir() else "the name of the picture"
            raise ValueError(f"--out {self.out} is {kind}; give the name of a file, such as spam.safetensors")

    def start(self) -> None:
        make_folder(self.out.parent)
        prepare_file(self.out)
        good, bad = ([*sample(self._read(is_good), self.most, self.seed, is_good=is_good)] for is_good in (True, False))
        parts = divide(good, bad)
        rule = self._learn(parts.learn)
        held_out = [(example, rule.score(example.text)) for example in [*parts.choose, *parts.judge]]
        curve = curve_of(*by_kind(held_out))
        rule = rule.at(choose_threshold(curve_of(*by_kind(held_out[: len(parts.choose)])), self.lose))
        save_filter(rule, self.out)
        picture = self.out.with_suffix(".png")
        title = f"{self.out.name}: scores of {len(held_out):,} documents that it has not learned from"
        draw_filter(curve, *by_kind(held_out), rule.threshold, picture, title)
        for line in report(rule, parts, held_out[len(parts.choose) :], curve.area, self.show):
            print(escaped(line, sys.stdout))
        print(f"written: {self.out} and {picture}")

    def _read(self, is_good: bool) -> Iterator[Document]:
        """The documents of one kind, with a progress bar."""
        kind, names = ("good", self.good) if is_good else ("bad", self.bad)
        problems = ProblemCount()
        documents = labelled(self.table, names) if self.table else read_documents(names, problems)
        yield from tqdm(documents, desc=f"{kind} documents", unit="", disable=None, leave=False)
        problems.tell()

    def _learn(self, examples: list[Example]) -> LearnedFilter:
        features = Features()
        texts = [features(example.text) for example in tqdm(examples, desc="n-grams", disable=None, leave=False)]
        is_good = np.array([example.is_good for example in examples])
        with tqdm(desc="training", unit="step", disable=None, leave=False) as bar:

            def progress(step: int, steps: int) -> None:
                bar.total = steps
                bar.update(step - bar.n)

            model = fit(texts, is_good, 1 << features.bits, Fit(seed=self.seed), progress)
        name = "filter_" + re.sub(r"\W+", "_", self.out.stem)
        return LearnedFilter(name, model.weight.numpy(), float(model.bias.numpy()[0]), 0.5, features)


def labelled(table: str, labels: tuple[str, ...]) -> Iterator[Document]:
    """The rows of a table that have one of these labels."""
    records, found = read_records(table), Counter[str]()
    for place, row in records:
        label = str(row.get("label"))  # in JSON it may be a number
        found[label] += 1
        if label in labels and isinstance(row.get("text"), str):
            yield Document(row["text"], str(place))
    for label in labels:
        if label not in found:
            known = ", ".join(map(repr, sorted(found)[:10]))
            raise ValueError(f"{table} has no row with the label {label!r} in its column `label`; its labels: {known}")


def by_kind(scored: list[tuple[Example, float]]) -> tuple[np.ndarray, np.ndarray]:
    """The scores of good and of bad examples."""
    good, bad = ([score for example, score in scored if example.is_good is kind] for kind in (True, False))
    return np.array(good), np.array(bad)


def report(
    rule: LearnedFilter, parts: Parts, judged: list[tuple[Example, float]], area: float, show: int
) -> Iterator[str]:
    """What is printed."""
    learned, chosen, counted = (f"{len(part):,}" for part in parts)
    yield f"{learned} different documents to learn from, {chosen} to choose the threshold, {counted} to count errors"
    yield f"area below the ROC curve (AUC) {area:.4f}, of {len(parts.choose) + len(parts.judge):,} documents held out"
    yield f"threshold {rule.threshold:.4f}: a document with a lower score is dropped"
    yield ""
    yield f"{'':6}{'kept':>8}{'dropped':>10}"
    for kind, scores in zip(("good", "bad"), by_kind(judged)):
        dropped = int(np.sum(scores < rule.threshold))
        wrong = dropped if kind == "good" else len(scores) - dropped
        yield f"{kind:6}{len(scores) - dropped:8,}{dropped:10,}    {wrong / len(scores):.1%} wrong"
    if min(map(len, by_kind(judged))) < ROUGH:
        yield f"these shares are rough, because fewer than {ROUGH} documents of a kind were held out to count errors"
    yield from errors("good, but dropped", [(s, e) for e, s in judged if e.is_good and s < rule.threshold], show)
    yield from errors("bad, but kept", [(-s, e) for e, s in judged if not e.is_good and s >= rule.threshold], show)


def errors(sentence: str, wrong: list[tuple[float, Example]], show: int) -> Iterator[str]:
    """The errors with the least numbers, which are the farthest from the threshold: scores, or negative scores."""
    for score, source, text in sorted((score, example.source, example.text) for score, example in wrong)[:show]:
        yield f"{sentence}: {abs(score):.3f} {source}: {shortened(text)}"


def shortened(text: str, most: int = 100) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(text[: 4 * most].split())
    return text if len(text) <= most else text[:most] + " ..."
