"""`python -m llm.data train-filter`: from examples to a file of a filter, with what it prints."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from llm.data.lab import train_filter
from llm.data.lab.command import main
from llm.data.lab.filters.features import Features
from llm.data.lab.filters.learned import load_filter
from llm.data.lab.filters.training import Fit, fit
from llm.data.records import read_records

GOOD = [
    f"the {noun} will {verb} the old house"
    for noun in ["cat", "dog", "bird", "fox", "cow"]
    for verb in ["see", "paint", "find"]
]
BAD = [f"WIN {n} dollars now, call {n * 7}!!!" + " free" * n for n in range(1, 16)]
SHARED = "tasks/sms_spam.tsv"


def write_rows(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(autouse=True)
def few_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of these tests are so easy that 20 steps are enough."""
    if not request.node.get_closest_marker("shared"):
        monkeypatch.setattr(train_filter, "Fit", partial(Fit, passes=1, least_steps=20))


@pytest.fixture
def examples(tmp_path: Path) -> list[str]:
    good, bad = write_rows(tmp_path / "good.jsonl", GOOD), write_rows(tmp_path / "bad.jsonl", BAD)
    return ["--good", str(good), "--bad", str(bad)]


def test_it_learns_says_how_well_and_writes_a_filter_and_a_picture(tmp_path: Path, examples, capsys) -> None:
    assert main(["train-filter", *examples, "--out", str(tmp_path / "new" / "win.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "(AUC) 1.0000" in printed and "24 different documents to learn from" in printed
    assert "these shares are rough, because fewer than 30 documents" in printed
    rule = load_filter(tmp_path / "new" / "win.safetensors")
    assert rule.name == "filter_win" and f"threshold {rule.threshold:.4f}" in printed
    assert rule("the hen will find the old house").kept and not rule("WIN 99 dollars now, call 99!!!").kept
    assert (tmp_path / "new" / "win.png").read_bytes().startswith(b"\x89PNG")


def test_the_seed_decides_the_bytes_of_the_file(tmp_path: Path, examples) -> None:
    files = [tmp_path / name / "x.safetensors" for name in "abc"]
    for file, seed in zip(files, "001"):
        assert main(["train-filter", *examples, "--out", str(file), "--seed", seed]) == 0
    first, second, third = ([path.read_bytes() for path in (file, file.with_suffix(".png"))] for file in files)
    assert first == second and first[0] != third[0]


def test_a_table_has_both_kinds(tmp_path: Path, capsys) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("".join(f"{label}\t{text}\n" for label, texts in (("ham", GOOD), ("spam", BAD)) for text in texts))
    command = ["train-filter", "--table", str(table), "--out", str(tmp_path / "f.safetensors")]
    assert main([*command, "--good", "ham", "--bad", "spam"]) == 0
    assert "(AUC) 1.0000" in capsys.readouterr().out
    assert main([*command, "--good", "ham", "--bad", "smap"]) == 1
    assert "no row with the label 'smap' in its column `label`; its labels: 'ham', 'spam'" in capsys.readouterr().err


def test_labels_may_be_numbers(tmp_path: Path, capsys) -> None:
    rows = [{"text": text, "label": label} for label, texts in enumerate([BAD, GOOD]) for text in texts]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["train-filter", "--table", str(tmp_path / "table.jsonl"), "--good", "1", "--bad", "0"]
    assert main([*command, "--out", str(tmp_path / "f")]) == 0
    assert "(AUC) 1.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lose", "1"], "--lose must be"),
        (["--out", "x.png"], "is the name of the picture"),
        (["--bad", "{folder}/few.jsonl"], "there are only 9 different bad documents"),
        (["--good", "{folder}/nothing.jsonl"], "nothing.jsonl"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(tmp_path: Path, examples, options, message, capsys) -> None:
    write_rows(tmp_path / "few.jsonl", BAD[:9] * 5)
    given = [option.format(folder=tmp_path) for option in options]
    try:
        status = main(["train-filter", *examples, "--out", str(tmp_path / "f"), *given])
    except SystemExit as end:
        status = end.code
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert status in (1, 2) and message in shown and "Traceback" not in shown
    assert not (tmp_path / "f").exists()


def test_errors_are_shown(tmp_path: Path, capsys) -> None:
    """Where both kinds are alike, half of the decisions are wrong."""
    good, bad = (
        write_rows(tmp_path / name, [f"{name[0]} word {i}" for i in range(100)]) for name in ("a.jsonl", "a2.jsonl")
    )
    assert (
        main(["train-filter", "--good", str(good), "--bad", str(bad), "--out", str(tmp_path / "f"), "--show", "2"]) == 0
    )
    printed = capsys.readouterr().out
    assert printed.count("bad, but kept: ") == 2 and f"{tmp_path / 'a2.jsonl'}, line " in printed


@pytest.mark.shared
def test_spam_is_told_from_ham(tmp_path: Path, shared_data: Path, capsys) -> None:
    command = ["train-filter", "--table", str(shared_data / SHARED), "--good", "ham", "--bad", "spam"]
    assert main([*command, "--out", str(tmp_path / "spam.safetensors")]) == 0
    found = re.search(r"\(AUC\) ([\d.]+)", capsys.readouterr().out)
    assert found and float(found[1]) >= 0.99


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.shared
def test_it_tells_spam_as_well_as_scikit_learn_with_the_same_features(shared_data: Path) -> None:
    """Two optimizers of one model, of which one stops early: their areas differ by less than 0.003."""
    linear, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    sparse = pytest.importorskip("scipy.sparse")
    features = Features()
    rows = {row["text"]: row["label"] == "ham" for _, row in read_records(shared_data / SHARED)}
    texts, is_good = [features(text) for text in rows], np.array(list(rows.values()))
    order = np.random.default_rng(0).permutation(len(texts))
    learn, judge = np.split(order, [len(order) * 4 // 5])
    counts = [len(ids) for ids in texts]
    values = np.repeat(1 / np.sqrt(counts), counts)
    matrix = sparse.csr_matrix(
        (values, np.concatenate(texts), np.cumsum([0, *counts])), (len(texts), 1 << features.bits)
    )
    theirs = linear.LogisticRegression(C=30, class_weight="balanced", max_iter=200, tol=1e-3)
    theirs.fit(matrix[learn], is_good[learn])
    ours = fit([texts[i] for i in learn], is_good[learn], 1 << features.bits)
    scores = ours([texts[i] for i in judge]).numpy(), theirs.decision_function(matrix[judge])
    areas = [metrics.roc_auc_score(is_good[judge], each) for each in scores]
    assert areas[0] > 0.99 and abs(areas[0] - areas[1]) < 0.003


@pytest.mark.control
def test_labels_that_mean_nothing_are_not_learned(tmp_path: Path, capsys) -> None:
    """600 texts, of which a fifth is held out: AUC is 0.5 with a standard deviation of 0.053, here 4 of them."""
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(GOOD, 3)) + f" {rng.choice(BAD)}" for _ in range(600)]
    good, bad = write_rows(tmp_path / "g.jsonl", texts[:300]), write_rows(tmp_path / "b.jsonl", texts[300:])
    assert main(["train-filter", "--good", str(good), "--bad", str(bad), "--out", str(tmp_path / "f")]) == 0
    found = re.search(r"\(AUC\) ([\d.]+)", capsys.readouterr().out)
    assert found and abs(float(found[1]) - 0.5) < 0.21


def test_clean_drops_what_the_filter_does_not_accept(tmp_path: Path, examples, capsys) -> None:
    path = tmp_path / "win.safetensors"
    assert main(["train-filter", *examples, "--out", str(path)]) == 0
    raw = write_rows(
        tmp_path / "raw.jsonl", [GOOD[0], BAD[0], "a fox will see the old cat", "WIN 3 dollars now!!! free"]
    )
    clean = ["clean", str(raw), "--preset", "none", "--filter", str(path), "--out"]
    assert main([*clean, str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "dropped-00000.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [BAD[0], "WIN 3 dollars now!!! free"]
    rule = load_filter(path)
    assert rows[0]["dropped"] == {"rule": "filter_win", "number": rule.score(BAD[0]), "threshold": rule.threshold}
    assert main([*clean, str(tmp_path / "all"), "--threshold", "filter_win=0", "--processes", "2"]) == 0
    assert (tmp_path / "all" / "dropped-00000.jsonl").read_text() == ""
    assert main([*clean, str(tmp_path / "none"), "--filter", str(raw)]) == 1
    assert "is not a filter" in capsys.readouterr().err
