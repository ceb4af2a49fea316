"""Perplexity of whole texts: each token is predicted once, in the window and by the tokens that are to be there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.perplexity import TextScore, count_words, score_text, score_texts, windows_of
from llm.evaluation.text import evaluate_text
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad
from tests.llm.gpts import random_gpt
from tests.tokenizer.helpers import every_kind
from tokenizer import END_OF_TEXT, BaseTokenizer, CharTokenizer, Tokenizer

LETTERS = CharTokenizer.train(["abcdefghijk\n "])  # without a token that begins texts
BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
CONTEXT = 8
strides = st.integers(1, CONTEXT)


def model_for(tokenizer: BaseTokenizer, seed: int = 0) -> GPT:
    config = GPTConfig(vocab_size=len(tokenizer.tokens), context=CONTEXT, layers=1, heads=2, dim=8)
    return random_gpt(config, seed)


def log_probability(model: GPT, ids: list[int], following: int) -> float:
    with no_grad():
        logits = model(np.array([ids])).numpy()[0, -1]
    return float(logits[following] - logits.max() - np.log(np.exp(logits - logits.max()).sum()))


def plain_total(model: GPT, ids: list[int], stride: int) -> float:
    """Token after token, each with what its window has before it."""
    total, last = 0.0, len(ids) - 1
    for position in range(1, len(ids)):
        windows_before = max(0, math.ceil((position - CONTEXT) / stride))
        end = min(CONTEXT + windows_before * stride, last)  # the last token that the window predicts
        total += log_probability(model, ids[max(0, end - CONTEXT) : position], ids[position])
    return total


@given(st.text("abc \n", min_size=2, max_size=40), strides, st.integers(1, 50), st.integers(0, 99))
def test_each_token_is_predicted_once_from_what_is_before_it_in_its_window(
    text: str, stride: int, size: int, seed: int
) -> None:
    model = model_for(LETTERS, seed)
    (found,) = score_texts(model, LETTERS, [text], stride=stride, batch_tokens=size)
    assert found.total == pytest.approx(plain_total(model, LETTERS.encode(text), stride), rel=1e-9)
    assert (found.tokens, found.bytes) == (len(text) - 1, len(text) - 1)


@given(st.integers(2, 60), strides)
def test_windows_predict_each_id_but_the_first_once(count: int, stride: int) -> None:
    ids, predicted = list(range(count)), []
    for number, (read, targets) in enumerate(windows_of(ids, CONTEXT, stride)):
        assert [*read[1:], targets[-1]] == list(range(read[0] + 1, targets[-1] + 1)), "consecutive"
        assert len(targets) <= len(read) <= CONTEXT
        assert number == 0 or (len(read) == CONTEXT and len(targets) <= stride)
        predicted += targets
    assert predicted == ids[1:]


@pytest.mark.parity
@given(st.integers(1, 60), st.integers(1, CONTEXT))
def test_windows_are_those_of_lm_eval(count: int, context: int) -> None:
    utils = pytest.importorskip("lm_eval.utils")
    theirs = []
    for pair in utils.get_rolling_token_windows(list(range(count)), -1, context, 1):
        before, after = utils.make_disjoint_window(pair)
        theirs.append(((before + after)[-(context + 1) :][:-1], after))
    assert list(windows_of([-1, *range(count)], context, context)) == theirs


@given(st.text(min_size=1, max_size=30), strides)
def test_bytes_are_those_of_the_original_text(text: str, stride: int) -> None:
    model = model_for(BYTES)
    found = score_text(model, BYTES, text, stride=stride)
    assert found.tokens == len(BYTES.encode_ordinary(text))  # also the first one is predicted
    assert found.bytes == len(text.encode("utf-8", "surrogatepass"))
    assert found.bits_per_byte == pytest.approx(found.loss * found.tokens / found.bytes / math.log(2))
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.word_perplexity == pytest.approx(math.exp(-found.total / found.words))


def test_a_tokenizer_that_changes_the_text_does_not_change_its_bytes() -> None:
    tokenizer = every_kind()["WordPiece"]
    text = "  THE   CÁT "  # read as "the cat"
    assert tokenizer.encode_ordinary(text) == tokenizer.encode_ordinary("the cat")
    assert score_text(model_for(tokenizer), tokenizer, text).bytes == len(text.encode())
    assert evaluate_text(model_for(tokenizer), tokenizer, text).bytes_per_token == len(text.encode()) / 2


def test_texts_add_up_and_progress_is_in_texts() -> None:
    model, reported = model_for(BYTES), []
    texts = ["the rain", "the sea, the sea, the sea and the rain", "é"]
    scores = score_texts(model, BYTES, texts, stride=3, progress=reported.append)
    assert sum(reported) == pytest.approx(len(texts))
    assert scores == [score_text(model, BYTES, text, stride=3) for text in texts]
    together = sum(scores[1:], scores[0])
    assert together.total == pytest.approx(sum(each.total for each in scores))
    assert (together.tokens, together.words) == (sum(each.tokens for each in scores), 2 + 9 + 1)


@pytest.mark.parametrize(("text", "words"), [("a b", 2), ("a  b\n\tc", 3), (" a ", 3), ("a", 1)])
def test_words_are_counted_as_lm_eval_does(text: str, words: int) -> None:
    assert count_words(text) == words


def test_with_longer_contexts_the_loss_is_that_of_one_call() -> None:
    model, text = model_for(BYTES), "the sea"  # fewer tokens than the context
    assert score_text(model, BYTES, text, stride=1).loss == pytest.approx(evaluate_text(model, BYTES, text).loss)


@pytest.mark.parametrize("stride", [0, CONTEXT + 1])
def test_a_stride_that_leaves_tokens_out_is_refused(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride must be from 1 to 8, the context of the model, got {stride}"):
        score_text(model_for(BYTES), BYTES, "the sea", stride=stride)


@pytest.mark.parametrize(("tokenizer", "text"), [(LETTERS, "a"), (LETTERS, ""), (BYTES, "")])
def test_a_text_with_nothing_to_predict_is_refused(tokenizer: BaseTokenizer, text: str) -> None:
    with pytest.raises(ValueError, match="is too short to be evaluated"):
        score_text(model_for(tokenizer), tokenizer, text)


def test_a_hopeless_model_has_a_finite_perplexity() -> None:
    assert math.isfinite(TextScore(-1e6, 10, 1, 10).perplexity)
