"""One number, a row and a column are added to a matrix: which gradients do they get?

Run it from the root of the repository: python -m docs.course.experiments.03_broadcasting
"""

import numpy as np

from minigrad import Tensor
from tools.figures import svg

G = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])  # the gradient of the result


def gradient(shape: tuple[int, ...]) -> np.ndarray:
    x = Tensor(np.zeros(shape), requires_grad=True)
    (x + np.zeros((2, 3))).backward(G)
    return x.grad.numpy()


for shape in [(2, 3), (3,), (1, 3), (2, 1), (1, 1), ()]:
    print(f"shape {shape!s:7} gradient {gradient(shape).tolist()}")


def cells(left: float, top: float, values: np.ndarray, kind: str) -> list[str]:
    parts = []
    for i, row in enumerate(np.atleast_2d(values)):
        for j, value in enumerate(row):
            x, y = left + 46 * j, top + 32 * i
            parts += [svg.rect(x, y, 42, 28, kind, 3), svg.text(x + 21, y + 19, f"{value:g}", anchor="middle")]
    return parts


def figure() -> str:
    parts = [svg.text(8, 20, "What was repeated gets a sum", "title"), *cells(16, 52, G, "forward")]
    parts += [*cells(196, 52, gradient((2, 1)), "backward"), *cells(16, 148, gradient((1, 3)), "backward")]
    parts += cells(196, 148, gradient(()), "update")
    parts += [
        svg.text(16, 44, "gradient of the result, (2, 3)", "small"),
        svg.text(196, 44, "of a column, (2, 1)", "small"),
    ]
    parts += [svg.text(16, 140, "of a row, (3,) or (1, 3)", "small"), svg.text(196, 140, "of one number, ()", "small")]
    return svg.picture(196, parts, "The gradient of a matrix; its sums along rows, along columns, and over everything")
