"""The engine: many texts are continued together. To read in order:

1. requests.py      what is asked of the engine, and what comes back
2. slots.py         which text is where in the cache, and what a new text can take over
3. engine.py        the heart: a step reads new ids of all texts in one call of the model, and draws a token for each
   one_text.py      the same for one text at a time; on a GPU with CUDA graphs
4. speculation.py   tokens guessed ahead, and checked all in one call
5. text_stream.py   what can be shown of a text while it is written; stop_strings.py: where it ends
"""
