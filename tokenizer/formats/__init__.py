"""The file formats of tokenizers, each read into (and some written from) the records of contents.py.

    tokenizer_json.py   Hugging Face's tokenizer.json: byte_pair.py, character_pair.py, word_piece.py, characters.py say
                        what it holds for each kind, stages.py what is the same for all
    tiktoken.py         OpenAI's: a line for each token
    sentencepiece.py    Google's protocol buffer, and llama2c.py, a dump of one
    gguf.py             llama.cpp's, which holds byte pairs or a SentencePiece vocabulary beside the weights
    vocabularies.py     bare vocabularies: encoder.json + vocab.bpe, vocab.json + merges.txt, BERT's vocab

Only what gives the same ids here and there is read. A file that asks for anything else is refused by naming it, and
so is a damaged one: half a tokenizer would quietly give wrong ids. Every check raises `FormatError` with what is
wrong, as the predicate of a sentence; files.py puts the file's name in front of it.
"""
