"""The program that renders chat templates. It runs in a process of its own, which chat_process.py starts.

A template is untrusted code. Jinja2's sandbox keeps it away from files and from Python, but not from endless loops or
taking all memory. A process can be given limits, and it ends when a template goes beyond them.

The program reads requests from standard input: a line with a number, and then that number of bytes, in which `marshal`
has written (template, variables, mark). It answers each with a line, "text" or "error" and a number, and then that
number of bytes: the text, or what is wrong with the template.
"""

from __future__ import annotations

import faulthandler
import json
import marshal
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

HAS_ALARM = hasattr(signal, "setitimer")
MAX_SECONDS = 5.0  # for one conversation
MAX_MEMORY = 1 << 30  # bytes, of the whole process
MAX_CHARACTERS = 1 << 24  # of a rendered text: more than any model reads
NOTES = ("(", ")", "<", ">", "g")  # loop; {% generation %}; at the beginning: the template has {% generation %}


def main() -> None:
    limit_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, which then stops this one
    if HAS_ALARM:  # the process that has started this one may ignore or block the signal
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    while size := sys.stdin.buffer.readline():  # empty when the process that asks has ended
        request = marshal.loads(sys.stdin.buffer.read(int(size)))
        with time_limit():
            kind, text = answer(*request)
        data = text.encode("utf-8", "surrogatepass")
        sys.stdout.buffer.write(f"{kind} {len(data)}\n".encode() + data)
        sys.stdout.buffer.flush()


@contextmanager
def time_limit() -> Iterator[None]:
    """End the process after MAX_SECONDS, even within a single long operation, such as 9 ** 9 ** 9."""
    if HAS_ALARM:
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
    else:  # Windows. This starts a thread each time, which takes longer than rendering a short conversation
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        yield
        faulthandler.cancel_dump_traceback_later()


def limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def answer(template: str, variables: Mapping[str, Any], mark: str = "") -> tuple[str, str]:
    """("text", the rendered text) or ("error", a sentence). A template may fail with any kind of exception.

    `mark`: a character that occurs nowhere, with which the text shows what it is made of (chat_parts.py). "": none.
    """
    try:
        program = compile_template(template)
    except Exception as error:
        return "error", f"the chat template is not in the language of Jinja2: {describe(error)}"
    environment = program.environment
    environment.note = note_writer(variables.get("messages"), mark)
    try:
        pieces, size = [environment.note("g")] if environment.has_generation else [], 0
        for piece in program.generate(variables):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise ValueError(f"its text has more than {MAX_CHARACTERS:,} characters")
        return "text", "".join(pieces)
    except Exception as error:
        return "error", f"the chat template cannot render this conversation: {describe(error)}"


def describe(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it needs too much memory"
    return str(error) or type(error).__name__


@lru_cache(maxsize=16)
def compile_template(template: str) -> Any:
    """The template as a program. Functions and settings are those of Hugging Face's `transformers`."""
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks what an assistant wrote. Without notes it is rendered as if it were not there."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            self.environment.has_generation = True  # type: ignore[attr-defined]
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

        def body(self, caller: Any) -> str:
            note = self.environment.note  # type: ignore[attr-defined]
            return note("<") + caller() + note(">")

    extensions = [Generation, jinja2.ext.loopcontrols]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.extend(note=note_writer((), ""), has_generation=False)  # where templates cannot reach them
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment.from_string(with_notes(environment.parse(template)))


def with_notes(tree: Any) -> Any:
    """The parsed template, which leaves notes (chat_parts.py): of every loop, and of messages that get a name."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def note(what: Any, line: int, sign: str = "") -> Any:
        call = nodes.Call(nodes.EnvironmentAttribute("note"), [what, nodes.Const(sign)], [], None, None)
        return nodes.Output([call]).set_lineno(line)

    class Notes(NodeTransformer):
        def visit_For(self, loop: Any) -> Any:
            self.generic_visit(loop)
            if not isinstance(loop.target, nodes.Name):
                return loop
            loop.body.insert(0, note(nodes.Name(loop.target.name, "load"), loop.lineno))
            return [note(nodes.Const("("), loop.lineno), loop, note(nodes.Const(")"), loop.lineno)]

        def visit_Assign(self, assign: Any) -> Any:
            if not isinstance(assign.target, nodes.Name):
                return assign
            return [assign, note(nodes.Name(assign.target.name, "load"), assign.lineno, "=")]

    return Notes().visit(tree).set_environment(tree.environment)


def note_writer(messages: Any, mark: str) -> Callable[..., str]:
    """What makes the text of a note, between marks: a sign, or `prefix` and the number of the message it is given."""
    if not mark:
        return lambda what, prefix="": ""
    # Messages are recognised by their identity, so that equal messages have different numbers.
    numbers = {id(message): str(number) for number, message in enumerate(messages or ())}

    def note(what: Any, prefix: str = "") -> str:
        if type(what) is str and what in NOTES and not prefix:
            return f"{mark}{what}{mark}"
        number = numbers.get(id(what))
        return f"{mark}{prefix}{number}{mark}" if number else ""

    return note


def to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Plain JSON for the model to read. Jinja2's own filter would escape what is special in HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


if __name__ == "__main__":
    main()
