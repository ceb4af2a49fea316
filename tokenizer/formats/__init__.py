"""The file formats of tokenizers. A file of any format becomes one of the records of records.py.

Read in this order:

    records.py          what a tokenizer consists of, for each kind
    checks.py           checks that several formats share, and how their errors are worded
    merges.py           the merges of a file as pairs of ids
    files.py            which file is in which format; reading and writing it
    beside.py           the files beside a vocabulary: settings, roles of tokens, added tokens, chat templates
    atomic.py           how a file is written so that there is never half of it
    tokenizer_json.py   Hugging Face's tokenizer.json: byte_pair.py, character_pair.py, word_piece.py and characters.py
                        for its kinds of models, components.py for the parts that they share
    tiktoken.py         OpenAI's: one line for each token
    vocabularies.py     bare vocabularies: encoder.json + vocab.bpe, vocab.json + merges.txt, BERT's vocab.txt
    sentencepiece.py    Google's protocol buffer; llama2c.py: the same vocabulary in a simpler binary file
    gguf.py             llama.cpp's: the vocabulary beside the weights of a model; gguf_values.py: what its values mean,
                        gguf_writing.py: a tokenizer as such values

A file is read only if its ids will be the same here as in the library that it was made for. If it asks for anything
that is not supported, or is damaged, it is refused with a `FormatError` that names the file and the reason: half a
tokenizer would silently give wrong ids. Files are written as tokenizer.json or in tiktoken's format.
"""
