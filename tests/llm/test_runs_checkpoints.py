"""A checkpoint whose files fit their checksums but do not hold what they should is refused by the name of the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm.runs.checkpoints import MODEL, OPTIMIZER, STATE
from llm.runs.errors import RunError
from llm.runs.files import digest, read_json, write_json
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
