"""One-place changes to Python source, for tools/mutate.py: a wrong operator, a negated condition, a dropped statement.

What is for people is left alone: docstrings, annotations, `__all__`, f-strings, and all inside of `raise` and `assert`.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

OPERATORS = [(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.LShift, ast.RShift), (ast.BitAnd, ast.BitOr),
             (ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn),
             (ast.And, ast.Or), (ast.Break, ast.Continue)]  # fmt: skip
NAMES = ("float32 float64", "float16 float32", "int32 int64", "uint8 int8", "uint16 int16", "uint32 int32", "min max",
         "minimum maximum", "argmin argmax", "zeros ones", "any all", "floor ceil", "sum mean", "append extend",
         "startswith endswith", "lstrip rstrip", "strip lstrip", "left right", "less less_equal")  # fmt: skip
OTHER: dict[type[ast.AST], type[ast.AST]] = {a: b for pair in OPERATORS for a, b in (pair, pair[::-1])} | {
    ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitXor: ast.BitAnd
}  # fmt: skip
OTHER_NAME = dict(pair.split()[::-1] for pair in NAMES) | dict(pair.split() for pair in NAMES)
FOR_PEOPLE = ("annotation", "returns", "decorator_list")


class Change(NamedTuple):
    """Put the node `new` at `holder[key]`, in the tree of a file, in the function of this qualified name."""

    file: str
    function: str
    tree: ast.Module
    holder: Any  # the list of nodes, or the dict of fields, that holds the node to replace at `key`
    key: Any
    new: ast.AST

    def apply(self) -> tuple[str, str]:
        """The source of the file with this change, and a text for people: the line before -> the line after."""
        before, old = ast.unparse(self.tree), self.holder[self.key]
        self.holder[self.key] = ast.copy_location(self.new, old)
        after = ast.unparse(self.tree)
        self.holder[self.key] = old
        pairs = zip(before.splitlines(), after.splitlines())
        was, now = next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("", ""))
        start = max(0, len(os.path.commonprefix([was, now])) - 60)  # a line may be very long
        return after, f"{self.file} {self.function}: {was[start:][:150]} -> {now[start:][:150]}"


def alternatives(node: Any) -> Iterator[ast.AST]:
    """What could stand by mistake in place of a node."""

    def changed(**fields: Any) -> ast.AST:
        return type(node)(**(vars(node) | fields))

    match node:
        case ast.If() | ast.While() | ast.IfExp():
            yield changed(test=ast.UnaryOp(ast.Not(), node.test))
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.AugAssign():
            yield ast.Assign([node.target], node.value)
        case ast.Raise() | ast.Assert() | ast.Expr() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()  # not for a name: the rest of the function would fail
        case ast.Call(args=args, keywords=options):
            for i in range(1, len(args)):
                if ast.dump(args[i - 1]) != ast.dump(args[i]):
                    yield changed(args=[*args[: i - 1], args[i], args[i - 1], *args[i + 1 :]])
            for i in range(len(options)):
                yield changed(keywords=options[:i] + options[i + 1 :])
        case ast.Slice():
            yield from (changed(**{end: None}) for end in ("lower", "upper") if getattr(node, end))
        case ast.Attribute(attr=name) if name in OTHER_NAME:
            yield changed(attr=OTHER_NAME[name])
        case ast.Name(id=name, ctx=ast.Load()) if name in OTHER_NAME:
            yield changed(id=OTHER_NAME[name])
        case ast.Constant(value=value):
            yield from (ast.Constant(other) for other in other_values(value))
        case _ if type(node) in OTHER:
            yield OTHER[type(node)]()


def other_values(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [value * 2 if value else 1.0]
    is_word = isinstance(value, str | bytes) and len(value.split()) == 1  # with a space, it is a text for people
    return [OTHER_NAME.get(value, value * 2)] if is_word else []


def is_for_people(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name in ("TYPE_CHECKING", "__all__")
    return False


def places(parent: ast.AST, scope: str = "") -> Iterator[tuple[Any, str, Any, Any]]:
    """Each node below `parent` that may be changed, with the name of the function around it, its holder and its key."""
    for field, value in ast.iter_fields(parent):
        holder: Any = value if isinstance(value, list) else vars(parent)
        for key in range(len(value)) if isinstance(value, list) else [field]:
            node = holder[key]
            if isinstance(node, ast.AST) and field not in FOR_PEOPLE and not is_for_people(node):
                is_scope = isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)
                inner = f"{scope}.{getattr(node, 'name', '<lambda>')}".lstrip(".") if is_scope else scope
                yield node, inner, holder, key
                yield from [] if isinstance(node, ast.Raise | ast.Assert) else places(node, inner)


def all_changes(root: Path, file: str) -> Iterator[Change]:
    """All changes that can be made to a file."""
    tree = ast.parse((root / file).read_text("utf-8"))
    for node, function, holder, key in places(tree):
        yield from (Change(file, function, tree, holder, key, new) for new in alternatives(node))
