"""From pictures to vectors: what is known comes from the cache, what is new is computed while more is decoded.

Batches are filled up to one shape with black pictures, so that a vector never depends on its neighbours: killed at any
moment and begun again, a run ends with the same bits.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.batches import Progress
from inceptory.data.feed.decoding import Decoder
from inceptory.data.feed.windows import held
from inceptory.data.feed.workers import Pool, Processes, Threads
from inceptory.data.picture.crops import DRAWS, Crops
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.sequences import is_local
from inceptory.data.sources.source import Split
from inceptory.errors import ConfigError, DataError, UnknownName, UsageError
from inceptory.features import cache as store
from inceptory.features.cache import Cache
from inceptory.features.content import digests, view_of
from inceptory.system.progress import meter
from inceptory.weights.model import Model

if TYPE_CHECKING:
    from inceptory.engines.device import Device
    from inceptory.engines.torch import Engine

FORMAT = 1
"""Of what the cache holds; another one is another key."""
BATCH = {"cpu": 16, "cuda": 128, "mps": 32}
"""Pictures that pass through the network at once, by device."""
FEW = 2048
"""Pictures up to which threads decode: processes of their own take half a second to start."""
AHEAD = 4
"""Batches that are being decoded while one is computed."""
LEAST_AREA = 0.5
"""Share of a picture's area that an augmented view shows at least."""
IN_MEMORY = 2**30
"""Bytes of vectors up to which they are held in memory; more lie in a file without a name."""
SAMPLE = 4
"""Pictures on which 16 bits are compared with 32."""
TOLERATED = 0.05
"""Largest length of the difference from the vector in 32 bits, as a share of that vector's length, with which 16 bits
count as exact enough."""


