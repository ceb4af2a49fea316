"""Backward through x -> x + x -> ... : rules that are called, if gradients wait for each other and if they do not.

Run it from the root of the repository: python -m docs.course.experiments.02_graph
"""

from minigrad import Tensor
from tools.figures import chart


def doubled(times: int) -> tuple[Tensor, Tensor]:
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(times):
        y = y + y
    return x, y


def without_waiting(node, g: float) -> tuple[int, float]:
    """Pass each gradient on at once, alone: the number of rules called, and the gradient that arrives at the leaf."""
    if isinstance(node, Tensor):
        return 0, g
    calls, total = 1, 0.0
    for parent, part in zip(node.parents, node.vjp(g, None)):
        more, arrived = without_waiting(parent, part)
        calls, total = calls + more, total + arrived
    return calls, total


counts: dict[str, list[tuple[float, float]]] = {"at once": [(0, 0)], "newest first": [(0, 0)]}
for times in range(1, 9):
    x, y = doubled(times)
    calls, gradient = without_waiting(y.node, 1.0)
    y.backward()
    print(f"{times} doublings: gradient {x.grad.item():3.0f} and {gradient:3.0f}; rules called {times} and {calls}")
    counts["at once"].append((times, calls))
    counts["newest first"].append((times, times))


def figure() -> str:
    axes = {"x": ("doublings", range(0, 9, 2)), "y": ("rules called", range(0, 257, 64))}
    return chart.draw("Why gradients wait for each other", counts, **axes)
