"""From pictures to vectors: what is known comes from the cache, what is new is computed while more is decoded.

Batches are filled up to one shape with black pictures, so that a vector never depends on its neighbours: killed at any
moment and begun again, a run ends with the same bits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.ahead import ahead
from inceptory.data.feed.decoding import Decoded, Decoder
from inceptory.data.feed.windows import held
from inceptory.data.picture.crops import DRAWS, Crops
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.source import Progress, Split
from inceptory.engines.choice import Setting
from inceptory.engines.opening import Maker, Wish
from inceptory.errors import ConfigError, DataError, UnknownName, UsageError, WriteError
from inceptory.features.cache import Cache
from inceptory.features.content import Keys, digests, draws_of, keys_of_views
from inceptory.nets.arithmetic import fits, minimum_image
from inceptory.nets.blocks import BOTTLENECK, EMBEDDING
from inceptory.system.fetch import cache_folder
from inceptory.system.files import reason
from inceptory.system.progress import meter
from inceptory.weights.model import Model

if TYPE_CHECKING:
    from inceptory.engines.answers import Engine

FORMAT = 1
"""Of what the cache holds; another one is another key."""
BATCH = {"cpu": 16, "cuda": 128, "mps": 32}
"""Pictures that pass through the network at once, by device."""
LEAST_AREA = 0.5
"""Share of a picture's area that an augmented view shows at least."""
IN_MEMORY = 2**30
"""Bytes of vectors up to which they are held in memory; more lie in a file without a name."""
MOVED = 4096
"""Pictures whose vectors are moved together."""
SAMPLE = 4
"""Pictures on which 16 bits are compared with 32."""
TOLERATED = 0.05
"""Largest length of the difference from the vector in 32 bits, as a share of that vector's length, with which 16 bits
count as exact enough."""


