"""The folders of a data set: each is read once by an opening, and again by the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.opening import open_source
from tests.data import parquet_files
from tests.data.checked import fill
from tests.data.sources.tars.test_tars import examples, tar

TREES = {
    "classes": ["", "cat", "cat/indoors", "dog"],
    "splits": ["", "notes", "test", "test/cat", "test/dog", "train", "train/cat", "train/dog"],
    "parquet": ["", "data", "data/train", "data/test"],
    "one empty": ["", "cat", "dog"],
    "tars": ["", "train", "test"],
}


def make(root):
    """A data set of each kind in a folder of its own."""
    fill(root / "classes", "cat", "cat/indoors", "dog", count=4)
    fill(root / "splits", "train/cat", "train/dog", "test/cat", "test/dog", count=4)
    fill(root / "one empty", "cat")
    for folder in ("splits/notes", "one empty/dog"):
        (root / folder).mkdir()
    for split in ("train", "test"):
        parquet_files.store(root / "parquet" / "data" / split / "0.parquet", [0, 1, 0, 1])
        tar(root / "tars" / split / "0.tar", examples("0101"))
    return root


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """How often each folder was listed, by data set and command; a hook of audits stays in its process for ever."""
    root = make(tmp_path_factory.mktemp("listed"))
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "listed.py"),
            str(root),
            *(str(root / kind) for kind in TREES),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return {Path(data).name: counts for data, counts in json.loads(done.stdout).items()}


@pytest.mark.parametrize("command", ["check", "evaluate", "train"])
@pytest.mark.parametrize("kind", TREES)
def test_each_folder_is_listed_once(listed, kind, command):
    assert listed[kind][command] == {os.path.normpath(os.path.join(kind, folder)): 1 for folder in TREES[kind]}


def test_the_next_opening_sees_what_has_changed(tmp_path):
    fill(tmp_path, "cat", "dog")
    before = open_source(tmp_path)
    fill(tmp_path, "cat", "dog", "eel", count=4)
    assert open_source(tmp_path).classes == ("cat", "dog", "eel")
    assert (before.classes, len(before.split("train"))) == (("cat", "dog"), 6)


@pytest.mark.parametrize("splits", [("",), ("train/", "val/")], ids=["cut", "its own"])
def test_what_is_trained_on_holds_no_listing(tmp_path, splits):
    source = open_source(fill(tmp_path, *(f"{split}{name}" for split in splits for name in ("cat", "dog"))))
    assert source.listing is not None
    assert source.with_validation(0.1).listing is None


def test_many_names_take_little_more_than_their_letters(tmp_path):
    names = [f"n01440764_{number:05}.JPEG" for number in range(2000)]
    for name in names:
        (tmp_path / name).touch()
    Listing(tmp_path).folder()  # what the first listing of a process imports and keeps
    tracemalloc.start()
    listing = Listing(tmp_path)
    listing.folder()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(listing.files()) == names
    assert held < 25 * len(names)  # 21 letters each, with what parts them


def test_names_that_no_text_holds_are_listed_as_they_are(tmp_path):
    names = sorted(["a\nb", "a b", "\udce9", "é"])
    for name in names:
        (tmp_path / name).touch()
    assert sorted(Listing(tmp_path).files()) == names
