"""Attention in one pass over the keys: three running numbers for each query, and never a whole row of weights.

Run it from the root of the repository: python -m docs.course.experiments.08_attention
"""

import numpy as np

from llm.model.textbook import softmax
from minigrad.fused.attention_blocks import query_blocks
from tools.figures import svg

T, D, BLOCK = 64, 8, 16
q, k, v = np.random.default_rng(8).standard_normal((3, T, D))


def at_once(q, k, v):
    scores = np.where(np.tri(T, dtype=bool), q @ k.T / np.sqrt(D), -np.inf)  # (T, T)
    return softmax(scores) @ v


def by_blocks(q, k, v, block):
    """For each query the largest score so far, the sum of the exponentials, and their sum of values."""
    largest, total, sums = np.full((T, 1), -np.inf), np.zeros((T, 1)), np.zeros((T, D))
    computed = 0
    for start in range(0, T, block):
        i, j = slice(start, T), slice(start, start + block)  # earlier queries see none of these keys
        visible = np.arange(start, T)[:, None] >= np.arange(j.start, j.stop)
        scores = np.where(visible, q[i] @ k[j].T / np.sqrt(D), -np.inf)  # (T - start, block)
        computed += scores.size
        new = np.maximum(largest[i], scores.max(axis=1, keepdims=True))
        shrink, p = np.exp(largest[i] - new), np.exp(scores - new)
        total[i] = shrink * total[i] + p.sum(axis=1, keepdims=True)
        sums[i] = shrink * sums[i] + p @ v[j]
        largest[i] = new
    return sums / total, computed


shares = {}
for block in (64, 32, 16, 8, 4):
    y, computed = by_blocks(q, k, v, block)
    shares[block] = computed / T**2
    print(f"blocks of {block:2}: error {np.abs(y - at_once(q, k, v)).max():.0e}, {shares[block]:.1%} of the scores")


def figure() -> str:
    """The strips of the source: what is computed, what is then hidden, and what is never computed."""
    kinds, parts = {"computed": "a", "computed, then hidden": "b", "never computed": "idle"}, []
    for left, title, window in ((8, "causal", None), (232, "causal, window 5", 5)):
        parts.append(svg.text(left, 20, title, "title"))
        strips = [(query, keys) for queries, keys in query_blocks(12, 12, 3, causal=True, window=window)
                  for query in range(queries.start, queries.stop)]  # fmt: skip
        for query, keys in strips:
            for key in range(12):
                seen = query - (window or 12) < key <= query
                kind = list(kinds.values())[0 if seen else 1 if keys.start <= key < keys.stop else 2]
                parts.append(svg.rect(left + 16 * key, 32 + 16 * query + 5 * (query // 3), 14, 14, kind, 2))
    for left, (name, kind) in zip((8, 110, 290), kinds.items()):
        parts += [svg.rect(left, 252, 12, 12, kind), svg.text(left + 18, 262, name, "small")]
    return svg.picture(276, parts, "Which pairs of 12 queries (rows) and 12 keys (columns) are computed")
