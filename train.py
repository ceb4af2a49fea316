"""Train a GPT from text: python train.py, or python train.py --help.

Training on one page, without options, threads, files and signals, is llm/training/simple.py. What this program does is
in llm/training, whose __init__.py says what to read.
"""

from __future__ import annotations

import signal
import sys

from llm.console import errors_as_sentences, open_streams, say, show_warnings
from llm.parallel.ending import ending_together
from llm.parallel.runtime import keep_freed_memory, set_switch_interval


def main(arguments: list[str] | None = None) -> int:
    open_streams(unprintable="backslashreplace")  # what it prints are messages: names of files must stay recognisable
    # Imported here and not at the top, so that a Ctrl-C during the imports also ends in the `except` below.
    from llm.inference.text import write_sample
    from llm.parallel.find_job import find_job
    from llm.training.command import parse, start
    from llm.training.display import print_line
    from llm.training.signals import cleaning_up
    from llm.tuning.tasks import find_task

    show_warnings(print_line)
    with cleaning_up():
        job = find_job()  # one process, or all that mpiexec has started
        options, run = job.on_first(lambda: parse(sys.argv[1:] if arguments is None else arguments))
        keep_freed_memory()
        set_switch_interval()
        return job.end(start(options, run, write_sample, find_task, job))


if __name__ == "__main__":
    try:
        with (
            ending_together("train.py"),  # all ranks, if mpiexec has started them
            errors_as_sentences(
                "train.py", "try a smaller --batch-size, more --micro-batches, --recompute, or a smaller model"
            ),
        ):
            sys.exit(main())
    except KeyboardInterrupt as stop:  # the first one during setup, or the second one during training
        # Python waits for worker processes at its end. Another Ctrl-C ends that too, without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        say("train.py: interrupted; checkpoints made so far are good")
        sys.exit(128 + getattr(stop, "number", 2))  # 2 is SIGINT, the signal of Ctrl-C
