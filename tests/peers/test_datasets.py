"""Hugging Face's own data sets as they come: the same pictures and labels, in every form that it gives them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from inceptory.data.feed.feed import feed
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.datasets import from_dataset
from inceptory.data.sources.given import source_of
from inceptory.errors import UsageError

hub = pytest.importorskip("datasets")
from PIL import Image  # noqa: E402

STEPS = Preprocess(size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = [row % 2 for row in range(20)]
FEATURES = hub.Features({"img": hub.Image(), "label": hub.ClassLabel(names=["cat", "dog"])})


def made(labels=LABELS, features=FEATURES):
    return hub.Dataset.from_dict({"img": [Image.fromarray(pixels) for pixels in PIXELS], "label": labels}, features)


def pixels_of(split, classes):
    one = feed(split, classes, STEPS)
    found = next(one.batches([torch.arange(len(split))])).pixels
    return found.numpy().transpose(0, 2, 3, 1)


FORMS = {
    "as it is": lambda data, _: data,
    "as torch tensors": lambda data, _: data.with_format("torch"),
    "as numpy arrays": lambda data, _: data.with_format("numpy"),
    "shuffled and back": lambda data, _: data.select(range(19, -1, -1)).select(range(19, -1, -1)),
    "from disk": lambda data, folder: (data.save_to_disk(folder), hub.load_from_disk(folder))[1],
    "not decoded": lambda data, _: data.cast_column("img", hub.Image(decode=False)),
    "from parquet": lambda data, folder: (data.to_parquet(f"{folder}.parquet"), parquet(f"{folder}.parquet"))[1],
}


def parquet(path):
    return hub.Dataset.from_parquet(path, cache_dir=f"{path}.cache")


@pytest.mark.parametrize("form", FORMS)
def test_pictures_and_labels_are_those_that_went_in(form, tmp_path):
    source = source_of(FORMS[form](made(), str(tmp_path / "set")))
    train = source.split("train")
    assert (source.classes, train.labels.tolist()) == (("cat", "dog"), LABELS)
    assert np.array_equal(pixels_of(train, source.classes), PIXELS)
    assert source.fingerprint() == source_of(made()).fingerprint()


def test_a_dict_of_splits_comes_from_the_real_one():
    parts = hub.DatasetDict({"train": made(), "test": made().select(range(6))})
    source = source_of(parts)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 20, "test": 6}


def test_hidden_labels_and_several_are_known():
    hidden = source_of(made([-1 if row % 4 == 0 else row % 2 for row in range(20)]))
    assert len(hidden.split("train")) == 15
    assert "5 of 20 labels of train are hidden" in hidden.notes[0]
    names = hub.ClassLabel(names=["a", "b", "c"])
    features = hub.Features({"img": hub.Image(), "label": hub.Sequence(names)})
    several = source_of(made([[row % 3, (row + 1) % 3] for row in range(20)], features))
    assert several.multi_label
    assert several.split("train").labels[0].tolist() == [1, 1, 0]


def test_paths_outside_the_set_are_read(tmp_path):
    for row, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
    cells = {"img": [str(tmp_path / f"{row}.png") for row in range(20)], "label": LABELS}
    source = from_dataset(hub.Dataset.from_dict(cells, FEATURES))
    assert np.array_equal(pixels_of(source.split("train"), source.classes), PIXELS)


def test_bytes_stay_as_they_were_stored():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, "JPEG")
    cells = {"img": [{"bytes": buffer.getvalue(), "path": None}] * 2, "label": [0, 1]}
    source = from_dataset(hub.Dataset.from_dict(cells, FEATURES))
    assert source.split("train").pictures[0] == buffer.getvalue()


def test_a_stream_is_refused():
    with pytest.raises(UsageError, match="streaming=False"):
        source_of(made().to_iterable_dataset())
