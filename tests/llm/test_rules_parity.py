"""datatrove's filters give the same verdict for the same reason, if they are told what our words and sentences are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.rules import FILTERS, Options, line, measure, read_texts, rule_of
from llm.data.lab.rules import Limit, Step
from llm.data.lab.rules.c4 import C4_IN_FINEWEB, C4_QUALITY, PARAGRAPHS
from llm.data.lab.rules.fineweb import FINEWEB_QUALITY
from llm.data.lab.rules.gopher import GOPHER_QUALITY
from llm.data.lab.rules.personal import EXAMPLE_EMAILS, mask_emails, mask_ips
from llm.data.lab.rules.repetition import GOPHER_REPETITION
from llm.data.lab.rules.sentences import count_sentences
from llm.data.lab.rules.split import split_words_reference
from llm.data.lab.verdict import Verdict
from tests.llm.test_rules_properties import prose

filters = pytest.importorskip("datatrove.pipeline.filters")
formatters = pytest.importorskip("datatrove.pipeline.formatters")
c4_filters = pytest.importorskip("datatrove.pipeline.filters.c4_filters")
data = pytest.importorskip("datatrove.data")
pytestmark = pytest.mark.parity

MODULES = ["gopher_quality_filter", "gopher_repetition_filter", "fineweb_quality_filter"]
LINES = [
    "The sea is blue.", "the sea and the sky of the world", "- item", "• item", "and so on...", "and…",
    "# head #", "", "I am your father.", "Home", "1 2 3 4 5 6", "!!! ??? ###",
    "There is nothing that I have to be with. It is what it is!", "javascript here, please.",
    "lorem ipsum is here.", "it has a { in it.", "We use cookies, and you?", "x" * 1001 + " a b.",
    "He said that[1] to them.", "interconnection interdependence internationalisation",
]  # fmt: skip
pages = st.lists(st.sampled_from(LINES), min_size=1, max_size=40).map("\n".join)
long_pages = st.tuples(pages, st.integers(1, 8), st.sampled_from(["\n", "\n\n", " "])).map(
    lambda p: p[2].join([p[0]] * p[1])
)
texts = (pages | long_pages | prose).filter(str.strip)


@pytest.fixture(autouse=True)
def _our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MODULES:
        module = f"datatrove.pipeline.filters.{name}.split_into_words"
        monkeypatch.setattr(module, lambda text, language: split_words_reference(text))
    monkeypatch.setattr(c4_filters, "split_into_sentences", lambda text, language: [""] * count_sentences(text))


def theirs(filter_: Any, text: str) -> tuple[str | None, str]:
    document = data.Document(text=text, id="0")
    result = filter_.filter(document)
    return (None if result is True else result[1]), document.text


def ours(steps: list[Step], text: str) -> tuple[str | None, str]:
    for step in steps:
        outcome = step(text)
        if not isinstance(outcome, Verdict):
            text = outcome.text
        elif not outcome.kept:
            return outcome.rule, text
    return None, text


def with_thresholds(steps: list[Limit], **thresholds: float) -> list[Step]:
    return [step.at(thresholds.get(step.name, step.threshold)) for step in steps]


@given(text=texts, shortest=st.integers(1, 60))
@example(text="I am your father.\n" * 4, shortest=50)
def test_gopher(text: str, shortest: int) -> None:
    text = text.replace("•", "-")  # datatrove counts it as a word, as it does any sign that is not in its list
    assert ours(list(GOPHER_REPETITION), text)[0] == theirs(filters.GopherRepetitionFilter(), text)[0]
    quality = filters.GopherQualityFilter(min_doc_words=shortest)
    if split_words_reference(text):
        assert ours(with_thresholds(GOPHER_QUALITY, gopher_short_doc=shortest), text)[0] == theirs(quality, text)[0]


@given(text=texts)
def test_fineweb(text: str) -> None:
    assert ours(list(FINEWEB_QUALITY), text)[0] == theirs(filters.FineWebQualityFilter(), text)[0]


@given(text=texts)
def test_c4(text: str) -> None:
    for steps, filter_ in (
        (C4_QUALITY, filters.C4QualityFilter()),
        (C4_IN_FINEWEB, filters.C4QualityFilter(filter_no_terminal_punct=False)),
    ):
        (rule, kept), (reason, text_kept) = ours(steps, text), theirs(filter_, text)
        if {rule, reason} == {"lorem_ipsum", "curly_bracket"}:
            continue  # a text with both: datatrove names the first in the text
        assert rule == reason
        if reason is None:
            assert kept == text_kept
    assert ours([PARAGRAPHS], text)[0] == theirs(filters.C4ParagraphFilter(), text)[0]


@given(
    st.lists(
        st.sampled_from(["ada", ".", "@", "x.org", "-", " ", "b.cd", "é", '"', "[1.2.3.4]", "9", "163.36.107.25", "\n"])
    )
)
def test_personal_data(parts: list[str]) -> None:
    text = "".join(parts)
    emails = formatters.PIIFormatter(remove_ips=False, email_replacement=EXAMPLE_EMAILS)
    assert mask_emails(text, EXAMPLE_EMAILS)[0] == emails.format(text)
    if not re.search(
        r"[0-9]\.?163|25\.?[0-9]|4\.?[0-9]|[0-9]\.1\.", text
    ):  # a longer row of numbers is no address for us
        ips = formatters.PIIFormatter(remove_emails=False, ip_replacement="M")
        assert mask_ips(text, "M", public_only=True)[0] == ips.format(text)


@pytest.mark.control
@pytest.mark.parametrize(
    ("steps", "filter_", "text", "reason", "their_reason"),
    [
        (C4_QUALITY, filters.C4QualityFilter, "The sea is blue. [1]\n" * 5, None, "too_few_sentences"),
        (C4_QUALITY, filters.C4QualityFilter, "[1] It is.\n" * 5, "too_few_sentences", None),
        (GOPHER_QUALITY, filters.GopherQualityFilter, "🙂 " * 60, "gopher_short_doc", "gopher_below_avg_threshold"),
        (FINEWEB_QUALITY, filters.FineWebQualityFilter, "word " * 9 + "𑁇", "line_punct_ratio", None),
    ],
)
def test_where_we_differ_it_is_on_purpose(steps: Any, filter_: Any, text: str, reason: str, their_reason: str) -> None:
    assert (ours(list(steps), text)[0], theirs(filter_(), text)[0]) == (reason, their_reason)


def test_the_benchmark_compares_the_verdicts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("I am your father.\n" * 400)
    steps, text = FILTERS["c4"], "Just one sentence."
    judges = [lambda text: rule_of(steps, text), lambda text: theirs(filters.C4QualityFilter(), text)[0]]
    assert measure(judges, [text], 1)[1] == 1
    assert read_texts(Options((str(tmp_path / "a.txt"),), longest=1000, documents=3))[2].strip()
    assert "agree" in line("c4", 1.0, [1.0, 2.0], 1) and "2.0 times" in line("c4", 1.0, [1.0, 2.0], 1)