@dataclass(frozen=True)
class Settings:
    """What vectors are computed of a picture, and how."""

    layer: str = "bottleneck"
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
        self.model, self.settings = model, settings
        self.preprocess = _sized(model.require_preprocess(), settings.image)
        names = [stage.name for stage in model.plan.tree.stages]
        if settings.layer not in ("bottleneck", "embedding", *names):
            kind = f"layer of {model.plan.architecture}"
            raise UnknownName(kind, settings.layer, ["bottleneck", "embedding", *names])
        from inceptory.engines.device import choose  # loads torch, which a wrong name need not wait for

        self.device = choose(settings.device, settings.precision)
        self.batch = self.preprocess.at_a_time(BATCH[self.device.name])
        self.difference: float | None = None
        """Largest relative difference from vectors in 32 bits on the first pictures; None where 32 bits were used."""
        self._stack = ExitStack()
        self._engine: Engine | None = None
        self._digest = model.weights.digest("sha256")
        self._cache: Cache | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._cache is not None:
            store.trim(self._cache.path)

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
            "arithmetic": [str(self.device), self.batch, version("torch")],
        }

    def split(
        self, split: Split, title: str = "pictures", views: int = 1, look: Callable[[], None] = lambda: None
    ) -> Vectors:
        """The vectors of a split: of every picture as it is, and of `views` - 1 parts of it, half of them mirrored.

        `look` is called after each batch, and may raise: what is computed by then is kept.

        Raises DataError where no picture can be read, or where the network gives no usable vector.
        """
        with meter(f"looking at {title}", len(split)) as bar:
            contents = digests(split, bar)
        self._settle(split, contents)
        wanted = _Wanted.of(contents, views, self.settings.seed)
        values, here = None, np.zeros(len(wanted.keys), dtype=bool)
        for place, vector in self._cache.get(wanted.keys) if self._cache is not None else ():
            if values is None:
                values = space(len(wanted.keys), len(vector))
            values[place], here[place] = vector, True
        missing, faults = np.flatnonzero(~here), dict[int, str]()
        if len(missing):
            with meter(f"features of {title}", len(missing)) as bar:
                for places, some in self._computed(split, wanted, missing, faults, bar):
                    if values is None:
                        values = space(len(wanted.keys), some.shape[1])
                    values[places], here[places] = some, True
                    look()
                bar.say_skipped(list(faults.values()), len(set(wanted.rows[here].tolist())))
        faults |= {row: f"{split.names[row]}: cannot be read" for row, one in enumerate(contents) if one is None}
        whole = here.reshape(-1, views).all(1)
        if values is None or not whole.any():
            raise DataError(next(iter(faults.values()), f"{title}: no pictures (give some)"))
        values = values.reshape(-1, views, values.shape[1])
        rows = wanted.rows.reshape(-1, views)[:, 0]
        kept = (values, rows) if whole.all() else (values[whole], rows[whole])
        return Vectors(*kept, tuple(faults[row] for row in sorted(faults)), len(missing))

    def _settle(self, split: Split, contents: Sequence[bytes | None]) -> None:
        """Open the cache, once it is certain in which arithmetic vectors are computed."""
        if self._cache is not None or self.difference is not None:
            return
        if self.settings.cache:
            self._cache = self._opened()
        if self.device.precision == "fp32":
            return
        known = self._cache.note("difference") if self._cache is not None else None
        self.difference = float(known) if known else self._measured(split, contents)
        if self._cache is not None and not known:
            self._cache.put_note("difference", repr(self.difference))
        if self.settings.precision == "auto" and not self.difference <= TOLERATED:
            # The note stays, so that the next time knows it at once.
            self._stack.close()
            self.device, self.difference = replace(self.device, precision="fp32"), None
            self._cache = self._opened() if self.settings.cache else None

    def _opened(self) -> Cache:
        cache = self._stack.enter_context(Cache.of(self.key))
        cache.put_note("model", str(self.model.path))
        return cache

    def _measured(self, split: Split, contents: Sequence[bytes | None]) -> float:
        """How far vectors are from those in 32 bits, on the first pictures that can be read."""
        decoder = Decoder(split.pictures, self.preprocess)
        rows = np.asarray([row for row, one in enumerate(contents) if one is not None][: 4 * SAMPLE], dtype=np.int64)
        pixels = decoder(rows, [split.names[row] for row in rows.tolist()]).pixels[:SAMPLE]
        if not len(pixels):
            return 0.0
        from inceptory.engines.device import Device

        fast, exact = (self._vectors(pixels, device) for device in (self.device, Device(self.device.name)))
        lengths = np.linalg.norm(exact, axis=1)
        return float((np.linalg.norm(fast - exact, axis=1) / np.maximum(lengths, 1e-12)).max())

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
                vectors = self._vectors(pixels, self.device)
                if self._cache is not None:
                    self._cache.put([wanted.keys[place] for place in places.tolist()], vectors)
                yield places, vectors
            done += self.batch
            progress(min(done, len(missing)), len(missing))

    def _decoded(
        self, split: Split, wanted: _Wanted, missing: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]]:
        """(places that could be read, pixels, faults by row) of each batch, some of them ahead."""
        blocks = held(split.pictures)
        decoder = Decoder(split.pictures if blocks is None else blocks, self.preprocess, Crops(LEAST_AREA))
        threads = len(missing) <= FEW or is_local(split.pictures)
        pool: Pool = Threads(decoder, split.names) if threads else Processes(decoder, split.names, 2)
        waiting = deque[tuple[NDArray[np.int64], Any]]()
        try:
            # Views as they are and parts are asked for apart: one call decodes one kind.
            for group in _groups(missing, wanted, self.batch):
                draws = wanted.draws[group] if wanted.part[group[0]] else None
                waiting.append((group, pool.submit(wanted.rows[group], None if draws is None else draws[:, :DRAWS])))
                if len(waiting) > AHEAD:
                    yield self._taken(*waiting.popleft(), wanted)
            while waiting:
                yield self._taken(*waiting.popleft(), wanted)
        finally:
            for _, future in waiting:
                future.cancel()
            pool.close()

    def _taken(
        self, group: NDArray[np.int64], future: Any, wanted: _Wanted
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]:
        decoded = future.result()
        faults = dict(decoded.faults)
        places = np.asarray([place for place in group.tolist() if wanted.rows[place] not in faults], dtype=np.int64)
        pixels = decoded.pixels
        mirrored = wanted.draws[places, DRAWS] >= 0.5
        if wanted.part[group[0]] and mirrored.any():
            pixels = pixels.copy()
            pixels[mirrored] = pixels[mirrored][..., ::-1]
        return places, pixels, faults

    def _vectors(self, pixels: NDArray[np.uint8], device: Device) -> NDArray[np.float32]:
        """(n, length) of n pictures, at most a batch. Raises DataError for vectors that say nothing."""
        import torch

        from inceptory.engines.torch import open_engine

        if self._engine is None:
            opened = open_engine(self.model, self.device.name, self.device.precision)
            self._engine = replace(opened, preprocess=self.preprocess)
        filled = np.zeros((self.batch, *pixels.shape[1:]), dtype=np.uint8)
        filled[: len(pixels)] = pixels
        engine = replace(self._engine, device=device)
        vectors: NDArray[np.float32] = engine.vectors(torch.from_numpy(filled), self.settings.layer).numpy()
        if not np.isfinite(vectors[: len(pixels)]).all():
            told = f"{self.model.path}: layer {self.settings.layer} gives NaN or infinite values in {device}"
            raise DataError(f"{told} (take another copy of the weights, or --precision fp32)")
        return vectors[: len(pixels)]


