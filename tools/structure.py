"""The structure of the source in figures: python tools/structure.py [--repo FOLDER] [--update-readme]

For each folder: files, lines, the share of lines with a comment, and the folders it imports from. Then the circles,
which should be none: files, or folders, that import each other. Imports inside functions and imports for types count
like others. tests/test_architecture.py uses the same functions.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGES = ("minigrad", "tokenizer", "llm")


@dataclass(frozen=True)
class Source:
    """A file of the project. `name` and `imports` are dotted names, such as "minigrad.ops.shape"."""

    path: Path
    name: str
    text: str
    imports: frozenset[str]

    @property
    def is_init(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        return self.name if self.is_init else self.name.rpartition(".")[0]

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @cached_property
    def comments(self) -> int:
        """How many lines have a comment, alone or behind code."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def read_sources(root: Path, packages: Iterable[str] = PACKAGES) -> list[Source]:
    """All Python files of the packages below `root`."""
    return [read_source(path, root) for package in packages for path in sorted((root / package).rglob("*.py"))]


def read_source(path: Path, root: Path) -> Source:
    text = path.read_text("utf-8")
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    imports = imported_names(ast.parse(text), name, is_package=path.name == "__init__.py")
    return Source(path, name, text, frozenset(imports))


def imported_names(tree: ast.AST, module: str, *, is_package: bool) -> set[str]:
    """Everything that a module imports, anywhere in it, as absolute dotted names: `from a import b` gives a and a.b."""
    package, found = module.split(".") if is_package else module.split(".")[:-1], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []  # for `from . import b`
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def file_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Which file imports which. The __init__ files are left out: they only collect names."""
    files = {source.name: source for source in sources if not source.is_init}
    return {name: (source.imports & files.keys()) - {name} for name, source in files.items()}


def folder_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """Which folder imports from which.

    An import counts where the two paths part: one from llm.data.lab.clean to llm.runs.files goes from llm.data to
    llm.runs. Between a folder and what is inside it, nothing is counted.
    """
    sources = list(sources)
    folder_of = {source.name: source.folder.split(".") for source in sources}
    graph: dict[str, set[str]] = {source.folder: set() for source in sources}
    for source in sources:
        a = folder_of[source.name]
        for b in (folder_of[name] for name in source.imports & folder_of.keys()):
            same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
            if same is not None:
                graph[".".join(a[: same + 1])].add(".".join(b[: same + 1]))
    return graph


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes that lie on a circle of the graph, or on a path between two circles; an empty list if there is none."""
    left = {node: set(targets) & graph.keys() - {node} for node, targets in graph.items()}
    while ends := {node for node, targets in left.items() if not targets or not any(node in t for t in left.values())}:
        left = {node: targets - ends for node, targets in left.items() if node not in ends}
    return sorted(left)


def report(root: Path) -> str:
    """The table of folders, and the circles."""
    sources = read_sources(root)
    graph = folder_graph(sources)
    rows = [("folder", "files", "lines", "comments", "imports from")]
    for folder in sorted({source.folder for source in sources}):
        inside = [source for source in sources if source.folder == folder]
        rows.append((folder, *_figures(inside), ", ".join(sorted(graph[folder])) or "-"))
    for package in PACKAGES:
        inside = [source for source in sources if source.name.split(".")[0] == package]
        rows.append((f"all of {package}", *_figures(inside), ""))
    rows.append(("all", *_figures(sources), ""))
    lines = [
        f"{name:<22} {files:>5} {count:>6} {share:>9}  {targets}".rstrip()
        for name, files, count, share, targets in rows
    ]
    arrows = sum(len(targets) for targets in graph.values())
    circles = f"circles of files: {circle(file_graph(sources)) or 'none'}; of folders: {circle(graph) or 'none'}"
    return "\n".join([*lines, "", f"{arrows} arrows between folders; {circles}"])


def _figures(sources: list[Source]) -> tuple[str, str, str]:
    lines, comments = (sum(getattr(source, what) for source in sources) for what in ("lines", "comments"))
    return str(len(sources)), str(lines), f"{comments / max(lines, 1):.0%}"


def with_sizes(page: str, root: Path) -> str:
    """The page with the numbers of lines of today, in the rows that name a file or folder and its lines, such as

    | 3 | `minigrad/tensor.py` | 250 |

    and in the sentence that says how many lines all files with a number, the main path, have together.
    """
    sources = read_sources(root)

    def row(match: re.Match[str]) -> str:
        path = root / match[2]
        lines = sum(source.lines for source in sources if source.path == path or path in source.path.parents)
        return f"{match[1]}`{match[2]}` | {lines:,} |"

    page = re.sub(r"^(\| (?:\d+ \| )?)`([\w./]+)` \| [\d,]+ \|", row, page, flags=re.MULTILINE)
    numbers = re.findall(r"^\| \d+ \| `[\w./]+` \| ([\d,]+) \|", page, re.MULTILINE)
    total = sum(int(number.replace(",", "")) for number in numbers)
    return re.sub(r"(main path, .*?: )[\d,]+ lines", rf"\g<1>{round(total, -2):,} lines", page, flags=re.DOTALL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path(__file__).parents[1], help="the checkout; default: this one")
    parser.add_argument("--update-readme", action="store_true", help="write today's numbers of lines into README.md")
    options = parser.parse_args()
    if options.update_readme:
        readme = options.repo / "README.md"
        readme.write_text(with_sizes(readme.read_text("utf-8"), options.repo), "utf-8")
    else:
        print(report(options.repo))
