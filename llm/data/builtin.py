"""Corpora with a name: three that come with Python itself, and a small file of Shakespeare's plays."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from llm.data.cache import cache_folder, write_file
from llm.data.corpus import Corpus
from llm.data.errors import DataError
from llm.data.stdlib import stdlib_docstrings, stdlib_files, stdlib_folder

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def python_help() -> Corpus:
    """What `help()` shows: the prose of the language reference, and the docstrings of the standard library.

    One document per topic and per file of the library, no download. A warning says when this Python has no docstrings.
    """
    folder = stdlib_folder()
    docstrings = stdlib_docstrings(folder)
    if not docstrings:
        warnings.warn(
            f"this Python has no library source in {folder}, so the text is its language reference alone, without the "
            "docstrings of the library; with another Python, or your own --data, the model learns more",
            stacklevel=2,
        )
    return Corpus("python-help", [*language_topics(), *docstrings])


def python_docs() -> Corpus:
    """The prose of Python's language reference, as `help("...")` shows it: one document per topic, no download."""
    return Corpus("python-docs", language_topics())


def language_topics() -> list[str]:
    """The topics of the language reference.

    Topics quote each other: "if" is contained word for word in "compound". A topic that mostly repeats longer ones is
    left out. Otherwise text that is held out for validation would also be in the training text.
    """
    from pydoc_data.topics import topics

    # From the longest topic to the shortest, because a short one may be part of a longer one.
    chosen, seen = [], set[str]()
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        paragraphs = topics[name].split("\n\n")
        repeated = sum(len(paragraph) for paragraph in paragraphs if _normalized(paragraph) in seen)
        if repeated < len(topics[name]) / 2:
            chosen.append(name)
            seen.update(map(_normalized, paragraphs))
    return [topics[name] for name in sorted(chosen)]


def _normalized(paragraph: str) -> str:
    """The paragraph without differences of line breaks and indentation."""
    return " ".join(paragraph.split())


def python_stdlib() -> Corpus:
    """The source of the running Python's standard library, one document per file, without its tests."""
    folder = stdlib_folder()
    sources = [path for path in stdlib_files(folder) if _is_utf8(path)]
    if not sources:
        raise DataError(f"this Python has no library source in {folder}; use --data FILE, or another Python")
    return Corpus("python-stdlib", sources)


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def shakespeare() -> Corpus:
    """Tiny Shakespeare (1.1 MB, Andrej Karpathy's char-rnn): downloaded once, checked, and kept in the cache."""
    path = _shakespeare_path()
    if not path.exists():
        write_file(path, _download_shakespeare(path))
    elif not _is_shakespeare(path.read_bytes()):
        raise DataError(f"{path} is not the expected file; delete it to download it again, or use --data FILE")
    return Corpus("shakespeare", [path])


def _shakespeare_path() -> Path:
    return cache_folder() / "shakespeare.txt"


def _download_shakespeare(path: Path) -> bytes:
    import urllib.request  # here, because it imports ssl and much else that no other corpus needs

    try:
        with urllib.request.urlopen(SHAKESPEARE_URL, timeout=30) as response:
            content = response.read()
    except OSError as error:  # urllib's errors and time-outs are all of this kind
        reason = getattr(error, "reason", error)
        raise DataError(
            f"could not download {SHAKESPEARE_URL} ({reason}); put that file at {path}, "
            "or train on a text of your own with --data FILE"
        ) from error
    if not _is_shakespeare(content):
        raise DataError(
            f"{SHAKESPEARE_URL} sent something else than the expected file ({len(content):,} bytes whose SHA-256 is "
            f"not {SHAKESPEARE_SHA256}); put the right file at {path}, or use --data FILE"
        )
    return content


def _is_shakespeare(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHAKESPEARE_SHA256


BUILT_IN = {
    "python-help": python_help,
    "python-docs": python_docs,
    "python-stdlib": python_stdlib,
    "shakespeare": shakespeare,
}


def is_missing_download(data: str) -> bool:
    """Whether `--data` names a corpus that is downloaded when it is opened, because it is not in the cache."""
    return data == "shakespeare" and not _shakespeare_path().exists()
