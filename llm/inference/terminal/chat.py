"""A chat in the terminal: python generate.py --model PATH --chat.

A line is a message, and the model answers. Without a terminal, each line of standard input is a message, and standard
output has the answers.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from llm.console import say
from llm.data.text import decode_prompt
from llm.inference.chat_prompt import has_chat_template
from llm.inference.model_choice import LoadedModel
from llm.inference.terminal.conversation import ContinuedText, Conversation, Messages
from llm.inference.terminal.streams import INTERRUPTED
from llm.inference.terminal.text_writer import TextWriter
from llm.inference.terminal.token_output import output_for
from tokenizer.formats.atomic import new_file
from tokenizer.text.chat_template import require_jinja2

HELP = """/reset      forget the conversation, and begin a new one
/save FILE  write the conversation to a file, as JSON
/quit       leave; so does Ctrl-D
/help       this list
Ctrl-C stops an answer. A line that begins with a space is a message, even if / follows."""


class Leave(Exception):
    """The chat is over."""


class LeaveNow(KeyboardInterrupt):
    """Ctrl-C was pressed so often that the program ends in the middle of an answer."""


class Chat:
    """A conversation with a model."""

    def __init__(self, loaded: LoadedModel, text_writer: TextWriter, seed: int):
        self.text_writer, self.seed = text_writer, seed
        self.conversation = new_conversation(loaded, text_writer)
        self.constraint = text_writer.constraint(mid_text=self.conversation.continues_text)
        self.output = output_for(loaded.tokenizer, show_probs=text_writer.options.show.show_probs)
        self.saved: set[Path] = set()  # files that this chat has written

    def run(self) -> int:
        """Until the user leaves. Returns the exit status."""
        at_terminal = sys.stdin is not None and sys.stdin.isatty()
        if at_terminal:
            with suppress(ImportError):
                import readline  # noqa: F401  arrow keys in `input`; not on Windows
            say("/help lists the commands")
        was_interrupted = False
        with suppress(Leave, EOFError):
            while True:
                try:
                    line = read_line() if at_terminal else read_piped_line()
                    was_interrupted = self.handle(line)
                except LeaveNow:
                    raise
                except KeyboardInterrupt:  # at the prompt, or in the instant before the answer begins
                    print(file=sys.stderr)
                    if was_interrupted or not at_terminal:
                        return INTERRUPTED
                    say("Ctrl-C once more leaves; so do /quit and Ctrl-D")
                    was_interrupted = True
        return 0

    def handle(self, line: str) -> bool:
        """Do what the line says. Returns whether the answer was interrupted."""
        if not line.strip():
            return False
        try:
            if line.startswith("/"):
                self.obey(*line.split(maxsplit=1))
                return False
            return self.answer(line if self.conversation.continues_text else line.strip())
        except ValueError as error:  # such as a message that the template refuses: the chat goes on
            say(str(error))
            return False

    def obey(self, command: str, argument: str = "") -> None:
        match command:
            case "/reset":
                self.conversation.reset()
                say("the conversation begins anew")
            case "/save":
                self.save(argument.strip())
            case "/quit":
                raise Leave
            case "/help":
                say(HELP)
            case _:
                say(f"there is no command {command}; /help lists them, and a space before / makes it a message")

    def save(self, name: str) -> None:
        """Write the messages to a file. One that another program has written stays as it is."""
        if not name:
            raise ValueError("/save needs the name of a file, such as /save chat.json")
        path = Path(name).expanduser().absolute()
        if path.exists() and path not in self.saved:
            raise ValueError(f"{name} exists already; give another name")
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent}; make it first, or give another name")
        text = json.dumps(self.conversation.messages, ensure_ascii=False, indent=1)
        try:
            with new_file(path) as partial:
                partial.write_text(text + "\n", encoding="utf-8", errors="replace")
        except OSError as error:
            raise ValueError(f"{name} cannot be written ({error.strerror or error}); give another name") from None
        self.saved.add(path)
        say(f"saved the conversation in {name}")

    def answer(self, message: str) -> bool:
        """Let the model answer. Returns whether it was interrupted."""
        conversation, text_writer = self.conversation, self.text_writer
        continues = conversation.continues_text
        with stopped_by_ctrl_c() as interrupted:
            ids = conversation.prompt(message)
            say_what_is_left_out(conversation)
            text_writer.say_if_long(ids)
            self.output.begin()
            try:
                text = text_writer.write(
                    ids, self.output, seed=self.seed, constraint=self.constraint, mid_text=continues,
                    skip_special_tokens=True, slide=False, interrupted=lambda: bool(interrupted),
                )  # fmt: skip
            finally:
                self.output.end()
        self.seed += 1
        conversation.add(message, text.text)
        if text.end == "length":
            limit = text_writer.options.max_tokens
            reason = "the context is full" if len(text.ids) - len(ids) < limit else f"it reached --max-tokens {limit}"
            say(f"the answer was cut off: {reason}")
        return text.end == "interrupted"


def new_conversation(loaded: LoadedModel, text_writer: TextWriter) -> Conversation:
    """In the chat template of the model; without one, a text that the model continues."""
    options, context = text_writer.options, text_writer.engine.context
    if has_chat_template(loaded.tokenizer):
        try:
            require_jinja2()
        except ImportError:
            raise RuntimeError(
                "chat templates need jinja2; install it in the folder of this project: pip install -e '.[chat]'"
            ) from None
        return Messages(loaded.tokenizer, context, min(options.max_tokens, context // 4), options.system)
    if options.system is not None:
        raise ValueError(f"{loaded.name} has no chat template, so it knows no --system message; leave it out")
    say(f"{loaded.name} has no chat template, so it does not answer, but continues what you write")
    return ContinuedText(loaded.tokenizer, context)


def say_what_is_left_out(conversation: Conversation) -> None:
    if conversation.left_out:
        kind = "tokens" if conversation.continues_text else "messages"
        say(f"the context is full: the model no longer sees the oldest {conversation.left_out} {kind}")


@contextmanager
def stopped_by_ctrl_c() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C is pressed inside the block. The third time, Ctrl-C ends the block at once.

    The engine must not be interrupted between two of its steps, such as extending the cache and noting its length.
    """
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if len(pressed) == 2:
            raise LeaveNow
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def read_line() -> str:
    """A line from the terminal. EOFError after Ctrl-D."""
    try:
        if sys.stdout.isatty():
            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)  # standard output is a file, which has only the answers
        return input()
    except UnicodeDecodeError:
        say("this line is not UTF-8, as the terminal should send")
        return ""


def read_piped_line() -> str:
    """A line of a pipe or a file. EOFError at its end."""
    line = b"" if sys.stdin is None else sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    return decode_prompt(line)
