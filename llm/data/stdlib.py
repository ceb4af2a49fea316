"""The standard library of the running Python as text: its source files, and the docstrings in them.

Files are parsed, never imported: an import runs the module, and some modules open a window or print a poem. A Python
may have no source of its library (in a zip file there is often only byte code): then there are no files.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

NOT_LIBRARY_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
# Programs, tables, and packages that newer versions of Python no longer have: little prose, and a quarter of the time.
LITTLE_PROSE = {"distutils", "encodings", "idlelib", "lib2to3", "turtledemo"}
FEWEST_CHARACTERS = 100  # of a docstring: shorter ones, such as "Return the size.", say little
# In Python 3.11, two threads that parse at the same time end in "AST constructor recursion depth mismatch".
_ONE_PARSER = threading.Lock()
BETWEEN = "\n\n\n"  # two empty lines: within a docstring there is seldom more than one


def stdlib_folder() -> Path:
    """Where the library is. The folder may be missing: a Python in one zip file has none."""
    return Path(sysconfig.get_path("stdlib"))


def stdlib_files(root: Path, left_out: Iterable[str] = ()) -> list[Path]:
    """The source files below a folder, without tests and folders named in `left_out`, in the order of their paths."""
    unwanted = NOT_LIBRARY_FOLDERS.union(left_out)
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in unwanted]  # so os.walk does not enter the others
        found += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def stdlib_docstrings(root: Path) -> list[str]:
    """The docstrings of the modules, classes and functions below a folder: a document for each file that has some."""
    return documents_of_files(map(docstrings_of, stdlib_files(root, LITTLE_PROSE)))


def documents_of_files(files: Iterable[list[str]]) -> list[str]:
    """The docstrings of each file, without short ones and without those that an earlier file has, as one document.

    One by one they would be very short documents. And methods of one class say much the same: with a document for each
    file, they are not held out for validation when others of their class are learned.
    """
    seen, documents = set[str](), []
    for texts in files:
        new = [text for text in dict.fromkeys(texts) if len(text) >= FEWEST_CHARACTERS and text not in seen]
        seen.update(new)
        documents.append(BETWEEN.join(new))
    return [document for document in documents if document]


def docstrings_of(path: Path) -> list[str]:
    """All docstrings of a file, without their indentation; [] if the file is not Python."""
    try:
        with _ONE_PARSER:
            return list(_docstrings(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):  # ValueError: a zero byte, in Python 3.10 and 3.11
        return []


def _docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    if text := ast.get_docstring(node):  # without the indentation, as by inspect.cleandoc
        yield text.strip()
    # Only what stands directly in a module, class or function: to look into each `if` and `try` finds 1.5% more text,
    # and takes a third more time.
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstrings(child)
