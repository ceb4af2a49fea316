"""`python -m llm.data`: see lab/command.py."""

import sys

if __name__ == "__main__":
    try:
        from llm.data.lab.command import main  # here, so that a Ctrl-C during the import ends in the `except` below

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT
