"""The same model in another format: a folder of Hugging Face, or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llm.hub.errors import HubError
from llm.hub.read import load_tokenizer
from llm.hub.save import save
from llm.hub.save_gguf import Kind, save_gguf
from llm.hub.source import open_model
from llm.hub.tuned import merged_model, plain_model
from llm.model.classifier import Classifier

Format = Literal["hf", "gguf"]
GGUF_NAME, GGUF_SUFFIX = "model.gguf", ".gguf"


def convert(
    path: str, target: str, to: Format | None = None, kind: Kind | None = None, tokenizer_path: str | None = None
) -> Path:
    """Write the model at `path`, of any kind that `load` takes, again. Returns what was written.

    `target`: the new folder, or a name that ends with .gguf: that of a GGUF file. `to`: without it, the name decides.
    `kind`: how a GGUF file stores matrices, F16 unless given. Raises HubError if the format cannot express the model,
    or the target exists.
    """
    written = Path(target)
    to = to or ("gguf" if written.suffix == GGUF_SUFFIX else "hf")
    if to == "hf" and kind is not None:
        raise HubError(f"--kind {kind} is for GGUF files; add --to gguf, or leave it out")
    source = open_model(path)
    if to == "gguf" and written.suffix != GGUF_SUFFIX:
        written /= GGUF_NAME
    if written.exists():  # before minutes of reading
        raise HubError(f"{written} exists already; give a new {'folder' if to == 'hf' else 'file'}")
    tokenizer = load_tokenizer(source, tokenizer_path)
    model = merged_model(source) if to == "hf" else plain_model(source)
    if isinstance(model, Classifier):  # which does not generate
        save(model, tokenizer, written)
    elif to == "hf":
        save(model, tokenizer, written, source.read_defaults(tokenizer))
    else:
        save_gguf(model, tokenizer, written, kind or "F16")
    return written
