"""Parquet files that are damaged, lie about themselves, or end the process that reads them: one line each."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory.cli import main
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.parquet import reader as parquet_reader
from inceptory.data.sources.parquet.reader import Reader
from inceptory.data.sources.sequences import blocks_of
from inceptory.errors import DataError, InceptoryError, InterruptedRun
from inceptory.system import children
from tests.data.parquet_files import PICTURES, described, refused, store, structs


def written(path, images, labels, names=None, **options):
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table if names is None else described(table, names), path, **options)
    return path


PLAIN = pa.array(PICTURES, pa.binary())
NUMBERS = pa.array([1, 0, 1, 0])
WORDS = pa.array(["cat", "dog", "cat", "dog"])
KINDS = {
    "described structs": lambda path: written(path, structs(PICTURES), NUMBERS, ["cat", "dog"]),
    "words with zstd": lambda path: written(path, PLAIN, WORDS, compression="zstd"),
    "dictionaries": lambda path: written(path, PLAIN, WORDS.dictionary_encode(), row_group_size=2),
    "lists without compression": lambda path: written(
        path, structs(PICTURES), pa.array([[0], [1], [], [0, 1]]), compression="none", use_dictionary=False
    ),
}
SEEDS = (*range(4), 51, 163, 213, 237, 309, 464)
"""Of those that once ended the process with pyarrow 26, or brought other errors, and some more; LOG.md has many."""


def mutant(content, seed):
    """The file with some bytes changed, mostly one of those that describe it, or a part of it doubled or cut out."""
    draw, data = random.Random(seed), bytearray(content)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if draw.random() < 0.1:
        at, size = draw.randrange(len(data)), draw.randrange(1, 200)
        data[at : at + size] = data[at : at + size] * draw.choice((0, 2))
    for _ in range(draw.choice((1, 1, 1, 4))):
        at = draw.randrange(draw.choice((4, footer, footer)), len(data) - 8)
        data[at] = draw.choice((draw.randrange(256), data[at] ^ 1 << draw.randrange(8)))
    return bytes(data)


def read_all(path):
    """What came of opening a file and reading all its pictures, one by one and block by block."""
    try:
        pictures = open_source(path).split("train").pictures
    except InceptoryError as fault:
        return fault.exit_code
    rows = blocks_of(pictures).of_row
    for row in range(len(pictures)):
        try:
            assert isinstance(pictures[row], bytes)
        except DataError:
            continue
    base = getattr(pictures, "base", pictures)
    for block in np.unique(rows):
        try:
            list(base.read(int(block), np.flatnonzero(blocks_of(base).of_row == block)))
        except DataError:
            continue
    return 0


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in list(KINDS)[1:]), next(iter(KINDS))]
)
def test_damaged_files_are_data_errors_and_end_no_process_of_ours(tmp_path, kind):
    content = KINDS[kind](tmp_path / "a.parquet").read_bytes()
    assert read_all(tmp_path / "a.parquet") == 0
    for seed in SEEDS:
        (tmp_path / "a.parquet").write_bytes(mutant(content, seed))
        assert read_all(tmp_path / "a.parquet") in (0, 65), seed


@pytest.fixture
def deadly(monkeypatch):
    """Readers that end, or hang, at a file whose name says so."""
    child = (
        "import json, os, signal, sys, time; sys.path[:] = json.loads(sys.argv[1])\n"
        "from inceptory.data.sources.parquet import child as parquet_child\n"
        "for name in ('_opened', '_pictures'):\n"
        "    def odd(*given, plain=getattr(parquet_child, name)):\n"
        "        told = str(given)\n"
        "        if 'aborts' in told or ('later' in told and '.bytes' in told): os.abort()\n"
        "        if 'hangs' in told: time.sleep(600)\n"
        "        return plain(*given)\n"
        "    setattr(parquet_child, name, odd)\n"
        "parquet_child.serve()\n"
    )
    monkeypatch.setattr(parquet_reader, "CHILD", child)


@pytest.mark.slow
def test_a_file_that_ends_its_reader_is_named(tmp_path, deadly, capfd):
    path = store(tmp_path / "aborts.parquet", [0, 1, 0, 1])
    assert refused(path) == f"{path}: damaged, reading it ends a process (write it again)"
    for command in (["check", str(path)], ["train", str(path), "--model", "googlenet", "--out", str(tmp_path / "run")]):
        assert main(command) == 65
    assert "aborts.parquet: damaged" in capfd.readouterr().err


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_named(tmp_path, deadly, monkeypatch):
    monkeypatch.setattr(parquet_reader, "PATIENCE", 3.0)
    assert "hangs.parquet: takes longer than 3 s to read" in refused(store(tmp_path / "hangs.parquet", [0, 1, 0, 1]))


def test_a_row_group_that_ends_its_reader_is_tried_once_and_costs_its_pictures_only(tmp_path, deadly, monkeypatch):
    path = store(tmp_path / "later.parquet", [0, 1, 0, 1])
    store(tmp_path / "more.parquet", [0, 1, 0, 1])
    pictures = open_source(tmp_path).split("train").pictures
    started, plain = [], children._Process
    monkeypatch.setattr(children, "_Process", lambda *told: started.append(1) or plain(*told))
    for row in range(4):
        with pytest.raises(DataError, match=r"later\.parquet: damaged"):
            pictures[row]
    assert path.exists()
    assert len(started) <= 2
    assert list(pictures[4:]) == PICTURES


def test_a_reader_that_dies_once_is_replaced(tmp_path, monkeypatch):
    path = store(tmp_path / "a.parquet", [0, 1, 0, 1])
    reader = Reader()
    reader.open(path, parquet_reader.Layout())
    os.kill(reader._children.processes[0].pid, signal.SIGKILL)
    assert reader.open(path, parquet_reader.Layout()).groups == (4,)


def test_an_idle_reader_ends_and_comes_again(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader, "IDLE", 0.05)
    path = store(tmp_path / "a.parquet", [0, 1, 0, 1])
    reader = Reader()
    reader.open(path, parquet_reader.Layout())
    deadline = time.monotonic() + 10
    while reader._children.processes:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert reader.open(path, parquet_reader.Layout()).groups == (4,)


def test_no_reader_outlives_its_data(tmp_path):
    source = open_source(store(tmp_path / "a.parquet", [0, 1, 0, 1]))
    process = source.split("train").pictures._reader._children.processes[0]
    assert process.poll() is None
    del source
    gc.collect()
    assert process.poll() is not None


def test_a_system_without_processes_is_no_fault_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_reader, "CHILD", "import sys; sys.exit(1)")
    with pytest.raises(InterruptedRun, match="no process for parquet files can be started"):
        open_source(store(tmp_path / "a.parquet", [0, 1, 0, 1]))


METADATA = {
    "a number for names": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": 5}},
    "a word for names": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": "dog"}},
}


@pytest.mark.parametrize("kind", METADATA)
def test_metadata_whose_names_are_no_list_are_told(tmp_path, kind):
    table = pa.table({"image": structs(PICTURES), "label": NUMBERS})
    told = json.dumps({"info": {"features": METADATA[kind]}}).encode()
    pq.write_table(table.replace_schema_metadata({b"huggingface": told}), tmp_path / "a.parquet")
    assert "its metadata give the classes of 'label' as" in refused(tmp_path / "a.parquet")


def test_metadata_too_deep_to_be_read_are_ignored(tmp_path):
    table = pa.table({"image": structs(PICTURES), "label": NUMBERS})
    deep = b"[" * 100_000 + b"]" * 100_000
    pq.write_table(table.replace_schema_metadata({b"huggingface": deep}), tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").classes == ("0", "1")
