"""Down a narrow valley: f(x, y) = (x^2 + 100 y^2) / 2, from (1, 1), by three optimizers; and one bad gradient.

Run it from the root of the repository: python -m docs.course.experiments.11_optimizers
"""

import numpy as np

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import SGD, AdamW, clip_grad_norm
from tools.figures import chart

CURVATURES, STEPS = np.array([1.0, 100.0]), 100


def descend(make, bad_step=None, clip=None):
    """The loss before each step. `bad_step`: the gradient of this step is 1,000 times too large."""
    p = Parameter(np.array([1.0, 1.0]), np.float64)
    optimizer, losses = make([p]), []
    for step in range(STEPS + 1):
        losses.append(float((CURVATURES * p.data**2).sum() / 2))
        g = CURVATURES * p.data  # the gradient, by hand
        p.grad = Tensor(1000 * g if step == bad_step else g)
        if clip:
            clip_grad_norm(optimizer, clip)
        optimizer.step()
    return losses


optimizers = {
    "SGD": lambda p: SGD(p, lr=0.018),
    "momentum": lambda p: SGD(p, lr=0.018, momentum=0.8),
    "Adam": lambda p: AdamW(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0),
}
curves = {name: descend(make) for name, make in optimizers.items()}
for name, losses in curves.items():
    print(f"{name:9}", *(f"{losses[step]:.1e} after {step}" for step in (0, 10, 50, 100)), sep="   ")
print("SGD with a step of 0.0201:", f"{descend(lambda p: SGD(p, lr=0.0201))[-1]:.1e}")
for clip in (None, 10.0):
    after = {name: max(descend(make, bad_step=50, clip=clip)[51:]) for name, make in optimizers.items()}
    print(f"one bad gradient, clip={clip}:", *(f"{name} {loss:.1e}" for name, loss in after.items()), sep="   ")


def figure() -> str:
    points = {
        name: [(step, round(np.log10(loss), 2)) for step, loss in enumerate(curve)] for name, curve in curves.items()
    }
    axes = {"x": ("steps", range(0, 101, 25)), "y": ("loss: its logarithm to the base 10", range(-10, 3, 2))}
    return chart.draw("Down the valley", points, **axes)
