"""Byte pairs on a language whose parts are known: 15 syllables and 200 words. Which parts are found?

Run it from the root of the repository: python -m docs.course.experiments.10_byte_pairs
"""

import random

from tokenizer.bpe.textbook import TextbookBPE
from tools.figures import chart

rng = random.Random(10)
SYLLABLES = [consonant + vowel for consonant in "bklmr" for vowel in "aio"]


def words(count):
    return ["".join(rng.choices(SYLLABLES, k=rng.choice([2, 3, 4]))) for _ in range(count)]


def text(vocabulary, length):
    """Some words are frequent and most are rare, as in every language: the word of rank r has the weight 1 / r."""
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    return " ".join(rng.choices(vocabulary, weights, k=length))


known, unknown = words(200), words(200)
training = text(known, 4000)
others = {"the same words": text(known, 500), "other words": text(unknown, 500)}
others["letters in any order"] = "".join(rng.sample(others["the same words"], len(others["the same words"])))

bpe = TextbookBPE()
bpe.train([training], 256 + 200)
print("learned:", *[bpe.tokens[256 + i].decode().replace(" ", "_") for i in (*range(12), 50, 100, 190)])

curves = {name: [] for name in others}
for merges in range(0, 201, 10):
    part = TextbookBPE()  # the first merges alone
    part.tokens, part.merges = bpe.tokens, dict(list(bpe.merges.items())[:merges])
    for name, other in others.items():
        curves[name].append(round(len(other) / len(part.encode(other)), 2))
for name, curve in curves.items():
    print(f"bytes per token, {name}:", *(f"{curve[i // 10]:.2f} after {i}" for i in (0, 20, 50, 100, 200)), sep="  ")


def figure() -> str:
    points = {name: list(zip(range(0, 201, 10), curve)) for name, curve in curves.items()}
    axes = {"x": ("merges", range(0, 201, 50)), "y": ("bytes per token", range(0, 7))}
    return chart.draw("What merges do to three texts", points, **axes)
