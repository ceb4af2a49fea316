"""Several adapters on one model: a request chooses one, and its text is the one that it gets alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.hub.adapters.files import save_adapter
from llm.hub.save import save
from llm.inference.command import parse, start
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Request
from llm.inference.generate import generate
from llm.inference.inspection import attention_weights, logit_lens
from llm.inference.model_choice import LoadedModel, name_and_folder, with_adapters
from llm.inference.sampling import Sampling
from llm.model.adapters.attach import sharing_weights
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.tuning import add_lora, add_prefix, add_prompt
from tests.llm.adapted import ADAPTERS, adapt
from tests.llm.gpts import SEEDS, configs, random_gpt
from tests.llm.test_inference_engine import finish_all, requests, written
from tokenizer import END_OF_TEXT, Tokenizer

GREEDY = Sampling(temperature=0)


@given(
    configs(context=30), st.lists(ADAPTERS, min_size=1, max_size=2), SEEDS,
    st.lists(st.tuples(requests(), st.integers(0, 2)), min_size=1, max_size=5), st.integers(1, 3), st.integers(3, 9),
)  # fmt: skip
def test_a_text_does_not_depend_on_the_adapters_of_its_neighbours(
    config: GPTConfig, adapters: Any, seed: int, wanted: Any, slots: int, chunk: int
) -> None:
    base = random_gpt(config, seed, np.float64)
    models = {str(n): adapt(sharing_weights(base), adapter, seed) for n, adapter in enumerate(adapters)}
    engine = Engine(base, slots, chunk=chunk, adapters=models)
    names = [None, *models]
    asked = [replace(request, adapter=names[number % len(names)]) for request, number in wanted]
    generations = [engine.submit(request) for request in asked]
    finish_all(engine)
    for request, generation in zip(asked, generations, strict=True):
        alone = Engine(base if request.adapter is None else models[request.adapter], context=engine.context)
        assert written(generation) == [token.id for token in alone.run(replace(request, adapter=None))]


def small_model() -> GPT:
    return random_gpt(GPTConfig(vocab_size=13, context=24, layers=2, heads=2, dim=8, positions="rope"), 0, np.float64)


def test_the_beginning_that_another_adapter_has_read_is_not_used() -> None:
    base = small_model()
    models = {
        "a": adapt(sharing_weights(base), (add_lora, {}), 1),
        "p": adapt(sharing_weights(base), (add_prefix, {"tokens": 3}), 1),
    }
    engine = Engine(base, slots=4, adapters=models)
    for name in (None, "a", "p"):
        request = Request([1, 2, 3, 4, 5], max_tokens=2, sampling=GREEDY, adapter=name)
        engine.submit(request)
        engine.step()
        finish_all(engine)
        assert engine.slots._longest_beginning([1, 2, 3, 4], name)[1] == 4
        read: list[int] = []
        hidden = engine.models[name].hidden
        engine.models[name].hidden = lambda ids, read=read, hidden=hidden, **o: (
            read.append(np.size(ids)),
            hidden(ids, **o),
        )[1]
        list(engine.run(request))
        assert read[0] == 1, "the same adapter has read the beginning"
    assert [engine.slots._longest_beginning([1, 2, 3, 4], "another")[1]] == [0]


def test_a_request_for_an_adapter_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no adapter 'b', only a"):
        Engine(base := small_model(), adapters={"a": sharing_weights(base)}).submit(Request([1], 1, adapter="b"))


@pytest.mark.parametrize("add", [add_prefix, add_prompt])
def test_a_text_that_fills_the_context_leaves_room_for_virtual_tokens(add: Any) -> None:
    model = adapt(
        random_gpt(GPTConfig(vocab_size=13, context=12, layers=1, heads=1, dim=4), 0), (add, {"tokens": 4}), 0
    )
    texts = [
        list(generate(model, [1, 2, 3], max_tokens=30, seed=3)),
        [t.id for t in Engine(model).run(Request([1, 2, 3], 30, seed=3))],
    ]
    assert texts[0] == texts[1] and len(texts[0]) == 30


@pytest.mark.parametrize("add", [add_prefix, add_prompt])
def test_the_inside_of_a_model_with_virtual_tokens_is_not_shown(add: Any) -> None:
    model = adapt(small_model(), (add, {"tokens": 2}), 0)
    for look in (lambda: logit_lens(model, [1, 2]), lambda: attention_weights(model, [1, 2], 0)):
        with pytest.raises(ValueError, match="a prefix or a prompt is not shown"):
            look()


# --- the server and the terminal --------------------------------------------------------------------------------------


@pytest.fixture
def service() -> Any:
    servers = pytest.importorskip("tests.llm.servers")
    loaded = servers.small_writer()
    adapter = adapt(sharing_weights(loaded.model), (add_lora, {"targets": "all-linear"}), 1)
    service = servers.small_service(replace(loaded, adapters={"polite": adapter}), GREEDY)
    yield service
    service.close()


def test_the_server_lists_adapters_and_a_request_chooses_one(service: Any) -> None:
    servers = pytest.importorskip("tests.llm.servers")
    with servers.client_of(service) as client:
        listed = client.get("/v1/models").json()["data"]
        assert [(m["id"], m.get("parent")) for m in listed] == [("tiny", None), ("polite", "tiny")]
        assert client.get("/v1/models/polite").json()["id"] == "polite"
        answers = {}
        for name in ("tiny", "polite", "tiny", "polite"):
            body = {"model": name, "prompt": "the cat", "max_tokens": 8}
            answer = client.post("/v1/completions", json=body).json()
            assert answer["model"] == name
            assert answers.setdefault(name, answer["choices"][0]["text"]) == answer["choices"][0]["text"]
        assert answers["tiny"] != answers["polite"]
        chat = {"model": "polite", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        assert client.post("/v1/chat/completions", json=chat).json()["model"] == "polite"
        vectors = [client.post("/v1/embeddings", json={"model": m, "input": "the"}).json()["data"] for m in answers]
        assert vectors[0] != vectors[1]
        for path, others in (("completions", {"prompt": "x"}), ("embeddings", {"input": "x"})):
            refused = client.post(f"/v1/{path}", json={"model": "rude", **others})
            assert refused.status_code == 404 and "there is no model 'rude', only tiny, polite" in refused.text


def test_without_adapters_any_name_is_that_of_the_model() -> None:
    servers = pytest.importorskip("tests.llm.servers")
    service = servers.small_service()
    with servers.client_of(service) as client:
        answer = client.post("/v1/completions", json={"model": "gpt-4", "prompt": "the", "max_tokens": 1})
        assert answer.json()["model"] == "tiny"
    service.close()


def test_a_text_with_an_adapter_at_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bytes_ = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
    model = random_gpt(GPTConfig(vocab_size=262, context=64, layers=1, heads=2, dim=16), 1, np.float32)
    save(model, bytes_, tmp_path / "model")
    save_adapter(adapt(model, (add_lora, {"targets": "all-linear"}), 2), tmp_path / "adapter")
    arguments = [
        "--model",
        str(tmp_path / "model"),
        "--prompt",
        "the",
        "--max-tokens",
        "8",
        "--seed",
        "3",
        "--device",
        "cpu",
    ]
    texts = []
    for more in ([], ["--adapter", str(tmp_path / "adapter")], ["--adapter", f"x={tmp_path / 'adapter'}"]):
        assert start(parse([*arguments, *more])) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] != texts[1] == texts[2]
    with pytest.raises(SystemExit):
        parse([*arguments, "--adapter", "a", "--adapter", "b"])


def test_names_of_adapters(tmp_path: Path) -> None:
    assert name_and_folder("polite=runs/a") == ("polite", "runs/a")
    assert name_and_folder("runs/a") == ("a", "runs/a")
    (tmp_path / "a=b").mkdir()
    assert name_and_folder(str(tmp_path / "a=b")) == ("a=b", str(tmp_path / "a=b"))
    save_adapter(adapt(small_model(), (add_lora, {}), 0), tmp_path / "one")
    loaded = LoadedModel("models/one", small_model(), None)  # type: ignore[arg-type]
    assert with_adapters(loaded, [f"two={tmp_path}/one", f"three={tmp_path}/one"]).adapters.keys() == {"two", "three"}
    for same in ([f"{tmp_path}/one"], [f"two={tmp_path}/one"] * 2):
        with pytest.raises(ValueError, match="two models are called"):
            with_adapters(loaded, same)
