"""Train a GPT from text: python train.py, or python train.py --help.

The work is in llm/training: options.py, setup.py, trainer.py.
"""
from __future__ import annotations

import sys

from llm.runtime import hand_over_quickly, keep_memory


def main(arguments: list[str] | None = None) -> None:
    from llm.training.command import parse, start
    options, run = parse(sys.argv[1:] if arguments is None else arguments)
    keep_memory()
    hand_over_quickly()
    start(options, run)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:                 # whoever read what we print has gone, as in `train.py --help | head`
        sys.exit(1)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        sys.exit("train.py: interrupted before the first checkpoint")
