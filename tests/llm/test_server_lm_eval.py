"""lm-eval's `local-completions` scores SmolLM2 over HTTP as lm-eval itself does with transformers.

lm-eval gets no tokenizer: it asks the server for the tokens of a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("lm_eval")
pytest.importorskip("aiohttp")
pytest.importorskip("tenacity")

from llm.inference.model_choice import load_other
from tests.llm.servers import listening, small_service
from tests.llm.smollm2 import smollm2_path

pytestmark = [pytest.mark.slow, pytest.mark.shared]
ITEMS = 60  # that the golden values have


@pytest.fixture(scope="module")
def lm() -> Iterator[Any]:
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    service = small_service(load_other(str(smollm2_path()), None, "widened", "cpu"), slots=8, context=2048)
    with listening(service) as port:
        url = f"http://127.0.0.1:{port}/v1/completions"
        yield LocalCompletionsAPI(base_url=url, model="smollm2", batch_size=8, num_concurrent=1, max_retries=1)


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> Any:
    return json.loads((shared_data / "tasks" / "golden_smollm2.json").read_text())


def scores(lm: Any, pairs: list[tuple[str, str]]) -> list[tuple[float, bool]]:
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    return lm.loglikelihood(requests, disable_tqdm=True)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[:ITEMS]]


def test_lambada(lm: Any, golden: Any, shared_data: Path) -> None:
    texts = [row["text"] for row in rows(shared_data / "tasks" / "lambada_2000.jsonl")]
    pairs = [(" ".join(text.split(" ")[:-1]), " " + text.split(" ")[-1]) for text in texts]
    results = scores(lm, pairs)
    logprobs = np.array([logprob for logprob, _ in results])
    expected = golden["lambada"]
    # Both compute in float32, with sums in another order; the golden values have six decimals.
    assert np.allclose(logprobs, expected["loglikelihoods"], rtol=0, atol=2e-3)
    assert [is_greedy for _, is_greedy in results] == expected["greedy"]
    assert np.isclose(np.exp(-logprobs.mean()), expected["perplexity"], rtol=1e-4)


def test_hellaswag(lm: Any, golden: Any, shared_data: Path) -> None:
    documents = rows(shared_data / "tasks" / "hellaswag_val_2000.jsonl")
    pairs = [(clean(row["query"]), " " + clean(ending)) for row in documents for ending in row["endings"]]
    logprobs = np.array([logprob for logprob, _ in scores(lm, pairs)]).reshape(ITEMS, 4)
    expected = golden["hellaswag"]
    assert np.allclose(logprobs, expected["loglikelihoods"], rtol=0, atol=2e-3)
    lengths = np.array([len(clean(ending)) for row in documents for ending in row["endings"]]).reshape(ITEMS, 4)
    labels = [row["label"] for row in documents]
    assert np.isclose(np.mean(logprobs.argmax(1) == labels), expected["acc"])
    assert np.isclose(np.mean((logprobs / lengths).argmax(1) == labels), expected["acc_norm"])


def test_generation_until_a_string(lm: Any) -> None:
    from lm_eval.api.instance import Instance

    until = ["\n", "Question:", "</s>", "<|im_end|>", "<|endoftext|>"]
    context = "The capital of France is Paris.\nThe capital of Italy is"
    (text,) = lm.generate_until(
        [Instance("generate_until", {}, (context, {"until": until, "max_gen_toks": 30}), 0)], disable_tqdm=True
    )
    assert text.startswith(" Rome") and "\n" not in text


def clean(text: str) -> str:
    """As lm-eval's task does."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")
