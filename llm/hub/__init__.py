"""Reading and writing the models of other people. To read in order:

1. kinds.py               how numbers are stored: float32, bfloat16, blocks of 4 or 8 bits ...
2. stored.py              one tensor as it lies in a file, and products with it
3. mapped.py              a file as an array of bytes, without reading it
4. safetensors_files.py   a folder's model.safetensors, or its shards and their index
5. gguf_files.py          a GGUF file: metadata and tensors; gguf_writing.py: writing one
6. llama2c.py             the .bin files of llama2.c
7. interleaved.py         two orders of the rows of queries and keys
8. errors.py              HubError, whose message is printed without a traceback
9. tokenizer_files.py     the tokenizer of a folder, of a GGUF file and of llama2.c, and the way back
10. generation_defaults.py   which tokens end a text, and how a model wants to be sampled
"""
