"""`check --from`: what a network finds odd in a data set, and the page that shows it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory.cli import main
from inceptory.data.check.findings import Finding
from inceptory.data.sources.source import Source, Split
from inceptory.errors import DataError
from inceptory.learn.transfer.seen import Seen
from inceptory.run import suspects
from inceptory.run.suspects import copied, held_out_logits, mislabelled, strange
from tests.conftest import COLOURS, paint
from tests.report.test_page import check_alone

BROKEN = os.fsdecode(b"9\xff.png") if os.name == "posix" else "9.5.png"
"""A name that is not valid Unicode."""
KINDS = ("label-suspect", "near-duplicate-by-features", "unlike-the-rest")


def seen(vectors, labels, splits=None, classes=("a", "b", "c")) -> Seen:
    """Pictures by their vectors (n, length), each named by its row."""
    splits = ["train"] * len(labels) if splits is None else splits
    rows = {name: [row for row, split in enumerate(splits) if split == name] for name in dict.fromkeys(splits)}
    parts = {
        name: Split([np.zeros((4, 4), np.uint8)] * len(some), np.asarray(labels)[some], [f"{row}.png" for row in some])
        for name, some in rows.items()
    }
    places = tuple((split, rows[split].index(row)) for row, split in enumerate(splits))
    vectors = np.asarray(vectors, np.float32)[:, None]
    return Seen(Source("set", classes, parts), vectors, np.asarray(labels), places, None, 0.0)  # type: ignore[arg-type]


def clusters(count=60, seed=0, classes=3):
    """(vectors (n, 8), labels) of classes far apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = 4 * np.random.default_rng(1).normal(size=(classes, 8))
    return centres[labels] + random.normal(size=(count, 8)), labels


@pytest.mark.parametrize("few", [1000, 10], ids=["strength by turns", "strength chosen once"])
def test_wrong_labels_come_first_with_the_class_that_they_seem_to_be(monkeypatch, few):
    monkeypatch.setattr(suspects, "FEW", few)
    vectors, truths = clusters()
    labels = truths.copy()
    labels[[5, 22]] = [0, 2]
    found, expected = mislabelled(seen(vectors, labels))
    assert expected == 2
    assert {one.rows: one.classes for one in found} == {(5,): ("a", "c"), (22,): ("c", "b")}
    assert all(0.4 < one.score <= 1 for one in found)
    assert "labelled 'a', seems to be 'c'" in next(one.about for one in found if one.rows == (5,))
    assert mislabelled(seen(vectors, truths)) == ([], 0)


def test_classes_without_a_picture_or_with_one_are_no_trouble():
    vectors, labels = clusters(40, classes=2)
    labels = 2 * labels  # none of class 1
    labels[0] = 3
    logits = held_out_logits(seen(vectors, labels).vectors, labels)
    assert logits.shape == (40, 3)
    assert np.flatnonzero(np.isnan(logits).any(1)).tolist() == [0]
    labels[[7, 9]] = 0
    found, _ = mislabelled(seen(vectors, labels, classes=tuple("abcd")))
    assert {one.rows: one.classes for one in found} == {(7,): ("a", "c"), (9,): ("a", "c")}
    assert mislabelled(seen(vectors[:3], np.arange(3))) == ([], 0)


@pytest.mark.slow
def test_of_several_classes_a_picture_each_is_a_question_of_its_own():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (200, 3)).astype(np.uint8)
    vectors = 6.0 * labels @ random.normal(size=(3, 8)) + random.normal(size=(200, 8))
    labels[4, 1] ^= 1
    labels[9, 2] ^= 1
    found, expected = mislabelled(seen(vectors, labels))
    assert expected >= 2
    assert [(one.rows, one.classes) for one in found[:2]] == [((9,), ("c",)), ((4,), ("b",))], "the likeliest first"
    told = {one.rows: one.about for one in found}
    for row, label, name in ((4, 1, "b"), (9, 2, "c")):
        has = "labelled {!r}, seems not to" if labels[row, label] else "not labelled {!r}, seems to"
        assert told[row,].startswith(has.format(name))


def test_pairs_across_splits_are_told_once_and_not_if_they_are_told_already():
    vectors, labels = clusters()
    vectors[[40, 50]] = vectors[[3, 4]] + 1e-4
    pictures = seen(vectors, labels, ["train"] * 30 + ["test"] * 30)
    assert sorted(one.rows for one in copied(pictures, ())) == [(3, 40), (4, 50)]
    (pair,) = copied(pictures, [Finding("near-duplicate-across-splits", ("3.png", "9.png", "40.png"), "")])
    assert pair.rows == (4, 50)
    assert "in train and test" in pair.about
    assert copied(seen(vectors, labels), ()) == []


