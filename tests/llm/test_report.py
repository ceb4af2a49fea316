"""The report of a run: its numbers are those of the model, and it shows texts without running them."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.inspection import all_attention_weights, logit_lens
from llm.model.config import GPTConfig
from llm.report import command, tokens
from llm.report.attention import head_scores
from llm.report.pictures import curves, png
from llm.report.vectors import principal_components, weight_sizes
from tests.llm.gpts import CONTEXT, SEEDS, VOCAB, configs, random_gpt
from tests.llm.trainings import train, without_pictures

TOLERANCE = 1e-9  # float64: means of some hundred losses of size 10, added up in another order


def windows(seed: int, rows: int, T: int = CONTEXT) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, VOCAB, (rows, T + 1))
    return ids[:, :-1], ids[:, 1:]


@given(config=configs(), seed=SEEDS, rows=st.integers(1, 3))
def test_losses_of_tokens_average_to_the_loss_of_the_model(config: GPTConfig, seed: int, rows: int) -> None:
    model, (inputs, targets) = random_gpt(config, seed), windows(seed, rows)
    found = tokens.measure(model, inputs, targets)
    expected = model.eval().loss(inputs, targets, with_balance=False).item()
    assert found.losses.mean() == pytest.approx(expected, rel=TOLERANCE)
    assert tokens.by_position(found).mean() == pytest.approx(expected, rel=TOLERANCE)
    kinds = tokens.by_kind(found, lambda i: " a1?\n,$bcdefg"[i])
    assert sum(count for _, count in kinds.values()) == targets.size
    assert sum(loss * count for loss, count in kinds.values()) / targets.size == pytest.approx(expected, rel=TOLERANCE)
    # The likeliest token is as likely as it is said to be: nothing is likelier, so no loss is below its own.
    assert (found.losses >= -np.log(found.probability) - TOLERANCE).all()
    right = found.likeliest == targets
    np.testing.assert_allclose(found.losses[right], -np.log(found.probability[right]), rtol=1e-7, atol=1e-9)


@given(config=configs(), seed=SEEDS)
def test_attention_is_a_distribution_over_earlier_tokens_and_the_last_row_of_the_lens_is_the_answer(
    config: GPTConfig, seed: int
) -> None:
    model, (inputs, _) = random_gpt(config, seed).eval(), windows(seed, 1, 9)
    for weights in all_attention_weights(model, inputs[0].tolist()):
        np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=TOLERANCE)
        assert not np.triu(weights, 1).any()
        assert all(
            (score[np.isfinite(score)] <= 1 + TOLERANCE).all() for score in head_scores(weights, inputs[0]).values()
        )
    logits = model(inputs).data[0, -1]
    np.testing.assert_allclose(logit_lens(model, inputs[0].tolist())[-1], logits, rtol=TOLERANCE, atol=TOLERANCE)


@given(seed=SEEDS, T=st.integers(4, 20))
def test_a_head_that_does_one_thing_only_has_a_score_of_1(seed: int, T: int) -> None:
    ids = np.random.default_rng(seed).integers(0, 3, T)
    before = [[s for s in range(t) if ids[s] == ids[t]] for t in range(T)]
    looks = {
        "previous token": [[t - 1] if t else [0] for t in range(T)],
        "same token": [places or [t] for t, places in enumerate(before)],
        "induction": [[s + 1 for s in places] or [t] for t, places in enumerate(before)],
    }
    for name, places in looks.items():
        weights = np.zeros((1, T, T))
        for t, where in enumerate(places):
            weights[0, t, where] = 1 / len(where)
        score = head_scores(weights, ids)[name][0]
        assert score == pytest.approx(1) or np.isnan(score) and not any(before)


@pytest.mark.control
def test_a_head_that_looks_at_the_beginning_has_no_such_score() -> None:
    weights = np.zeros((1, 6, 6))
    weights[:, :, 0] = 1
    scores = head_scores(weights, np.array([0, 1, 2, 1, 2, 1]))
    assert (
        scores["previous token"][0] == pytest.approx(1 / 5) and scores["same token"][0] == scores["induction"][0] == 0
    )


@given(seed=SEEDS, rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_a_png_holds_its_pixels(seed: int, rows: int, columns: int) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns), np.uint8)
    np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


@given(seed=SEEDS, n=st.integers(3, 9))
def test_two_dimensions_hold_what_two_directions_hold(seed: int, n: int) -> None:
    """Vectors that lie in a plane keep all their distances."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 2)) @ rng.standard_normal((2, 5)) + rng.standard_normal(5)
    distances = lambda x: np.linalg.norm(x[:, None] - x[None], axis=2)
    np.testing.assert_allclose(distances(principal_components(vectors)), distances(vectors), atol=1e-7)


def test_sizes_of_weights_are_by_layer() -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=8, layers=2, heads=2, dim=8), 0)
    sizes = weight_sizes(model)
    assert list(sizes) == ["outside", "0", "1"]
    weight = model.blocks[1].mlp.up.weight.data
    assert sizes["1"]["mlp.up.weight"] == pytest.approx(np.sqrt((weight**2).mean()))


def test_a_curve_needs_two_points_that_are_finite() -> None:
    assert curves("loss", {"a": [(1, 2.0), (2, float("nan"))]}) is None
    assert "polyline" in (curves("loss", {"a": [(1, 2.0), (2, 1.0)]}) or "")


# --- the page ---------------------------------------------------------------------------------------------------------


class Found(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]


HOSTILE = "<script>alert(1)</script> \"'&<img src=x onerror=y> \u202e the cat sat "


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)
    (tmp_path / "text.txt").write_text(HOSTILE * 30)
    assert train(tmp_path / "<b>run", "--steps", "4", "--eval-every", "2", "--sample-every", "0") == 0
    return tmp_path / "<b>run"


def test_the_page_shows_hostile_text_and_fetches_nothing(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert command.main([str(run), "--against", str(run), "-o", str(out)]) == 0
    found, text = Found(), out.read_text("utf-8")
    found.feed(text)
    assert not {"script", "b", "link", "iframe"} & found.tags
    assert found.targets and all(target.startswith("data:image/png") for target in found.targets)
    assert "&lt;b&gt;run" in text and "Token by token" in text
    assert len(text) < 5_000_000


def test_a_wrong_path_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main([str(tmp_path / "none"), "-o", str(tmp_path / "x.html")]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_tokens_have_kinds() -> None:
    kinds = {" the": "beginning of a word", "ing": "word or part of one", "\n ": "white space", " 12": "number"}
    kinds |= {",": "punctuation", "=": "other sign", "": "white space"}
    assert {text: tokens.kind_of(text) for text in kinds} == kinds
