"""The engine of ONNX Runtime: the graph of a network on the processor. Without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import LOGITS, Answers, Name, Precision, fed, joined
from inceptory.errors import DataError
from inceptory.nets.blocks import BOTTLENECK

QUIET = 3
"""Messages from errors on."""


class OnnxRuntimeEngine:
    """A graph as a function from pixels to answers."""

    name: Name = "onnxruntime"

    def __init__(
        self,
        graph: bytes | Path,
        preprocess: Preprocess,
        *,
        multi_label: bool = False,
        precision: Precision = "fp32",
        threads: int = 0,
    ) -> None:
        """`precision` is what the graph holds; `threads` 0: as many as there are cores. Raises DataError for a graph
        that cannot be loaded."""
        self.preprocess, self.multi_label, self.precision = preprocess, multi_label, precision
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, QUIET
        try:
            content = graph if isinstance(graph, bytes) else str(graph)
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as fault:  # the package's faults have no class of their own in common
            what = graph if isinstance(graph, Path) else "this network"
            told = str(fault).strip().splitlines()[0]
            raise DataError(f"{what}: ONNX Runtime cannot load it, {told} (take --engine torch)") from None
        (self._input,) = (each.name for each in self._session.get_inputs())
        self.classes = sum(output.shape[1] for output in self._session.get_outputs() if output.name == LOGITS)
        self._names = [output.name for output in self._session.get_outputs()]

    def answers(self, pixels: NDArray[np.uint8]) -> Answers:
        """Of pixels (N, C, H, W)."""
        outputs = self._session.run(None, {self._input: fed(self._input, pixels)})
        return joined([dict(zip(self._names, outputs, strict=True))])

    def vectors(self, pixels: NDArray[np.uint8], layer: str = BOTTLENECK) -> NDArray[np.float32]:
        """(N, length) of pixels (N, C, H, W)."""
        assert layer == BOTTLENECK, "the graph has no other layer"
        return self.answers(pixels).vectors

    def __str__(self) -> str:
        return f"onnxruntime {self.precision}"
