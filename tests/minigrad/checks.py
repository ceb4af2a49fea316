"""The rules that every differentiable function must obey, as checks of one call. Each raises AssertionError.

test_table_values.py and test_table_gradients.py run them over the catalogue, test_table_controls.py over functions that
are broken on purpose.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import Tensor
from minigrad.gradcheck.choices import Example

# Tolerances, relative to the largest element.
OTHER_ORDER = 1e-13  # float64: the same terms, added in another order
OTHER_FORMULA = 1e-11  # float64: another formula, and the last digits of erf
FLOAT32 = 1e-4  # about 1000 roundings, in sums, powers and quotients by small numbers
FLOAT32_GRADIENT = 1e-3  # the same, and again in the backward pass


Function = Callable[..., Any]  # returns a Tensor, or a list of Tensors


def as_tuple(out: Any) -> tuple:
    return tuple(out) if isinstance(out, (tuple, list)) else (out,)


def cast(example: Example, dtype: Any) -> Example:
    """The same call with all floating-point arrays in another dtype."""

    def convert(value: Any) -> Any:
        return value.astype(dtype, copy=False) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

    options = {key: dtype if key == "dtype" else convert(value) for key, value in example.options.items()}
    return Example(tuple(map(convert, example.inputs)), options)


def leaves(example: Example, needs: Callable[[int], bool] = lambda i: True) -> list[Tensor]:
    return [Tensor(x, requires_grad=needs(i)) for i, x in enumerate(example.inputs)]


def weights(out: Tensor) -> np.ndarray:
    """A gradient of the result that is different for each element."""
    return np.cos(np.arange(out.size, dtype=out.dtype)).reshape(out.shape)


def backward(f: Function, example: Example, xs: list[Tensor]) -> list[Any]:
    """The gradients that `.backward()` leaves in `.grad` of `xs`, as arrays or None."""
    for out in as_tuple(f(*xs, **example.options)):
        if out.requires_grad:
            out.backward(grad=weights(out), retain_graph=True)
    return [None if x.grad is None else x.grad.data for x in xs]


def close(received: Any, expected: Any, tolerance: float, what: str) -> None:
    """Shapes are equal, and values up to `tolerance` times the largest of them, or times 1 if all are smaller."""
    assert received.shape == np.shape(expected), f"{what}: shape {received.shape} instead of {np.shape(expected)}"
    scale = max(1.0, np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(received, expected, rtol=0, atol=tolerance * scale, err_msg=what)


# --- values -----------------------------------------------------------------------------------------------------------


def check_value(f: Function, reference: Function, example: Example) -> None:
    """The value is that of the reference in NumPy. It is float64 if the inputs are."""
    outs = as_tuple(f(*map(Tensor, example.inputs), **example.options))
    expected = as_tuple(reference(*example.inputs, **example.options))
    assert len(outs) == len(expected), f"{len(outs)} results instead of {len(expected)}"
    for out, value in zip(outs, expected):
        assert isinstance(out.data, np.ndarray)
        assert out.dtype == np.float64, f"dtype {out.dtype} from float64"
        close(out.data, value, OTHER_FORMULA, "value")


def check_recording_changes_nothing(f: Function, example: Example) -> None:
    """The value is the same to the bit whether or not a gradient is required."""
    unrecorded = as_tuple(f(*map(Tensor, example.inputs), **example.options))
    for out, recorded in zip(unrecorded, as_tuple(f(*leaves(example), **example.options)), strict=True):
        assert not out.requires_grad
        assert np.array_equal(out.data, recorded.data), "the value depends on whether it is recorded"


def check_float32(f: Function, example: Example) -> None:
    """float32 inputs give float32 results, which are close to those of float64."""
    single = cast(example, np.float32)
    outs = as_tuple(f(*map(Tensor, single.inputs), **single.options))
    for out, exact in zip(outs, as_tuple(f(*map(Tensor, example.inputs), **example.options)), strict=True):
        assert out.dtype == np.float32, f"dtype {out.dtype} from float32"
        close(out.data, exact.data, FLOAT32, "float32 value")
    for g, exact in zip(backward(f, single, leaves(single)), backward(f, example, leaves(example)), strict=True):
        close(g, exact, FLOAT32_GRADIENT, "float32 gradient")


# --- gradients --------------------------------------------------------------------------------------------------------


def check_gradients_fit(f: Function, example: Example) -> None:
    """A gradient has the shape and the dtype of its input, also when the inputs differ in dtype."""
    xs = [Tensor(x.astype(np.float32 if i else np.float64), requires_grad=True) for i, x in enumerate(example.inputs)]
    for i, g in enumerate(backward(f, example, xs)):
        x = xs[i]
        assert (g.shape, g.dtype) == (x.shape, x.dtype), f"gradient {i}: {g.dtype}{g.shape} for {x.dtype}{x.shape}"


def check_each_input_alone(f: Function, example: Example) -> None:
    """The gradient of an input does not depend on whether the others require one; those that do not get None."""
    together = backward(f, example, leaves(example))
    for i, expected in enumerate(together):
        alone = backward(f, example, leaves(example, lambda j, i=i: j == i))
        close(alone[i], expected, OTHER_ORDER, f"gradient {i} alone")
        assert all(g is None for j, g in enumerate(alone) if j != i)


def check_accumulation(f: Function, example: Example) -> None:
    """A second call of backward() adds to the gradients of the first: they are twice as large."""
    once, xs = backward(f, example, leaves(example)), leaves(example)
    backward(f, example, xs)
    for g, expected in zip(backward(f, example, xs), once):
        close(g, 2 * expected, OTHER_ORDER, "gradient of two calls")


def check_memory_is_separate(f: Function, example: Example) -> None:
    """No input is written to, nor the memory around it, and no gradient shares memory with another array."""
    arrays = [a for a in (*example.inputs, *example.options.values()) if isinstance(a, np.ndarray)]
    owners = [a if a.base is None else a.base for a in arrays]
    before = [a.copy() for a in owners]
    xs = leaves(example)
    outs = as_tuple(f(*xs, **example.options))
    seeds, values = [weights(out) for out in outs], [out.data.copy() for out in outs]
    for out, seed in zip(outs, seeds):
        out.backward(grad=seed, retain_graph=True)
        assert np.array_equal(seed, weights(out)), "the gradient that came in was written to"
    for a, copy in zip([*owners, *(out.data for out in outs)], [*before, *values]):
        assert np.array_equal(a, copy, equal_nan=True), "an input or the result was written to"
    gradients = [x.grad.data for x in xs]
    for i, g in enumerate(gradients):
        others = *arrays, *seeds, *gradients[:i]
        assert not any(np.shares_memory(g, a) for a in others), f"gradient {i} shares its memory"


def check_no_cycles(f: Function, example: Example) -> None:
    """Everything is freed with the last reference to it; the garbage collector finds nothing."""
    garbage = count_garbage(lambda: backward(f, example, leaves(example)))
    assert garbage == 0, f"{garbage} objects in reference cycles"


def count_garbage(action: Callable[[], object]) -> int:
    """How many objects the garbage collector finds after an action."""
    gc.collect()  # quick, because conftest.py has frozen what existed before the tests
    gc.disable()
    try:
        action()
        return gc.collect()
    finally:
        gc.enable()


def check_fused(f: Function, reference: Function, example: Example) -> None:
    """Value and gradients are those of the reference."""
    outs, expected = (as_tuple(function(*leaves(example), **example.options)) for function in (f, reference))
    for out, definition in zip(outs, expected):
        close(out.data, definition.data, OTHER_FORMULA, "value against the reference")
    gradients, expected = (backward(function, example, leaves(example)) for function in (f, reference))
    for i, (g, definition) in enumerate(zip(gradients, expected)):
        close(g, definition, OTHER_FORMULA, f"gradient {i} against the reference")
