"""Near duplicates by MinHash and LSH, beside datasketch: documents a second on one core; and whether estimates and
detection are as predicted.

    python -m benchmarks.minhash
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import machine, tokenizer_texts
from benchmarks.comparison import Spread, check_same, progress, ratio_summary, start_competitors, take_turns
from benchmarks.task import DECODING, Task
from llm.data.lab.duplicates.minhash import band_keys, signatures, similarity
from llm.data.lab.duplicates.plan import Plan

FUNCTIONS = {
    "ours": "near_duplicates:ours",
    "datasketch": "near_duplicates:datasketch",
    "datasketch, crc32": "near_duplicates:datasketch_crc32",
}
SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
NEAR = 0.8  # pairs at least this similar are those that should be found
WORDS = 300  # of the documents of a pair


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare the search for near duplicates with datasketch, in turns, on one core."""

    threads: int | None = 1
    """How many cores to use. Both libraries use one."""
    words: str = "50,300,3000"
    """The lengths of documents, separated by commas."""
    total: int = 300_000
    """Words of all documents together."""
    pairs: int = 1000
    """How many pairs of each similarity are planted."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.minhash")
    results = [*speeds(options.begin(), options), quality(options)]
    print("\n".join(map(json.dumps, results)) if options.json else table(results), flush=True)


def speeds(threads: int, options: Options) -> Iterator[dict[str, Any]]:
    """How long each library takes, for documents of each length. Raises Mismatch if they find different numbers."""
    settings = machine.environment(options.blas, threads)
    for words in map(int, options.words.split(",")):
        texts = documents(max(10, options.total // words), words)
        with tempfile.TemporaryDirectory() as name:
            Task(Path(name), DECODING["smallest"]).save({}, np.zeros(0))
            (Path(name) / "texts.json").write_text(json.dumps(texts))
            with start_competitors(FUNCTIONS, Path(name), settings) as (competitors, skipped):
                found = check_same(competitors, 1, "found", 0)
                times = take_turns(competitors, options.rounds, options.seconds, ("seconds", "signing"))
                libraries = [each.libraries for each in competitors]
        yield {
            "words": words,
            "documents": len(texts),
            "found": found["ours"][0],
            "machine": machine.describe(libraries, settings, threads),
            "per_second": {n: len(texts) / Spread.of(values).median for n, values in times["seconds"].items()},
            "skipped": skipped,
            **ratio_summary(times["seconds"]),
            "signing": ratio_summary(times["signing"]),
        }


def documents(count: int, words: int) -> list[str]:
    """Texts of words drawn from English prose, as often as they are in it. Every tenth is a copy of another."""
    rng = np.random.default_rng(1)
    known = [word for word in tokenizer_texts.english().lower().split() if word.isascii() and word.isalpha()]
    texts = [" ".join(known[i] for i in rng.integers(0, len(known), words)) for _ in range(count)]
    return [texts[i - 9] if i % 10 == 9 else text for i, text in enumerate(texts)]


# --- is it right? -----------------------------------------------------------------------------------------------------


def quality(options: Options) -> dict[str, Any]:
    """Pairs of documents of known similarity: the estimates, and how many are found."""
    rng, plan, rows = np.random.default_rng(2), Plan(words=1), []
    for s in SIMILARITIES:
        progress(f"pairs of similarity {s}")
        texts = [text for _ in range(options.pairs) for text in pair(s, WORDS, rng)]
        s = in_common(s, WORDS) / (2 * WORDS - in_common(s, WORDS))  # as near to it as whole numbers of words allow
        signed = signatures(texts, plan)
        estimates = similarity(signed[::2], signed[1::2])
        keys = band_keys(signed, plan)
        rows.append(
            {
                "similarity": s,
                "bias": float(estimates.mean() - s),
                "spread": float(estimates.std()),
                "predicted_spread": float(np.sqrt(s * (1 - s) / plan.hashes)),
                "found": float((keys[:, ::2] == keys[:, 1::2]).any(0).mean()),
                "predicted": plan.detection(s),
            }
        )
    progress("")
    return {
        "pairs": options.pairs,
        "rows": rows,
        **recall_and_precision(rows, "found"),
        "expected": recall_and_precision(rows, "predicted"),
    }


def pair(similarity: float, words: int, rng: np.random.Generator) -> tuple[str, str]:
    """Two documents of different words with this Jaccard similarity."""
    common = in_common(similarity, words)
    letters = rng.integers(97, 123, (2 * words - common, 12), dtype=np.uint8)
    made_up = [row.tobytes().decode() for row in letters]
    return " ".join(made_up[:words]), " ".join(made_up[words - common :])


def in_common(similarity: float, words: int) -> int:
    """How many words two documents with this similarity have in common, each of `words` different words."""
    return round(2 * words * similarity / (1 + similarity))


def recall_and_precision(rows: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Of the pairs that are alike, how many are found; of those that are found, how many are alike."""
    alike = [row[key] for row in rows if row["similarity"] >= NEAR]
    return {"recall": sum(alike) / len(alike), "precision": sum(alike) / sum(row[key] for row in rows)}


# --- the table --------------------------------------------------------------------------------------------------------


def table(results: list[dict[str, Any]]) -> str:
    *times, right = results
    lines = [*times[0]["machine"], "", "documents a second on one core, and how many times as fast ours is"]
    for result in times:
        lines.append(
            f"{result['documents']:,} documents of {result['words']:,} words, {result['found']:,.0f} duplicates"
        )
        for name, speed in result["per_second"].items():
            lines.append(f"    {name:<18} {speed:>10,.0f}{ratio_of(result, name)}")
        lines += [f"    {name} did not take part: {why}" for name, why in result["skipped"].items()]
    lines += ["", f"{right['pairs']:,} pairs of each similarity, {Plan().hashes} hashes"]
    lines.append("similarity    bias (error)      spread (theory)     found (predicted)")
    for row in right["rows"]:
        error = row["predicted_spread"] / right["pairs"] ** 0.5
        lines.append(
            f"{row['similarity']:<10.2f} {row['bias']:+.4f} ({error:.4f})   {row['spread']:.4f} "
            f"({row['predicted_spread']:.4f})     {row['found']:.3f} ({row['predicted']:.3f})"
        )
    expected = right["expected"]
    lines.append(
        f"pairs of at least {NEAR}: recall {right['recall']:.3f} (predicted {expected['recall']:.3f}), "
        f"precision {right['precision']:.3f} (predicted {expected['precision']:.3f})"
    )
    return "\n".join([*lines, ""])


def ratio_of(result: dict[str, Any], name: str) -> str:
    if name not in result["ratio"]:
        return ""
    spread = result["ratio_spread"][name]
    signing = result["signing"]["ratio"][name]
    return f"   {spread['median']:.1f} [{spread['least']:.1f}, {spread['most']:.1f}]; signatures alone {signing:.1f}"


if __name__ == "__main__":
    machine.run(main, "benchmarks.minhash")
