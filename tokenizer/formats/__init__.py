"""The file formats of tokenizers, each read into (and some written from) the records of records.py.

Read in this order:

    records.py          what a tokenizer consists of, for each kind
    files.py            which file is in which format; reading and writing without harm
    tokenizer_json.py   Hugging Face's tokenizer.json: byte_pair.py, character_pair.py, word_piece.py and characters.py
                        for its kinds of models, components.py for what they share
    tiktoken.py         OpenAI's: one line for each token
    vocabularies.py     bare vocabularies: encoder.json + vocab.bpe, vocab.json + merges.txt, BERT's vocab.txt
    sentencepiece.py    Google's protocol buffer; llama2c.py, a binary copy of one
    gguf.py             llama.cpp's, which holds a vocabulary beside the weights
    checks.py           what all of them check, and how errors are worded

A file is read only if its ids will be the same here as in the library that it was made for. A file that asks for
anything else is refused by an error that names it, and so is a damaged one: half a tokenizer would silently give wrong
ids. Every check raises `FormatError` with the predicate of a sentence ("is damaged: ..."). files.py puts the name of
the file before it.
"""
