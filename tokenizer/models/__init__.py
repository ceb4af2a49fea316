"""The tokenizers. Each has a model of its own, which encodes ordinary text. Everything else is the same for all kinds.

Read in this order:

    base.py           BaseTokenizer: encode, decode and all other methods of tokenizers
    model.py          Model: the methods that a model must have
    char.py           CharTokenizer, the simplest one: each character is a token
    byte_bpe.py       Tokenizer, byte-pair encoding over bytes
    sentencepiece.py  SentencePieceTokenizer, byte-pair encoding over characters, as in Llama 2
    wordpiece.py      WordPieceTokenizer, BERT's
    spans.py          for training: ids, and which part of a text or a conversation each of them stands for
"""
