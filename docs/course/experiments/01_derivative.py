"""How good is a derivative by difference? The error for steps from 1/10 to 1e-15.

Run it from the root of the repository: python -m docs.course.experiments.01_derivative
"""

import math

from tools.figures import chart

X = 1.1


def f(x: float) -> float:
    return x * x * x * x


exact = 4 * X * X * X
errors: dict[str, list[tuple[float, float]]] = {"one-sided": [], "central": []}
print("     h   one-sided     central")
for power in range(-1, -16, -1):
    h = 10.0**power
    slopes = {"one-sided": (f(X + h) - f(X)) / h, "central": (f(X + h) - f(X - h)) / (2 * h)}
    for name, slope in slopes.items():
        errors[name].append((power, round(math.log10(max(abs(slope - exact), 1e-16)), 2)))
    print(f"{h:6.0e}  " + "   ".join(f"{abs(slope - exact):9.1e}" for slope in slopes.values()))


def figure() -> str:
    axes = {"x": ("step h, as a power of 10", range(-15, 0, 2)), "y": ("error, as a power of 10", range(-14, 3, 4))}
    return chart.draw("Not too large, not too small", {k: v[::-1] for k, v in errors.items()}, **axes)
