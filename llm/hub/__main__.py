"""`python -m llm.hub`: see command.py."""

import sys

from llm.hub.command import main

if __name__ == "__main__":
    sys.exit(main())
