"""Parquet files of four small pictures, and what is said where they are refused."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inceptory.data.sources.opening import open_source
from inceptory.errors import DataError
from tests.data.pictures import encoded, noise

PICTURES = [encoded(noise(4, 5, seed=seed)) for seed in range(4)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def structs(pictures):
    return pa.array([{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(pictures)], IMAGE)


def described(table, names):
    """The table with the metadata that the data sets library writes."""
    features = {
        "image": {"_type": "Image"},
        "boxes": [{"_type": "Value"}],
        "label": {"_type": "ClassLabel", "names": names},
    }
    return table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def store(path, labels, pictures=PICTURES, names=None, image="image", label="label"):
    """Write a parquet file of these pictures and labels; `names` are those of a ClassLabel."""
    images = pictures if isinstance(pictures, pa.Array) else structs(pictures)
    table = pa.table({image: images, label: labels if isinstance(labels, pa.Array) else pa.array(labels)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if names is None else described(table, names), path)
    return path


def refused(path):
    """The message of the DataError, which begins with the path."""
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)
