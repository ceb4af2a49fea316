"""Checkpoints of any step are found, the newest one first; one whose files do not hold what they should is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm.runs.checkpoints import FILES, MODEL, OPTIMIZER, STATE
from llm.runs.errors import RunError
from llm.runs.files import digest, read_json, remove, write_json
from llm.runs.run import Run
from tests.llm.runs import make_run
from tokenizer import CharTokenizer

TOKENIZER = CharTokenizer.train(["to be"])


def replace_file(run: Run, name: str, content: bytes) -> None:
    """Another content in both places, and a checksum that fits it."""
    for folder in (run.checkpoints.folder_of(5), run.folder):
        path = folder / name
        path.unlink()
        path.write_bytes(content)
        state = read_json(folder / STATE)
        (folder / STATE).unlink()
        write_json(folder / STATE, state | {"files": state["files"] | {name: digest(path)}})


@pytest.mark.parametrize("name", [MODEL, OPTIMIZER])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40))
def test_weights_that_are_no_safetensors_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    run = make_run(tmp_path_factory.mktemp("run"), TOKENIZER)
    replace_file(run, name, content)
    with pytest.raises(RunError, match=re.escape(name)):
        run.checkpoints.load()


@pytest.mark.control
def test_the_same_file_with_its_checksum_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path, TOKENIZER)
    replace_file(run, MODEL, (tmp_path / MODEL).read_bytes())
    checkpoint = run.checkpoints.load()
    assert checkpoint is not None and checkpoint.step == 5 and checkpoint.problems == ()


@given(steps=st.sets(st.integers(1, 30).flatmap(lambda n: st.sampled_from([n, 10**8 - 4 + n, 2**63 - n])), min_size=1))
@settings(max_examples=5)
@example(steps={7})
def test_steps_of_any_size_are_found_in_their_order(tmp_path_factory: pytest.TempPathFactory, steps: set[int]) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "checkpoints/step-7").mkdir(parents=True)
    (folder / "checkpoints/step-000000٣١").mkdir()
    run = make_run(folder, TOKENIZER, steps=tuple(sorted(steps)), best=min(steps))
    kept = sorted({*sorted(steps)[-2:], min(steps)}, reverse=True)
    assert run.checkpoints.steps() == kept
    for which, step in (("last", max(steps)), ("best", min(steps))):
        checkpoint = run.checkpoints.load(which)  # type: ignore[arg-type]
        assert checkpoint is not None
        assert (checkpoint.step, checkpoint.problems) == (step, ())
    for name in (*FILES,):
        (folder / name).unlink()
    remove(run.checkpoints.folder_of(max(steps)))
    checkpoint = run.checkpoints.load()
    assert (checkpoint.step if checkpoint else None) == (kept[1] if len(kept) > 1 else None)
