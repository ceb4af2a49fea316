"""A GPT: the model, its training, and the text that it writes.

    import llm

    model, tokenizer = llm.load("runs/default-1")           # the folder of a run that train.py has made
    # ... = llm.load("SmolLM2-135M-Instruct.Q4_1.gguf")    # or a model of somebody else: llm/hub
    print(llm.generate(model, tokenizer, "The class"))
    for piece in llm.stream(model, tokenizer, "The class", sampling=llm.Sampling(temperature=0.5)):
        print(piece, end="", flush=True)
    print(llm.evaluate(model, tokenizer, open("my.txt").read()))

To see the whole in an evening, read model/textbook.py (a GPT in plain NumPy), then training/simple.py (training on one
page). Then the folders, in this order. The `__init__` of each one lists its files, again in reading order.

    exports.py     names of a package that are imported at their first use
    console.py     train.py and generate.py as programs: streams, messages, commands to copy
    model/         from token ids to logits
    runs/          the folder that training leaves: options, checkpoints, metrics
    hub/           the models of other people: safetensors, GGUF, llama2.c
    parallel/      several workers compute one gradient: threads or processes
    data/          from text to batches of token ids; data/lab cleans texts
    inference/     generate.py: the model writes text
    evaluation/    how good a model is: its loss on texts that it was not trained on, and tasks
    training/      train.py; training/__init__.py follows one gradient through all files
    tuning/        train.py --objective chat, preference ...: from a model that continues text to one that answers
    report/        one HTML page about a run: its curves, and what is inside of its model

A folder imports only from folders above it in this list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.exports import lazy_exports

if TYPE_CHECKING:  # for type checkers and editors
    from llm.evaluation.text import evaluate_text as evaluate
    from llm.hub.load import load_any as load
    from llm.inference.sampling import Sampling
    from llm.inference.text import stream_text as stream
    from llm.inference.text import write_text as generate
    from llm.model.config import GPTConfig
    from llm.model.gpt import GPT

__version__ = "0.1.0"

__all__ = ["GPT", "GPTConfig", "Sampling", "evaluate", "generate", "load", "stream"]

# Where each name comes from. It is imported at its first use, so `import llm` takes no time.
_NAMES = {
    "GPT": ("llm.model.gpt", "GPT"),
    "GPTConfig": ("llm.model.config", "GPTConfig"),
    "Sampling": ("llm.inference.sampling", "Sampling"),
    "evaluate": ("llm.evaluation.text", "evaluate_text"),
    "generate": ("llm.inference.text", "write_text"),
    "load": ("llm.hub.load", "load_any"),
    "stream": ("llm.inference.text", "stream_text"),
}

__getattr__, __dir__ = lazy_exports(__name__, _NAMES)
