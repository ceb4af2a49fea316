"""A picture of a filter: the ROC curve with the chosen threshold, and the scores of good and bad texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from llm.data.lab.filters.curve import Curve
from llm.runs.figures import add_grids, drawable, new_figure, save_figure

GOOD, BAD, CHOSEN = "#2a5a9c", "#d9622b", "#444444"


def draw_filter(curve: Curve, good: np.ndarray, bad: np.ndarray, threshold: float, path: Path, title: str) -> None:
    """Draw a PNG file. `good`, `bad`: the scores from which the curve was made."""
    figure = new_figure(10, 4.6, layout="constrained")
    figure.suptitle(drawable(title), parse_math=False)
    left, right = figure.subplots(1, 2)
    draw_curve(left, curve, float(np.mean(good < threshold)), float(np.mean(bad < threshold)))
    draw_scores(right, good, bad, threshold)
    add_grids((left, right))
    save_figure(figure, path, dpi=110, format="png", metadata={"Software": None})


def draw_curve(axis: Any, curve: Curve, good_dropped: float, bad_dropped: float) -> None:
    """The ROC curve, and the point on it that was chosen."""
    axis.plot([0, 1], [0, 1], ":", color="#999999", label="scores that tell nothing")
    axis.plot(curve.good_dropped, curve.bad_dropped, color=GOOD, label=f"this filter: area {curve.area:.4f}")
    label = f"threshold: {bad_dropped:.1%} of bad, {good_dropped:.1%} of good"
    axis.plot(good_dropped, bad_dropped, "o", color=BAD, label=label)
    axis.set(xlabel="share of good texts dropped", ylabel="share of bad texts dropped", aspect="equal")
    axis.legend(frameon=False, loc="lower right")


def draw_scores(axis: Any, good: np.ndarray, bad: np.ndarray, threshold: float) -> None:
    """How many texts of each kind have which score."""
    bins = list(np.linspace(0, 1, 41))
    for scores, color, label in ((bad, BAD, "bad texts"), (good, GOOD, "good texts")):
        weights = np.full(len(scores), 1 / len(scores))
        axis.hist(scores, bins=bins, weights=weights, color=color, alpha=0.6, label=label)
    axis.axvline(threshold, color=CHOSEN, linestyle="--", label=f"threshold {threshold:.3f}")
    axis.set(xlabel="score: the probability that a text is good", ylabel="share of texts", yscale="log")
    axis.legend(frameon=False, loc="upper center")
