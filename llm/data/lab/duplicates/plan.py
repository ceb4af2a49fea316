"""The parameters of MinHash with LSH, and how likely they are to find a pair: 14 bands of 8 rows, as for FineWeb."""

from __future__ import annotations

from dataclasses import dataclass

from llm.data.errors import DataError

WORD_64, WORD_32 = 2**64, 2**32
MOST_HASHES = 10_000  # FineWeb has 112, RefinedWeb 9,000


@dataclass(frozen=True)
class Plan:
    """How near duplicates are looked for."""

    bands: int = 14
    """Two documents are near duplicates if their signatures agree in one of so many bands."""
    rows: int = 8
    """Numbers in a band. The signature of a document has bands x rows numbers."""
    words: int = 5
    """Documents are compared by their runs of so many words."""
    seed: int = 1
    """For the hash functions."""

    def __post_init__(self) -> None:
        for name in ("bands", "rows", "words"):
            if getattr(self, name) < 1:
                raise DataError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.hashes > MOST_HASHES:
            raise DataError(f"--bands times --rows must be at most {MOST_HASHES:,}, got {self.hashes:,}")

    @property
    def hashes(self) -> int:
        return self.bands * self.rows

    @property
    def threshold(self) -> float:
        """About the similarity at which the probability of detection rises most steeply."""
        return (1 / self.bands) ** (1 / self.rows)

    def detection(self, similarity: float) -> float:
        """The probability that a pair of documents of this Jaccard similarity is found."""
        # All rows of a band agree with the probability s^r, and not in any band with (1 - s^r)^b.
        return 1 - (1 - similarity**self.rows) ** self.bands

    def functions(self) -> list[tuple[int, int]]:
        """(a, b) for each hash function x -> (x ^ a) * b mod 2^32, where b is odd: so it is a permutation."""
        numbers = [mix(self.seed % WORD_64 + mix(number)) >> 32 for number in range(1, 2 * self.hashes + 1)]
        return [(a, b | 1) for a, b in zip(numbers[::2], numbers[1::2])]


def mix(x: int) -> int:
    """A permutation of the numbers below 2^64 after which each bit depends on all bits: the end of MurmurHash3."""
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD % WORD_64
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 % WORD_64
    return x ^ x >> 33
