"""The benchmarks of the lab run from end to end, on little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.lab import documents as corpus
from benchmarks.minhash import pair, recall_and_precision
from llm.data.lab.duplicates import textbook

ROOT = Path(__file__).parents[2]


def run(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parity
def test_near_duplicates_beside_datasketch() -> None:
    pytest.importorskip("datasketch", reason="needs datasketch")
    quick = ["--words", "20", "--total", "400", "--pairs", "50", "--rounds", "1", "--seconds", "0.01", "--json"]
    speed, quality = map(json.loads, run("benchmarks.minhash", *quick))
    assert speed["documents"] == 20 and speed["found"] == 2 and not speed["skipped"]
    assert speed["per_second"].keys() == {"ours", "datasketch", "datasketch, crc32"}
    assert [row["found"] for row in quality["rows"]][-1] == quality["rows"][-1]["predicted"] == 1


@pytest.mark.slow
def test_a_corpus_through_the_lab(tmp_path: Path) -> None:
    words = ["--gigabytes", "0.001", "--folder", str(tmp_path), "--preset", "none", "--json"]
    clean, dedup = map(json.loads, run("benchmarks.lab", *words))
    assert clean["documents"]["kept"] == dedup["documents"]["in"] > dedup["documents"]["kept"] > 0
    assert clean["bytes"] >= 1e6 and clean["peak"] > 1e7


def test_pairs_have_the_similarity_that_is_asked_for() -> None:
    import numpy as np

    one, other = pair(0.8, 90, np.random.default_rng(0))
    sets = (set(one.split()), set(other.split()))
    assert textbook.jaccard(*sets) == pytest.approx(0.8, abs=0.01)


def test_recall_is_of_what_is_alike_and_precision_of_what_is_found() -> None:
    rows = [{"similarity": s, "found": f} for s, f in ((0.5, 0.25), (0.8, 0.5), (1.0, 1.0))]
    assert recall_and_precision(rows, "found") == {"recall": 0.75, "precision": pytest.approx(1.5 / 1.75)}


def test_the_corpus_has_copies() -> None:
    import numpy as np

    found = corpus(np.random.default_rng(0))
    texts = [next(found) for _ in range(100)]
    assert 80 < len(set(texts)) < 99
