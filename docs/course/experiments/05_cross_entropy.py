"""Which loss should I expect at the start? Random logits of different sizes, 65 classes.

Run it from the root of the repository: python -m docs.course.experiments.05_cross_entropy
"""

import math

import numpy as np

import minigrad as mg
from tools.figures import chart

V, ROWS = 65, 20_000
rng = np.random.default_rng(5)
logits, targets = rng.standard_normal((ROWS, V)), rng.integers(0, V, ROWS)

measured, predicted = [], []
print(f"log {V} = {math.log(V):.3f}\nsize of logits, loss, log V + s²/2")
for s in (0, 0.25, 0.5, 1, 1.5, 2):
    loss = mg.cross_entropy(s * logits, targets).item()
    measured.append((s, round(loss, 2)))
    predicted.append((s, round(math.log(V) + s * s / 2, 2)))
    print(f"{s:4}            {loss:.3f}  {predicted[-1][1]:.3f}")

z = mg.Tensor(np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]]), requires_grad=True)
mg.cross_entropy(z, np.array([1, 2])).backward()
print("gradient, (softmax - onehot) / 2:", z.grad.numpy().round(3).tolist())


def figure() -> str:
    curves = {"measured": measured, "log V + s²/2": predicted}
    axes = {"x": ("size of the logits", (0, 0.5, 1, 1.5, 2)), "y": ("loss", range(3, 8))}
    return chart.draw("Too sure, too early", curves, **axes, marks={"log V": round(math.log(V), 2)})
