"""The ids of a text or a conversation, and the span of each: the (start, end) of all its characters, spaces included.

Training needs spans to know which tokens are an assistant's words. A token of white space has a span too, other than in
`encode_with_offsets`, which leaves out the spaces that some libraries leave out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from tokenizer.models.base import BaseTokenizer
from tokenizer.models.model import encode_aligned
from tokenizer.split.pretokenizer import well_formed
from tokenizer.text.aligned_text import Span
from tokenizer.text.chat_parts import ChatParts, read_notes
from tokenizer.text.chat_template import render_with_notes
from tokenizer.text.message_text import protect, unused_mark


def encode_with_spans(tokenizer: BaseTokenizer, text: str) -> tuple[list[int], list[Span]]:
    """The ids of `text` as ordinary text, and their spans."""
    return encode_aligned(tokenizer.model, tokenizer._segmenter.aligned_segments(text, (), ()), trims=False)


def encode_chat_with_spans(
    tokenizer: BaseTokenizer, messages: Sequence[Mapping[str, Any]], *, allow_special: bool = True, **options: Any
) -> tuple[list[int], list[Span], ChatParts]:
    """The ids of `tokenizer.encode_chat`, their spans in the rendered text, and what the parts of that text are.

    The options are those of `encode_chat`, but a final message cannot be continued. Raises ValueError if the template
    cannot be followed, because it changes the text that it has made.
    """
    if allow_special:
        segmenter, mark, texts = tokenizer._segmenter, "", {"messages": messages}
        rendered = tokenizer.render_chat(messages, **options)
    else:
        chat = protect(tokenizer._segmenter, tokenizer.render_chat, messages, **options)
        segmenter, mark, texts, rendered = chat.segmenter, chat.mark, chat.texts, chat.rendered
    note_mark = unused_mark(tokenizer._segmenter, rendered)
    noted = render_with_notes(tokenizer.settings, note_mark, **{**options, **texts})
    parts, rendered = read_notes(well_formed(noted), note_mark), well_formed(rendered)
    if parts.text != rendered:
        raise ValueError("the chat template changes a text that it has made, so the messages in it cannot be found")
    ids, spans = encode_aligned(tokenizer.model, segmenter.aligned_segments(rendered, "all", ()), trims=False)
    # places[i]: where character i is when the marks that protect the text of messages are gone.
    places = [0, *accumulate(character != mark for character in rendered)]
    plain = "".join(character for character in rendered if character != mark)
    return ids, [(places[start], places[end]) for start, end in spans], parts.moved(plain, places)
