"""Write text with a trained GPT: python generate.py --prompt "Once upon a time", or python generate.py --help.

The work is done in llm/inference, whose __init__.py says what to read.
"""

from __future__ import annotations

import signal
import sys

from llm.console import errors_as_sentences, open_streams, say, show_warnings
from llm.parallel.ending import ending_together, started_by_mpi
from llm.parallel.runtime import keep_freed_memory


def main(arguments: list[str] | None = None) -> int:
    open_streams(unprintable="replace")  # a terminal that cannot show a character shows a question mark
    show_warnings(say)
    arguments = sys.argv[1:] if arguments is None else arguments
    keep_freed_memory()
    # Imported here and not at the top, so that a Ctrl-C during the imports also ends in the `except` below.
    if started_by_mpi():  # as one of several ranks
        from llm.inference.ranks import start_ranks

        return start_ranks(arguments)
    from llm.inference.command import parse, start

    return start(parse(arguments))


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        # When the program that reads our output has ended (`| head`), end without a message, as other programs do.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        with (
            ending_together("generate.py"),  # all ranks, if mpiexec has started them
            errors_as_sentences("generate.py", "end other programs, give a shorter prompt, or use a smaller model"),
        ):
            sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT
