"""The command line of `python -m llm.data`. What is asked for goes to standard output, messages to standard error."""

from __future__ import annotations

from llm.runs.commands import Command, run_command

PROGRAM = "python -m llm.data"
COMMANDS = {
    "clean": Command("llm.data.lab.clean", "Clean", "edit documents, and drop those that rules do not accept"),
    "dedup": Command("llm.data.lab.dedup", "Dedup", "drop documents that repeat others, exactly or nearly"),
    "contamination": Command("llm.data.lab.contamination", "Contamination", "find test sets in training text"),
    "train-filter": Command("llm.data.lab.train_filter", "TrainFilter", "learn to tell good documents from bad ones"),
    "mix": Command("llm.data.lab.mix", "Mix", "draw documents from several sources by weight"),
    "show": Command("llm.data.lab.show", "Show", "one HTML page about what was dropped, and why"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    return run_command(PROGRAM, COMMANDS, arguments)
