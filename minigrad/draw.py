"""The graph of a tensor as a picture: Graphviz DOT text, and SVG where the program `dot` is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from minigrad.graph import Node
from minigrad.tensor import Tensor, gradient_edge


def draw(tensor: Tensor, path: str | Path | None = None, names: Iterable[tuple[str, Tensor]] = ()) -> str:
    """How `tensor` came about, as DOT text: ops are ellipses, leaves that require a gradient are boxes, all with their
    shapes.

    `names`: names for leaves, such as `model.named_parameters()`. `path`: also save the picture as SVG; where Graphviz
    is not installed, or `path` ends in .dot, the text is saved instead. Draw before backward(), which frees the graph.
    """
    if tensor.node is not None and not tensor.node.parents:
        raise ValueError("the graph of this tensor was freed by backward(); draw it before, or pass retain_graph=True")
    text = _dot(tensor, {id(leaf): name for name, leaf in names})
    if path is not None:
        _save(text, Path(path))
    return text


def _dot(tensor: Tensor, names: dict[int, str]) -> str:
    graph = _reachable(tensor)
    lines = ["digraph {", "  rankdir=BT; node [fontname=Helvetica, fontsize=10];"]
    for number, made in graph.values():
        label, outline = _label(made, names)
        lines.append(f'  n{number} [shape={outline}, label="{label}"];')
        lines += [f"  n{graph[id(parent)][0]} -> n{number};" for parent in _parents(made)]
    return "\n".join([*lines, "}", ""])


def _reachable(tensor: Tensor) -> dict[int, tuple[int, Node | Tensor]]:
    """All that `tensor` came from, numbered; by id, because of tensors `==` compares elements."""
    found: dict[int, tuple[int, Node | Tensor]] = {}
    waiting: list[Node | Tensor] = [gradient_edge(tensor) or tensor]
    while waiting:
        made = waiting.pop()
        if id(made) not in found:
            found[id(made)] = len(found), made
            waiting += _parents(made)
    return found


def _parents(made: Node | Tensor) -> list[Node | Tensor]:
    return [parent for parent in made.parents if parent is not None] if isinstance(made, Node) else []


def _label(made: Node | Tensor, names: dict[int, str]) -> tuple[str, str]:
    """What is written at a point of the graph, and its outline."""
    what = made.op if isinstance(made, Node) else names.get(id(made), "leaf" if made.requires_grad else "constant")
    what = what.replace("\\", "\\\\").replace('"', '\\"')
    return f"{what}\\n{made.shape} {made.dtype}", "ellipse" if isinstance(made, Node) else "box"


def _save(text: str, path: Path) -> None:
    import shutil  # here, because these would be a third of the time of `import minigrad`
    import subprocess

    dot = shutil.which("dot")
    if path.suffix == ".dot":
        path.write_text(text)
        return
    if dot is None:
        problem = "Graphviz is not installed (no program `dot`)"
    else:
        made = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True)
        if made.returncode == 0:
            path.write_text(made.stdout)
            return
        problem = f"`dot` failed ({made.stderr.strip()})"
    path = path.with_suffix(".dot")
    path.write_text(text)
    print(
        f"{problem}, so the graph was saved as text in {path}; a DOT viewer or `dot -Tsvg` turns it into a picture.",
        file=sys.stderr,
    )
