"""Models of other people: read into a GPT of ours, and written for the tools of others.

    from llm import hub

    model, tokenizer = hub.load("SmolLM2-135M-Instruct")     a folder of Hugging Face, a run, a .gguf file ...
    hub.save(model, tokenizer, "my-model")                   a folder that transformers loads
    hub.load(PATH, adapter="my-lora")                        with an adapter; hub.save_adapter(model, FOLDER)

    python -m llm.hub inspect PATH                           what is inside
    python -m llm.hub convert PATH FOLDER --to hf            the same model in another format

To read in order:

1. load.py                  from a path to a model and a tokenizer; read.py: from an opened model;
                            tuned.py: from a run that tunes another model
2. source.py                what kind of file it is, what it describes, and where its tensors are
3. families/                config.json and names of tensors, a small table for each family; fields.py reads the fields
4. weights.py               how our tensors are made of those in a file
5. save.py                  the way back, as the nearest family; save_gguf.py: as a GGUF file;
                            classes.py: what is different about a classifier
6. stored.py                one tensor as it lies in a file, and products with it; kinds.py: how its numbers are stored;
                            stored_model.py: a model whose matrices stay so
7. safetensors_files.py     a folder's model.safetensors, or its shards and their index
8. gguf_files.py            a GGUF file: metadata and tensors; gguf_models.py: its model; gguf_writing.py: writing one
9. llama2c.py               the .bin files of llama2.c, and their model
10. tokenizer_files.py      the tokenizer of a folder, a GGUF file, or llama2.c
11. generation_defaults.py  how a model is meant to write: the tokens that end a text, temperature ...
12. mapped.py, errors.py    a file as an array of bytes; HubError, whose message is printed without a traceback
13. adapters/               adapters in folders of PEFT
14. command.py              `python -m llm.hub`; inspect.py: what is inside; convert.py: the same in another format
"""

from __future__ import annotations

# At once, and not at the first use: otherwise an import of a file load.py would put the module in the place of the
# function of that name.
from llm.hub.adapters.files import save_adapter
from llm.hub.load import load
from llm.hub.save import save

__all__ = ["load", "save", "save_adapter"]
