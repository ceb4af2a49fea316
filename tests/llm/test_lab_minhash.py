"""MinHash: the fast path gives what a page of sets and loops gives; estimates and detection are as predicted."""

from __future__ import annotations

import sys
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.data.lab.duplicates import shingles as fast
from llm.data.lab.duplicates import textbook
from llm.data.lab.duplicates.minhash import band_keys, signatures, similarity
from llm.data.lab.duplicates.plan import Plan, mix
from llm.data.lab.duplicates.union_find import UnionFind

# Texts of a few words that repeat, with all that normalisation has to do, and any characters at all.
WORDS = st.sampled_from(
    ["the", "The", "rain", "in", "12", "3.5", "naïve", "ΟΔΟΣ", "日本語", "ไทย", "!", "so\u00adft", "İ"]
)
TEXTS = st.one_of(
    st.lists(WORDS, max_size=40).map(" ".join), st.text(max_size=30), st.characters().map(lambda c: c * 3)
)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that texts of a test are spread over several blocks, and several texts are in one."""
    monkeypatch.setattr(fast, "BLOCK", 64)


def shingle_sets(texts: list[str], size: int) -> list[set[int]]:
    sets: list[set[int]] = [set() for _ in texts]
    for first, shingles, counts in fast.shingle_blocks(texts, size):
        assert counts.sum() == len(shingles)
        for i, part in enumerate(np.split(shingles, np.cumsum(counts)[:-1]), first):
            sets[i] |= set(part.tolist())
    return sets


@given(st.lists(TEXTS, max_size=8), st.integers(1, 6))
def test_shingles_are_those_of_the_textbook(texts: list[str], size: int) -> None:
    assert shingle_sets(texts, size) == [textbook.shingles(text, size) for text in texts]


@given(st.lists(TEXTS, max_size=8), st.builds(Plan, *[st.integers(1, 4)] * 3, st.integers(-(2**70), 2**70)))
def test_signatures_are_those_of_the_textbook(texts: list[str], plan: Plan) -> None:
    found = signatures(texts, plan)
    assert found.tolist() == [textbook.signature(textbook.shingles(text, plan.words), plan) for text in texts]


def test_words_that_differ_have_different_hashes() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0é語"
    words = ["".join(word) for length in (1, 2, 3) for word in product(letters, repeat=length)]
    words += ["".join(word) for word in permutations("abcdefg")]
    words = sorted({word for text in words for word in textbook.words_of(text)})
    hashes, _ = fast.hash_words(words)
    assert len(np.unique(hashes)) == len(words) == len(hashes)


def test_every_character_is_simplified_as_in_the_textbook() -> None:
    becomes, _ = fast.tables()
    expected = [ord(textbook.simplified(chr(i)) or chr(0)) or fast.DELETED for i in range(sys.maxunicode + 1)]
    assert becomes.tolist() == expected


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_an_array_is_mixed_as_its_numbers_are(numbers: list[int]) -> None:
    assert fast.mixed(np.array(numbers, np.uint64)).tolist() == list(map(mix, numbers))


@given(st.lists(TEXTS, min_size=1, max_size=8), st.integers(0, 2**32), st.integers(1, 4))
def test_keys_are_equal_where_bands_are_equal(texts: list[str], seed: int, rows: int) -> None:
    plan = Plan(bands=6, rows=rows, seed=seed)
    numbers = signatures(texts, plan)
    keys, bands = band_keys(numbers, plan), numbers.reshape(len(texts), plan.bands, plan.rows)
    agree = (bands[:, None] == bands[None]).all(-1)  # (D, D, bands)
    assert ((keys[:, :, None] == keys[:, None]) == np.moveaxis(agree, -1, 0)).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A short text", "a SHORT   text!"),
        ("Café, 12 May 2026", "cafe 7 may 1999"),
        ("!!!", "!!!"),
        ("", ""),
        ("ΟΔΟΣ", "οδος"),
        ("co\u00adoperate", "cooperate"),
    ],
)
def test_what_differs_in_capitals_accents_punctuation_and_numbers_is_alike(one: str, other: str) -> None:
    assert textbook.jaccard(textbook.shingles(one, 5), textbook.shingles(other, 5)) == 1


@pytest.mark.parametrize(("one", "other"), [("!!!", "???"), ("", "!"), ("yes", "no"), ("a b", "b a"), ("abc", "acb")])
def test_short_texts_that_differ_are_not_alike(one: str, other: str) -> None:
    assert textbook.jaccard(textbook.shingles(one, 5), textbook.shingles(other, 5)) == 0


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    assert textbook.words_of("机器学习 is fun") == ["机", "器", "学", "习", "is", "fun"]


# --- the estimate and the probability of detection --------------------------------------------------------------------


def planted(jaccard: float, pairs: int, size: int, rng: np.random.Generator) -> list[str]:
    """Pairs of texts of `size` different words each, that have this similarity in single words."""
    common = round(2 * size * jaccard / (1 + jaccard))
    texts = []
    for _ in range(pairs):
        words = [f"w{number}x" for number in rng.integers(0, 2**62, 2 * size - common)]  # a number alone would be "0"
        texts += [" ".join(words[:size]), " ".join(words[size - common :])]
    return [text.translate(str.maketrans("0123456789", "abcdefghij")) for text in texts]


@pytest.fixture(scope="module")
def pairs() -> dict[float, np.ndarray]:
    """Similarity -> signatures (pairs, 2, H)."""
    rng, plan = np.random.default_rng(17), Plan(words=1)
    return {s: signatures(planted(s, 200, 90, rng), plan).reshape(200, 2, plan.hashes) for s in (0.5, 0.8, 0.9, 1.0)}


def test_the_estimate_has_no_bias_and_the_spread_that_theory_gives(pairs: dict[float, np.ndarray]) -> None:
    for s, numbers in pairs.items():
        estimates = similarity(numbers[:, 0], numbers[:, 1])
        error = (s * (1 - s) / numbers.shape[-1]) ** 0.5  # of one estimate
        # Four standard errors of the mean, and 0.006 by which a whole number of common words misses the similarity.
        assert estimates.mean() == pytest.approx(s, abs=4 * error / 200**0.5 + 0.006)
        assert estimates.std() == pytest.approx(error, rel=0.25)  # the spread of 200 values is known to 5%: five times


def test_pairs_are_found_as_often_as_predicted(pairs: dict[float, np.ndarray]) -> None:
    plan = Plan(words=1)
    for s, numbers in pairs.items():
        keys = band_keys(numbers.reshape(-1, plan.hashes), plan).reshape(plan.bands, -1, 2)
        found = (keys[..., 0] == keys[..., 1]).any(0).mean()
        expected = plan.detection(s)
        error = (expected * (1 - expected) / 200) ** 0.5
        assert found == pytest.approx(expected, abs=4 * error + 0.03)  # 0.03: the same 0.006 times the steepest slope


def test_the_probabilities_of_fineweb_and_refinedweb() -> None:
    similarities = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
    fineweb = [Plan().detection(s) for s in similarities]
    assert fineweb == pytest.approx([0.053, 0.211, 0.565, 0.772, 0.924, 0.988, 1.0], abs=6e-4)  # as printed there
    refinedweb = [Plan(bands=20, rows=450).detection(s) for s in (0.9, 1.0)]
    assert refinedweb == pytest.approx([0, 1], abs=6e-4)
    assert Plan().threshold == pytest.approx(0.72, abs=0.005)


@pytest.mark.control
def test_functions_of_numbers_that_are_not_hashed_are_biased() -> None:
    """Why texts are hashed first: shingles that are consecutive numbers, as other libraries take them."""
    a, b = np.arange(0, 200, dtype=np.uint32), np.arange(100, 300, dtype=np.uint32)  # Jaccard 1/3
    multipliers = [np.uint32(2 * k + 1) for k in range(2000)]
    equal = np.mean([(a * m).min() == (b * m).min() for m in multipliers])
    assert abs(equal - 1 / 3) > 0.02


@pytest.mark.parametrize("name", ["bands", "rows", "words"])
def test_a_plan_without_a_part_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"--{name} must be at least 1, got 0"):
        Plan(**{name: 0})


# --- union-find -------------------------------------------------------------------------------------------------------


@given(st.data(), st.integers(1, 30))
def test_the_root_of_a_cluster_is_its_first_member(data: st.DataObject, size: int) -> None:
    numbers = st.integers(0, size - 1)
    edges = data.draw(st.lists(st.tuples(numbers, numbers), max_size=40))
    clusters = UnionFind(size)
    for part in (edges[::2], edges[1::2]):
        clusters.join(*np.array(part, int).reshape(-1, 2).T)
    expected = list(range(size))
    for _ in range(size):  # labels spread along the edges until nothing changes
        for a, b in edges:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert clusters.roots().tolist() == expected
