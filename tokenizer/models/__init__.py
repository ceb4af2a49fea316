"""The tokenizers themselves. Each has a model, which encodes ordinary text; all the rest is the same for all of them.

Read in this order:

    base.py           BaseTokenizer: encode, decode and what else every tokenizer can do
    model.py          what a model must do for it
    char.py           CharTokenizer, the simplest: a character is a token
    byte_bpe.py       Tokenizer, byte-pair encoding over bytes
    sentencepiece.py  SentencePieceTokenizer, byte-pair encoding over characters, as in Llama 2
    wordpiece.py      WordPieceTokenizer, BERT's
"""
