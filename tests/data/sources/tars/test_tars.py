"""WebDataset tars: honest ones by several writers, and hostile ones."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest

from inceptory.data.check.check import cheap
from inceptory.data.picture.decode import open_picture
from inceptory.data.sources.opening import open_source
from inceptory.data.sources.sequences import blocks_of
from inceptory.data.sources.tars.index import members
from inceptory.errors import DataError, MissingError
from tests.data.pictures import encoded, noise

PICTURES = [encoded(noise(4, 5, seed=seed)) for seed in range(4)]


def tar(path, entries, form=tarfile.PAX_FORMAT):
    """A tar of (name, bytes) in this order; an entry may be a ready TarInfo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as out:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                out.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                out.addfile(info, io.BytesIO(entry[1]))
    return path


def examples(labels, kind="cls", first=0):
    """Pictures 0000.png ... each with its label."""
    for row, label in enumerate(labels, start=first):
        yield f"{row:04}.png", PICTURES[row % 4]
        yield f"{row:04}.{kind}", str(label).encode() if kind == "cls" else json.dumps(label).encode()


def refused(path, kind=DataError):
    with pytest.raises(kind) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_pictures_and_labels_are_read_from_every_kind_of_tar(tmp_path, form):
    train = open_source(tar(tmp_path / "a.tar", examples("3131"), form)).split("train")
    assert list(train.pictures) == PICTURES
    assert train.labels.tolist() == [1, 0, 1, 0]
    assert train.names == [f"{tmp_path / 'a.tar'}:{row:04}.png" for row in range(4)]
    assert np.array_equal(np.asarray(open_picture(train.pictures[2], "a")), noise(4, 5, seed=2))


def test_labels_may_be_words_in_natural_order(tmp_path):
    source = open_source(tar(tmp_path / "a.tar", examples(["c10", "c2", "c10", " c1\n"])))
    assert source.classes == ("c1", "c2", "c10")
    assert source.split("train").labels.tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize("label", [{"label": "dog"}, {"class": "dog", "caption": "x"}, {"cls": " dog "}], ids=str)
def test_labels_may_stand_in_json(tmp_path, label):
    source = open_source(tar(tmp_path / "a.tar", [*examples(["cat"]), *examples([label], "json", first=1)]))
    assert source.classes == ("cat", "dog")
    assert source.split("train").labels.tolist() == [0, 1]


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_classes_txt_names_the_numbers(tmp_path, place):
    names = b"dog\ncat\nfox\n"
    inside = [("classes.txt", names)] if place == "inside" else []
    path = tar(tmp_path / "a.tar", [*inside, *examples([1, 0, 1])])
    if place == "beside":
        (tmp_path / "classes.txt").write_bytes(names)
    source = open_source(path)
    assert source.classes == ("dog", "cat", "fox")
    assert source.split("train").labels.tolist() == [1, 0, 1]
    assert any("train has no picture of 'fox'" in line for line in cheap(source))


def test_classes_txt_orders_words_too(tmp_path):
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    source = open_source(tar(tmp_path / "a.tar", examples(["cat", "dog"])))
    assert (source.classes, source.split("train").labels.tolist()) == (("dog", "cat"), [1, 0])


@pytest.mark.parametrize("label", [2, "cow"])
def test_a_label_that_classes_txt_does_not_know_is_told(tmp_path, label):
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    path = tar(tmp_path / "a.tar", examples([label]))
    assert f"the label {label!r} is not one of the 2 classes" in refused(path)


def test_shards_of_a_folder_are_joined_in_order_and_parted_by_their_names(tmp_path):
    for number in (10, 2):
        tar(tmp_path / f"train-{number:06}.tar", examples("01", first=number))
    tar(tmp_path / "test-000000.tar", examples("1"))
    source = open_source(tmp_path)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 4, "test": 1}
    assert [name.rpartition(":")[2] for name in source.split("train").names] == [
        "0002.png",
        "0003.png",
        "0010.png",
        "0011.png",
    ]
    assert list(source.split("train").pictures) == [PICTURES[row] for row in (2, 3, 2, 3)]
    assert any("test has no picture of '0'" in line for line in cheap(source))


def test_a_pattern_stands_for_several_tars(tmp_path):
    for number in range(3):
        tar(tmp_path / f"photos-{number:06}.tar", examples("01"))
    assert len(open_source(tmp_path / "photos-00000[01].tar".replace("[01]", "?")).split("train")) == 6
    assert len(open_source(str(tmp_path / "photos-*1.tar")).split("train")) == 2
    assert "no such tar" in refused(tmp_path / "other-*.tar", MissingError)


