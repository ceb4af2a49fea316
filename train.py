"""Train a GPT from text: python train.py, or python train.py --help.

The work is in llm/training: options.py, setup.py, loop.py.
"""

from __future__ import annotations

import sys

from llm.parallel.runtime import hand_over_quickly, keep_memory


def main(arguments: list[str] | None = None) -> int:
    from llm.training.command import parse, start

    options, run = parse(sys.argv[1:] if arguments is None else arguments)
    keep_memory()
    hand_over_quickly()
    return start(options, run)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever read what we print has gone, as in `train.py --help | head`
        sys.exit(1)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"train.py: {error}")
    except MemoryError as error:
        sys.exit(
            f"train.py: not enough memory ({error}); try a smaller --batch-size, more --micro-batches, or a smaller "
            "model"
        )
    except KeyboardInterrupt:  # while setting up, or the second one
        print("train.py: interrupted; checkpoints made so far are good", file=sys.stderr)
        sys.exit(130)  # 128 + SIGINT
