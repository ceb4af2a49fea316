"""Items in batches: all of them, in order, as many together as there is room for."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm.data.lab.batches import batches


@given(st.lists(st.integers(0, 12)), st.integers(1, 20), st.integers(1, 5))
def test_batches_hold_all_items_in_order_and_are_as_large_as_allowed(sizes: list[int], most: int, count: int) -> None:
    found = list(batches(sizes, lambda size: size, most, count))
    assert list(chain.from_iterable(found)) == sizes
    assert all(0 < len(batch) <= count and (sum(batch) <= most or len(batch) == 1) for batch in found)
    assert all(len(batch) == count or sum(batch) + following[0] > most for batch, following in pairwise(found))
