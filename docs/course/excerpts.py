"""Excerpts of the source in a page: after `<!-- source: FILE NAME ... -->` stands what the file contains today.

A name is qualified: `backward`, `Tensor.accumulate`, `backpropagate.add` for a function in a function; a variable that
is set at the top of the file has a name, too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent

from docs.course.chapters import CourseError

EXCERPT = re.compile(r"^<!-- source: (\S+) (.+?) -->\n(?:```python\n.*?^```\n)?", re.MULTILINE | re.DOTALL)


def with_excerpts(page: str, root: Path) -> str:
    """The page with every excerpt taken anew from the source under `root`."""

    def renew(found: re.Match) -> str:
        text = (root / found[1]).read_text("utf-8")
        parts = [excerpt(text, name, found[1]) for name in found[2].split()]
        return f"<!-- source: {found[1]} {found[2]} -->\n```python\n" + "\n\n".join(parts) + "\n```\n"

    return EXCERPT.sub(renew, page)


def excerpt(source: str, name: str, file: str) -> str:
    """The lines in which `name` is defined, moved to the left."""
    node: ast.AST = ast.parse(source)
    for part in name.split("."):
        inside = [child for child in ast.walk(node) if child is not node and part in _defined(child)]
        if not inside:
            raise CourseError(f"{file} has no {name}: correct the line `source:` above the excerpt")
        node = min(inside, key=lambda child: child.col_offset)
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return dedent("\n".join(source.splitlines()[first - 1 : node.end_lineno]))


def _defined(node: ast.AST) -> list[str]:
    """The names that a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [t.id for t in targets if isinstance(t, ast.Name)] if isinstance(node, (ast.Assign, ast.AnnAssign)) else []
