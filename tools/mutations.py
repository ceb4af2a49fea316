"""One-place changes to Python source, for tools/mutate.py: a wrong operator, a negated condition, a dropped statement.

Nothing else of the file's text changes. Docstrings, annotations, `__all__` and texts for people are left alone.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any

OPERATORS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
             ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "//"), ast.Pow: ("**", "*"), ast.MatMult: ("@", "*"),
             ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
             ast.BitXor: ("^", "&")}  # fmt: skip
COMPARISONS = {ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
               ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
               ast.In: ("in", "not in"), ast.NotIn: ("not in", "in")}  # fmt: skip
PAIRS = ("float32 float64", "float16 float32", "int32 int64", "uint8 int8", "uint16 int16", "uint32 int32", "min max",
         "minimum maximum", "argmin argmax", "zeros ones", "any all", "floor ceil", "sum mean", "append extend",
         "startswith endswith", "lstrip rstrip", "strip lstrip", "left right", "less less_equal")  # fmt: skip
OTHER_NAME = dict(pair.split()[::-1] for pair in PAIRS) | dict(pair.split() for pair in PAIRS)


@dataclass(frozen=True)
class Change:
    """Replace the bytes from `start` to `end` of a file by `text`. `function` is the one around them, or ""."""

    file: str
    function: str
    line: int
    start: int
    end: int
    text: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    def describe(self, source: bytes) -> str:
        """The file, and the changed lines before and after, on one line."""
        first, last = source.rfind(b"\n", 0, self.start) + 1, source.find(b"\n", self.end)
        before, after = source[first:last].decode(), self.apply(source[:last])[first:].decode()
        return f"{self.file}: {' '.join(before.split())} -> {' '.join(after.split())}"


class Changes(ast.NodeVisitor):
    """All changes that can be made to a file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found, self.scope = file, source, list[Change](), list[str]()
        self.inserts: list[tuple[int, str]] = []  # for `with_calls`: positions, and the texts to insert there
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.visit(ast.parse(source))

    @property
    def function(self) -> str:
        """The qualified name of the innermost function; "" in the body of a module or a class."""
        scope = self.scope if self.scope and self.scope[-1].endswith(".<locals>") else []
        return ".".join(scope).removesuffix(".<locals>")

    def span(self, node: Any) -> tuple[int, int]:
        return (self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset)

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def replace(self, start: int, end: int, text: str) -> None:
        line = self.source.count(b"\n", 0, start) + 1
        self.found.append(Change(self.file, self.function, line, start, end, text))

    def replace_node(self, node: ast.AST, text: str) -> None:
        self.replace(*self.span(node), text)

    def replace_between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """Replace an operator, which stands between its operands, after a closing parenthesis perhaps."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = self.source[start:end].decode()
        if old in gap and "#" not in gap:
            self.replace(start, end, gap.replace(old, new, 1))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scope.append(node.name + ".<locals>")
        statements = node.body[ast.get_docstring(node) is not None :]
        if statements:
            first = statements[0]
            line = min([first.lineno, *(decorator.lineno for decorator in getattr(first, "decorator_list", []))])
            end = f"\n{' ' * first.col_offset}" if hasattr(first, "body") or isinstance(first, ast.Match) else ";"
            self.inserts.append((self.starts[line - 1] + first.col_offset, self.called() + end))
        self.visit_scope(*node.args.defaults, *node.args.kw_defaults, *node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.scope.append("<lambda>.<locals>")
        start, end = self.span(node.body)
        self.inserts += [(start, f"({self.called()} or ("), (end, "))")]  # the call returns None or False
        self.visit_scope(*node.args.defaults, *node.args.kw_defaults, node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        self.visit_scope(*node.body)

    def called(self) -> str:
        """The call that reports the function. Where nobody listens, str.isspace takes the text and does nothing."""
        return f"getattr(__import__('builtins'), '_called', str.isspace)({self.file + ' ' + self.function!r})"

    def visit_scope(self, *nodes: ast.AST | None) -> None:
        """Visit what is inside the last function or class of `self.scope`, and leave it."""
        for node in nodes:
            if node is not None:
                self.visit(node)
        self.scope.pop()

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if ast.unparse(node.targets[0]) == "__all__":
            return
        if not isinstance(node.targets[0], ast.Name | ast.Tuple):  # without a name, the rest of the function would fail
            self.replace_node(node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        old, new = OPERATORS[type(node.op)]
        self.replace_between(node.target, node.value, old + "=", "=")
        self.replace_between(node.target, node.value, old + "=", new + "=")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise | ast.Assert) -> None:
        self.replace_node(node, "pass")  # nothing inside is changed: it is for people

    visit_Assert = visit_Raise

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.replace_node(node, "pass")
            self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.replace_node(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.replace_node(node, "break")

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if self.text(node.test) == "TYPE_CHECKING":
            return
        self.replace_node(node.test, f"(not ({self.text(node.test)}))")
        self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.replace_node(node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.replace_between(node.left, node.right, *OPERATORS[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        words = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            self.replace_between(left, right, *words)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators):
            self.replace_between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        for left, right in pairwise(node.args):  # swap two arguments
            start, end = self.span(left)[0], self.span(right)[1]
            gap = self.source[self.span(left)[1] : self.span(right)[0]].decode()
            self.replace(start, end, self.text(right) + gap + self.text(left))
        for previous, argument in pairwise([*node.args, *node.keywords]):
            if isinstance(argument, ast.keyword):  # leave an option out, with the comma before it
                self.replace(self.span(previous)[1], self.span(argument)[1], "")
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            if bound is not None:
                self.replace_node(bound, "")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in OTHER_NAME:
            end = self.span(node)[1]
            self.replace(end - len(node.attr), end, OTHER_NAME[node.attr])
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in OTHER_NAME:
            self.replace_node(node, OTHER_NAME[node.id])

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace_node(node, str(not value))
        elif isinstance(value, int):
            for other in (value + 1, value - 1):
                self.replace_node(node, f"({other})" if other < 0 else str(other))
        elif isinstance(value, float):
            self.replace_node(node, repr(value * 2 if value else 1.0))
        elif isinstance(value, str) and value in OTHER_NAME:
            self.replace_node(node, repr(OTHER_NAME[value]))
        elif isinstance(value, str | bytes) and len(value.split()) == 1:  # with a space, it is a text for people
            self.replace_node(node, repr(value * 2))


def essence(code: CodeType) -> tuple[Any, ...]:
    """What a program does: its bytecode without positions."""
    constants = tuple(essence(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_exceptiontable, constants


def is_another_program(change: Change, source: bytes) -> bool:
    try:
        return essence(compile(change.apply(source), "", "exec")) != essence(compile(source, "", "exec"))
    except (SyntaxError, ValueError):
        return False


def with_calls(file: str, source: bytes) -> bytes:
    """The same program, in which each function first calls `_called("file function")`."""
    for where, text in sorted(Changes(file, source).inserts, reverse=True):
        source = source[:where] + text.encode() + source[where:]
    return source


def draw_changes(root: Path, files: Iterable[str], seed: int) -> Iterator[Change]:
    """All changes in random order: one on each line, then another one on each line that has more."""
    lines: dict[tuple[str, int], list[Change]] = defaultdict(list)
    for file in files:
        for change in Changes(file, (root / file).read_bytes()).found:
            lines[file, change.line].append(change)
    generator = random.Random(seed)
    while lines:
        for place in generator.sample(sorted(lines), len(lines)):
            change = lines[place].pop(generator.randrange(len(lines[place])))
            if not lines[place]:
                del lines[place]
            if is_another_program(change, (root / change.file).read_bytes()):
                yield change
