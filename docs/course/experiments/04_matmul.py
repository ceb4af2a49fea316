"""The two gradients of a product, beside differences: dX = G W^T and dW = X^T G.

Run it from the root of the repository: python -m docs.course.experiments.04_matmul
"""

import numpy as np

from tools.figures import svg

m, k, n, h = 4, 2, 3, 0.5  # the loss is linear in each matrix, so any step gives the exact slope
X, W, G = (np.random.default_rng(4).integers(-3, 4, shape).astype(float) for shape in [(m, k), (k, n), (m, n)])


def loss(X, W):
    return (G * (X @ W)).sum()


def by_difference(f, A):
    slopes = np.zeros_like(A)
    for index in np.ndindex(A.shape):
        step = np.zeros_like(A)
        step[index] = h
        slopes[index] = (f(A + step) - f(A - step)) / (2 * h)
    return slopes


print("dX", (G @ W.T).tolist(), np.array_equal(G @ W.T, by_difference(lambda X: loss(X, W), X)))
print("dW", (X.T @ G).tolist(), np.array_equal(X.T @ G, by_difference(lambda W: loss(X, W), W)))
print("multiplications, forward and for each gradient:", m * k * n)


def figure() -> str:
    """The three products as rectangles: rows by columns."""
    parts, top = [svg.text(8, 20, "Three products, one volume: m k n", "title")], 40.0
    size = {"m": 64, "k": 32, "n": 48}
    for names, shapes, kind in [
        (("X", "W", "Y"), ("mk", "kn", "mn"), "forward"), (("G", "Wᵀ", "dX"), ("mn", "nk", "mk"), "backward"),
        (("Xᵀ", "G", "dW"), ("km", "mn", "kn"), "backward"),
    ]:  # fmt: skip
        left = 24.0
        for name, (a, b), sign in zip(names, shapes, "·= "):
            parts.append(svg.rect(left, top, 1.4 * size[b], size[a], kind, 3))
            parts.append(svg.text(left + 0.7 * size[b], top + size[a] / 2 + 4, name, "strong", "middle"))
            parts.append(svg.text(left + 0.7 * size[b], top + size[a] + 12, f"({a}, {b})", "quiet small", "middle"))
            parts.append(svg.text(left + 1.4 * size[b] + 16, top + 20, sign, "title", "middle"))
            left += 1.4 * size[b] + 32
        top += 84
    return svg.picture(top, parts, "Y = X W, dX = G W transposed, dW = X transposed G, with their shapes")
