"""The texts of benchmarks.tokenizer, made from Python's own files: the same in every run with the same Python."""

from __future__ import annotations

import pydoc_data.topics
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MEGABYTE = 1_000_000
# First and last character of an alphabet, length of its longest word, separator of words.
# fmt: off
ALPHABETS = [
    ("а", "я", 10, " "), ("α", "ω", 10, " "), ("ا", "ي", 7, " "), ("א", "ת", 6, " "),
    ("अ", "ह", 6, " "), ("ก", "ฮ", 12, " "), ("ぁ", "ん", 8, "、"), ("ァ", "ヴ", 6, "・"),
    ("一", "龥", 12, "，"), ("가", "힣", 4, " "), ("à", "ÿ", 8, " "), ("😀", "🙏", 3, " "),
]
# fmt: on


def english(size: int = MEGABYTE) -> str:
    """Prose: the topics of `help()`, repeated until they are long enough."""
    text = "\n".join(pydoc_data.topics.topics.values())
    return (text * (size // len(text) + 1))[:size]


def python(size: int = MEGABYTE) -> str:
    return "".join(limited(sources(), size))


def multilingual(size: int = MEGABYTE, seed: int = 1) -> str:
    """Made-up words of many scripts and emoji, `size` bytes or a little more. Words repeat as in real languages."""
    draw = random.Random(seed)
    words = [[made_up(draw, *alphabet[:3]) for _ in range(3000)] for alphabet in ALPHABETS]
    parts, bytes_so_far = [], 0
    while bytes_so_far < size:
        number = draw.randrange(len(ALPHABETS))
        line = [words[number][min(int(draw.paretovariate(0.7)) - 1, 2999)] for _ in range(draw.randrange(5, 30))]
        parts.append(ALPHABETS[number][3].join(line) + draw.choice([".\n", "! ", "?\n", "。", " 42, ", "\n\n"]))
        bytes_so_far += len(parts[-1].encode())
    return "".join(parts)


def made_up(draw: random.Random, first: str, last: str, longest: int) -> str:
    return "".join(chr(draw.randint(ord(first), ord(last))) for _ in range(draw.randint(1, longest)))


def mixed(size: int, data: Path) -> str:
    """Many scripts, prose, Shakespeare where it is available, and Python source."""
    shakespeare = data / "corpora" / "tinyshakespeare.txt"
    parts = [
        multilingual(size // 10),
        english(MEGABYTE // 2),
        shakespeare.read_text("utf-8") if shakespeare.is_file() else "",
    ]
    return "".join(parts) + "".join(limited(sources(), size - sum(len(part.encode()) for part in parts)))


def unseen_words(seed: int = 3) -> str:
    """Words that no other text has. A library that builds tables at its first use builds them for this text."""
    draw = random.Random(seed)
    return " ".join("qzx" + "".join(draw.choices("jkvwz", k=draw.randrange(1, 8))) for _ in range(40_000))


def huge_words(size: int = MEGABYTE, seed: int = 2) -> dict[str, str]:
    draw = random.Random(seed)
    return {
        "a letter": "a" * size,
        "random letters": "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=size)),
        "spaces": " " * size,
    }


def corpus(size: int) -> list[str]:
    """Documents with a total of `size` bytes, or less if there are no more."""
    return list(limited(documents(), size))


def documents() -> Iterator[str]:
    yield from pydoc_data.topics.topics.values()
    yield from sources()


def sources() -> Iterator[str]:
    """Python source: the standard library, then the installed packages."""
    library = Path(sysconfig.get_paths()["stdlib"])
    installed = [Path(entry) for entry in sys.path if entry.endswith("site-packages")]
    for path in (path for folder in [library, *installed] for path in sorted(folder.glob("**/*.py"))):
        if folder_of_packages(path, library):
            continue
        try:
            text = path.read_text("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        yield text.replace("\0", "")


def folder_of_packages(path: Path, library: Path) -> bool:
    """Whether a path in the folder of the standard library belongs to an installed package that is not imported."""
    below = library in path.parents and "site-packages" in path.relative_to(library).parts
    return below and str(library / "site-packages") not in sys.path


def limited(texts: Iterator[str], size: int) -> Iterator[str]:
    """The first `size` bytes of the texts; the last text is cut."""
    for text in texts:
        length = len(text.encode())
        yield text if length <= size else text.encode()[:size].decode(errors="ignore")
        size -= length
        if size <= 0:
            return
