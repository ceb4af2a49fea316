"""What every differentiable function must satisfy, as checks of one call of it; each raises AssertionError.

test_table_values.py and test_table_gradients.py run them over the catalogue, test_table_controls.py over functions that
are broken.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import Tensor
from minigrad.gradcheck.choices import Example


def several(out: Any) -> tuple:
    return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def cast(example: Example, dtype: Any) -> Example:
    """The same call with all its floating-point arrays in another dtype."""

    def one(value: Any) -> Any:
        return value.astype(dtype, copy=False) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

    options = {key: value if key == "dtype" else one(value) for key, value in example.options.items()}
    return Example(tuple(map(one, example.inputs)), options | ({"dtype": dtype} if "dtype" in options else {}))


def leaves(example: Example, needs: Callable[[int], bool] = lambda i: True) -> list[Tensor]:
    return [Tensor(x, requires_grad=needs(i)) for i, x in enumerate(example.inputs)]


def weights(out: Tensor) -> np.ndarray:
    """A gradient to begin with, another number for every element of the result."""
    return np.cos(np.arange(out.size, dtype=out.dtype)).reshape(out.shape)


def backward(f: Callable, example: Example, xs: list[Tensor]) -> list[Any]:
    """The gradients that `.backward()` leaves in `xs`, as arrays; None where there is none."""
    for out in several(f(*xs, **example.options)):
        if out.requires_grad:
            out.backward(grad=weights(out), retain_graph=True)
    return [None if x.grad is None else x.grad.data for x in xs]


def close(received: Any, expected: Any, tolerance: float, what: str) -> None:
    """Equal shapes, and equal values up to `tolerance`, relative to the largest of them or to 1."""
    assert received.shape == np.shape(expected), f"{what}: shape {received.shape} instead of {np.shape(expected)}"
    scale = max(1.0, np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance * scale, err_msg=what)


# ---- values ----------------------------------------------------------------------------------------------------------


def check_value(f: Callable, reference: Callable, example: Example) -> None:
    """NumPy's value, in float64: 1e-11 leaves room for another order of adding and erf's last places."""
    outs, expected = (
        several(f(*map(Tensor, example.inputs), **example.options)),
        several(reference(*example.inputs, **example.options)),
    )
    assert len(outs) == len(expected), f"{len(outs)} results instead of {len(expected)}"
    for out, wanted in zip(outs, expected):
        assert isinstance(out.data, np.ndarray)
        assert out.dtype == np.float64, f"dtype {out.dtype} from float64"
        close(out.data, wanted, 1e-11, "value")


def check_recording_changes_nothing(f: Callable, example: Example) -> None:
    quiet = several(f(*map(Tensor, example.inputs), **example.options))
    for out, recorded in zip(quiet, several(f(*leaves(example), **example.options)), strict=True):
        assert not out.requires_grad
        assert np.array_equal(out.data, recorded.data), "the value depends on whether it is recorded"


def check_float32(f: Callable, example: Example) -> None:
    """float32 in, float32 out, and close to float64: 1e-4 is 1000 roundings, for sums, powers and quotients by small
    numbers.
    """
    single = cast(example, np.float32)
    outs = several(f(*map(Tensor, single.inputs), **single.options))
    for out, exact in zip(outs, several(f(*map(Tensor, example.inputs), **example.options)), strict=True):
        assert out.dtype == np.float32, f"dtype {out.dtype} from float32"
        close(out.data, exact.data, 1e-4, "float32 value")
    for g, exact in zip(backward(f, single, leaves(single)), backward(f, example, leaves(example)), strict=True):
        close(g, exact, 1e-3, "float32 gradient")


# ---- gradients -------------------------------------------------------------------------------------------------------


def check_gradients_fit(f: Callable, example: Example) -> None:
    """A gradient has the shape and the dtype of its input, also when inputs differ in dtype."""
    xs = [Tensor(x.astype(np.float32 if i else np.float64), requires_grad=True) for i, x in enumerate(example.inputs)]
    for i, g in enumerate(backward(f, example, xs)):
        assert (g.shape, g.dtype) == (xs[i].shape, xs[i].dtype), (
            f"gradient {i}: {g.dtype}{g.shape} for {xs[i].dtype}{xs[i].shape}"
        )


def check_each_input_alone(f: Callable, example: Example) -> None:
    """Whether others need a gradient changes nothing, except that who needs none gets none. 1e-13: other orders of
    adding.
    """
    together = backward(f, example, leaves(example))
    for i, expected in enumerate(together):
        alone = backward(f, example, leaves(example, lambda j, i=i: j == i))
        close(alone[i], expected, 1e-13, f"gradient {i} alone")
        assert all(g is None for j, g in enumerate(alone) if j != i)


def check_accumulation(f: Callable, example: Example) -> None:
    """A second backward adds to the first: through the same leaves, twice the gradient."""
    once, xs = backward(f, example, leaves(example)), leaves(example)
    backward(f, example, xs)
    for g, expected in zip(backward(f, example, xs), once):
        close(g, 2 * expected, 1e-13, "gradient of two calls")


def check_memory_is_nobody_elses(f: Callable, example: Example) -> None:
    """Nothing that came in is written to, its surroundings in memory included; and no gradient shares memory with
    another array.
    """
    arrays = [a for a in (*example.inputs, *example.options.values()) if isinstance(a, np.ndarray)]
    owners = [a if a.base is None else a.base for a in arrays]
    before = [a.copy() for a in owners]
    xs = leaves(example)
    outs = several(f(*xs, **example.options))
    seeds, values = [weights(out) for out in outs], [out.data.copy() for out in outs]
    for out, seed in zip(outs, seeds):
        out.backward(grad=seed, retain_graph=True)
        assert np.array_equal(seed, weights(out)), "the gradient that came in was written to"
    for a, copy in zip([*owners, *(out.data for out in outs)], [*before, *values]):
        assert np.array_equal(a, copy, equal_nan=True), "an input or the result was written to"
    kept = [x.grad.data for x in xs]
    for i, g in enumerate(kept):
        assert not any(np.shares_memory(g, a) for a in (*arrays, *seeds, *kept[:i])), f"gradient {i} shares its memory"


def check_no_cycles(f: Callable, example: Example) -> None:
    """When the last name is gone everything is gone, without the garbage collector."""
    garbage = _garbage(lambda: backward(f, example, leaves(example)))
    assert garbage == 0, f"{garbage} objects in reference cycles"


def _garbage(action: Callable) -> int:
    gc.collect()
    gc.freeze()  # what is there already is not looked at again: collecting takes no time
    gc.disable()
    try:
        action()
        return gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()


def check_fused(f: Callable, reference: Callable, example: Example) -> None:
    """Value and gradients of the definition. 1e-11: the same sums in other orders."""
    for out, expected in zip(
        several(f(*leaves(example), **example.options)), several(reference(*leaves(example), **example.options))
    ):
        close(out.data, expected.data, 1e-11, "value against the reference")
    for i, (g, expected) in enumerate(
        zip(backward(f, example, leaves(example)), backward(reference, example, leaves(example)))
    ):
        close(g, expected, 1e-11, f"gradient {i} against the reference")
