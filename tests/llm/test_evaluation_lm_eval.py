"""Tasks ask what lm-eval asks, in its own descriptions of them, and score what comes back as it does."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")
pytest.importorskip("sacrebleu")

from llm.evaluation.tasks.items import Task, read_task
from llm.evaluation.tasks.known import find_description
from llm.evaluation.tasks.outcomes import Outcome
from llm.evaluation.tasks.results import Result, result_of

pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,  # it takes some seconds to import lm-eval
    pytest.mark.filterwarnings("ignore:divide by zero"),  # where lm-eval divides by the length of an empty choice
]

ITEMS = 25
WORDS = [
    "the", "a", "Dog", "ran,", "under", "[title]", "[step]", "héllo", "", "over", "3.5", "$12", "it's", "[header]",
    "who\nnight", "ÉTÉ",
]  # fmt: skip
TASKS = {
    "hellaswag": "hellaswag/hellaswag.yaml",
    "lambada": "lambada/lambada_openai.yaml",
    "gsm8k": "gsm8k/gsm8k.yaml",
    "blimp": "blimp/_template_yaml",
    "arc": "arc/arc_easy.yaml",
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
}


def words(rng: random.Random, least: int = 1) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, 8)))


def row(kind: str, rng: random.Random) -> dict[str, Any]:
    """A row in the shape in which the data set is published."""
    rows: dict[str, dict[str, Any]] = {
        "hellaswag": {
            "activity_label": words(rng),
            "ctx_a": words(rng),
            "ctx_b": rng.choice(["", words(rng)]),
            "endings": [words(rng) for _ in range(4)],
            "label": str(rng.randrange(4)),
        },
        "lambada": {"text": words(rng, 2)},
        "gsm8k": {"question": words(rng), "answer": f"{words(rng)}\n#### {rng.choice(['1,200', '-3', '7.5', '$4'])}"},
        "blimp": {"sentence_good": words(rng), "sentence_bad": words(rng), "linguistics_term": "x"},
        "arc": {
            "question": words(rng),
            "choices": {"text": [words(rng) for _ in range(3)], "label": ["A", "B", "C"]},
            "answerKey": rng.choice("ABC"),
        },
        "piqa": {"goal": words(rng), "sol1": words(rng), "sol2": words(rng), "label": rng.randrange(2)},
        "winogrande": {
            "sentence": f"{words(rng)} _ {words(rng)}.",
            "option1": "Ann",
            "option2": "Bob's dog",
            "answer": rng.choice("12"),
        },
    }
    return rows[kind]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH", "HF_MODULES_CACHE"):
        monkeypatch.setattr(datasets.config, name, tmp_path / "cache", raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def theirs(kind: str, file: Path) -> Any:
    """The task of lm-eval, with its description, and the rows of a file."""
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / TASKS[kind])
    data = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": {"test": str(file)}}}
    splits = {"training_split": None, "validation_split": None, "test_split": "test", "fewshot_split": "test"}
    task = ConfigurableTask(config={"task": kind, **config, **data, **splits})
    task.set_fewshot_seed(1234)
    return task


def both(kind: str, folder: Path, shots: int = 0, seed: int = 0) -> tuple[Task, Any, list[Any], list[Any]]:
    """Our task; theirs, its documents, and its contexts."""
    rng = random.Random(seed)
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(row(kind, rng)) + "\n" for _ in range(ITEMS)))
    task = theirs(kind, file)
    docs = list(task.eval_docs)
    return (
        read_task(kind, find_description(kind), file, shots=shots),
        task,
        docs,
        [task.fewshot_context(doc, shots) for doc in docs],
    )


@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("kind", [kind for kind in TASKS if kind != "gsm8k"])
def test_the_requests_are_the_same(kind: str, shots: int, tmp_path: Path) -> None:
    if shots and kind in ("lambada", "blimp"):
        pytest.skip("lm-eval writes two spaces before an answer of LAMBADA, and BLiMP has no questions")
    ours, task, docs, contexts = both(kind, tmp_path, shots)
    for item, doc, context in zip(ours.items, docs, contexts, strict=True):
        requests = task.construct_requests(doc, context)
        expected = [each.args for each in (requests if isinstance(requests, list) else [requests])]
        assert (item.pairs or [(item.context, item.delimiter + item.target)]) == expected


@pytest.mark.parametrize("shots", [0, 5])
def test_the_prompts_of_gsm8k_are_the_same(shots: int, tmp_path: Path) -> None:
    ours, task, docs, contexts = both("gsm8k", tmp_path, shots)
    for item, doc, context in zip(ours.items, docs, contexts, strict=True):
        request = task.construct_requests(doc, context)
        assert (item.context, list(ours.description.stop)) == (request.args[0], request.args[1]["until"])


@pytest.mark.parametrize("kind", ["hellaswag", "blimp", "arc", "piqa", "winogrande", "lambada"])
def test_likelihoods_are_scored_the_same(kind: str, tmp_path: Path) -> None:
    from lm_eval.api.metrics import mean, mean_stderr, perplexity

    ours, task, docs, _ = both(kind, tmp_path, seed=1)
    rng = np.random.default_rng(2)
    outcomes, expected = [], []
    for item, doc in zip(ours.items, docs, strict=True):
        # Steps of 1/2: some choices are equally likely.
        likelihoods = (rng.integers(-12, 0, max(len(item.choices), 1)) / 2).tolist()
        greedy = rng.random(len(likelihoods)) < 0.5
        outcomes.append(Outcome(likelihoods, greedy.tolist()))
        expected.append(task.process_results(doc, list(zip(likelihoods, greedy.tolist(), strict=True))))
    found = result_of(ours, outcomes)
    for name, measure in found.measures.items():
        values = [each[name] for each in expected]
        combined = perplexity(values) if name == "perplexity" else mean(values)
        assert measure.value == pytest.approx(combined, rel=1e-12)
        if name != "perplexity":  # whose error lm-eval estimates by drawing
            assert measure.stderr == pytest.approx(mean_stderr(values), rel=1e-12)


ANSWERS = [
    "So it is 18.\n#### 18", "#### 1,200", "####18", "#### -3\n#### 5", "it costs $1,200.", "3 and 4.50", "none", "",
    "-3", "#### $4", "#### 7.5.", "the answer is 7.5", "12-5=7", "#### 1200.00", "... , .", "$", "#### .", "4 $",
]  # fmt: skip


def test_the_numbers_of_gsm8k_are_found_and_compared_the_same(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance

    ours, task, docs, _ = both("gsm8k", tmp_path)
    for answer in ANSWERS:
        result = result_of(ours, [Outcome(answer=answer)] * ITEMS)
        for name, filter_name in (("strict", "strict-match"), ("flexible", "flexible-extract")):
            requests = [Instance("generate_until", doc, ("", {}), 0) for doc in docs]
            for request in requests:
                request.resps = [answer]
            (chosen,) = [each for each in task._filters if each.name == filter_name]
            chosen.apply(requests)
            for i, (doc, request) in enumerate(zip(docs, requests, strict=True)):
                expected = task.process_results(doc, [request.filtered_resps[filter_name]])["exact_match"]
                assert result.scores[i][name] == expected, (answer, doc["answer"], name)


def test_texts_are_counted_the_same(tmp_path: Path) -> None:
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity

    texts = ["one  two\nthree", " Ünïcode ", "x"]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ours = read_task("text", find_description("text"), file)
    sizes = [(3, len(re.split(r"\s+", text)), len(text.encode())) for text in texts]
    found: Result = result_of(ours, [Outcome([-2.5 - i], sizes=each) for i, each in enumerate(sizes)])
    pairs = {n: [(-2.5 - i, each[n]) for i, each in enumerate(sizes)] for n in (1, 2)}
    assert found.measures["word_perplexity"].value == pytest.approx(weighted_perplexity(pairs[1]))
    assert found.measures["byte_perplexity"].value == pytest.approx(weighted_perplexity(pairs[2]))
    assert found.measures["bits_per_byte"].value == pytest.approx(bits_per_byte(pairs[2]))
