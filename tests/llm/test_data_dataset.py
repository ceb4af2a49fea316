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

from llm.data import dataset
from llm.data.cache import cache_folder, new_folder
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.data.errors import DataError
from llm.data.shards import ShardWriter, TokenShards
from llm.data.split import training_sizes
from tokenizer.formats.atomic import ABANDONED_AFTER, PARTIAL


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
        ("00002.bin", Path.unlink, r"cannot be read \(No such file"),
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


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_description_is_noticed(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    good = written(folder, ["é" * 30, "x"], ByteTokenizer(), shard_tokens=10)
    path = folder / "meta.json"
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = TokenShards(folder)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - both ends are good
        return
    facts = ("bytes", "documents", "vocab_size", "dtype", "checksum")
    assert [getattr(found, name) for name in facts] == [getattr(good, name) for name in facts], "it was in white space"
    assert found[:].tolist() == good[:].tolist()


FACTS = ["dtype", "vocab_size", "tokens", "bytes", "documents", "shards"]
PLACES = [*FACTS, "file of a shard", "tokens of a shard", "crc32 of a shard"]
WRONG = [None, True, -1, 0.5, 10**30, "x", "../meta.json", [], [1], {}, "float64", "object"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", WRONG, ids=str)
def test_a_value_of_a_wrong_kind_in_an_edited_description_is_refused(folder, place, value):
    written(folder, ["x" * 30], ByteTokenizer(end_of_text=None), shard_tokens=10)
    path = folder / "meta.json"
    meta = json.loads(path.read_text())
    meta.pop("sha256", None)
    (meta if place in FACTS else meta["shards"][1])[place.split()[0]] = value
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match=r"meta\.json|00001\.bin"):
        TokenShards(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["meta.json", "00001.bin"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_a_pipe_a_device_or_a_folder_in_the_place_of_a_file_is_refused(folder, name, make):
    written(folder, ["x" * 30], ByteTokenizer(end_of_text=None), shard_tokens=10)
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        TokenShards(folder)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_opening_leaves_no_pages_of_the_files_in_the_memory_of_the_process(folder):
    """What is read through a mapping would count as memory of the process: gigabytes of it, for a large text."""
    size = 64 * MEGABYTE
    written(folder, ["x" * (size // 2)], ByteTokenizer(end_of_text=None), shard_tokens=size, group_characters=size)
    before = resident()
    shards = TokenShards(folder)
    assert len(shards) == size // 2
    assert resident() - before < size // 4
    shards[:].sum()
    assert resident() - before > size // 2, "the measure must see pages that are used"


def resident() -> int:
    """Bytes of memory of this process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


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


def test_progress_of_each_stage_goes_up_to_all_of_it():
    """Whatever reads all of the text or all of the tokens tells how far it is. The second time nothing is tokenized."""
    for stages in (["reading", "tokenizing"], ["reading"]):
        calls: dict[str, list[tuple[int, int]]] = {}
        data = prepare(
            Corpus("test", ["é" * 100, "b" * 50], 7),
            ByteTokenizer(),
            progress=lambda stage, *numbers, calls=calls: calls.setdefault(stage, []).append(numbers),
        )
        assert list(calls) == [*stages, "checking train tokens", "checking val tokens"]
        sizes = [250, 150][: len(stages)] + [len(data.train), len(data.val)]
        for numbers, whole in zip(calls.values(), sizes, strict=True):
            done = [number for number, _ in numbers]
            assert done == sorted(set(done))
            assert done[-1] == whole
            assert {total for _, total in numbers} == {whole}


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

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "tokenizing":
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
    long_ago = time.time() - 2 * ABANDONED_AFTER
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


MINUTE = 60.0


def cached(folder: Path, text: str, minutes_ago: float) -> Path:
    """An entry of the cache for a text of random characters, last used so long ago."""
    before = set(folder.glob("tokens/*"))
    prepare(Corpus("test", [text]), ByteTokenizer())
    (new,) = {*folder.glob("tokens/*")} - before
    then = time.time() - minutes_ago * MINUTE
    os.utime(new, (then, then))
    return new


def test_what_was_not_used_for_the_longest_time_is_deleted_when_the_cache_is_full(folder, monkeypatch):
    oldest, used, newest = (cached(folder, letter * 50_000, minutes) for letter, minutes in zip("abc", (30, 20, 10)))
    mine = folder / "tokens" / "mine"
    mine.mkdir()
    (mine / "large").write_bytes(bytes(10**6))
    prepare(Corpus("test", ["a" * 50_000]), NeverEncodes())  # found, so now the second is the oldest
    monkeypatch.setenv("MINIGRAD_CACHE_GB", str(350e3 / 1e9))  # each has 100 kB of tokens: three of them fit
    added = cached(folder, "d" * 50_000, 0)
    assert {*folder.glob("tokens/*")} == {oldest, newest, added, mine}, "what is not ours is never deleted"
    assert not used.exists()
    monkeypatch.setenv("MINIGRAD_CACHE_GB", "0")
    alone = cached(folder, "e" * 50_000, 0)
    assert {*folder.glob("tokens/*")} == {alone, mine}, "what was made just now stays, however large"
    assert len(prepare(Corpus("test", ["e" * 50_000]), NeverEncodes()).train) == 45_001


@pytest.mark.parametrize("limit", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(folder, monkeypatch, limit):
    monkeypatch.setenv("MINIGRAD_CACHE_GB", limit)
    with pytest.raises(DataError, match=rf"MINIGRAD_CACHE_GB='{limit}' is not a number of gigabytes"):
        prepare(Corpus("test", ["some text"]), ByteTokenizer())


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
