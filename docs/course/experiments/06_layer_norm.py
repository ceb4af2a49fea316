"""The gradient of layer norm: no part along a shift, none along a stretch, and smaller for a larger row.

Run it from the root of the repository: python -m docs.course.experiments.06_layer_norm
"""

import numpy as np

import minigrad as mg
from tools.figures import chart

x, dy = np.array([1.0, 4.0, -2.0, 1.0]), np.array([1.0, 0.0, 0.0, -2.0])


def gradient(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    row = mg.Tensor(x, requires_grad=True)
    mg.layer_norm(row, eps=eps).backward(dy)
    return row.grad.numpy()


h = x - x.mean()
r = 1 / np.sqrt((h * h).mean() + 1e-5)
dx, by_hand = gradient(x), r * (dy - dy.mean() - h * r * (dy * h * r).mean())
print("dx", dx.round(4).tolist(), "by the formula", by_hand.round(4).tolist())
print(f"along a shift: {abs(dx.sum()):.6f}   along a stretch: {abs((dx * h).sum()):.6f}")

curves: dict[str, list[tuple[float, float]]] = {}
for eps in (1e-5, 1.0):
    length = [(c, np.linalg.norm(gradient(c * x, eps)).round(3)) for c in np.arange(0.1, 2.01, 0.1).round(1)]
    curves[f"eps = {eps:g}"] = [(c, value) for c, value in length if value <= 4]
    print(f"eps = {eps:g}:", {float(c): float(value) for c, value in length if c in (0.1, 0.5, 1, 2)})


def figure() -> str:
    axes = {"x": ("the row, stretched by", (0, 0.5, 1, 1.5, 2)), "y": ("length of its gradient", range(5))}
    return chart.draw("The larger the row, the smaller its gradient", curves, **axes)
