"""The docstrings of the standard library are found by parsing: those that Python shows, each once, without imports."""

from __future__ import annotations

import calendar
import enum
import inspect
import json
import json.decoder
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.stdlib import FEWEST_CHARACTERS, docstrings_of, stdlib_docstrings, stdlib_files, stdlib_folder

WORDS = st.lists(st.sampled_from(["returns", "the", "value", "of"]), min_size=1, max_size=12).map(" ".join)


def long(word: str) -> str:
    return f"{word} ".ljust(FEWEST_CHARACTERS, ".")


@st.composite
def sources(draw: st.DrawFn, depth: int = 2, indentation: str = "") -> tuple[str, list[str]]:
    """The body of a module, class or function, and the docstrings in it, in the order of lines."""
    text, expected = "", []
    if lines := draw(st.lists(WORDS, max_size=3)):
        text += indentation + '"""' + f"\n{indentation}".join(lines) + "\n" + indentation + '"""\n'
        expected.append("\n".join(lines))
    text += f"{indentation}x = 'no docstring'\n"
    for kind in draw(st.lists(st.sampled_from(("class A", "def f()", "async def f()")), max_size=2)) if depth else ():
        inner, more = draw(sources(depth - 1, indentation + "    "))
        text, expected = f"{text}{indentation}{kind}:\n{inner}", expected + more
    return text, expected


@given(sources())
def test_docstrings_of_modules_classes_and_functions_in_the_order_of_lines(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[str, list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.py"
    path.write_text(drawn[0])
    assert docstrings_of(path) == drawn[1]


@pytest.mark.parametrize("module", [textwrap, json.decoder, calendar])
def test_they_are_those_that_python_shows(module: ModuleType) -> None:
    def shown(parent: object) -> set[str]:
        own = [x for x in vars(parent).values() if getattr(x, "__module__", None) == module.__name__]
        texts = {inspect.cleandoc(x.__doc__).strip() for x in own if inspect.isfunction(x) and x.__doc__}
        classes = [x for x in own if inspect.isclass(x) and not issubclass(x, enum.Enum)]
        return texts.union({inspect.cleandoc(x.__doc__).strip() for x in classes if x.__doc__}, *map(shown, classes))

    expected = shown(module)
    assert len(expected) >= 5
    assert expected <= set(docstrings_of(Path(str(module.__file__))))


def test_files_are_not_run_and_what_is_no_python_is_passed_over(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "a.py").write_text(f'"""{long("a")}"""\nopen({str(ran)!r}, "w")\nraise SystemExit')
    (tmp_path / "b.py").write_text("print 'Python 2'")
    (tmp_path / "c.py").write_bytes(b'"""\0"""')
    (tmp_path / "d.py").write_bytes(b'"""\xff"""')
    (tmp_path / "e.py").write_bytes(f'# coding: latin-1\n"""{long("é")}"""'.encode("latin-1"))
    (tmp_path / "f.pyc").write_text('"""not a source"""')
    assert stdlib_docstrings(tmp_path) == [long("a"), long("é")]
    assert not ran.exists()


def test_a_document_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(f'"""{long("b")}"""\n\ndef f():\n    """{long("f")}"""')
    (tmp_path / "a.py").write_text(f'def f():\n    """{long("f")}"""\n\ndef g():\n    """{long("g")}"""')
    assert stdlib_docstrings(tmp_path) == [f"{long('f')}\n\n\n{long('g')}", long("b")]


def test_each_docstring_once_and_none_that_is_short_or_of_a_test(tmp_path: Path) -> None:
    for name, text in {
        "z.py": long("z"),
        "b/c.py": long("c"),
        "b.py": long("z"),
        "a.py": long("a")[:-1],
        "test/a.py": long("test"),
        "b/tests/a.py": long("test"),
        "site-packages/a.py": long("package"),
        "idlelib/a.py": long("editor"),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'"""{text}"""')
    assert stdlib_docstrings(tmp_path) == [long("c"), long("z")]
    assert tmp_path / "idlelib/a.py" in stdlib_files(tmp_path)


def test_a_folder_that_is_missing_has_no_docstrings(tmp_path: Path) -> None:
    assert stdlib_docstrings(tmp_path / "python311.zip") == []


def test_those_of_this_python() -> None:
    documents = stdlib_docstrings(stdlib_folder())
    assert len(documents) > 200
    assert sum(map(len, documents)) > 1_000_000
    own = inspect.cleandoc(str(textwrap.TextWrapper.__doc__)).strip()
    assert sum(own in document for document in documents) == 1
    "".join(documents).encode()  # what cannot be encoded cannot be tokenized
