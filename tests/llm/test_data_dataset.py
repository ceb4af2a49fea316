"""Tokens on disk are the tokens of the text, whatever the shards; the cache is whole or absent; damage is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data import cache, dataset
from llm.data.cache import cache_folder, new_folder
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.data.errors import DataError
from llm.data.shards import ShardWriter, TokenShards
from llm.data.split import training_sizes
from tokenizer.formats.atomic import PARTIAL


class ByteTokenizer:
    """A stand-in: ids are bytes."""

    def __init__(self, vocab_size: int = 257, end_of_text: int | None = 256):
        self.vocab_size, self.end_of_text = vocab_size, end_of_text

    def encode_batch_array(self, texts: Sequence[str], **options: object) -> tuple[np.ndarray, np.ndarray]:
        every_byte = [text.encode() for text in texts]
        return np.frombuffer(b"".join(every_byte), np.uint8), np.array([len(each) for each in every_byte], np.int64)

    def save(self, path: Path) -> None:
        path.write_text(f"bytes {self.vocab_size} {self.end_of_text}")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The cache, empty at the start of each test."""
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(
    folder: Path, texts: list[str], tokenizer: ByteTokenizer, shard_tokens: int, group_characters: int = 100
) -> TokenShards:
    folder.mkdir()
    writer = ShardWriter(folder, tokenizer, shard_tokens, group_characters)
    for text in texts:
        writer.add_text(text)
        writer.end_document()
    writer.finish()
    return TokenShards(folder)


# Shards -------------------------------------------------------------------------------------------------------------

bounds = st.none() | st.integers(-40, 40)


@given(
    texts=st.lists(st.text("ab", min_size=1, max_size=9), max_size=5),
    shard_tokens=st.integers(1, 12),
    group_characters=st.integers(1, 20),
    index=st.builds(slice, bounds, bounds, bounds.filter(lambda step: step != 0)),
)
def test_shards_read_like_one_array(tmp_path_factory, texts, shard_tokens, group_characters, index):
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    shards = written(folder, texts, ByteTokenizer(), shard_tokens, group_characters)
    expected = np.array([token for text in texts for token in [*text.encode(), 256]], dtype=np.uint16)
    assert len(shards) == len(expected)
    assert shards[index].tolist() == expected[index].tolist()
    assert shards[index].dtype == expected.dtype
    assert [shards[i] for i in range(-len(shards), len(shards))] == [*expected, *expected]
    for outside in (len(shards), -len(shards) - 1):
        with pytest.raises(IndexError):
            shards[outside]
    files = sorted(path.stat().st_size for path in folder.glob("*.bin"))
    assert sum(files) == expected.nbytes
    assert len(files) == -(-len(expected) // shard_tokens)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(257, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (200_000, "uint32")]
)
def test_the_type_is_the_smallest_that_holds_the_vocabulary(folder, vocab_size, dtype):
    shards = written(folder, ["abc"], ByteTokenizer(vocab_size, end_of_text=vocab_size - 1), shard_tokens=3)
    assert shards.dtype == dtype
    assert shards[:].tolist() == [97, 98, 99, vocab_size - 1]


def test_slices_are_views_of_the_file_and_read_only(folder):
    shards = written(folder, ["abcdefgh"], ByteTokenizer(end_of_text=None), shard_tokens=100)
    assert np.shares_memory(shards[0:4], shards[2:6])
    with pytest.raises(ValueError, match="read-only"):
        shards[0:4][0] = 1


# Damage -------------------------------------------------------------------------------------------------------------


@given(flipped=st.integers(0, 59))
def test_a_flipped_bit_in_a_shard_is_noticed(tmp_path_factory, flipped):
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    written(folder, ["x" * 30], ByteTokenizer(end_of_text=None), shard_tokens=10)
    path = folder / f"0000{flipped // 20}.bin"
    content = bytearray(path.read_bytes())
    content[flipped % 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name} is damaged: its checksum"):
        TokenShards(folder)
    content[flipped % 20] ^= 1
    path.write_bytes(content)
    assert TokenShards(folder)[:].tolist() == [ord("x")] * 30, "with the bit set right it opens"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (
            "00001.bin",
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            "is damaged: it has 19 bytes instead of 20",
        ),
        (
            "00001.bin",
            lambda path: path.write_bytes(path.read_bytes() * 2),
            "is damaged: it has 40 bytes instead of 20",
        ),
        ("00002.bin", Path.unlink, "is damaged: it has 0 bytes instead of 20"),
        ("meta.json", Path.unlink, "cannot be read"),
        ("meta.json", lambda path: path.write_bytes(path.read_bytes()[:50]), "cannot be read"),
        ("meta.json", lambda path: path.write_text("[]"), "cannot be read"),
        ("meta.json", lambda path: path.write_text("{}"), "is not the description of a token folder"),
    ],
)
def test_damaged_files_are_named(folder, file, damage, message):
    written(folder, ["x" * 30], ByteTokenizer(end_of_text=None), shard_tokens=10)
    damage(folder / file)
    with pytest.raises(DataError, match=rf"{file} {message}"):
        TokenShards(folder)