@dataclass(frozen=True)
class Settings:
    """What vectors are computed of a picture, and how."""

    layer: str = BOTTLENECK
    """bottleneck, what the classifier is given; embedding; or a stage, whose map is averaged over positions."""
    image: int | None = None
    """Side of the pictures in pixels; None: as the model has it."""
    seed: int = 0
    """Of augmented views."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """auto: the fastest that the hardware has, where it proves exact enough on the first pictures."""
    cache: bool = True
    """Whether vectors are kept for the next time."""
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    """auto: OpenVINO where it is installed and the layer is the bottleneck, else torch."""


@dataclass(frozen=True)
class Vectors:
    """What a network sees in the pictures of a split that could be read."""

    values: NDArray[np.float32]
    """(n, views, length)."""
    rows: NDArray[np.int64]
    """(n,) their rows in the split."""
    faults: tuple[str, ...]
    """A line for each picture that could not be read."""
    computed: int
    """How many vectors were not in the cache."""


class Extractor:
    """An open model as a function from pictures to vectors. Closes its cache by `with`; the network is loaded only
    where something must be computed."""

    def __init__(self, model: Model, settings: Settings) -> None:
        """Raises UnknownName for a layer, ConfigError for a size or a device that cannot be."""
        self.model, self.settings = model, settings
        self.preprocess = preprocess_at(model, settings.image)
        layers = [BOTTLENECK, EMBEDDING, *(stage.name for stage in model.plan.tree.stages)]
        if settings.layer not in layers:
            raise UnknownName(f"layer of {model.plan.architecture}", settings.layer, layers)
        sized = replace(model, card=replace(model.card, preprocess=self.preprocess))
        self._maker = Maker(sized, _wish(settings))
        self.setting = self._maker.fastest()
        """How vectors are computed."""
        self.device = self._maker.device(self.setting)
        self.batch = self.preprocess.at_a_time(BATCH[self.device])
        self.difference: float | None = None
        """Largest relative difference from vectors in 32 bits on the first pictures; None where 32 bits were used."""
        self._engines: dict[Setting, Engine] = {}
        self._digest = model.weights.digest("sha256")
        self._stack = ExitStack()
        self._cache = self._opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def key(self) -> dict[str, Any]:
        """All that a vector depends on beside the picture."""
        model = self.model
        return {
            "format": FORMAT,
            "weights": self._digest,
            "network": [model.plan.architecture, model.plan.dialect, model.plan.options()],
            "read": list(model.remarks),
            "preprocess": self.preprocess.to_json(),
            "layer": self.settings.layer,
            "arithmetic": [self.arithmetic, self.batch, version(self.setting.engine)],
        }

    @property
    def arithmetic(self) -> str:
        """What vectors are computed with, such as "cpu bf16"."""
        setting = self.setting
        return f"{self.device if setting.engine == 'torch' else setting.engine} {setting.precision}"

    def split(
        self, split: Split, title: str = "pictures", views: int = 1, look: Callable[[], None] = lambda: None
    ) -> Vectors:
        """The vectors of a split: of every picture as it is, and of `views` - 1 parts of it, half of them mirrored.

        `look` is called after each batch, and may raise: what is computed by then is kept.

        Raises DataError where no picture can be read, or where the network gives no usable vector.
        """
        with meter(f"looking at {title}", len(split)) as bar:
            contents, faults = digests(split, bar)
        rows = np.delete(np.arange(len(split)), list(faults))
        self._settle(split, rows)
        wanted = _Wanted(keys_of_views(contents[rows], views, self.settings.seed), rows, views)
        table = _Table(len(wanted.keys))
        for place, vector in self._cache.get(wanted.keys) if self._cache is not None else ():
            table.put(place, vector)
        missing = np.flatnonzero(~table.here)
        with meter(f"features of {title}", len(missing)) as bar:
            for places, vectors in self._computed(split, wanted, missing, faults, bar):
                table.put(places, vectors)
                look()
            whole = table.here.reshape(-1, views).all(1)
            told = tuple(faults[row] for row in sorted(faults))
            if table.values is None or not whole.any():
                raise DataError(next(iter(told), f"{title}: no pictures (give some)"))
            bar.say_skipped(told, int(whole.sum()))
        values = _closed_up(table.values.reshape(len(rows), views, -1), np.flatnonzero(whole))
        return Vectors(values, rows[whole], told, int(table.here[missing].sum()))

    def _settle(self, split: Split, rows: NDArray[np.int64]) -> None:
        """Be certain in which arithmetic vectors are computed."""
        if self.setting.precision == "fp32" or self.difference is not None:
            return
        noted = None if self._cache is None else self._cache.note("difference")
        self.difference = self._measured(split, rows) if noted is None else float(noted)
        if self._cache is not None and noted is None and self.difference is not None:
            # Also where it is too large: the next time knows it at once.
            self._cache.put_note("difference", repr(self.difference))
        if self.settings.precision == "auto" and self.difference is not None and not self.difference <= TOLERATED:
            self._stack.close()
            self.setting, self.difference = replace(self.setting, precision="fp32"), None
            self._cache = self._opened()

    def _opened(self) -> Cache | None:
        if not self.settings.cache:
            return None
        cache = self._stack.enter_context(Cache(self.key))
        cache.put_note("model", str(self.model.path))
        return cache

    def _measured(self, split: Split, rows: NDArray[np.int64]) -> float | None:
        """How far vectors are from those in 32 bits, on the first pictures; None where none can be read."""
        decoder = _decoder(split, self.preprocess)
        for start in range(0, len(rows), SAMPLE):
            some = rows[start : start + SAMPLE]
            pixels = decoder(some, [split.names[row] for row in some.tolist()]).pixels
            if len(pixels):
                # Nothing of this is kept, so that no batch must be filled up.
                exact = self._vectors(pixels, replace(self.setting, precision="fp32"), len(pixels))
                lengths = np.linalg.norm(self._vectors(pixels, self.setting, len(pixels)) - exact, axis=1)
                return float((lengths / np.maximum(np.linalg.norm(exact, axis=1), 1e-12)).max())
        return None

    def _computed(
        self,
        split: Split,
        wanted: _Wanted,
        missing: NDArray[np.int64],
        faults: dict[int, str],
        progress: Progress,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """(places among the wanted, their vectors), batch by batch, each kept as soon as it is there."""
        done = 0
        for places, pixels, told in self._decoded(split, wanted, missing):
            faults |= told
            if len(places):
                vectors = self._vectors(pixels, self.setting, self.batch)
                if self._cache is not None:
                    self._cache.put(wanted.keys[places], vectors)
                yield places, vectors
            done += self.batch
            progress(min(done, len(missing)), len(missing))

    def _decoded(
        self, split: Split, wanted: _Wanted, missing: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]]:
        """(places that could be read, pixels, faults by row) of each batch, some of them ahead."""
        if not len(missing):
            return
        drawn = ((group, wanted.draws(group)) for group in wanted.groups(missing, self.batch))
        requests = (
            ((group, draws), wanted.row(group), None if draws is None else draws[:, :DRAWS]) for group, draws in drawn
        )
        decoder = _decoder(split, self.preprocess)
        for (group, draws), decoded in ahead(decoder, split.names, requests, len(missing)):
            yield _taken(wanted, group, draws, decoded)

    def _vectors(self, pixels: NDArray[np.uint8], setting: Setting, batch: int) -> NDArray[np.float32]:
        """(n, length) of n pictures, filled up to a batch. Raises DataError for vectors that say nothing."""
        engine = self._engines.get(setting) or self._maker.make(setting)
        self._engines[setting] = engine
        filled = np.zeros((batch, *pixels.shape[1:]), dtype=np.uint8)
        filled[: len(pixels)] = pixels
        vectors = engine.vectors(filled, self.settings.layer)
        if not np.isfinite(vectors[: len(pixels)]).all():
            told = f"{self.model.path}: layer {self.settings.layer} gives NaN or infinite values in {engine}"
            raise DataError(f"{told} (take another copy of the weights, or --precision fp32)")
        return vectors[: len(pixels)]


@dataclass(frozen=True)
class _Wanted:
    """The vectors of a split: so many `views` of each picture, one after the other; the first is the picture as it
    is, the others are parts of it."""

    keys: Keys
    """(n * views, LENGTH)."""
    rows: NDArray[np.int64]
    """(n,) of the pictures in the split."""
    views: int

    def row(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The pictures of some vectors."""
        return self.rows[places // self.views]

    def draws(self, group: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """(n, DRAWS + 1) what chooses the parts of a group; None for pictures as they are."""
        return draws_of(self.keys[group]) if group[0] % self.views else None

    def groups(self, missing: NDArray[np.int64], batch: int) -> Iterator[NDArray[np.int64]]:
        """Batches of one kind, for one call decodes pictures as they are, or parts of them.

        A picture that occurs twice is computed twice, which is rarer than worth a table.
        """
        parts = missing % self.views > 0
        for some in (missing[~parts], missing[parts]):
            yield from (some[start : start + batch] for start in range(0, len(some), batch))


class _Table:
    """Vectors by place; the first tells how long they are."""

    def __init__(self, count: int) -> None:
        self.here = np.zeros(count, dtype=bool)
        self.values: NDArray[np.float32] | None = None

    def put(self, places: int | NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take some in."""
        if self.values is None:
            self.values = space(len(self.here), vectors.shape[-1])
        self.values[places], self.here[places] = vectors, True


def _decoder(split: Split, preprocess: Preprocess) -> Decoder:
    """Of pictures as they are, and of parts; of what lies in blocks, a block is read once where rows are in order."""
    blocks = held(split.pictures)
    return Decoder(split.pictures if blocks is None else blocks, preprocess, Crops(LEAST_AREA))


def _taken(
    wanted: _Wanted, group: NDArray[np.int64], draws: NDArray[np.float64] | None, decoded: Decoded
) -> tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]:
    """A decoded batch without the pictures that could not be read; of parts, some mirrored."""
    faults, pixels = dict(decoded.faults), decoded.pixels
    good = ~np.isin(wanted.row(group), list(faults))
    if draws is not None:
        pixels = pixels.copy()  # what another process has sent cannot be written to
        mirrored = draws[good, DRAWS] >= 0.5
        pixels[mirrored] = pixels[mirrored][..., ::-1]
    return group[good], pixels, faults


def _closed_up(values: NDArray[np.float32], kept: NDArray[np.int64]) -> NDArray[np.float32]:
    """Only these rows, in ascending order; moved in place, for memory may have no room for them twice."""
    for start in range(0, len(kept) if len(kept) < len(values) else 0, MOVED):
        some = kept[start : start + MOVED]
        values[start : start + len(some)] = values[some]
    return values[: len(kept)]


def space(count: int, length: int) -> NDArray[np.float32]:
    """Space for vectors: memory, or beyond a gigabyte a file in the cache folder that vanishes with them.

    Raises WriteError where the disk has no room.
    """
    size = count * length * 4
    if size <= IN_MEMORY:
        return np.zeros((count, length), dtype=np.float32)
    place = cache_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            # A disk without room is told now; later the system would end the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype=np.float32, mode="w+", shape=(count, length))
    except OSError as fault:
        told = f"{place}: no room for {size:,} bytes of vectors, {reason(fault)}"
        raise WriteError(f"{told} (make room, or set INCEPTORY_CACHE to another folder)") from fault


def _wish(settings: Settings) -> Wish:
    """Only torch has layers beside the bottleneck."""
    inside = settings.layer != BOTTLENECK
    if inside and settings.engine not in ("auto", "torch"):
        raise ConfigError(f"--engine {settings.engine}: gives the bottleneck only (take --engine torch)")
    return Wish("torch" if inside else settings.engine, settings.precision, settings.device)


def preprocess_at(model: Model, image: int | None) -> Preprocess:
    """The model's preprocessing, or the same at another size, with the margin around the centre crop in proportion.

    Raises ConfigError for a model that knows none, and for a size that its network does not take.
    """
    own, tree, channels = model.require_preprocess(), model.plan.tree, model.plan.in_channels
    if image is None or image == own.size:
        return own
    if not fits(tree, channels, image, image):
        least = minimum_image(tree, channels)
        raise UsageError(f"--image {image}: too small for {model.plan.architecture} (give {least} or more pixels)")
    try:
        return replace(own, size=image, resize=own.resize and round(own.resize * image / own.size))
    except ValueError as fault:
        raise UsageError(f"--image {image}: {fault}") from None
