"""A data set looked over: what is found, what each finding names, and what the verdict is."""

from __future__ import annotations

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from inceptory.data.check.check import cheap, check
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.source import Source, Split
from inceptory.errors import DataError, MissingError, UsageError
from tests.data.check.test_duplicates import recompressed, scene
from tests.data.checked import fill, found, kinds, put
from tests.data.pictures import encoded, exif, noise, orientation

LINKS = pytest.mark.skipif(os.name != "posix", reason="links need a right on Windows")


def test_a_clean_set_is_clean(tmp_path):
    report = check(str(fill(tmp_path, "cat", "dog")))
    assert report.findings == ()
    assert report.verdict == "clean"
    assert report.classes == {"cat": {"train": 3}, "dog": {"train": 3}}
    assert report.fault is None
    assert str(report).endswith("verdict: clean")


def test_every_split_is_counted(tmp_path):
    report = check(str(fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")))
    assert report.classes["cat"] == {"train": 3, "test": 3} == report.classes["dog"]
    lines = [line.split() for line in str(report).splitlines()]
    assert sorted(["class", "train", "test"]) in [sorted(line) for line in lines]
    assert ["cat", "3", "3"] in lines
    assert ["all", "6", "6"] in lines


# Damage: D01, D02


def test_unreadable_pictures_are_named_with_their_fault(tmp_path):
    fill(tmp_path, "cat", "dog", count=30)
    cut = put(tmp_path, "cat/cut.png", encoded(noise(40, 40))[:300])
    empty = put(tmp_path, "dog/empty.jpg", b"")
    report = check(str(tmp_path))
    assert found(report, "unreadable") == [[cut], [empty]]
    messages = [one.message for one in report.findings]
    assert messages[0].startswith(f"{cut}: truncated")
    assert messages[1].startswith(f"{empty}: an empty file")
    assert (report.verdict, report.fault) == ("warnings", None)


@pytest.mark.parametrize(("bad", "verdict"), [(2, "warnings"), (3, "unusable")])
def test_more_than_a_tenth_of_a_class_unreadable_is_a_fault(tmp_path, bad, verdict):
    fill(tmp_path, "cat", "dog", count=20)
    files = sorted(put(tmp_path, f"cat/{row}.png", b"text") for row in range(bad))
    report = check(str(tmp_path))
    assert report.verdict == verdict
    assert found(report, "corrupt-class") == ([files] if bad == 3 else [])
    assert len(found(report, "unreadable")) == bad


def test_one_damaged_file_of_a_small_split_is_no_fault_and_a_split_without_a_good_one_is(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", count=20)
    for row in range(2, 20):
        (tmp_path / f"val/cat/{row}.png").unlink()
    files = [str(tmp_path / f"val/cat/{row}.png") for row in range(2)]
    put(tmp_path, "val/cat/0.png", b"text")
    assert check(str(tmp_path)).verdict == "warnings"
    put(tmp_path, "val/cat/1.png", b"text")
    report = check(str(tmp_path))
    assert found(report, "corrupt-class") == [files]
    assert "2 of 2 pictures in validation cannot be read" in report.fault.line()


def test_all_empty_class_folders_are_named(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat")
    for folder in ("train/eel", "test/dog", "train/cat/old"):
        (tmp_path / folder).mkdir(parents=True)
    put(tmp_path, "test/dog/.hidden", b"x")
    report = check(str(tmp_path))
    assert found(report, "empty-class") == [[str(tmp_path / "test" / "dog"), str(tmp_path / "train" / "eel")]]
    assert report.verdict == "unusable"
    assert report.fault.exit_code == 65


@pytest.mark.parametrize(("folders", "kind"), [(("cat",), "one-class"), ((), "unusable")])
def test_one_class_and_none_are_faults(tmp_path, folders, kind):
    report = check(str(fill(tmp_path, *folders)))
    assert kinds(report) == {kind}
    assert report.fault.exit_code == 65


def test_one_class_is_data_that_cannot_be_trained_on(tmp_path):
    fill(tmp_path, "cat")
    assert open_source(tmp_path).classes == ("cat",)
    with pytest.raises(DataError, match=r"holds one class only, 'cat' \(a classifier needs two or more\)") as caught:
        cheap(open_source(tmp_path))
    assert str(caught.value).startswith(str(tmp_path))


def test_data_without_training_pictures_are_not_clean(tmp_path):
    report = check(str(fill(tmp_path, "val/cat", "val/dog")))
    assert kinds(report) == {"no-training"}
    assert (report.verdict, report.fault.exit_code) == ("unusable", 65)
    told = r"no training pictures, only validation \(name a part of it train; `evaluate` takes it as it is\)"
    with pytest.raises(DataError, match=told):
        cheap(open_source(tmp_path))


def test_training_pictures_of_one_class_only_are_a_fault(tmp_path):
    fill(tmp_path, "train/cat", "test/cat", "test/dog")
    report = check(str(tmp_path))
    assert "one-class" in kinds(report)
    with pytest.raises(DataError, match="fewer than two classes have training pictures"):
        cheap(open_source(tmp_path))


def test_a_class_of_one_picture_is_a_warning(tmp_path):
    fill(tmp_path, "cat", "dog")
    lone = put(tmp_path, "eel/a.png", encoded(scene(5)))
    report = check(str(tmp_path))
    assert found(report, "one-picture-class") == [[lone]]
    assert (report.verdict, report.fault) == ("warnings", None)


def test_a_class_missing_from_a_split_is_said(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "train/eel", "test/dog", "test/fox")
    told = {(one.classes, one.message) for one in check(str(tmp_path)).findings if one.kind == "missing-class"}
    assert {classes for classes, _ in told} == {("cat", "eel"), ("fox",)}
    assert any("they cannot be learnt" in message for _, message in told)


# Copies: D03


def test_the_same_file_twice_lists_every_copy(tmp_path):
    fill(tmp_path, "cat", "dog")
    copies = [put(tmp_path, f"cat/{name}.png", encoded(scene(77))) for name in "abc"]
    report = check(str(tmp_path))
    assert found(report, "same-file") == [copies]
    assert kinds(report) == {"same-file"}


def test_the_same_pixels_in_another_file(tmp_path):
    fill(tmp_path, "cat", "dog")
    pair = [put(tmp_path, f"cat/a.{kind}", encoded(scene(77), kind)) for kind in ("bmp", "png")]
    assert found(check(str(tmp_path)), "same-pixels") == [pair]


def test_copies_in_two_splits_are_told_apart(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog")
    same = sorted(put(tmp_path, f"{split}/cat/a.png", encoded(scene(77))) for split in ("train", "test"))
    first = put(tmp_path, "train/dog/b.png", encoded(scene(78)))
    second = put(tmp_path, "test/dog/b.png", encoded(recompressed(scene(78))))
    report = check(str(tmp_path))
    assert found(report, "same-file-across-splits") == [same]
    assert found(report, "near-duplicate-across-splits") == [[second, first]]
    assert len(kinds(report)) == 2


def test_the_same_picture_under_two_labels(tmp_path):
    fill(tmp_path, "cat", "dog")
    pair = [put(tmp_path, f"{name}/a.png", encoded(scene(77))) for name in ("cat", "dog")]
    report = check(str(tmp_path))
    assert found(report, "two-labels") == found(report, "same-file") == [pair]
    told = next(one for one in report.findings if one.kind == "two-labels")
    assert told.classes == ("cat", "dog")


def test_copies_are_warnings_that_strict_refuses(tmp_path):
    fill(tmp_path, "cat", "dog")
    put(tmp_path, "cat/a.png", encoded(scene(1000)))
    assert check(str(tmp_path)).fault is None
    assert check(str(tmp_path), strict=True).fault.exit_code == 65


def test_a_near_duplicate_brings_its_exact_copies_along(tmp_path):
    fill(tmp_path, "cat", "dog")
    every = [put(tmp_path, f"cat/a{row}.png", encoded(scene(77))) for row in range(2)]
    every.append(put(tmp_path, "cat/b.png", encoded(recompressed(scene(77)))))
    assert found(check(str(tmp_path)), "near-duplicate") == [every]


# Sizes, kinds, names: D04, D05


def test_small_pictures_are_measured_against_the_network(tmp_path):
    fill(tmp_path, "cat", "dog", count=1)
    tiny = put(tmp_path, "cat/tiny.png", encoded(scene(5).resize((400, 74))))
    fair = put(tmp_path, "cat/fair.png", encoded(scene(6).resize((75, 300))))
    put(tmp_path, "cat/large.png", encoded(scene(7).resize((299, 400))))
    for name in ("cat/0.png", "dog/0.png"):
        put(tmp_path, name, encoded(scene(len(name)).resize((300, 300))))
    report = check(str(tmp_path), model="inception_v3")
    assert found(report, "below-minimum") == [[tiny]]
    assert found(report, "below-native") == [[fair]]
    assert not kinds(check(str(tmp_path))) & {"below-minimum", "below-native"}
    assert found(check(str(tmp_path), image=75), "below-native") == [[tiny]]


@pytest.mark.parametrize(("options", "named"), [({"model": "v3"}, "v3"), ({"image": 0}, "--image 0")])
def test_a_wrong_option_is_told_before_the_data_are_read(options, named):
    with pytest.raises(UsageError, match=named):
        check("nowhere", **options)


def test_data_that_are_not_there_are_missing():
    with pytest.raises(MissingError):
        check("nowhere")


def test_odd_kinds_are_counted_and_named(tmp_path):
    fill(tmp_path, "cat", "dog")
    odd = {
        "grey": encoded(scene(501).convert("L")),
        "cmyk": encoded(scene(502).convert("CMYK"), "JPEG"),
        "16-bit": encoded(Image.fromarray(np.asarray(scene(503).convert("L")).astype(np.uint16) << 8), "TIFF"),
        "animated": encoded(scene(504), "GIF", save_all=True, append_images=[scene(505)]),
        "rotated": encoded(scene(506), "JPEG", exif=exif(orientation(6))),
        "alpha": encoded(scene(507).convert("RGBA")),
    }
    endings = {"cmyk": "jpg", "16-bit": "tif", "animated": "gif", "rotated": "jpg"}
    files = {kind: put(tmp_path, f"cat/{kind}.{endings.get(kind, 'png')}", data) for kind, data in odd.items()}
    report = check(str(tmp_path))
    for kind, file in files.items():
        expected = [files["16-bit"], file] if kind == "grey" else [file]
        assert found(report, kind) == [sorted(expected)]
    assert report.verdict == "clean"


def test_names_that_promise_another_format(tmp_path):
    fill(tmp_path, "cat", "dog")
    wrong = put(tmp_path, "cat/a.png", encoded(scene(1), "JPEG"))
    for name, kind in (("b.JPG", "JPEG"), ("c.tiff", "TIFF"), ("d", "PNG"), ("e.picture", "PNG")):
        put(tmp_path, f"cat/{name}", encoded(scene(ord(name[0])), kind))
    assert found(check(str(tmp_path)), "wrong-extension") == [[wrong]]


def test_hidden_files_and_leftovers_are_noted(tmp_path):
    fill(tmp_path, "cat", "dog")
    hidden = [put(tmp_path, name, b"x") for name in ("cat/._0.png", "dog/.hidden")]
    leftover = put(tmp_path, "cat/Thumbs.db", b"x")
    report = check(str(tmp_path))
    assert found(report, "hidden") == [hidden]
    assert found(report, "leftover") == [[leftover]]
    assert report.verdict == "clean"


@LINKS
def test_links_that_leave_the_data_are_a_fault_in_check_and_in_training(tmp_path):
    root = fill(tmp_path / "photos", "cat", "dog")
    fill(tmp_path, "elsewhere")
    (root / "cat" / "a.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (root / "eel").symlink_to(tmp_path / "elsewhere")
    report = check(str(root))
    assert found(report, "link-outside") == [[str(root / "cat" / "a.png"), str(root / "eel")]]
    assert report.verdict == "unusable"
    with pytest.raises(DataError, match="a link out of the data set"):
        cheap(open_source(root))


@LINKS
def test_links_inside_the_data_are_fine_and_loops_are_told(tmp_path):
    root = fill(tmp_path / "photos", "cat", "dog")
    (tmp_path / "way").symlink_to(root)
    (root / "cat" / "above").symlink_to(root)
    (root / "cat" / "loop.png").symlink_to(root / "cat" / "loop.png")
    report = check(str(tmp_path / "way"))
    assert found(report, "broken-link") == [[str(tmp_path / "way" / "cat" / "loop.png")]]
    assert kinds(report) == {"broken-link"}


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("é", unicodedata.normalize("NFD", "é")), ("Straße", "STRASSE")])
def test_class_folders_of_almost_one_name_are_a_fault(tmp_path, pair):
    fill(tmp_path, *pair, "dog")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system takes the two names for one")
    report = check(str(tmp_path))
    assert [set(one.classes) for one in report.findings if one.kind == "class-names-alike"] == [set(pair)]
    assert report.fault.exit_code == 65
    with pytest.raises(DataError, match="differ only in case or Unicode form"):
        cheap(open_source(tmp_path))


def test_labels_of_a_table_may_be_capitals_and_small_letters():
    """EMNIST has both, and no file system is asked to keep them apart."""
    split = Split([encoded(scene(row)) for row in range(4)], np.array([0, 0, 1, 1]), ["a:0", "a:1", "a:2", "a:3"])
    lines = cheap(Source("letters", ("A", "a"), {"train": split}))
    assert len(lines) == 2
    assert "differ only in case" in lines[1]


def test_file_names_that_differ_only_in_case(tmp_path):
    fill(tmp_path, "cat", "dog")
    pair = [put(tmp_path, f"cat/{name}.png", encoded(scene(ord(name)))) for name in "Aa"]
    if len(list((tmp_path / "cat").iterdir())) < 5:
        pytest.skip("this file system takes the two names for one")
    assert found(check(str(tmp_path)), "names-alike") == [sorted(pair)]


def test_ten_thousand_classes_are_fine():
    count = 10_000
    pictures = [np.full((4, 4), row % 256, np.uint8) for row in range(2 * count)]
    split = Split(pictures, np.arange(2 * count) % count, [f"a:{row}" for row in range(2 * count)])
    lines = cheap(Source("many", tuple(map(str, range(count))), {"train": split}))
    assert lines == ["10,000 classes of 2 training pictures each"]


def test_a_report_of_ten_thousand_classes_is_short():
    from inceptory.data.check.findings import Report

    text = str(Report("many", {str(row): {"train": row} for row in range(10_000)}, ()))
    assert len(text.splitlines()) < 40
    assert "9,999" in text
