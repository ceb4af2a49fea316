"""The same model in another format: a folder of Hugging Face, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llm.hub.errors import HubError
from llm.hub.load import load_tokenizer, load_weights
from llm.hub.save import save
from llm.hub.save_gguf import Kind, save_gguf
from llm.hub.source import open_model

Format = Literal["hf", "gguf"]
GGUF_NAME = "model.gguf"


def convert(path: str, target: str, to: Format, kind: Kind = "F16", tokenizer_path: str | None = None) -> Path:
    """Write the model at `path`, of any kind that `load` takes, again. Returns what was written.

    `target`: the new folder; with "gguf", a name that ends with .gguf is that of the file itself. `kind`: how a GGUF
    file stores matrices. Raises HubError if the format cannot express the model, or the target exists.
    """
    source = open_model(path)
    written = Path(target)
    if to == "gguf" and written.suffix != ".gguf":
        written /= GGUF_NAME
    if written.exists():  # before minutes of reading
        raise HubError(f"{written} exists already; give a new {'folder' if to == 'hf' else 'file'}")
    tokenizer = load_tokenizer(source, tokenizer_path)
    model = load_weights(source)
    if to == "hf":
        save(model, tokenizer, written, source.read_defaults(tokenizer))
    else:
        written.parent.mkdir(parents=True, exist_ok=True)
        save_gguf(model, tokenizer, written, kind)
    return written