# Preparing ----------------------------------------------------------------------------------------------------------


@given(
    texts=st.lists(st.text("aé🙂\n", max_size=40), min_size=1, max_size=30).filter(any),
    val_fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
    chunk=st.integers(1, 50),
)
def test_both_splits_hold_exactly_their_text(tmp_path_factory, texts, val_fraction, seed, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        data = prepare(Corpus("test", texts, chunk), ByteTokenizer(), val_fraction, seed, shard_tokens=16)
    cuts = training_sizes(np.array([len(text) for text in texts]), val_fraction, seed)
    train = [text[:cut] for text, cut in zip(texts, cuts, strict=True)]
    val = [text[cut:] for text, cut in zip(texts, cuts, strict=True)]
    for shards, parts in ((data.train, train), (data.val, val)):
        parts = [part for part in parts if part]
        assert shards[:].tolist() == [token for part in parts for token in [*part.encode(), 256]]
        assert shards.documents == len(parts)
        assert shards.bytes == len("".join(parts).encode())
    assert data.bytes_per_token == data.val.bytes / len(data.val)


def test_progress_goes_up_to_all_characters():
    calls: list[tuple[int, int]] = []
    for _ in range(2):  # found in the cache the second time
        prepare(Corpus("test", ["é" * 100, "b" * 50], 7), ByteTokenizer(), progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done == sorted(set(done))
    assert calls[-1] == (150, 150)
    assert {total for _, total in calls} == {150}


def test_the_meta_file_tells_what_was_tokenized(folder):
    prepare(Corpus("test", ["abc" * 10]), ByteTokenizer())
    (path,) = folder.glob("tokens/*/val/meta.json")
    meta = json.loads(path.read_text())
    assert {key: meta[key] for key in ("dtype", "vocab_size", "tokens", "bytes", "documents")} == {
        "dtype": "uint16", "vocab_size": 257, "tokens": 4, "bytes": 3, "documents": 1,
    }  # fmt: skip
    assert meta["corpus"] == Corpus("same", ["abc" * 10]).survey.fingerprint
    assert len(meta["tokenizer"]) == 64


# The cache ----------------------------------------------------------------------------------------------------------


class NeverEncodes(ByteTokenizer):
    def encode_batch_array(self, texts: Sequence[str], **options: object) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("tokenized again")


def test_the_second_time_nothing_is_tokenized():
    first = prepare(Corpus("test", ["some text"]), ByteTokenizer())
    second = prepare(Corpus("elsewhere", ["some text"]), NeverEncodes())
    assert second.train[:].tolist() == first.train[:].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": Corpus("test", ["Some text"])},
        {"tokenizer": NeverEncodes(end_of_text=None)},
        {"val_fraction": 0.2},
        {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_text_tokenizer_or_split_is_tokenized_anew(change):
    same = {"corpus": Corpus("test", ["some text"]), "tokenizer": NeverEncodes(), "val_fraction": 0.1, "seed": 0}
    prepare(**(same | {"tokenizer": ByteTokenizer()}))
    prepare(**same)
    with pytest.raises(AssertionError, match="tokenized again"):
        prepare(**(same | change))


def die_while_tokenizing(text: str) -> None:
    """Run in a process of its own, which kills itself after the first chunk."""

    def kill(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    prepare(Corpus("test", [text], chunk_characters=10), ByteTokenizer(), progress=kill, group_characters=1)


def check_kill_leaves_nothing_half_made(folder: Path) -> None:
    text = "words " * 100
    process = multiprocessing.get_context("fork").Process(target=die_while_tokenizing, args=(text,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert any(folder.rglob("*.bin")), "it was killed while it was writing"
    data = prepare(Corpus("test", [text]), ByteTokenizer(), val_fraction=0.1)
    assert (len(data.train), len(data.val)) == (541, 61)


needs_fork = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork and SIGKILL")


@needs_fork
def test_a_kill_leaves_nothing_half_made(folder):
    check_kill_leaves_nothing_half_made(folder)


@pytest.mark.control
@needs_fork
def test_a_half_made_cache_is_noticed(folder, monkeypatch):
    class InPlace:
        """Broken: builds under the final name."""

        def __init__(self, target: Path):
            self.target = target

        def __enter__(self) -> Path:
            self.target.mkdir(parents=True)
            return self.target

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(dataset, "new_folder", InPlace)
    with pytest.raises(DataError, match=r"meta\.json cannot be read"):
        check_kill_leaves_nothing_half_made(folder)


def test_an_error_leaves_nothing_behind(folder):
    with pytest.raises(AssertionError, match="tokenized again"):
        prepare(Corpus("test", ["some text"]), NeverEncodes())
    assert list((folder / "tokens").iterdir()) == []


def test_two_builders_at_once_do_not_disturb_each_other(folder):
    target = folder / "built"
    with new_folder(target) as first:
        (first / "content").write_text("the same")
        with new_folder(target) as second:
            (second / "content").write_text("the same")
    assert (target / "content").read_text() == "the same"
    assert list(folder.iterdir()) == [target]


def test_abandoned_folders_are_removed_and_those_in_use_are_not(folder):
    old, fresh = folder / (PARTIAL + "old"), folder / (PARTIAL + "fresh")
    long_ago = time.time() - 2 * cache.ABANDONED_AFTER
    for partial in (old, fresh):
        partial.mkdir(parents=True)
        (partial / "00000.bin").touch()
        os.utime(partial, (long_ago, long_ago))
    os.utime(old / "00000.bin", (long_ago, long_ago))
    with new_folder(folder / "built"):
        pass
    assert {path.name for path in folder.iterdir()} == {"built", fresh.name}


def test_a_damaged_cache_is_refused_with_advice_that_helps(folder):
    prepare(Corpus("test", ["some text"]), ByteTokenizer())
    (path,) = folder.glob("tokens/*/train/00000.bin")
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"train.00000\.bin is damaged: .*; delete the folder (.*), and") as caught:
        prepare(Corpus("test", ["some text"]), ByteTokenizer())
    named = str(caught.value).split("delete the folder ")[1].split(",")[0]
    shutil.rmtree(named)
    assert len(prepare(Corpus("test", ["some text"]), ByteTokenizer()).train) == 9


def test_text_that_changes_meanwhile_is_refused(tmp_path, folder):
    path = tmp_path / "log.txt"
    path.write_text("one line\n" * 10)
    source = open_corpus(str(path))
    assert source.survey.characters == 90
    path.write_text("one line\n" * 11)
    with pytest.raises(DataError, match=r"log\.txt changed while it was being read"):
        prepare(source, ByteTokenizer())
    assert list((folder / "tokens").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_reported(folder):
    folder.write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="could not write to the cache folder .* set MINIGRAD_CACHE"):
        prepare(Corpus("test", ["some text"]), ByteTokenizer())


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("MINIGRAD_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("MINIGRAD_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "minigrad"


# Memory -------------------------------------------------------------------------------------------------------------

MEGABYTE = 1 << 20


def peak_of_preparing(corpus: Corpus) -> int:
    """The most bytes that Python and NumPy held at once while a file was made into a dataset.

    With groups of a quarter of a megabyte: the groups, several copies of each, are what takes memory.
    """
    tracemalloc.start()
    data = prepare(corpus, ByteTokenizer(), group_characters=MEGABYTE // 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data.train) + len(data.val) == corpus.survey.characters + 2  # with two ends of text
    return peak


@pytest.mark.parametrize("line", ["All work and no play makes Jack a dull boy.\n", "without a line end "])
def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch, line):
    path = tmp_path / "large.txt"
    with open(path, "w") as file:
        for _ in range(30):
            file.write(line * (MEGABYTE // len(line)))
    assert peak_of_preparing(open_corpus(str(path))) < 10 * MEGABYTE
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "another"))
    in_one_chunk = Corpus("test", [path], path.stat().st_size)
    assert peak_of_preparing(in_one_chunk) > 30 * MEGABYTE, "the measure must see a file that is read as a whole"
