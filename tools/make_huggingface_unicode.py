"""Writes tokenizer/text/huggingface_unicode.py: how Hugging Face's `tokenizers` classifies each character.

    python tools/make_huggingface_unicode.py

The normalizers of that library have old Unicode tables of their own. This program recovers them: it gives the library
each character, and looks at what comes back.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import regex

# Characters that have had a decomposition into two others since Unicode 13 or 16, and those two others. The tables of
# the library have none of them.
NEW_COMPOSED = [0x11938, 0x105C9, 0x105E4, 0x11383, 0x11385, 0x1138E, 0x11391, 0x113C5, 0x113C7, 0x113C8]
NEW_COMPOSED += [*range(0x16121, 0x16129), *range(0x16D68, 0x16D6B)]
NEW_PARTS = [0x11930, 0x105D2, 0x105DA, 0x113B8, 0x113BB, 0x113C2, 0x113C9, 0x1611E, 0x1611F, 0x16120, 0x16D67]

TEMPLATE = '''"""How the normalizers of Hugging Face's `tokenizers` classify characters, as ranges of code points.

Their Unicode tables are old: BERT's are of version 8, those of NFC and the other forms of version 9.
Written by tools/make_huggingface_unicode.py: change it there.
"""

{tables}
'''

CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def tables() -> dict[str, str]:
    import tokenizers

    normalizers = tokenizers.normalizers
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    clean = normalizers.BertNormalizer(**off | {"clean_text": True}).normalize_str
    strip = normalizers.BertNormalizer(**off | {"strip_accents": True}).normalize_str
    words = tokenizers.pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    decompose = normalizers.NFD().normalize_str
    mark = regex.compile(r"\P{Canonical_Combining_Class=0}")

    def is_new(character: str) -> bool:
        """Whether the library does not know the character as a mark, or as one that has a decomposition."""
        if ord(character) in NEW_COMPOSED or ord(character) in NEW_PARTS:
            return True
        # NFD puts marks into canonical order. It does not know a mark that it leaves after U+0334 and after U+0345.
        after, before = f"a{character}\u0334", f"a\u0345{character}"
        return bool(mark.match(character)) and (decompose(after), decompose(before)) == (after, before)

    return {
        "BERT_CONTROL": ranges(lambda c: clean(f"a{c}b") == "ab"),
        "BERT_MARK": ranges(lambda c: strip(f"a{c}b") == "ab"),
        "BERT_PUNCTUATION": ranges(lambda c: len(words(f"a{c}b")) == 3),
        "NEW_MARK": ranges(is_new),
    }


def ranges(belongs: Callable[[str], bool]) -> str:
    """The characters for which `belongs` is true, as ranges of code points in hexadecimal: "41 61-7A"."""
    return " ".join(f"{a:X}-{b:X}" if a < b else f"{a:X}" for a, b in runs(ord(c) for c in CHARACTERS if belongs(c)))


def runs(codes: Iterable[int]) -> list[list[int]]:
    """The first and the last of each run of consecutive numbers."""
    found: list[list[int]] = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def main() -> None:
    parts = [f'{name} = """\n{textwrap.fill(text, 118)}\n"""' for name, text in tables().items()]
    path = Path(__file__).parents[1] / "tokenizer" / "text" / "huggingface_unicode.py"
    path.write_text(TEMPLATE.format(tables="\n\n".join(parts)), encoding="utf-8")


if __name__ == "__main__":
    main()
