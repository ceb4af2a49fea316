"""Pictures of graphs: the DOT text, and the file that is saved with and without Graphviz."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest

from minigrad import Tensor, draw, nn


def test_ops_leaves_and_arrows() -> None:
    x, y = Tensor(np.ones((2, 3)), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    text = draw((x * y + x).exp())
    labels = re.findall(r'(n\d+) \[shape=(\w+), label="([^"]*)"\]', text)
    assert sorted(label for _, _, label in labels) == [
        r"add\n(2, 3) float64",
        r"exp\n(2, 3) float64",
        r"leaf\n(2, 3) float64",
        r"leaf\n(3,) float64",
        r"mul\n(2, 3) float64",
    ]
    assert {shape for _, shape, label in labels if label.startswith("leaf")} == {"box"}
    names = {number: label.removesuffix(" float64").replace(r"\n", "") for number, _, label in labels}
    arrows = {(names[a], names[b]) for a, b in re.findall(r"(n\d+) -> (n\d+);", text)}
    assert arrows == {
        ("leaf(2, 3)", "mul(2, 3)"),
        ("leaf(3,)", "mul(2, 3)"),
        ("mul(2, 3)", "add(2, 3)"),
        ("leaf(2, 3)", "add(2, 3)"),
        ("add(2, 3)", "exp(2, 3)"),
    }
    assert text.startswith("digraph {")
    assert text.endswith("}\n")


def test_the_text_is_the_same_each_time() -> None:
    def text() -> str:
        x = Tensor(np.ones(3), requires_grad=True)
        return draw((x * x).sum())

    assert text() == text()


def test_parameters_have_their_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    text = draw(model(Tensor([1.0, 2.0])), names=model.named_parameters())
    for name, parameter in model.named_parameters():
        assert f'label="{name}\\n{parameter.shape}' in text


def test_leaves_and_constants_alone() -> None:
    assert "leaf" in draw(Tensor(1.0, requires_grad=True))
    assert "constant" in draw(Tensor(1.0))


def test_a_name_with_quotes_is_escaped() -> None:
    x = Tensor(1.0, requires_grad=True)
    assert r'label="a\"b\n() float32"' in draw(x * 2.0, names=[('a"b', x)])


def test_a_freed_graph_is_refused() -> None:
    x = Tensor(1.0, requires_grad=True)
    y = x * x
    y.backward()
    with pytest.raises(ValueError, match="before"):
        draw(y)


def test_a_long_chain_does_not_recurse() -> None:
    x = Tensor(1.0, requires_grad=True)
    for _ in range(5000):
        x = x + 1.0
    assert draw(x).count("->") == 5000


def install_dot(folder: Path, script: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for dot is a shell script")
def test_svg_is_what_dot_makes_of_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_dot(tmp_path, "echo '<svg>'; while read line; do echo $line; done")
    monkeypatch.setenv("PATH", str(tmp_path))
    text = draw(Tensor(1.0, requires_grad=True) * 2.0, tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text().startswith("<svg>\ndigraph {")
    assert text.startswith("digraph {")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for dot is a shell script")
@pytest.mark.parametrize(
    ("script", "reason"), [(None, "Graphviz is not installed"), ("echo bad luck >&2; exit 1", "bad luck")]
)
def test_without_a_working_dot_the_text_is_saved_and_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str | None, reason: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script:
        install_dot(tmp_path, script)
    text = draw(Tensor(1.0, requires_grad=True) * 2.0, tmp_path / "graph.svg")
    assert (tmp_path / "graph.dot").read_text() == text
    assert not (tmp_path / "graph.svg").exists()
    message = capsys.readouterr().err
    assert reason in message
    assert "graph.dot" in message
    assert message.count("\n") == 1


def test_a_path_that_ends_in_dot_gets_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = draw(Tensor(1.0, requires_grad=True) * 2.0, str(tmp_path / "graph.dot"))
    assert (tmp_path / "graph.dot").read_text() == text
    assert capsys.readouterr().err == ""
