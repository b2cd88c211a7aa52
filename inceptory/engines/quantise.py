"""int8 by calibration, never silently worse: NNCF finds the scales, and puts layers back that cost too much."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import EXTRA, LOGITS, fed
from inceptory.engines.choice import BATCH, LEAST
from inceptory.engines.onnxruntime import OnnxRuntimeEngine
from inceptory.engines.openvino import OpenVinoEngine
from inceptory.errors import ConfigError
from inceptory.system.progress import Meter, meter

RANKED, MOST = 50, 16
"""Pictures, at most, on which the layers are weighed against one another; and how often one of them is put back."""


class Quantised(NamedTuple):
    """A network in int8."""

    model: ov.Model | onnx.ModelProto
    drop: float
    """Points by which its first labels are less often right than those in fp32; below 0: more often."""
    put_back: int
    """Layers that stayed in fp32, since they would have cost too much."""


def quantised(
    graph: bytes,
    preprocess: Preprocess,
    calibration: NDArray[np.uint8],
    *,
    validation: NDArray[np.uint8],
    reference: NDArray[np.int64],
    max_drop: float,
    to: Literal["openvino", "onnx"] = "openvino",
) -> Quantised:
    """A graph of fp32 whose norms are folded, with int8 in its convolutions and linear layers.

    The scales come from the pixels `calibration` (N, C, H, W). `reference` (M,) are the right labels of the
    pixels `validation` (M, C, H, W), or what fp32 answers, where the drop is one of agreement. The same
    input gives the same model, to the byte. Raises ConfigError where the drop stays above `max_drop`
    points, for fewer than LEAST pictures of either kind, and where NNCF is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise ConfigError(f"int8: needs NNCF, which is not installed ({EXTRA})")
    for count, what in ((len(calibration), "calibrate"), (len(validation), "prove")):
        if count < LEAST:
            raise ConfigError(f"int8: {count} pictures are too few to {what} it by (give {LEAST} or more)")
    with _quiet(), meter("int8", None) as shown:
        work = _Work(graph, preprocess, calibration, validation, reference, to, shown)
        model = work.plain()
        before, drop = work.layers(model), work.drop(model)
        if drop > max_drop:
            model = work.controlled(max_drop)
            drop = work.drop(model)
    put_back = before - work.layers(model)
    if drop > max_drop or put_back == before:
        left = f" although {put_back} of {before} layers were put back" if put_back else ""
        remedy = "allow more, give other pictures, or take fp32 or bf16"
        raise ConfigError(f"int8: top-1 falls by {drop:.2f} points{left} (at most {max_drop:g}; {remedy})")
    return Quantised(model, drop, put_back)


@dataclass(frozen=True)
class _Work:
    """One network in the making, and what it is measured by."""

    graph: bytes
    preprocess: Preprocess
    calibration: NDArray[np.uint8]
    validation: NDArray[np.uint8]
    reference: NDArray[np.int64]
    to: Literal["openvino", "onnx"]
    shown: Meter

    def plain(self) -> Any:
        """Every layer in int8 that can be."""
        import nncf

        return settled(nncf.quantize(self.read(), self.pictures(self.calibration), subset_size=len(self.calibration)))

    def controlled(self, max_drop: float) -> Any:
        """With those layers put back that cost most, until the drop is small enough or MOST were tried."""
        import nncf

        # One at a time: beside one another they would take the memory of as many networks.
        control = nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=MOST, ranking_subset_size=RANKED, num_ranking_workers=1
        )
        model = nncf.quantize_with_accuracy_control(
            self.read(),
            self.pictures(self.calibration),
            self.pictures(self.validation),
            self.measured,
            max_drop=max_drop / 100,
            subset_size=len(self.calibration),
            advanced_accuracy_restorer_parameters=control,
        )
        return settled(model)

    def read(self) -> Any:
        """The graph as NNCF wants it, which may change it."""
        if self.to == "onnx":
            return onnx.load_from_string(self.graph)
        return ov.Core().read_model(self.graph)

    def pictures(self, pixels: NDArray[np.uint8]) -> Any:
        """Numbers of pictures for NNCF, each turned into its pixels when the network is given it."""
        import nncf

        name = onnx.load_from_string(self.graph).graph.input[0].name

        def taken(row: int) -> dict[str, NDArray[np.uint8]]:
            self.shown.tick("calibrating")
            return {name: fed(name, pixels[row : row + 1])}

        return nncf.Dataset(range(len(pixels)), taken)

    def measured(self, model: Any, rows: Iterable[int]) -> tuple[float, None]:
        """Share of these pictures of `validation` whose first label is right, as NNCF asks for it."""
        return float(self.right(self.answering(model), list(rows)).mean()), None

    def drop(self, model: Any) -> float:
        """Points by which a model falls behind the network in fp32."""
        everything = range(len(self.validation))
        return 100 * (self.exact - float(self.right(self.answering(model), everything).mean()))

    @cached_property
    def exact(self) -> float:
        """Share of right first labels in fp32."""
        return float(self.right(self.answering(self.read()), range(len(self.validation))).mean())

    def right(
        self, logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]], rows: Sequence[int]
    ) -> NDArray[np.bool_]:
        """(n,) whether the first label of a picture of `validation` is that of `reference`."""
        size, labels = self.preprocess.at_a_time(BATCH), [np.empty(0, dtype=np.int64)]
        for start in range(0, len(rows), size):
            labels.append(logits(self.validation[rows[start : start + size]]).argmax(1))
            self.shown.tick("measuring")
        right: NDArray[np.bool_] = np.concatenate(labels) == self.reference[list(rows)]
        return right

    def answering(self, model: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """From pixels (n, C, H, W) to logits (n, K)."""
        if isinstance(model, ov.CompiledModel):  # what NNCF measures
            name = model.input(0).get_any_name()
            return lambda pixels: model(fed(name, pixels))[LOGITS]
        engine = (
            OpenVinoEngine(model, self.preprocess, precision="int8")
            if isinstance(model, ov.Model)
            else OnnxRuntimeEngine(model.SerializeToString(), self.preprocess, precision="int8")
        )
        return lambda pixels: engine.answers(pixels).logits

    def layers(self, model: Any) -> int:
        """Convolutions and linear layers with weights in int8."""
        if isinstance(model, ov.Model):
            kinds = [op.get_element_type() for op in model.get_ops() if op.get_type_name() == "Constant"]
            return sum(kind in (ov.Type.i8, ov.Type.u8) for kind in kinds)
        constants = model.graph.initializer
        return sum(
            each.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(each.dims) > 1
            for each in constants
        )


def settled(model: Any) -> Any:
    """With names of operations that depend on nothing but their order; OpenVINO counts all of a process."""
    if isinstance(model, ov.Model):
        for number, op in enumerate(model.get_ordered_ops()):
            if op.get_type_name() not in ("Parameter", "Result"):
                op.set_friendly_name(f"{op.get_type_name()}_{number}")
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NNCF without its log, its bars and its reports of use to its makers, which this variable turns off."""
    os.environ.setdefault("NNCF_CI", "1")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
