"""What happens to a text around the encoding of words, and to ids on their way back.

Read in this order:

    special_tokens.py   tokens that are found in a text as a whole, such as `<|endoftext|>`
    segmenter.py        a text as added tokens and the ordinary text between them
    template.py         special tokens that a model expects around a text
    stream.py           decoding while the ids still arrive
    chat_template.py    a conversation as the text that a chat model expects
    byte_alphabet.py    how JSON files spell bytes, and the order of the 256 bytes

What the tokenizers of some models do to a text first:

    normalize.py, bert_normalizer.py   Unicode forms, lower case, replacements
    prefix.py, metaspace.py            a space before the text; SentencePiece's sign for a space
    aligned_text.py, offsets.py        which characters of the original text a token stands for, all the same
    huggingface_unicode.py             tables of the Unicode versions that Hugging Face's library uses (generated)
"""
