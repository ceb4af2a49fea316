"""The steps around the model: what is done with a text before the model encodes it, and with ids that are decoded.

Read in this order:

    special_tokens.py   tokens that are found in a text as a whole, such as `<|endoftext|>`
    name_search.py      finding thousands of such tokens at once
    segmenter.py        a text as added tokens and the ordinary text between them
    template.py         special tokens that a model expects around a text
    stream.py           decoding while the ids still arrive
    chat_template.py    a conversation as the text that a chat model expects; chat_process.py and chat_sandbox.py: the
                        process in which the templates of strangers run
    message_text.py     the same, when others write the messages: their text never becomes a special token
    chat_parts.py       which message each part of a conversation's text comes from
    worker.py           how a worker process ends: with its parent
    byte_alphabet.py    the spelling of bytes in a tokenizer.json

The tokenizers of some models change a text first:

    normalize.py, bert_normalizer.py   Unicode forms, lower case, replacements
    prefix.py, metaspace.py            a space before the text; SentencePiece's sign for a space
    aligned_text.py, offsets.py        for offsets: which characters of the original text a token stands for
    huggingface_unicode.py             tables of the Unicode versions that Hugging Face's library uses (generated)
"""
