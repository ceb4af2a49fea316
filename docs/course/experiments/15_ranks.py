"""Ranks that are threads: who sends how much, what a mean of means is, and a layer of which each rank has a part.

Run it from the root of the repository: python -m docs.course.experiments.15_ranks
"""

import numpy as np

from llm.parallel.communicators.threads import run_ranks
from llm.parallel.tensor.operators import copy, reduce
from minigrad import Tensor
from tools.figures import chart

P = 5040  # numbers in the gradient; 5040 can be divided by all numbers from 1 to 10
rng = np.random.default_rng(15)


def sent(size, add):
    """What a rank has sent at most, as a multiple of the gradient. All ranks get the same sum."""
    results = run_ranks(size, lambda group: (add(group, np.full(P, group.rank + 1.0)), group.sent / (8 * P)))
    assert all((total == size * (size + 1) / 2).all() for total, _ in results)
    return max(volume for _, volume in results)


curves = {"everybody sends all": [], "all_reduce": []}
for size in range(1, 11):
    curves["everybody sends all"].append(round(sent(size, lambda group, g: sum(group.all_gather(g))), 2))
    curves["all_reduce"].append(round(sent(size, lambda group, g: group.all_reduce(g)), 2))
print("sent by a rank, for 1, 2, ... 10 ranks:", *curves.items(), sep="\n   ")

# The gradient of a mean: y = 2 x + noise, one weight w, and five rows on two ranks, which have 3 and 2 of them.
ROWS = 5
x, noise, w = rng.standard_normal(ROWS), 0.1 * rng.standard_normal(ROWS), 1.5
gradients = 2 * (w * x - (2 * x + noise)) * x  # of (w x - y)^2 by w, for each row
own_rows = lambda group: np.array_split(gradients, group.size)[group.rank]
means = run_ranks(2, lambda group: group.all_reduce(own_rows(group).mean(keepdims=True))[0] / group.size)
sums = run_ranks(2, lambda group: group.all_reduce(own_rows(group).sum(keepdims=True))[0] / ROWS)
print(f"gradient {gradients.mean():.6f}; mean of the means {means[0]:.6f}; sum of the sums, divided once {sums[0]:.6f}")

# One hidden layer: each rank has two of the four hidden units. Forward, y is a sum over ranks; backward, dx is.
X, up, down = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 4))


def layer(group):
    own = slice(2 * group.rank, 2 * group.rank + 2)
    x = Tensor(X, requires_grad=True)
    hidden = (copy(x, group) @ Tensor(up[own].T)).tanh()  # (3, 2)
    y = reduce(hidden @ Tensor(down[:, own].T), group)  # (3, 4)
    (y * y).sum().backward()
    return y.data, x.grad.data


hidden = np.tanh(X @ up.T)
y = hidden @ down.T
dx = ((2 * y @ down) * (1 - hidden**2)) @ up
print(
    "split layer, error of y and dx on rank 0 and 1:",
    *(f"{abs(a - y).max():.0e} {abs(b - dx).max():.0e}" for a, b in run_ranks(2, layer)),
)

# Order: the sum of three numbers has other bits in another order.
a, b, c = 0.1, 0.2, 0.3
print("(a + b) + c == a + (b + c):", (a + b) + c == a + (b + c))


def figure() -> str:
    points = {name: list(enumerate(curve, 1)) for name, curve in curves.items()}
    axes = {"x": ("ranks", range(1, 11)), "y": ("sent by a rank, as a multiple of the gradient", range(0, 10, 3))}
    return chart.draw("What a sum over ranks costs", points, **axes)
