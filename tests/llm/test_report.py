"""The report of a run: its numbers are those of the model, and it shows texts without running them."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.inference.inspection import all_attention_weights, logit_lens, mlp_inputs
from llm.model.config import GPTConfig
from llm.model.mlp import MLP
from llm.report import attention, command, curves, facts, layers, lens, tokens, units
from llm.report.opened import NOT_LEARNED, Opened, Text, clean_layers, clean_metrics, open_run, token_text
from llm.report.page import page
from llm.report.pictures import curves as draw
from llm.report.pictures import png
from llm.report.samples import MOST, some
from llm.report.vectors import principal_components, weight_sizes
from llm.runs.run import Run
from minigrad.fused.activation import activate
from tests.llm.gpts import CONTEXT, SEEDS, VOCAB, configs, random_gpt
from tests.llm.trainings import metrics, train, without_pictures
from tokenizer import CharTokenizer
from train import main

TOLERANCE = 1e-9  # float64: means of some hundred losses of size 10, added up in another order


def windows(seed: int, rows: int, T: int = CONTEXT) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, VOCAB, (rows, T + 1))
    return ids[:, :-1], ids[:, 1:]


@given(config=configs(), seed=SEEDS, rows=st.integers(1, 3), learned=st.sampled_from([0.3, 1.0]))
def test_losses_of_tokens_average_to_the_loss_of_the_model(
    config: GPTConfig, seed: int, rows: int, learned: float
) -> None:
    model, (inputs, targets) = random_gpt(config, seed), windows(seed, rows)
    targets = np.where(np.random.default_rng(seed).random(targets.shape) < learned, targets, NOT_LEARNED)
    targets[0, 0] = 1  # at least one counts
    found = tokens.measure(model, Text("", inputs, targets))
    expected = model.eval().loss(inputs, targets, ignore_index=NOT_LEARNED, with_balance=False).item()
    assert found.mean == pytest.approx(expected, rel=TOLERANCE)
    counts, means = (targets != NOT_LEARNED).sum(axis=0), tokens.by_position(found)
    assert (means[counts > 0] * counts[counts > 0]).sum() / counts.sum() == pytest.approx(expected, rel=TOLERANCE)
    kinds = tokens.by_kind(found, lambda i: " a1?\n,$bcdefg"[i])
    assert sum(count for _, count in kinds.values()) == counts.sum()
    assert sum(loss * count for loss, count in kinds.values()) / counts.sum() == pytest.approx(expected, rel=TOLERANCE)
    # The likeliest token is as likely as it is said to be: nothing is likelier, so no loss is below its own.
    own = -np.log(found.probability)
    assert (found.losses[found.learned] >= own[found.learned] - TOLERANCE).all()
    right = found.likeliest == targets
    np.testing.assert_allclose(found.losses[right], own[right], rtol=1e-7, atol=1e-9)


@given(config=configs(), seed=SEEDS)
def test_attention_is_a_distribution_over_earlier_tokens_and_the_last_row_of_the_lens_is_the_answer(
    config: GPTConfig, seed: int
) -> None:
    model, (inputs, _) = random_gpt(config, seed).eval(), windows(seed, 1, 9)
    for weights in all_attention_weights(model, inputs[0].tolist()):
        np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=TOLERANCE)
        assert not np.triu(weights, 1).any()
        assert all(
            (score[np.isfinite(score)] <= 1 + TOLERANCE).all()
            for score in attention.head_scores(weights, inputs[0]).values()
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
        score = attention.head_scores(weights, ids)[name][0]
        assert score == pytest.approx(1) or np.isnan(score) and not any(before)


@pytest.mark.control
def test_a_head_that_looks_at_the_beginning_has_no_such_score() -> None:
    weights = np.zeros((1, 6, 6))
    weights[:, :, 0] = 1
    scores = attention.head_scores(weights, np.array([0, 1, 2, 1, 2, 1]))
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
    assert set(sizes) == {"embedding", "positions", "blocks.0", "blocks.1"}
    weight = model.blocks[1].mlp.up.weight.data
    assert sizes["blocks.1"]["mlp.up.weight"] == pytest.approx(np.sqrt((weight**2).mean()))


def test_a_curve_needs_two_points_that_are_finite() -> None:
    assert draw("loss", {"a": [(1, 2.0), (2, float("nan"))]}) is None
    assert draw("loss", {"a": [(1, 2.0), (2, 0.0)]}, log=True) is None
    assert "polyline" in (draw("loss", {"a": [(1, 2.0), (2, 1.0)]}) or "")


@given(seed=SEEDS, activation=st.sampled_from(["gelu", "relu", "swiglu"]))
def test_units_are_dead_or_linear_as_their_slope_says(seed: int, activation: str) -> None:
    """The slope beside finite differences of the activation itself: silu for swiglu, see minigrad/fused."""
    x = np.random.default_rng(seed).normal(0, 4, (6, 9))
    x[:, 0], x[:, 1] = -60, 60
    plain = {"gelu": "gelu", "relu": "relu", "swiglu": "silu"}[activation]
    step = 1e-5
    slope = (activate(x + step, plain) - activate(x - step, plain)) / (2 * step)
    layer = units.Units(activation)
    layer.read(x[:2])
    layer.read(x[2:])  # in two texts, as in one
    found = layer.shares()
    flat, linear = np.abs(slope) < units.NEARLY, np.abs(slope - 1) < units.NEARLY
    assert found.dead == flat.all(axis=0).mean() >= 1 / 9 and found.linear == linear.all(axis=0).mean() >= 1 / 9
    assert found.flat == flat.mean() and found.units == 9


@given(config=configs(), seed=SEEDS)
def test_what_units_read_is_the_first_projection(config: GPTConfig, seed: int) -> None:
    """The model is one layer, whose network is called here by itself, with what it was called with in the model."""
    model, (inputs, _) = random_gpt(config, seed).eval(), windows(seed, 1, 5)
    found, mlp = mlp_inputs(model, inputs[0].tolist()), model.blocks[0].mlp
    assert [x is None for x in found] == [not isinstance(block.mlp, MLP) for block in model.blocks[:]]
    if not isinstance(mlp, MLP):
        return
    read: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MLP, "forward", lambda self, x: (read.append(x.data), self.down(self.up(x, self.activation)))[1])
        model(inputs)
    expected = read[0][0] @ mlp.up.weight.data.T + (0 if mlp.up.bias is None else mlp.up.bias.data)
    assert found[0] is not None
    np.testing.assert_allclose(found[0], expected[:, : found[0].shape[1]], rtol=1e-7, atol=1e-9)


# --- the lines of a run -----------------------------------------------------------------------------------------------


def test_of_many_samples_the_first_and_the_last_are_shown() -> None:
    lines = [{"step": i, "text": ""} for i in range(1000)]
    shown = some(lines)
    assert len(shown) == MOST and shown[0] == lines[0] and shown[-1] == lines[-1] and some(lines[:3]) == lines[:3]


def test_a_norm_that_was_not_finite_is_left_out() -> None:
    lines = [
        {"step": 1, "norms": {"blocks.0": {"weight": 2.0, "gradient": None, "update": 0.5}}},
        {"step": 2, "norms": {"blocks.0": {"weight": 4.0, "gradient": 1.0, "update": 1.0}}},
    ]
    assert layers.norms(lines, "gradient") == {"blocks.0": [(2, 1.0)]}
    assert layers.relative_updates(lines) == {"blocks.0": [(1, 0.25), (2, 0.25)]}


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


FEW = ["--steps", "4", "--eval-every", "2", "--sample-every", "2"]
CONTEXT_OF_RUN = 48


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)
    (tmp_path / "text.txt").write_text((HOSTILE + "user assistant\n") * 30)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    assert train(tmp_path / "<b>run", *FEW, "--context", str(CONTEXT_OF_RUN)) == 0
    return tmp_path / "<b>run"


def opened(path: Path) -> Opened:
    return open_run(Run(path), path.name)


def report(path: Path, *more: str) -> str:
    out = path.parent / "report.html"
    assert command.main([str(path), *more, "-o", str(out)]) == 0
    return out.read_text("utf-8")


def test_the_page_shows_hostile_text_and_fetches_nothing(run: Path) -> None:
    found, text = Found(), report(run, "--against", str(run))
    found.feed(text)
    assert not {"script", "b", "link", "iframe"} & found.tags
    assert found.targets and all(target.startswith("data:image/png") for target in found.targets)
    assert "&lt;b&gt;run" in text and len(text) < 5_000_000
    assert "Content-Security-Policy" in text
    for title in ("Curves", "Norms by layer", "What it wrote", "Token by token", "Attention", "Logit lens", "Units"):
        assert f"<h2>{title}</h2>" in text


@pytest.mark.parametrize("change", ["gone", "another text", "a pipe"])
def test_a_run_whose_text_is_not_there_any_more_has_a_report_without_it(run: Path, tmp_path: Path, change: str) -> None:
    data = tmp_path / "text.txt"
    if change == "gone":
        data.unlink()
    elif change == "another text":
        data.write_text("the cat sat " * 200)
    else:
        config = json.loads((run / "config.json").read_text())
        config["training"]["data"] = "-"
        del config["sha256"]
        (run / "config.json").write_text(json.dumps(config))
    text = report(run)
    assert "No chapters about a text: " in text and "<h2>Norms by layer</h2>" in text
    assert "Token by token" not in text


ODD: list[Any] = ["text", [1], {}, None, 10**400, 1e308, float("nan"), -5, True]


@given(name=st.sampled_from(["train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed", "step"]),
       norms=st.sampled_from([*ODD, {"a": 5}, {"a": {"weight": [1]}}, {"a": {"weight": 1e308, "update": "x"}}]),
       odd=st.sampled_from(ODD))  # fmt: skip
@settings(max_examples=30)
def test_odd_values_in_the_lines_of_a_run_do_no_harm(name: str, norms: Any, odd: Any) -> None:
    metric = dict.fromkeys(["step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed"], 1)
    lines = clean_metrics([metric, metric | {name: odd}] if name != "step" or type(odd) is int else [metric])
    assert all(x is None or abs(x) < 1e100 for line in lines for x in line.values())
    assert isinstance(draw("x", {"a": curves.curve(lines, name)}), str | None)
    found = clean_layers([{"step": 1, "norms": norms, "peak_memory": odd}, {"step": 2, "norms": {}}])
    for kind in layers.KINDS:
        draw("x", layers.norms(found, kind), log=True)
    draw("x", layers.relative_updates(found), log=True)


@pytest.mark.parametrize("factor", [1.0, 1e20, float("nan")])
@pytest.mark.filterwarnings("error")
def test_a_run_that_has_diverged_says_so_in_a_sentence(run: Path, factor: float) -> None:
    """1e20: the squares of such weights are too large for float32. 1: the control, nothing is said."""
    found = opened(run)
    for p in found.model.parameters():
        p.data *= np.float32(factor)
    text = page([found])
    assert text.count("Its training has diverged") == (factor != 1)
    assert "<h2>Weights</h2>" in text and "SVD" not in text


def test_a_page_does_not_replace_a_file_of_the_run(run: Path, capsys: pytest.CaptureFixture) -> None:
    before = (run / "config.json").read_bytes()
    assert command.main([str(run), "-o", str(run / "config.json")]) == 1
    assert "give one that ends in .html" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == before


def test_what_a_chat_only_reads_is_shown_if_it_is_in_the_same_text() -> None:
    tokenizer = CharTokenizer.train(["abcd"])
    learned = np.array([[1, NOT_LEARNED, NOT_LEARNED, 2, NOT_LEARNED]])
    documents = np.array([[0, 0, 0, 1, -1]])
    text = Text("", np.array([[0, 1, 2, 3, 0]]), learned, documents)
    found = tokens.TokenLosses(learned, np.where(learned < 0, np.nan, 1.0), np.zeros((1, 5), int), np.ones((1, 5)))
    # After 0 comes 1, learned; after 1 comes 2, read only; after 2 the text ends; after 3 comes 2, learned; padding.
    shown = tokens.shaded(found, text, tokenizer)
    assert [("ignored" in each, each.split(">")[1][0]) for each in shown] == [
        (False, tokenizer.decode([1])), (True, tokenizer.decode([2])), (False, tokenizer.decode([2]))
    ]  # fmt: skip


def test_an_id_that_the_tokenizer_does_not_know_has_a_number() -> None:
    assert token_text(CharTokenizer.train(["ab"]), 4096) == "id 4096"


def test_facts_are_those_of_the_run(run: Path) -> None:
    found, lines = facts.facts(opened(run)), metrics(run)
    assert found["steps"] == "4 of 4" and f"NumPy {np.__version__}" in found["made with"]
    assert found["best validation loss"].startswith(f"{min(line['val_loss'] or 9 for line in lines):.4f} at step")
    assert {"peak memory of the process", "memory of the arrays, as predicted"} <= found.keys()


def test_curves_are_the_lines_of_the_run(run: Path) -> None:
    found, lines = opened(run), metrics(run)
    tokens_each = curves.tokens_of_a_step(found)
    assert tokens_each == 5 * CONTEXT_OF_RUN  # --batch-size of tests/llm/trainings.py
    expected = [(line["step"] * tokens_each, line["train_loss"]) for line in lines]
    assert curves.curve(found.metrics, "train_loss", "step", tokens_each) == expected
    assert [step for step, _ in curves.curve(found.metrics, "val_loss")] == [2, 4]
    assert [line["step"] for line in found.samples] == [2, 4] == [line["step"] for line in found.layers]


def conversations(path: Path) -> Path:
    turns = [{"role": "user", "content": "the cat sat"}, {"role": "assistant", "content": "<the cat> sat"}]
    path.write_text("".join(json.dumps({"messages": turns, "n": i}) + "\n" for i in range(12)))
    return path


TUNED: dict[str, tuple[list[str], set[str]]] = {
    "lora": (["--lora-rank", "2"], {"Token by token", "Attention", "Norms by layer", "Weights"}),
    "prefix": (["--prefix-tokens", "2"], {"Token by token", "Weights"}),
    "chat": (["--objective", "chat"], {"Token by token", "Attention", "What it wrote"}),
    "classify": (["--objective", "classify"], {"Attention", "What it wrote", "Weights"}),
}


@pytest.mark.parametrize("kind", TUNED)
def test_runs_of_every_kind_have_a_report(run: Path, tmp_path: Path, kind: str) -> None:
    words, chapters = TUNED[kind]
    data = tmp_path / "text.txt"
    if kind == "chat":
        data = conversations(tmp_path / "chat.jsonl")
    if kind == "classify":
        data = tmp_path / "classes.jsonl"
        rows = [{"text": "the cat " * (1 + i % 3), "label": "abc"[i % 3]} for i in range(30)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / kind
    options = ["--from", str(run), "--data", str(data), "--out", str(out), *FEW, "--batch-size", "3", "--threads", "1"]
    options += ["--eval-batches", "2", "--device", "cpu"]
    assert main([*options, *words]) == 0
    text = report(out, "--against", str(run))
    assert all(f"<h2>{title}</h2>" in text for title in chapters)
    if kind == "prefix":
        assert "the inside of a model with a prefix or a prompt is not shown" in text
    if kind == "chat":
        read = opened(out).text
        assert read is not None and read.documents is not None and (read.targets == NOT_LEARNED).any()
        assert 'class="ignored"' in text


def test_a_translator_shows_where_it_looks_in_the_source(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"{a}{b}\t{b}{a}\n" for a in "abcdefg" for b in "abcdefg"))
    out = tmp_path / "translator"
    shape = ["--layers", "1", "--heads", "2", "--dim", "8", "--context", "8", "--batch-size", "4", "--threads", "1"]
    given_options = ["--data", str(tmp_path / "pairs.tsv"), "--out", str(out), *FEW, "--warmup", "1", *shape]
    assert main(["--preset", "transformer-translate", *given_options]) == 0
    text = report(out)
    assert "that the decoder looks at" in text and "layer 0, head 1" in text and "What it wrote" in text
    assert {"encoder.0", "decoder.0", "embedding"} <= opened(out).layers[0]["norms"].keys()


@pytest.mark.parametrize("text", ["", "no arrow", "a -> b -> c\nd -> e"])
def test_the_source_of_a_sample(text: str) -> None:
    assert attention.first_source([{"text": text}]) == text.split(" -> ")[0] if "->" in text else True
    assert attention.first_source([]) == ""


def test_long_tokens_are_shortened() -> None:
    assert lens.shortened("x" * 99) == "x" * lens.LONGEST + "..." and lens.shortened("x") == "x"


def test_a_wrong_path_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert command.main([str(tmp_path / "none"), "-o", str(tmp_path / "x.html")]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_tokens_have_kinds() -> None:
    kinds = {" the": "beginning of a word", "ing": "word or part of one", "\n ": "white space", " 12": "number"}
    kinds |= {",": "punctuation", "=": "other sign", "": "white space"}
    assert {text: tokens.kind_of(text) for text in kinds} == kinds