def test_a_tar_beside_class_folders_is_no_data_set(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(PICTURES[0])
    tar(tmp_path / "backup.tar", examples("01"))
    (tmp_path / "old.tar.gz").write_bytes(b"\x1f\x8b")
    assert open_source(tmp_path).classes == ("cat", "dog")


def test_folders_in_a_tar_part_examples_of_the_same_name(tmp_path):
    entries = [(f"./{folder}/{name}", data) for folder in ("x", "y") for name, data in examples(folder)]
    directory = tarfile.TarInfo("x")
    directory.type = tarfile.DIRTYPE
    train = open_source(tar(tmp_path / "a.tar", [directory, *entries])).split("train")
    assert [name.rpartition(":")[2] for name in train.names] == ["x/0000.png", "y/0000.png"]
    assert train.labels.tolist() == [0, 1]


def test_other_members_and_what_systems_leave_behind_are_passed_over(tmp_path):
    entries = [
        ("0000.png", PICTURES[0]),
        ("._0000.png", b"left behind"),
        ("0000.txt", b"a caption"),
        ("0000.seg.png", PICTURES[1]),
        ("0000.cls", b"dog"),
        ("readme.md", b"words"),
        *examples(["cat"], first=1),
    ]
    assert list(open_source(tar(tmp_path / "a.tar", entries)).split("train").pictures) == PICTURES[:2]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "name", ["n" * 150, "d/" * 90 + "x", "żółw", "bad\udcff"], ids=["long", "deep", "other", "no text"]
)
def test_names_of_every_kind_are_kept(tmp_path, form, name):
    entries = [(f"{name}.png", PICTURES[0]), (f"{name}.cls", b"a"), *examples("b")]
    names = open_source(tar(tmp_path / "a.tar", entries, form)).split("train").names
    assert names[0] == f"{tmp_path / 'a.tar'}:{name}.png"


def test_nothing_is_written(tmp_path):
    path = tar(tmp_path / "in" / "a.tar", examples("0101"))
    list(open_source(path).split("train").pictures)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", path]