@dataclass(frozen=True)
class _Wanted:
    """Every vector of a split: its key, its picture, and what chooses the part of it."""

    keys: list[bytes]
    rows: NDArray[np.int64]
    part: NDArray[np.bool_]
    """Whether it is of a part of the picture, and not of the picture as it is."""
    draws: NDArray[np.float64]
    """(n, DRAWS + 1)."""

    @classmethod
    def of(cls, contents: Sequence[bytes | None], views: int, seed: int) -> Self:
        """So many views of every picture that has a digest."""
        keys, rows, draws = list[bytes](), list[int](), list[NDArray[np.float64]]()
        whole = np.zeros(DRAWS + 1)
        for row, digest in enumerate(contents):
            for view in range(views if digest is not None else 0):
                assert digest is not None
                key, drawn = (digest, whole) if view == 0 else view_of(digest, view, seed)
                keys.append(key)
                rows.append(row)
                draws.append(drawn)
        part = np.arange(len(keys)) % max(views, 1) > 0
        stacked = np.stack(draws) if views > 1 and draws else np.broadcast_to(whole, (len(keys), DRAWS + 1))
        return cls(keys, np.asarray(rows, dtype=np.int64), part, stacked)


def _groups(missing: NDArray[np.int64], wanted: _Wanted, batch: int) -> Iterator[NDArray[np.int64]]:
    """Batches of one kind; a picture that occurs twice is computed twice, which is rarer than worth a table."""
    for kind in (False, True):
        some = missing[wanted.part[missing] == kind]
        for start in range(0, len(some), batch):
            yield some[start : start + batch]


def space(count: int, length: int) -> NDArray[np.float32]:
    """Space for vectors: memory, or beyond a gigabyte a file that vanishes with them."""
    if count * length * 4 <= IN_MEMORY:
        return np.zeros((count, length), dtype=np.float32)
    return np.memmap(tempfile.TemporaryFile(), dtype=np.float32, mode="w+", shape=(count, length))


def _sized(preprocess: Preprocess, image: int | None) -> Preprocess:
    """The preprocessing at another size, the margin around the centre crop in proportion; raises ConfigError."""
    if image is None or image == preprocess.size:
        return preprocess
    resize = None if preprocess.resize is None else round(preprocess.resize * image / preprocess.size)
    try:
        return replace(preprocess, size=image, resize=resize)
    except (ValueError, UsageError) as fault:
        raise ConfigError(f"--image {image}: {fault} (give a size that the network takes)") from None