def test_a_picture_unlike_the_rest_is_found_and_few_pictures_are_not_judged():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 6)) @ random.normal(size=(6, 48)) + 0.1 * random.normal(size=(300, 48)) + 1
    vectors[11] = 5 * random.normal(size=48)
    (one,) = strange(seen(vectors, np.arange(300) % 3))
    assert one.rows == (11,)
    assert one.about.startswith("unlike the rest, labelled 'c' (")
    assert strange(seen(vectors[:20], np.arange(20) % 3)) == []


@pytest.fixture
def odd(colours: Path, tmp_path: Path, monkeypatch) -> Path:
    """Red, green and blue pictures in two splits, three of them in wrong folders, with names to be escaped."""
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "odd"
    for place in sorted(colours.rglob("*.png")):
        part = root / ("test" if int(place.stem) % 4 == 0 else "train") / place.parent.name
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(place, part)
    name = "<script>alert(1)<!--\"'&\n.png" if os.name == "posix" else "odd.png"
    for label, wrong, colour in (("red", name, "blue"), ("blue", "8.5.png", "green"), ("green", BROKEN, "red")):
        paint(root / "train" / label / wrong, COLOURS[colour], seed=1000)
    (root / "train" / "red" / "broken.png").write_bytes(b"no picture")
    return root


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_record_names_them_best_first_and_the_page_shows_them(odd, run, tmp_path, capsys):
    before, out = contents(odd), tmp_path / "new" / "page.html"
    assert main(["check", str(odd), "--from", str(run), "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    wrong = [one for one in record["findings"] if one["kind"] == "label-suspect"]
    told = {Path(one["files"][0]).name: one["classes"] for one in wrong[:3]}
    assert (told.pop("8.5.png"), told.pop(BROKEN)) == (["blue", "green"], ["green", "red"])
    assert [*told.values()] == [["red", "blue"]]
    assert all(one["grade"] == "warning" for one in wrong)
    for kind in KINDS:
        scores = [one["score"] for one in record["findings"] if one["kind"] == kind]
        assert scores == sorted(scores, reverse=True)
    assert {one["kind"] for one in record["findings"]} >= {"unreadable", "label-suspect", "reading"}
    assert all("score" in one for one in record["findings"] if one["kind"] in KINDS)
    assert not any("score" in one for one in record["findings"] if one["kind"] not in KINDS)
    page = check_alone(out.read_text())
    shown = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(shown) == sum(len(one["files"]) for one in record["findings"] if one["kind"] in KINDS)
    assert "Probably under the wrong label" in page.words
    assert contents(odd) == before


@pytest.mark.slow
def test_the_text_counts_them_and_points_to_the_page(odd, run, tmp_path, monkeypatch):
    monkeypatch.setattr(suspects, "ON_PAGE", 1)
    report = inceptory.check(str(odd), backbone=run, out=tmp_path / "page.html")
    text = str(report)
    assert "pictures probably under the wrong label: " in text
    assert text.count(", seems to be ") == 3
    assert f"\nsee {tmp_path / 'page.html'}\n" in text
    assert "wrong labels are expected among 75 pictures" in text
    assert "(--strict would refuse them)" in text
    assert "--json lists them all" in (tmp_path / "page.html").read_text()
    assert "see " not in str(inceptory.check(str(odd), backbone=run)).splitlines()[-3]


@pytest.mark.slow
def test_a_test_split_alone_is_looked_at_though_nothing_can_be_trained_on_it(odd, run, tmp_path, capsys):
    shutil.rmtree(odd / "train" / "blue")
    (odd / "train").rename(odd / "val")
    assert main(["check", str(odd), "--from", str(run), "--out", str(tmp_path / "page.html")]) == 65
    out, err = capsys.readouterr()
    assert "wrong labels are expected among" in out
    assert "no training pictures" in err
    check_alone((tmp_path / "page.html").read_text())


def test_one_class_alone_is_not_looked_at_and_leaves_no_page(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suspects, "with_suspects", None)
    paint_one = tmp_path / "data" / "red"
    paint_one.mkdir(parents=True)
    paint(paint_one / "a.png", (200, 0, 0), 1)
    assert main(["check", str(paint_one.parent), "--from", str(run), "--out", str(tmp_path / "new" / "p.html")]) == 65
    assert "one class" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_network_that_sees_no_difference_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    for name, size in (("a", 40), ("b", 44)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for row in range(3):
            Image.new("RGB", (size + row, size), "white").save(tmp_path / "data" / name / f"{row}.png")
    with pytest.raises(DataError, match="gives every picture the same vector"):
        inceptory.check(str(tmp_path / "data"), backbone=run, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
