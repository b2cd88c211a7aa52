"""The engine of OpenVINO: the graph of a network, compiled for this processor. Without torch."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import HINTS, LOGITS, PROBABILITIES, VECTORS, Answers, Name, Precision, fed, joined
from inceptory.errors import ConfigError, DataError
from inceptory.nets.blocks import BOTTLENECK


class OpenVinoEngine:
    """A graph as a function from pixels to answers."""

    name: Name = "openvino"

    def __init__(
        self,
        graph: bytes | Path | ov.Model,
        preprocess: Preprocess,
        *,
        multi_label: bool = False,
        precision: Precision = "fp32",
        threads: int = 0,
        streams: int = 1,
        cache: Path | None = None,
    ) -> None:
        """`threads` are all together, 0 as many as there are cores; `streams` answer parts of a batch beside one
        another; in `cache` the compiled graph is kept. Raises ConfigError for a precision that this processor
        lacks, DataError for a graph that cannot be compiled."""
        self.preprocess, self.multi_label, self.precision, self.streams = preprocess, multi_label, precision, streams
        core = ov.Core()
        if precision in ("bf16", "fp16") and HINTS[precision].upper() not in _capable(core):
            raise ConfigError(f"--precision {precision}: this processor lacks it (take fp32, or --precision auto)")
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
        }
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        try:
            # By its path the compiled graph is found again without reading the file, which takes twice as long.
            model = core.read_model(graph) if isinstance(graph, bytes) else graph
            compiled = core.compile_model(model, "CPU", properties)
        except RuntimeError as fault:
            what = graph if isinstance(graph, Path) else "this network"
            told = str(fault).strip().splitlines()[-1]
            raise DataError(f"{what}: OpenVINO cannot compile it, {told} (take --engine torch)") from None
        self._outputs = {
            name: place
            for place, port in enumerate(compiled.outputs)
            for name in (PROBABILITIES, LOGITS, VECTORS)
            if name in port.names
        }
        self._input = compiled.input(0).get_any_name()
        logits = [port.partial_shape[1].get_length() for port in compiled.outputs if LOGITS in port.names]
        self.classes = sum(logits)
        self._requests, self._one_at_a_time = [compiled.create_infer_request() for _ in range(streams)], Lock()

    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of pixels (N, C, H, W); threads that ask at once are answered one after another."""
        parts = np.array_split(fed(self._input, pixels), min(self.streams, max(len(pixels), 1)))
        with self._one_at_a_time:
            requests = self._requests[: len(parts)]
            for request, part in zip(requests, parts, strict=True):
                request.start_async(part, share_inputs=True)
            return joined(map(self._taken, requests))

    def _taken(self, request: ov.InferRequest) -> dict[str, NDArray[np.float32]]:
        request.wait()
        return {name: request.get_output_tensor(place).data.copy() for name, place in self._outputs.items()}

    def vectors(self, pixels: NDArray[np.uint8], layer: str = BOTTLENECK) -> NDArray[np.float32]:
        """(N, length) of pixels (N, C, H, W)."""
        assert layer == BOTTLENECK, "the graph has no other layer"
        return self.answers(pixels).vectors

    def __str__(self) -> str:
        return f"openvino {self.precision}"


def precisions() -> tuple[Precision, ...]:
    """What this processor computes beside fp32 faster than that."""
    return ("bf16",) if "BF16" in _capable(ov.Core()) else ()


def _capable(core: ov.Core) -> list[str]:
    capable: list[str] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capable
