"""Inceptory's own networks in a child process of `bench`: one engine, in every precision that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.engines.answers import Engine
from inceptory.engines.choice import BATCH, LEAST, Setting
from inceptory.engines.exported import Exported
from inceptory.engines.opening import Maker, Wish
from inceptory.run.timing.models import opened


class Ours:
    """One model on one engine."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup
        self.model = opened(setup["model"], setup["image"])
        self._engines: dict[tuple[str, int], Engine] = {}

    @cached_property
    def maker(self) -> Maker:
        """Of engines."""
        assert not isinstance(self.model, Exported), "what is exported is made already"
        return Maker(self.model, Wish(device="cpu"))

    def make(self, way: dict[str, Any]) -> Callable[[int], Callable[[], object]]:
        """A call from pixels to answers."""
        engine, preprocess = self.engine(way), self.model.require_preprocess()

        def of(batch: int) -> Callable[[], object]:
            shape = (batch, len(preprocess.mean), preprocess.size, preprocess.size)
            pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
            return lambda: engine.answers(pixels)

        return of

    def engine(self, way: dict[str, Any]) -> Engine:
        """Made once for each precision and number of streams."""
        precision, streams = way["precision"], way["streams"]
        if (precision, streams) not in self._engines:
            setting = Setting(self.setup["engine"], precision, self.setup["threads"], streams)
            if isinstance(self.model, Exported):
                made = self.model.engine()
            else:
                made = self._quantised(setting) if precision == "int8" else self.maker.make(setting)
            self._engines[precision, streams] = made
        return self._engines[precision, streams]

    def labels(self, way: dict[str, Any], file: str) -> list[int]:
        """The first label of each picture in a file of pixels (N, C, H, W)."""
        engine, pixels = self.engine(way), np.load(file, allow_pickle=False)
        parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
        labels: list[int] = np.concatenate([engine.answers(part).logits.argmax(1) for part in parts]).tolist()
        return labels

    @cached_property
    def _int8(self) -> Any:
        """The network's graph in int8, whatever it costs in answers: `agreement` tells."""
        from inceptory.engines.quantise import quantised

        pixels: NDArray[np.uint8] = np.load(self.setup["calibration"], allow_pickle=False)
        preprocess, some = self.model.require_preprocess(), pixels[:LEAST]
        nothing = np.zeros(len(some), dtype=np.int64)  # no drop can be above 100 points
        return quantised(self.maker.graph, preprocess, pixels, validation=some, reference=nothing, max_drop=100).model

    def _quantised(self, setting: Setting) -> Engine:
        from inceptory.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(
            self._int8,
            self.model.require_preprocess(),
            multi_label=self.model.card.multi_label,
            precision="int8",
            threads=setting.threads,
            streams=setting.streams,
        )
