"""Labelled pictures that Python hands over: arrays, dicts of splits, data sets like Hugging Face's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import inceptory
from inceptory.data.feed.feed import Stream, feed
from inceptory.data.feed.workers import Threads
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.arrays import from_arrays
from inceptory.data.sources.datasets import from_dataset
from inceptory.data.sources.given import source_of
from inceptory.errors import DataError, MissingError, UsageError
from tests.data import hub
from tests.data.pictures import encoded, noise

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
FILES = [encoded(noise(8, 8, seed=seed)) for seed in range(12)]


def refused(do, kind=DataError):
    with pytest.raises(kind) as caught:
        do()
    return str(caught.value)


# Arrays


def test_a_pair_of_arrays_is_a_source():
    source = source_of((PIXELS, LABELS))
    train = source.split("train")
    assert (source.name, source.classes, list(source.splits)) == ("arrays", ("0", "1", "2"), ["train"])
    assert all(np.array_equal(picture, pixels) for picture, pixels in zip(train.pictures, PIXELS, strict=True))
    assert train.labels.tolist() == LABELS.tolist()
    assert (train.names[0], train.names[11]) == ("arrays:train:0", "arrays:train:11")


def test_lists_and_tensors_are_arrays_too():
    assert (
        source_of([torch.from_numpy(PIXELS), LABELS.tolist()]).fingerprint()
        == source_of((PIXELS, LABELS)).fingerprint()
    )


def test_grey_pictures_may_have_their_one_channel_or_not():
    flat, deep = from_arrays(PIXELS[..., 0], LABELS), from_arrays(PIXELS[..., :1], LABELS)
    assert flat.split("train").pictures[3].shape == deep.split("train").pictures[3].shape == (8, 8)
    assert flat.fingerprint() == deep.fingerprint()


def test_names_of_classes_are_given_or_are_the_labels_themselves():
    named = from_arrays(PIXELS, LABELS, classes=["cat", "ant", "bee"])
    assert (named.classes, named.split("train").labels.tolist()) == (("cat", "ant", "bee"), LABELS.tolist())
    words = np.array(["cat", "ant", "bee"])[LABELS]
    own = from_arrays(PIXELS, words)
    assert own.classes == ("ant", "bee", "cat")
    assert [own.classes[label] for label in own.split("train").labels] == words.tolist()
    asked = from_arrays(PIXELS, words.astype(object), classes=["cat", "ant", "bee"])
    assert asked.split("train").labels.tolist() == LABELS.tolist()
    assert from_arrays(PIXELS, LABELS * 5).classes == ("0", "5", "10")


def test_a_dict_of_splits_keeps_them_and_their_classes_agree():
    source = source_of({"train": (PIXELS, LABELS), "val": (PIXELS[:2], [0, 5]), "test": (PIXELS[:4], LABELS[:4])})
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 12, "validation": 2, "test": 4}
    assert source.classes == ("0", "1", "2", "5")
    assert source.split("validation").labels.tolist() == [0, 3]
    both = from_arrays({"train": PIXELS, "test": PIXELS[:4]}, {"train": LABELS, "test": LABELS[:4]}, classes="abc")
    assert (len(both.split("test")), both.classes) == (4, ("a", "b", "c"))


def test_several_classes_a_picture_are_columns_of_0_and_1():
    hot = RANDOM.integers(0, 2, (12, 4))
    source = from_arrays(PIXELS, hot, classes="abcd")
    assert source.multi_label
    assert np.array_equal(source.split("train").labels, hot)
    assert from_arrays(PIXELS, hot.astype(bool)).classes == ("0", "1", "2", "3")


def test_one_1_in_every_row_is_one_class_a_picture_as_in_tables():
    hot = np.eye(3, dtype=np.float32)[LABELS]
    for given in (hot, hot.astype(int), hot.astype(bool), torch.from_numpy(hot)):
        source = from_arrays(PIXELS, given, classes="abc")
        assert not source.multi_label
        assert source.split("train").labels.dtype == np.int64
        assert source.split("train").labels.tolist() == LABELS.tolist()
    several = hot.copy()
    several[0, :2] = 1
    both = from_arrays({"train": PIXELS, "val": PIXELS}, {"train": hot, "val": several})
    assert both.multi_label
    assert both.split("train").labels.tolist() == hot.tolist()


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64])
def test_a_column_of_numbers_is_a_row_of_them(kind):
    base = from_arrays(PIXELS, LABELS)
    assert from_arrays(PIXELS, LABELS[:, None].astype(kind)).fingerprint() == base.fingerprint()
    assert from_arrays(PIXELS, LABELS.astype(kind)).fingerprint() == base.fingerprint()


def test_truths_are_the_numbers_0_and_1():
    assert from_arrays(PIXELS, LABELS > 0, classes="ab").split("train").labels.tolist() == (LABELS > 0).tolist()


def test_the_fingerprint_is_made_of_every_pixel_label_and_name():
    base, moved = from_arrays(PIXELS, LABELS).fingerprint(), PIXELS.copy()
    assert from_arrays(PIXELS.copy(), LABELS.copy(), name="other").fingerprint() == base
    moved[7, 3, 2, 1] ^= 1
    others = [
        from_arrays(moved, LABELS),
        from_arrays(PIXELS, LABELS[::-1]),
        from_arrays(PIXELS, LABELS, classes="abc"),
        from_arrays(PIXELS[::-1], LABELS),
        from_arrays(PIXELS.reshape(12, 4, 16, 3), LABELS),
    ]
    assert len({base, *(other.fingerprint() for other in others)}) == 6


@pytest.mark.parametrize(
    ("pictures", "labels", "told"),
    [
        (
            PIXELS / 255,
            LABELS,
            "arrays: train: pictures of type float64, not uint8 (give levels from 0 to 255 as uint8)",
        ),
        (PIXELS.transpose(0, 3, 1, 2), LABELS, "pictures of shape (12, 3, 8, 8) (give (N, H, W), or (N, H, W, C)"),
        (PIXELS[0], LABELS, "train has 8 pictures and 12 labels"),
        (PIXELS[0, 0], LABELS, "pictures of shape (8, 3)"),
        (PIXELS[:0], LABELS[:0], "pictures of shape (0, 8, 8, 3)"),
        ([PIXELS[0], PIXELS[1, :4]], [0, 1], "pictures of different shapes"),
        (PIXELS, LABELS[:9], "train has 12 pictures and 9 labels (give as many)"),
        (PIXELS, LABELS / 2, "labels of type float64 and shape (12,)"),
        (PIXELS, np.stack([LABELS, LABELS], 1), "labels of type int64 and shape (12, 2)"),
        ({"train": PIXELS}, {"test": LABELS}, "splits ['train'] have pictures and ['test'] have labels"),
        (PIXELS, [[0], [0, 1]] * 6, "labels of different lengths (give (N,) whole numbers"),
        (PIXELS, np.where(LABELS, LABELS, np.nan), "labels of type float64 and shape (12,)"),
        (PIXELS, LABELS * 1e30, "labels of type float64 and shape (12,)"),
        (torch.zeros(12, 8, 8, 3, requires_grad=True), LABELS, "train: cannot be read, Can't call numpy() on Tensor"),
        ({}, {}, "arrays: an empty dict (give at least train)"),
        ({"train": PIXELS, 0: PIXELS}, {"train": LABELS}, "splits ['0', 'train'] have pictures and ['train'] have"),
        ({"val": PIXELS, "valid": PIXELS}, {"val": LABELS, "valid": LABELS}, "mean the same split"),
    ],
)
def test_arrays_that_are_no_pictures_with_labels_are_refused_in_one_line(pictures, labels, told):
    assert told in refused(lambda: from_arrays(pictures, labels))


def test_classes_that_do_not_fit_are_refused():
    assert "the label 2 of train is not one of the 2 classes" in refused(
        lambda: from_arrays(PIXELS, LABELS, classes="ab")
    )
    assert "negative labels (leave those rows out)" in refused(lambda: from_arrays(PIXELS, LABELS - 1))
    assert "the label -1 of" in refused(lambda: from_arrays(PIXELS, LABELS - 1, classes="abc"))
    assert "the label ant of" in refused(lambda: from_arrays(PIXELS, ["ant", "bee"] * 6, classes=["bee", "cat"]))
    assert "names a class twice" in refused(lambda: from_arrays(PIXELS, LABELS, classes="aba"))
    assert "names a class twice" in refused(lambda: from_arrays(PIXELS, LABELS, classes=[1, "1", 2]))
    hot = np.eye(3, dtype=int)[LABELS]
    assert "2 classes for labels of 3 columns" in refused(lambda: from_arrays(PIXELS, hot, classes="ab"))
    mixed = {"train": (PIXELS, LABELS), "test": (PIXELS, hot)}
    assert "labels of different kinds" in refused(lambda: source_of(mixed))


def test_other_things_are_no_data():
    told = refused(lambda: source_of(7), UsageError)
    assert told.startswith("data of the type int: not labelled pictures (give a path, a pair of pictures and labels")
    assert "'extra': no name of a split" in refused(lambda: source_of({"extra": (PIXELS, LABELS)}), UsageError)
    assert "of the type dict" in refused(lambda: source_of({}), UsageError)


def test_a_source_is_data():
    source = from_arrays(PIXELS, LABELS)
    assert source_of(source) is source


def test_arrays_are_streamed_by_threads_of_this_process():
    split = from_arrays(PIXELS, LABELS).with_validation(0.34).split("train")
    one = feed(split, "abc", Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3), memory=0, workers=2)
    assert isinstance(one, Stream)
    assert isinstance(one._pool, Threads)
    (batch,) = one.batches([torch.arange(len(split))])
    assert np.array_equal(batch.pixels.numpy().transpose(0, 2, 3, 1), np.stack(list(split.pictures)))
    one.close()


# Data sets


def test_a_data_set_is_a_source_whatever_its_items_are():
    expected = np.stack([noise(8, 8, seed=seed) for seed in range(12)])
    items = {
        "records of bytes": [{"bytes": data, "path": None} for data in FILES],
        "bytes": FILES,
        "pictures": [Image.fromarray(pixels) for pixels in expected],
        "arrays": list(expected),
    }
    for what, cells in items.items():
        source = source_of(hub.labelled(cells, [0, 1] * 6))
        train = source.split("train")
        assert (source.name, source.classes) == ("dataset", ("cat", "dog"))
        assert train.labels.tolist() == [0, 1] * 6
        one = feed(train, source.classes, Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3))
        (batch,) = one.batches([torch.arange(12)])
        assert np.array_equal(batch.pixels.numpy().transpose(0, 2, 3, 1), expected), what


def test_paths_in_records_are_read(tmp_path):
    for row, data in enumerate(FILES):
        (tmp_path / f"{row}.png").write_bytes(data)
    cells = [{"bytes": None, "path": str(tmp_path / f"{row}.png")} for row in range(12)]
    assert list(source_of(hub.labelled(cells, [0, 1] * 6)).split("train").pictures) == FILES
    (tmp_path / "3.png").unlink()
    pictures = source_of(hub.labelled(cells, [0, 1] * 6)).split("train").pictures
    told = refused(lambda: pictures[3], MissingError)
    assert told.startswith("dataset:train:3: names ")
    assert "which is not there" in told


def test_pictures_that_somebody_opened_become_upright_grey_or_colour():
    picture = Image.fromarray(PIXELS[0][:4])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.info["exif"] = exif.tobytes()
    cells = [picture, Image.fromarray(PIXELS[0]).convert("RGBA"), Image.fromarray(PIXELS[0][..., 0]).convert("1")]
    found = source_of(hub.labelled(cells, [0, 1, 0])).split("train").pictures
    assert [found[row].shape for row in range(3)] == [(8, 4, 3), (8, 8, 3), (8, 8)]
    assert found[1].dtype == found[2].dtype == np.uint8


def test_a_dict_of_data_sets_keeps_its_splits():
    parts = {"train": hub.labelled(FILES, [0, 1] * 6), "validation": hub.labelled(FILES[:4], [1, 0, 1, 0])}
    source = source_of(parts)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 12, "validation": 4}
    assert source.split("validation").names[2] == "dataset:validation:2"
    assert "no name of a split" in refused(lambda: source_of({"unsupervised": parts["train"]}), UsageError)
    other = hub.labelled(FILES, [0, 1] * 6, names=("ant", "bee"))
    assert "names other classes" in refused(lambda: source_of({"train": parts["train"], "test": other}))


def test_hidden_labels_leave_their_rows_out_and_that_is_said():
    test = hub.labelled(FILES, [0, -1, 1, None] * 3)
    nothing = hub.labelled(FILES[:2], [-1, -1])
    source = source_of({"train": hub.labelled(FILES, [0, 1] * 6), "test": test, "val": nothing})
    assert list(source.splits) == ["train", "test"]
    assert list(source.split("test").pictures) == FILES[::2]
    assert source.split("test").labels.tolist() == [0, 1] * 3
    assert source.split("test").names[1] == "dataset:test:2"
    assert source.notes == (
        "dataset: 6 of 12 labels of test are hidden, those rows are left out",
        "dataset: 2 of 2 labels of validation are hidden, those rows are left out",
    )


def test_minus_one_is_a_class_where_a_data_set_has_no_names_and_does_not_count_from_0():
    def plain(*labels):
        return hub.Dataset({"image": FILES, "label": list(labels) * 6}, {"image": hub.Image(), "label": hub.Value()})

    source = source_of(plain(-1, 1))
    assert (source.classes, source.split("train").labels.tolist()) == (("1", "-1"), [1, 0] * 6)
    assert list(source_of({"train": plain(1, 2), "test": plain(-1, -1)}).splits) == ["train"]
    assert "every label is hidden, None or -1" in refused(lambda: source_of(hub.labelled(FILES, [-1, None] * 6)))


def test_a_hidden_list_is_left_out_too():
    features = {"image": hub.Image(), "labels": hub.Sequence(hub.ClassLabel("abc"))}
    source = source_of(hub.Dataset({"image": FILES, "labels": [[0, 2], [-1], None, []] * 3}, features))
    assert source.split("train").labels.tolist() == [[1, 0, 1], [0, 0, 0]] * 3


def test_labels_may_be_of_the_types_of_numpy_and_torch():
    for cells in (np.array([0.0, 1.0] * 6), [np.int8(0), np.int8(1)] * 6, list(torch.tensor([0, 1] * 6))):
        assert source_of(hub.labelled(FILES, cells)).split("train").labels.tolist() == [0, 1] * 6
    several = source_of(hub.labelled(FILES, [np.array([0, 1]), np.array([], dtype=int)] * 6))
    assert several.split("train").labels.tolist() == [[1, 1], [0, 0]] * 6
    told = refused(lambda: source_of(hub.labelled(FILES, [np.array([0, 1, 1])] * 12)))
    assert told.startswith("dataset: train: row 0 has the label [0, 1, 1] (give the numbers of its classes")


@pytest.mark.parametrize("wrap", [hub.Sequence, lambda feature: [feature]], ids=["Sequence", "list"])
def test_sequences_of_labels_are_several_classes(wrap):
    labels = [[0], [0, 2], [], [1]] * 3
    data = hub.Dataset(
        {"image": FILES, "labels": labels}, {"image": hub.Image(), "labels": wrap(hub.ClassLabel("abc"))}
    )
    source = source_of(data)
    assert source.multi_label
    assert source.split("train").labels[:4].tolist() == [[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_labels_without_names_name_themselves():
    data = hub.Dataset({"image": FILES, "label": [10, 9] * 6}, {"image": hub.Image(), "label": hub.Value()})
    assert source_of(data).classes == ("9", "10")
    assert source_of(data).split("train").labels.tolist() == [1, 0] * 6
    words = hub.Dataset({"image": FILES, "label": ["b", "a"] * 6}, {"image": hub.Image(), "label": hub.Value()})
    assert source_of(words).classes == ("a", "b")


def test_columns_are_found_by_their_features_or_named():
    features = {"x": hub.Image(), "coarse": hub.ClassLabel("ab"), "fine": hub.ClassLabel("pqr")}
    data = hub.Dataset({"x": FILES, "coarse": [0, 1] * 6, "fine": [0, 1, 2] * 4}, features)
    assert from_dataset(data).classes == ("a", "b")
    assert from_dataset(data, label="fine").classes == ("p", "q", "r")
    assert "has no column 'fin' (it has x, coarse, fine)" in refused(
        lambda: from_dataset(data, label="fin"), UsageError
    )
    bare = hub.Dataset({"text": FILES, "y": [0, 1] * 6}, {"text": hub.Value(), "y": hub.Value()})
    assert "no image and label columns among ['text', 'y']" in refused(lambda: from_dataset(bare))
    assert from_dataset(hub.Dataset({"image": FILES, "label": [0, 1] * 6}, None)).classes == ("0", "1")
    assert from_dataset(bare, image="text", label="y").classes == ("0", "1")


def test_labels_outside_the_named_classes_are_refused():
    assert "the label 2 is not one of its 2 classes" in refused(lambda: source_of(hub.labelled(FILES, [0, 2] * 6)))
    assert "row 0 has the label 0.5" in refused(lambda: source_of(hub.labelled(FILES, [0.5, 1] * 6)))


def test_a_stream_without_length_is_refused():
    class Iterable:
        column_names, features = ["image"], {}

        def __getitem__(self, key):
            raise KeyError

    assert "train is a stream, which has no length (load it with streaming=False, or give" in refused(
        lambda: source_of(Iterable()), UsageError
    )


def test_a_stream_of_the_data_sets_library_is_told_what_to_give_instead():
    class IterableDataset:
        """As there: no length, no rows by number, and what it holds may be unknown."""

        column_names = features = None

        def __iter__(self):
            return iter([{"image": FILES[0], "label": 0}])

    for data in (IterableDataset(), {"train": IterableDataset(), "test": IterableDataset()}):
        told = refused(lambda data=data: source_of(data), UsageError)
        assert told.startswith("dataset: train is a stream, which has no length (load it with streaming=False, or give")


def test_what_is_no_data_set_is_refused():
    told = refused(lambda: from_dataset(PIXELS), UsageError)
    assert told == "dataset: train is of the type ndarray and no data set (give a Dataset, or arrays to from_arrays)"


def test_an_empty_dict_of_data_sets_is_refused():
    assert "an empty dict (give at least train)" in refused(lambda: from_dataset({}))


def test_a_row_without_a_picture_is_skipped_by_name():
    source = source_of(hub.labelled([None, *FILES[1:]], [0, 1] * 6))
    one = feed(source.split("train"), source.classes, Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3))
    assert one.skipped == ["dataset:train:0: holds no picture (remove the row)"]


def test_the_fingerprint_of_a_data_set_is_made_of_labels_and_contents():
    base = source_of(hub.labelled(FILES, [0, 1] * 6)).fingerprint()
    assert source_of(hub.labelled(list(FILES), [0, 1] * 6)).fingerprint() == base
    assert source_of(hub.labelled(FILES[::-1], [0, 1] * 6)).fingerprint() != base
    assert source_of(hub.labelled(FILES, [1, 0] * 6)).fingerprint() != base


def test_what_makes_sources_is_public():
    assert inceptory.from_arrays is from_arrays
    assert inceptory.from_dataset is from_dataset
