"""The command line of `python -m llm.tuning`: show, exercises, accuracy. What is asked for goes to standard output."""

from __future__ import annotations

from llm.runs.commands import Command, run_command

PROGRAM = "python -m llm.tuning"
COMMANDS = {
    "show": Command("llm.tuning.chat.show", "Show", "which tokens of a file of examples a model would learn"),
    "exercises": Command("llm.tuning.exercises", "Exercises", "questions that a program makes, with their answers"),
    "accuracy": Command("llm.tuning.accuracy", "Measure", "how many of them a model answers right"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    return run_command(PROGRAM, COMMANDS, arguments)
