"""The graph of a tensor as a picture: DOT text for Graphviz, and SVG where its program `dot` is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from minigrad.graph import Node
from minigrad.tensor import Tensor, gradient_edge


def draw(tensor: Tensor, path: str | Path | None = None, names: Iterable[tuple[str, Tensor]] = ()) -> str:
    """The graph that computed `tensor`, as DOT text: ops are ellipses, leaves are boxes, all with shape and dtype.

    `names`: names for leaves, such as `model.named_parameters()`. `path`: also save the picture there as SVG; if `dot`
    is not installed, or `path` ends in .dot, the text is saved instead. Draw before backward(), which frees the graph.
    """
    if tensor.node is not None and not tensor.node.parents:
        raise ValueError("the graph of this tensor was freed by backward(); draw it before, or pass retain_graph=True")
    text = _dot_text(tensor, {id(leaf): name for name, leaf in names})
    if path is not None:
        _save(text, Path(path))
    return text


def _dot_text(tensor: Tensor, names: dict[int, str]) -> str:
    graph = _reachable(tensor)
    lines = ["digraph {", "  rankdir=BT; node [fontname=Helvetica, fontsize=10];"]
    for number, vertex in graph.values():
        outline = "ellipse" if isinstance(vertex, Node) else "box"
        lines.append(f'  n{number} [shape={outline}, label="{_label(vertex, names)}"];')
        lines += [f"  n{graph[id(parent)][0]} -> n{number};" for parent in _parents(vertex)]
    return "\n".join([*lines, "}", ""])


def _reachable(tensor: Tensor) -> dict[int, tuple[int, Node | Tensor]]:
    """All nodes and leaves that `tensor` was computed from, as id -> (number, node or leaf)."""
    # By id, and not in a set: `==` of tensors compares elements.
    found: dict[int, tuple[int, Node | Tensor]] = {}
    waiting: list[Node | Tensor] = [gradient_edge(tensor) or tensor]
    while waiting:
        vertex = waiting.pop()
        if id(vertex) not in found:
            found[id(vertex)] = len(found), vertex
            waiting += _parents(vertex)
    return found


def _parents(vertex: Node | Tensor) -> list[Node | Tensor]:
    return [parent for parent in vertex.parents if not isinstance(parent, tuple)] if isinstance(vertex, Node) else []


def _label(vertex: Node | Tensor, names: dict[int, str]) -> str:
    """The op or the name of the leaf, and below it the shape and the dtype."""
    if isinstance(vertex, Node):
        name = vertex.op
    else:
        name = names.get(id(vertex), "leaf" if vertex.requires_grad else "constant")
    name = name.replace("\\", "\\\\").replace('"', '\\"')
    return f"{name}\\n{vertex.shape} {vertex.dtype}"


def _save(text: str, path: Path) -> None:
    """Save SVG, or the text if its suffix is .dot; say so if the text had to be saved instead of SVG."""
    if path.suffix == ".dot":
        path.write_text(text)
        return
    svg, problem = _svg(text)
    if not problem:
        path.write_text(svg)
        return
    path = path.with_suffix(".dot")
    path.write_text(text)
    advice = "a DOT viewer or `dot -Tsvg` turns it into a picture"
    print(f"{problem}, so the graph was saved as text in {path}; {advice}.", file=sys.stderr)


def _svg(text: str) -> tuple[str, str]:
    """The picture that Graphviz makes of the text, and what went wrong; one of the two is empty."""
    import shutil  # not at the top: these two would be a third of the time of `import minigrad`
    import subprocess

    dot = shutil.which("dot")
    if dot is None:
        return "", "Graphviz is not installed (no program `dot`)"
    result = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True)
    return (result.stdout, "") if result.returncode == 0 else ("", f"`dot` failed ({result.stderr.strip()})")
