"""`features`: the vectors of a data set, in a file or in Python."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from inceptory.data.sources.layout import AUTO, Given, LaidOut
from inceptory.data.sources.source import Source
from inceptory.errors import UsageError, printable
from inceptory.features.extract import Extractor, Settings, Vectors, space
from inceptory.features.pictures import pictures_of
from inceptory.system import files
from inceptory.system.outputs import MARK, Kind, Output, claimed, marked
from inceptory.weights.model import Model, open_model

KINDS = {".npz": Kind("features", lambda ends: b"vectors.npy" in ends and b"about.npy" in ends)}
KINDS[".parquet"] = marked("features")
ROWS = 1024
"""Pictures in a row group of parquet."""
MOST_VIEWS = 1000
Opened = Annotated[Any, Parameter(n_tokens=1, converter=lambda _, tokens: tokens[0].value, accepts_keys=False)]
"""A model by its path or name; in Python also an open one."""


@dataclass(frozen=True)
class Features:
    """Vectors of pictures, with what is known of each."""

    vectors: NDArray[np.float32]
    """(N, length), or (N, views, length) where more than one view was asked for."""
    labels: NDArray[np.integer[Any]]
    """(N,) places in `classes`, -1 where a picture has none; (N, K) of 0 and 1 where it may show several."""
    names: tuple[str, ...]
    """Where each picture lies."""
    splits: tuple[str, ...]
    """The split of each picture."""
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    """A line for each picture that could not be read."""
    about: dict[str, Any]
    """Weights, preprocessing, layer and arithmetic, and how far 16 bits are from 32 on the first pictures."""
    computed: int
    """How many vectors were not in the cache."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __str__(self) -> str:
        shape = " x ".join(f"{size:,}" for size in self.vectors.shape)
        return f"{shape} numbers of layer {self.about['layer']}, {self.computed:,} vectors computed now, {self.told()}"

    def told(self) -> str:
        """The arithmetic in words."""
        where, error = self.about["arithmetic"][0], self.about["difference_from_fp32"]
        return where if error is None else f"{where} (at most {100 * error:.1f} % from fp32 on the first pictures)"


def extract_features(
    model: Opened,
    data: Given,
    /,
    *,
    out: Path | str | None = None,
    layer: str = "bottleneck",
    views: int = 1,
    image: int | None = None,
    seed: int = 0,
    force: bool = False,
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto",
    cache: bool = True,
    weights: Path | None = None,
    raw: bool = False,
    layout: LaidOut = AUTO,
) -> Features:
    """Describe pictures by what a trained network sees in them: one vector each.

    For example:

        inceptory features inception_v3.tf_in1k photos/ --out photos.npz

        inceptory features xception_weights.h5 photos/ --layer block13_sepconv2_act --out photos.parquet

    Vectors are kept in the cache by the content of each picture: a second run, a picture more, or other labels
    compute only what is new. `inceptory cache` shows what is kept and empties it.

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`); in Python also
        what `open_model` gave.
    data
        Labelled pictures, as for `train`; or a picture, or a folder of pictures without labels.
    out
        File for the vectors: .npz (arrays vectors, labels, names, splits, classes, about) or .parquet (a row a
        picture: name, split, label, vector). A parquet file's texts that are not UTF-8 are in a printable form.
    layer
        bottleneck, what the classifier is given; embedding, the origin's own vector (of length 1 for faces); or
        the name of a stage (`inceptory show`), whose map is averaged over its positions.
    views
        Vectors for each picture: of the picture as it is, and of so many less one random parts of it, half of them
        mirrored, the same each time.
    image
        Side of the pictures in pixels, in place of the model's own.
    seed
        Chooses the random parts.
    force
        Replace a file of `out` that this command has not written. What it reads is never replaced.
    engine
        What computes; auto takes OpenVINO where it is installed and the layer is the bottleneck, else torch.
    device
        Where to compute; auto takes cuda, mps, cpu.
    precision
        Arithmetic of the convolutions; auto takes the fastest that the hardware has, where its vectors are near
        those of fp32 on the first pictures, and says how near.
    cache
        Keep vectors for the next time, and take those that are kept.
    weights
        A copy of the published file that `model` names, fetched by hand.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    layout
        How the pictures are laid out, where that cannot be told from the files.
    """
    if not 1 <= views <= MOST_VIEWS:
        raise UsageError(f"--views {views}: out of range (1 to {MOST_VIEWS:,})")
    kind = None if out is None else Path(out).suffix.lower()
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--out {out}: unknown kind of file (end it in .npz or .parquet)")
    settings = Settings(layer, image, seed, device, precision, cache, engine)
    with ExitStack() as stack:
        opened = model if isinstance(model, Model) else stack.enter_context(open_model(model, weights=weights, raw=raw))
        opened.warn(2)
        read = [opened.path, *([data] if isinstance(data, str | Path) else [])]
        place = None
        if out is not None and kind is not None:
            place = stack.enter_context(claimed(out, KINDS[kind], inputs=read, force=force))
        source = pictures_of(data, layout)
        extractor = stack.enter_context(Extractor(opened, settings))
        parts = {name: extractor.split(split, printable(name), views) for name, split in source.splits.items()}
        about = {**extractor.key, "difference_from_fp32": extractor.difference}
        about |= {"model": str(opened.path), "views": views, "seed": seed}
        features = _joined(source, parts, views, about)
        if place is not None and kind is not None:
            _write(features, kind, place)
    return features


