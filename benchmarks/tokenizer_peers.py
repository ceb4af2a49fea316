"""The libraries of benchmarks.tokenizer, and how each does the same work.

Some measurements need a new process: `python -m benchmarks.tokenizer_peers WORK LIBRARY ARGUMENTS` prints a line of
JSON. All libraries work on one thread and return arrays of ids if they can.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.competitor import peak_memory

ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
LIBRARIES = {"tiktoken": "tiktoken", "tokenizers": "tokenizers", "rustbpe": "rustbpe", "ours": "numpy"}
ENCODINGS = {"gpt2": "r50k_base", "cl100k": "cl100k_base", "o200k": "o200k_base"}
MODULES = {
    "ours": ["tokenizer.training.learn", "tokenizer.split.pretokenizer"],
    "textbook": ["tokenizer.bpe.textbook", "tokenizer.split.pretokenizer"],
}
BETWEEN = "\0"  # separates the documents of a corpus in its file
BLOCK = 1 << 20  # characters of the file that are read at a time


class Coder(NamedTuple):
    """A tokenizer with a vocabulary."""

    encode: Callable[[str], Any]
    decode: Callable[[Any], str]
    encode_batch: Callable[[list[str]], Any]
    encode_file: Callable[[Path], Any] | None = None  # None: read the file, then encode its text


def versions() -> dict[str, str]:
    """The versions of the libraries that are installed."""
    found = {}
    for library in dict.fromkeys([*LIBRARIES.values(), "regex"]):
        try:
            found[library] = version(library)
        except ModuleNotFoundError:
            continue
    return found


# --- encoding and decoding --------------------------------------------------------------------------------------------


def load(library: str, encoding: str, data: Path) -> Coder:
    """The tokenizer of a library.

    Raises ModuleNotFoundError if the library is not installed, FileNotFoundError if it does not have the vocabulary.
    """
    return CODERS[library](encoding, data / "tokenizers")


def load_ours(encoding: str, folder: Path) -> Coder:
    from tokenizer import Tokenizer
    from tokenizer.split.chunks import chunks_of_file

    found = Tokenizer.load(folder / f"{ENCODINGS[encoding]}.tiktoken")

    def encode_path(path: Path) -> Any:
        with open(path, encoding="utf-8", newline="") as file:
            return found.encode_batch_array(chunks_of_file(file), disallowed_special=())[0]

    return Coder(
        lambda text: found.encode_array(text, disallowed_special=()),
        found.decode,
        lambda texts: found.encode_batch(texts, disallowed_special=()),
        encode_path,
    )


def load_tiktoken(encoding: str, folder: Path) -> Coder:
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tiktoken_ext.openai_public import r50k_pat_str

    from tokenizer.split.pretokenizer import PATTERNS

    ranks = load_tiktoken_bpe(str(folder / f"{ENCODINGS[encoding]}.tiktoken"))
    pattern = {"gpt2": r50k_pat_str, "cl100k": PATTERNS["gpt4"], "o200k": PATTERNS["o200k"]}[encoding]
    found = tiktoken.Encoding(encoding, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Coder(
        lambda text: found.encode_to_numpy(text, disallowed_special=()),
        found.decode,
        lambda texts: found.encode_batch(texts, num_threads=1, disallowed_special=()),
    )


def load_tokenizers(encoding: str, folder: Path) -> Coder:
    import tokenizers

    path = folder / encoding / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"tokenizers has no file for {encoding}")
    found = tokenizers.Tokenizer.from_file(str(path))
    return Coder(
        lambda text: found.encode(text, add_special_tokens=False).ids,
        lambda ids: found.decode(ids, skip_special_tokens=False),
        lambda texts: [each.ids for each in found.encode_batch(texts, add_special_tokens=False)],
    )


def load_textbook(encoding: str, folder: Path) -> Coder:
    """The textbook algorithm: in each word alone, merge the pair of lowest rank until there is none."""
    from tokenizer import Tokenizer
    from tokenizer.bpe.merge_table import merge_table, merge_word
    from tokenizer.split.pretokenizer import Pretokenizer

    found = Tokenizer.load(folder / f"{ENCODINGS[encoding]}.tiktoken")
    table = merge_table(found.tokens, found.merges)
    byte_ids = [found.id_of(bytes([byte])) for byte in range(256)]
    split = Pretokenizer(found.pattern).split

    def encode(text: str) -> list[int]:
        return [i for word in split(text) for i in merge_word([byte_ids[byte] for byte in word.encode()], table)]

    return Coder(encode, found.decode, lambda texts: list(map(encode, texts)))


CODERS: dict[str, Callable[[str, Path], Coder]] = {
    "ours": load_ours,
    "tiktoken": load_tiktoken,
    "tokenizers": load_tokenizers,
    "textbook": load_textbook,
}


# --- training with the pattern of GPT-2: returns the number of tokens -------------------------------------------------


def train_ours(texts: Iterator[str], size: int, ties: str = "huggingface") -> int:
    from tokenizer.split.pretokenizer import Pretokenizer
    from tokenizer.training.learn import learn

    return len(learn(texts, Pretokenizer("gpt2"), size, ties=ties).tokens)


def train_tokenizers(texts: Iterator[str], size: int) -> int:
    import tokenizers

    found = tokenizers.Tokenizer(tokenizers.models.BPE())
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    found.train_from_iterator(
        texts, tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    return found.get_vocab_size()


def train_rustbpe(texts: Iterator[str], size: int) -> int:
    import rustbpe

    from tokenizer.split.pretokenizer import PATTERNS

    found = rustbpe.Tokenizer()
    found.train_from_iterator(texts, size, pattern=PATTERNS["gpt2"])
    return found.vocab_size


def train_textbook(texts: Iterator[str], size: int) -> int:
    from tokenizer.bpe.textbook import TextbookBPE
    from tokenizer.split.pretokenizer import PATTERNS

    textbook = TextbookBPE(PATTERNS["gpt2"])
    textbook.train(texts, size)
    return len(textbook.tokens)


TRAINERS: dict[str, Callable[[Iterator[str], int], int]] = {
    "ours": train_ours,
    "tokenizers": train_tokenizers,
    "rustbpe": train_rustbpe,
    "textbook": train_textbook,
}


# --- the work of a new process ----------------------------------------------------------------------------------------


def train(library: str, corpus: str, size: str) -> dict[str, float]:
    """The CPU seconds of reading the corpus and learning from it, and the memory that this took, in MB."""
    for name in MODULES.get(library, [library]):
        importlib.import_module(name)
    before = peak_memory()
    began = time.process_time()
    learned = TRAINERS[library](documents(corpus), int(size))
    return {"seconds": time.process_time() - began, "memory": max(1, peak_memory() - before) / 1e6, "tokens": learned}


def documents(path: str) -> Iterator[str]:
    """The documents of a corpus, which need not fit into memory."""
    rest = ""
    with open(path, encoding="utf-8", newline="") as file:
        while block := file.read(BLOCK):
            *whole, rest = (rest + block).split(BETWEEN)
            yield from whole
    yield rest


def encode_file(library: str, encoding: str, data: str, path: str) -> dict[str, float]:
    """The seconds of the first encoding of a process, and of everything from the import on."""
    began = time.perf_counter()
    coder = load(library, encoding, Path(data))
    loaded = time.perf_counter()
    ids = coder.encode_file(Path(path)) if coder.encode_file else coder.encode(Path(path).read_text("utf-8"))
    ended = time.perf_counter()
    return {"seconds": ended - loaded, "whole": ended - began, "tokens": len(ids)}


def start(library: str, encoding: str, data: str) -> dict[str, float]:
    """The seconds of the import, of loading the vocabulary, and of the first encoding.

    NumPy and regex are imported before, because most programs have them anyway.
    """
    import numpy  # noqa: F401
    import regex  # noqa: F401

    began = time.perf_counter()
    __import__("tokenizer" if library == "ours" else library)
    imported = time.perf_counter()
    coder = load(library, encoding, Path(data))
    loaded = time.perf_counter()
    coder.encode("the first words, long enough for every table to be needed. " * 1000)
    return {"import": imported - began, "load": loaded - imported, "first": time.perf_counter() - loaded}


WORKS: dict[str, Callable[..., dict[str, float]]] = {"train": train, "encode-file": encode_file, "start": start}

if __name__ == "__main__":
    try:
        print(json.dumps(WORKS[sys.argv[1]](*sys.argv[2:])))
    except (ModuleNotFoundError, FileNotFoundError) as error:
        sys.exit(f"{error}")
