"""`python -m llm.evaluation`: see command.py."""

import sys

if __name__ == "__main__":
    try:
        # Here, so that a Ctrl-C during the imports ends in the `except` below.
        from llm.evaluation.command import main
        from llm.parallel.ending import started_by_mpi
        from llm.parallel.runtime import keep_freed_memory, set_switch_interval

        keep_freed_memory()
        set_switch_interval()
        if started_by_mpi():  # as one of several ranks
            from llm.evaluation.ranks import main_of_rank

            sys.exit(main_of_rank(sys.argv[1:]))
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT
