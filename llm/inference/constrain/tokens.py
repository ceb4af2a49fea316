"""Which tokens are allowed in a state of the automaton: those whose bytes all lead to states that are not dead.

`allowed_reference` feeds the bytes of each token to the automaton. `allowed` does the same for all tokens at once.
Tokens that begin alike share the work: they are kept in a trie (Fredkin 1960), a tree in which each node stands for the
bytes on the way to it. Where the automaton dies, the whole branch below is left out.

                         node 0 (no bytes)
                       /        \\
      depth 1        "a"        "t"
                      |        /    \\
      depth 2        "ab"    "th"   "to"

The nodes are numbered depth by depth, so the children of a node have consecutive numbers. A mask takes one step of
NumPy for each depth, in which all nodes of that depth that are still alive go on to their children.

Letters for shapes: V tokens, N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.inference.constrain.automaton import DEAD, Automaton, Remaining


class TokenTrie:
    """The bytes of tokens; None for a token that is never allowed."""

    def __init__(self, tokens: Sequence[bytes | None]):
        self.tokens = tokens = [token or None for token in tokens]  # a token without bytes would lead nowhere
        used = sorted({token for token in tokens if token})
        data = np.frombuffer(b"".join(used), np.uint8)
        lengths = np.fromiter(map(len, used), np.int64, len(used))
        starts = np.cumsum(lengths) - lengths
        # Of each node: the byte that leads to it. Node 0, the root, has none.
        self.byte, parent, last_node = build_trie(data, starts, lengths)  # (N,), (N,), (used,)
        nodes = len(self.byte)
        self.children = np.bincount(parent[1:], minlength=nodes).astype(np.int32)  # (N,): how many
        self.first_child = np.searchsorted(parent[1:], np.arange(nodes)).astype(np.int32) + 1  # (N,), if there are any
        node_of = dict(zip(used, last_node.tolist()))
        # (V,): where a token ends. Node N, which does not exist, is never alive.
        self.node = np.array([node_of[token] if token else nodes for token in tokens], np.int64)

    def allowed(self, automaton: Automaton, state: Remaining) -> np.ndarray:
        """(V,) bool: the tokens after which a match is still possible."""
        automaton.begin()
        is_alive = np.zeros(len(self.byte) + 1, bool)  # (N + 1,)
        # The living nodes of one depth, and the numbers of the states in which they leave the automaton.
        nodes, states = np.array([0], np.int32), np.array([automaton.number(state)], np.int32)
        while len(nodes):
            counts = self.children[nodes]
            nodes = consecutive(self.first_child[nodes], counts)
            states = automaton.after(np.repeat(states, counts), self.byte[nodes])
            alive = states != DEAD
            nodes, states = nodes[alive], states[alive]
            is_alive[nodes] = True
        return is_alive[self.node]

    def allowed_reference(self, automaton: Automaton, state: Remaining) -> np.ndarray:
        """`allowed`, token by token and byte by byte."""
        return np.array([token is not None and bool(automaton.read(state, token)) for token in self.tokens], bool)


def build_trie(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The trie of different tokens in alphabetical order, whose bytes are data[start : start + length].

    Returns the byte and the parent of each node, (N,) and (N,), and for each token the node where it ends.
    """
    at = np.zeros(len(starts), np.int64)  # the node that each token has reached
    all_bytes, parents, count = [np.zeros(1, np.uint8)], [np.zeros(1, np.int64)], 1
    longer = np.arange(len(starts))  # the tokens that have a byte at this depth
    for depth in range(lengths.max(initial=0)):
        longer = longer[lengths[longer] > depth]
        byte, parent = data[starts[longer] + depth], at[longer]
        # In alphabetical order, tokens with the same beginning are neighbours: the first of them makes the node.
        is_new = np.ones(len(longer), bool)
        is_new[1:] = (byte[1:] != byte[:-1]) | (parent[1:] != parent[:-1])
        at[longer] = count + np.cumsum(is_new) - 1
        all_bytes.append(byte[is_new])
        parents.append(parent[is_new])
        count += int(np.count_nonzero(is_new))
    return np.concatenate(all_bytes), np.concatenate(parents), at


def consecutive(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, ... (counts[0] numbers), then the same for first[1], and so on."""
    ends = np.cumsum(counts, dtype=np.int32)
    return np.arange(counts.sum(), dtype=np.int32) + np.repeat(first - ends + counts, counts)
