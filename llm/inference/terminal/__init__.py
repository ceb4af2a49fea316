"""generate.py at the terminal. To read in order:

1. streams.py            standard input and output
2. text_writer.py        writes texts with the engine, as the options ask
3. token_output.py       shows them, with the probabilities of tokens or without
4. conversation.py       what the model reads in a chat; chat.py: the chat
5. lens_tables.py        what each layer would say; attention_picture.py: where each head looks
6. classes.py            the class of each line
7. translations.py       the translation of each line; cross_attention_picture.py: where the decoder looks
"""
