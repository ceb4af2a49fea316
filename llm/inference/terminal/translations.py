"""`generate.py` with a translator: a line for --prompt, or for each line of standard input."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from llm.console import say
from llm.inference.model_choice import LoadedModel
from llm.inference.options import GenerateOptions
from llm.inference.terminal.classes import standard_input
from llm.inference.terminal.cross_attention_picture import draw_cross_attention
from llm.inference.terminal.streams import INTERRUPTED, print_text
from llm.inference.translation import ALPHA, BEAMS, translate
from tokenizer.models.char import UnknownCharacter


def print_translations(loaded: LoadedModel, options: GenerateOptions) -> int:
    """Translate. Returns the exit status. Raises ValueError for a text that the model cannot read."""
    texts = standard_input() if options.prompt is None else iter([options.prompt])
    beams = BEAMS if options.num_beams is None else options.num_beams
    alpha = ALPHA if options.length_penalty is None else options.length_penalty
    try:
        with suppress(KeyboardInterrupt):
            for text in texts:
                found = translate(loaded.model, loaded.tokenizer, text.strip(), num_beams=beams, alpha=alpha)
                print_text(found + "\n")
                if options.show.attention is not None:
                    draw_cross_attention(loaded.model, loaded.tokenizer, text.strip(), Path(options.show.attention))
                    say(f"drew {options.show.attention}")
            return 0
        return INTERRUPTED
    except UnknownCharacter as error:
        raise ValueError(
            f"the character {error.character!r} is not among the {error.known} of the tokenizer of {loaded.name}; "
            "leave it out of the text"
        ) from None