def _joined(source: Source, parts: dict[str, Vectors], views: int, about: dict[str, Any]) -> Features:
    """The vectors of every split, one after the other."""
    first = next(iter(parts.values())).values
    if len(parts) > 1:
        values = space(sum(len(part.values) for part in parts.values()), first.shape[1] * first.shape[2])
        values = values.reshape(-1, *first.shape[1:])
        np.concatenate([part.values for part in parts.values()], out=values)
    else:
        values = first
    taken = {name: source.splits[name].take(part.rows) for name, part in parts.items()}
    return Features(
        vectors=values if views > 1 else values[:, 0],
        labels=np.concatenate([split.labels for split in taken.values()]),
        names=tuple(name for split in taken.values() for name in split.names),
        splits=tuple(name for name, split in taken.items() for _ in range(len(split))),
        classes=source.classes,
        skipped=tuple(fault for part in parts.values() for fault in part.faults),
        about=about,
        computed=sum(part.computed for part in parts.values()),
    )


def _write(features: Features, kind: str, place: Output) -> None:
    """Whole or not at all; a large file in pieces."""
    write = _write_npz if kind == ".npz" else _write_parquet
    if place.through:
        content = io.BytesIO()
        write(features, content)
        place.write(content.getvalue())
        return
    with files.pending(place.path) as file:
        assert file.raw is not None
        file.requested = features.vectors.nbytes
        buffered = io.BufferedWriter(file.raw)
        try:
            write(features, buffered)
            buffered.flush()
        finally:
            buffered.detach()


def _write_npz(features: Features, file: IO[bytes]) -> None:
    # Names that are not UTF-8 keep their bytes as surrogates, which numpy's texts hold.
    np.savez(
        file,
        vectors=features.vectors,
        labels=features.labels,
        names=np.asarray(features.names, dtype=np.str_),
        splits=np.asarray(features.splits, dtype=np.str_),
        classes=np.asarray(features.classes, dtype=np.str_),
        about=np.asarray(files.json_text(features.about)),
    )


def _write_parquet(features: Features, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    several, length = features.labels.ndim == 2, math.prod(features.vectors.shape[1:])
    named = pa.list_(pa.string()) if several else pa.string()
    schema = pa.schema(
        [("name", pa.string()), ("split", pa.string()), ("label", named), ("vector", pa.list_(pa.float32(), length))],
        metadata={"writer": MARK, "about": files.json_text(features.about)},
    )
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            flat = pa.array(np.ascontiguousarray(features.vectors[rows]).reshape(-1))
            columns = [
                pa.array([printable(name) for name in features.names[rows]]),
                pa.array(features.splits[rows]),
                pa.array([_label(features.classes, label) for label in features.labels[rows]], named),
                pa.FixedSizeListArray.from_arrays(flat, length),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _label(classes: Sequence[str], label: Any) -> str | list[str] | None:
    """The name of a class, the names of several, or None where a picture has no label."""
    if np.ndim(label):
        return [printable(classes[place]) for place in np.flatnonzero(label).tolist()]
    return printable(classes[int(label)]) if label >= 0 else None