def link(kind, target="0000.png", name="0001.png"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HOSTILE = {
    "a symbolic link": [link(tarfile.SYMTYPE, "/etc/passwd")],
    "a hard link": [link(tarfile.LNKTYPE)],
    "a device": [link(tarfile.CHRTYPE)],
    "a pipe": [link(tarfile.FIFOTYPE)],
    "a way out": [("../../x.png", PICTURES[0])],
    "a way out inside": [("a/../../x.png", PICTURES[0])],
    "an absolute name": [("/etc/x.png", PICTURES[0])],
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_links_devices_and_ways_out_are_refused(tmp_path, kind, form):
    message = refused(tar(tmp_path / "a.tar", [*examples("01"), *HOSTILE[kind]], form))
    assert "link, a device" in message or "leads out of it" in message


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar.xz", "a.tar.bz2", "a.tar"])
def test_a_compressed_tar_is_refused_with_the_remedy(tmp_path, name):
    mode = {"xz": "w:xz", "z2": "w:bz2"}.get(name[-2:], "w:gz")
    with tarfile.open(tmp_path / name, mode) as out:
        out.addfile(tarfile.TarInfo("0000.png"))
    assert "unpack it" in refused(tmp_path / name)


def test_a_folder_of_compressed_tars_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    assert "unpack it" in refused(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no pictures"),
        (bytes(1024), "holds no pictures"),
        (b"no tar" * 200, "not a readable tar"),
        (b"x", "not a readable tar"),
    ],
    ids=["empty", "zeros", "text", "short"],
)
def test_what_is_no_tar_is_a_data_error(tmp_path, content, told):
    (tmp_path / "a.tar").write_bytes(content)
    assert told in refused(tmp_path / "a.tar")


@pytest.mark.parametrize("part", range(1, 32))
def test_a_tar_cut_short_is_a_data_error_or_holds_whole_examples_only(tmp_path, part):
    path = tar(tmp_path / "a.tar", examples("0101", "cls"), tarfile.USTAR_FORMAT)
    whole = path.read_bytes()[: 8 * 1024]
    path.write_bytes(whole[: len(whole) * part // 32])
    try:
        train = open_source(path).split("train")
    except DataError:
        return
    assert list(train.pictures) == PICTURES[: len(train)]


def test_a_damaged_header_is_told_with_its_place(tmp_path):
    path = tar(tmp_path / "a.tar", examples("0101"), tarfile.USTAR_FORMAT)
    content = bytearray(path.read_bytes())
    content[1024 + 10] ^= 1
    path.write_bytes(content)
    assert "damaged or cut short at byte 1024" in refused(path)


def test_a_size_beyond_the_end_is_told(tmp_path):
    path = tar(tmp_path / "a.tar", examples("0101"), tarfile.USTAR_FORMAT)
    content = bytearray(path.read_bytes())
    content[124:136] = b"77777777777\0"
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    path.write_bytes(content)
    assert "cut short in '0000.png'" in refused(path)


def test_an_enormous_long_name_is_not_read(tmp_path):
    path = tar(tmp_path / "a.tar", [("n" * 10**5 + ".png", b"x")], tarfile.GNU_FORMAT)
    assert "shorter names" in refused(path)


def test_truths_and_whole_fractions_are_numbers(tmp_path):
    entries = [("classes.txt", b"dog\ncat"), *examples([{"label": True}, {"label": 0.0}], "json")]
    assert open_source(tar(tmp_path / "a.tar", entries)).split("train").labels.tolist() == [1, 0]


FAULTS = {
    "a picture without a label": ([*examples("01"), ("0009.png", PICTURES[0])], "0009.png has no label"),
    "an empty label": ([*examples("01"), ("0009.png", PICTURES[0]), ("0009.cls", b" \n")], "has no label"),
    "labels only": ([("0000.cls", b"1")], "holds no pictures with labels"),
    "two pictures of a name": ([("0.png", b"x"), ("0.jpg", b"y"), ("0.cls", b"1")], "two pictures"),
    "words and numbers": (examples(["cat", 1]), "some labels are words"),
    "broken JSON": ([("0.png", b"x"), ("0.json", b"{")], "not JSON"),
    "a fraction": (examples([{"label": 1.5}], "json"), "has the label 1.5"),
    "a list of truths": (examples([{"label": [True, False]}], "json"), "has the label [True, False] (give the numbers"),
    "a row of 0 and 1": (
        examples([{"label": [0, 1, 0]}], "json"),
        "0000.json has the label [0, 1, 0] (give the numbers",
    ),
    "a hidden label": (examples([{"label": n} for n in (-1, 0, 1)], "json"), "the label -1 stands for a hidden one"),
    "a list": (examples([[1]], "json"), "has no label"),
    "a class twice": ([("classes.txt", b"a\nb\na\n"), *examples("01")], "names a class twice"),
    "no name": ([("classes.txt", b"\n"), *examples("0")], "holds no class (give pictures with labels)"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_other_faults_are_told(tmp_path, kind):
    entries, told = FAULTS[kind]
    assert told in refused(tar(tmp_path / "a.tar", entries))


def test_tars_with_different_classes_txt_are_refused(tmp_path):
    for name, classes in (("train-0", b"a\nb"), ("train-1", b"b\na")):
        tar(tmp_path / f"{name}.tar", [("classes.txt", classes), *examples("01")])
    assert "different classes.txt" in refused(tmp_path)


def test_a_tar_that_changed_since_is_told_when_a_picture_is_read(tmp_path):
    path = tar(tmp_path / "a.tar", examples("0101"))
    pictures = open_source(path).split("train").pictures
    path.write_bytes(path.read_bytes()[:2048])
    with pytest.raises(DataError, match="has become shorter"):
        pictures[3]
    path.unlink()
    with pytest.raises(MissingError, match="no such file"):
        pictures[0]


def test_any_order_of_a_tar_costs_the_same_so_all_of_it_is_shuffled(tmp_path):
    pictures = open_source(tar(tmp_path / "a.tar", examples("01" * 100))).split("train").pictures
    assert blocks_of(pictures) is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_our_list_of_members_is_pythons(tmp_path, form):
    entries = [(f"{'d' * (1 + row % 130)}/{row}.bin", bytes(row * 37 % 1500)) for row in range(300)]
    path = tar(tmp_path / "a.tar", entries, form)
    with tarfile.open(path) as theirs, open(path, "rb") as stream:
        expected = [(member.name, member.offset_data, member.size) for member in theirs]
        assert [(member.name, member.offset, member.size) for member in members(stream, "a")] == expected


def test_sizes_in_gnus_binary_form_are_read(tmp_path):
    path = tar(tmp_path / "a.tar", [("a.bin", b"12345")], tarfile.USTAR_FORMAT)
    content = bytearray(path.read_bytes())
    content[124:136] = b"\x80" + (5).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    path.write_bytes(content)
    with open(path, "rb") as stream:
        (member,) = members(stream, "a")
        assert member.read(9) == b"12345"
