"""How a module is printed: the tree of its layers for `repr`, and the table of its parameters for `summary`."""

from __future__ import annotations

from itertools import groupby
from textwrap import indent
from typing import Any

Module = Any  # module.py imports this file, so the class cannot be imported here


def tree(module: Module) -> str:
    """The module and its children, one line each. Equal neighbours are one entry, such as `0-11: 12 x Block(`."""
    kind = type(module).__name__
    lines = []
    children = [(name, repr(child)) for name, child in module.named_children()]
    # groupby joins neighbours with the same text: twelve equal blocks are printed once.
    for text, run in groupby(children, key=lambda child: child[1]):
        names = [name for name, _ in run]
        lines.append(f"{names[0]}: {text}" if len(names) == 1 else f"{names[0]}-{names[-1]}: {len(names)} x {text}")
    if not lines:
        return f"{kind}({module.extra_repr()})"
    return f"{kind}({module.extra_repr()}\n" + indent("\n".join(lines), "  ") + "\n)"


def summary_table(module: Module) -> str:
    """One row for each name of a parameter, and the total. A tied or a frozen parameter is marked as such."""
    # Reversed, so that the first name of a tied parameter is the one that stays in the dict.
    first_name = {id(p): name for name, p in reversed(list(module.named_parameters(tied=True)))}
    rows = [("name", "shape", "dtype", "parameters")]
    for name, p in module.named_parameters(tied=True):
        count = f"{p.size:,}" if first_name[id(p)] == name else f"tied to {first_name[id(p)]}"
        rows.append((name, str(p.shape), p.dtype.name, count if p.requires_grad else f"frozen {count}"))
    size = sum(p.data.nbytes for p in module.parameters())
    rows.append(("total", "", f"{size:,} bytes", f"{module.num_parameters():,}"))
    # Three columns aligned at the left, the numbers at the right.
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join((*(cell.ljust(w) for cell, w in zip(row[:3], widths)), row[3].rjust(widths[3]))) for row in rows]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
