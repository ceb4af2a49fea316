"""How much a query and a key agree, by their distance: with rotary positions.

Run it from the root of the repository: python -m docs.course.experiments.07_positions
"""

import numpy as np

from llm.model.textbook import rotate, softmax
from tools.figures import chart

D, T = 32, 65  # width of a head, tokens
rng = np.random.default_rng(7)

# 1. Without positions, a text is a bag: other orders of the tokens give the same vectors, in another order.
x = rng.standard_normal((5, 8))
order = rng.permutation(5)
attend = lambda x: softmax(x @ x.T) @ x
print("attention of the reordered text is the reordered attention:", np.allclose(attend(x[order]), attend(x)[order]))

# 2. The same query and key at every position. After rotation, their product depends on the distance alone.
q, k = rng.standard_normal((2, D))
scores = rotate(np.tile(q, (T, 1)), 10000) @ rotate(np.tile(k, (T, 1)), 10000).T  # (T, T)
print("q at 5, k at 3:", scores[5, 3].round(6), "   q at 60, k at 58:", scores[60, 58].round(6))

# 3. A query that equals its key: the product is largest at distance 0. Try other bases.
curves = {}
for base in (10, 100, 10000):
    rotated = rotate(np.full((T, D), 1 / np.sqrt(D)), base)
    curves[base] = (rotated[0] @ rotated.T).round(3)  # by distance 0 ... T - 1
    print(f"base {base:5}:", curves[base][[0, 1, 2, 4, 8, 16, 32, 64]])


def figure() -> str:
    points = {f"base {base}": list(enumerate(curve)) for base, curve in curves.items()}
    axes = {"x": ("distance of query and key, in tokens", range(0, 65, 16)), "y": ("their product", (-0.5, 0, 0.5, 1))}
    return chart.draw("A query meets an equal key", points, **axes)
