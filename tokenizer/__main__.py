"""`python -m tokenizer`: see cli/."""

import sys

from tokenizer.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
