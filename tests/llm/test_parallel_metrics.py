"""What an objective reports beside the loss: the same means, however the batch is divided, in all that shows them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.evaluation.loss import Validation, evaluate
from llm.model.gpt import GPT
from llm.parallel import metrics as sums
from llm.parallel.metrics import MetricSums
from llm.parallel.objective import Batch
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs import loss_picture
from llm.runs.loss_picture import MOST_PANELS, draw_losses
from llm.runs.metrics import FIELDS, Metrics, read_metrics
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.tensor import Tensor
from tests.llm.steps import KINDS, V, model_and_optimizer, random_batch, workers_of


class WithMetrics(NextToken):
    """Reports the mean target, and the length of rows whose first target is even: each has a count of its own."""

    def loss_sum(self, model: GPT, batch: Batch) -> tuple[Tensor, sums.Metrics]:
        ids, targets = batch
        even = targets[targets[:, 0] % 2 == 0]
        metrics = {"target": (targets.sum(), targets.size), "even_length": (even.size, len(even))}
        return super().loss_sum(model, batch), metrics


def expected(batch: Batch) -> dict[str, float]:
    targets = batch[1]
    length = float(targets.shape[1]) if (targets[:, 0] % 2 == 0).any() else math.nan
    return {"target": float(targets.mean()), "even_length": length}


@KINDS
@pytest.mark.parametrize(("count", "parts"), [(1, 1), (2, 1), (3, 2), (2, 5)])
def test_metrics_of_a_step_do_not_depend_on_workers_and_parts(kind: type[Workers], count: int, parts: int) -> None:
    model, optimizer = model_and_optimizer()
    batch = random_batch(5, 7)
    with workers_of(model, count, kind, WithMetrics()) as workers:
        for seed in (5, 6):  # metrics of the batch before are forgotten
            batch = random_batch(seed, 7)
            result = train_step(workers, optimizer, batch, lr=0.1, micro_batches=parts)
            assert result.metrics == pytest.approx(expected(batch), nan_ok=True)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_metrics_of_an_evaluation_are_means_over_all_batches(count: int) -> None:
    model, _ = model_and_optimizer()
    batches = [random_batch(seed, rows) for seed, rows in enumerate((3, 1, 4))]
    joined = tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    with workers_of(model, count, Threads, WithMetrics()) as workers:
        found = evaluate(workers, Validation(batches))
    assert found.metrics == pytest.approx(expected(joined))
    assert f", target {found.metrics['target']:.4g}, even length 6" in str(found)


def test_an_evaluation_in_which_nothing_counts_has_a_loss_of_0() -> None:
    class Nothing(NextToken):
        def loss_sum(self, model: GPT, batch: Batch) -> Tensor:
            return model.loss(batch[0], np.full_like(batch[1], -100), reduction="sum", with_balance=False)

        def count(self, batch: Batch) -> float:
            return 0

    model, _ = model_and_optimizer()
    with workers_of(model, 2, Threads, Nothing()) as workers:
        assert evaluate(workers, Validation([random_batch(1, 3)])).loss == 0.0


numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.tuples(numbers, st.integers(0, V)))), st.randoms())
def test_sums_do_not_depend_on_the_order_and_never_fail(rows: Sequence[dict[str, Any]], random: Any) -> None:
    def means(rows: Sequence[sums.Metrics]) -> dict[str, float]:
        total = MetricSums()
        for row in rows:
            total.add(row)
        return total.means()

    assert means(random.sample(rows, len(rows))) == pytest.approx(means(rows), nan_ok=True, rel=0, abs=0)


# --- in files and in the picture --------------------------------------------------------------------------------------


def line(step: int, **metrics: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIELDS, 1.5), "step": step, "val_loss": None, **metrics}


def test_a_line_keeps_the_metrics_of_an_objective_and_no_other_key(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", 0)
    metrics.add(**line(1, train_accuracy=0.5, other=1.0))
    metrics.add(**line(2, train_accuracy=math.nan, val_accuracy=0.75))
    metrics.close()
    again = Metrics(tmp_path / "metrics.jsonl", 2)  # of a run that is resumed
    again.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        line(1, train_accuracy=0.5),
        line(2, train_accuracy=None, val_accuracy=0.75),
    ]


@pytest.mark.parametrize("names", [0, 1, 3, 40])
def test_the_picture_has_a_panel_for_each_metric(names: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric may begin late, be missing, or be no number."""
    drawn: list[str] = []
    draw_metric = loss_picture._draw_metric

    def draw(axis: Any, name: str, *arguments: Any) -> None:
        drawn.append(name)
        draw_metric(axis, name, *arguments)

    monkeypatch.setattr(loss_picture, "_draw_metric", draw)
    values = [0.5, None, "much", math.inf, -1e40, True]
    lines = [
        line(1),
        *(line(step, **{f"train_m_{n}$": values[step % 6] for n in range(names)}) for step in range(2, 9)),
    ]
    lines += [line(9, **{f"val_m_{n}$": 0.25 for n in range(names)})]
    draw_losses(lines, tmp_path / "loss.png", "a run")
    assert drawn == [f"m_{n}$" for n in range(min(names, MOST_PANELS))]
    width, height = struct.unpack(">II", (tmp_path / "loss.png").read_bytes()[16:24])
    assert (width, height) == (1080, 120 * (6 + len(drawn)))
