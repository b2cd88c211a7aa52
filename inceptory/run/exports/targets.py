"""A network written for one of the targets, and its answers read back. Loads torch for torch-export only."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import Decoder
from inceptory.data.picture.preprocess import Preprocess
from inceptory.data.sources.labels import Labels
from inceptory.data.sources.source import Split
from inceptory.engines.answers import EXTRA, Engine, Precision
from inceptory.engines.exported import FILES, Target, engine_of
from inceptory.errors import ConfigError, UnknownName, WriteError
from inceptory.system import files
from inceptory.weights.card import Card
from inceptory.weights.model import Model

if TYPE_CHECKING:
    import onnx
    import openvino as ov

CALIBRATION, VALIDATION = 300, 1000
"""Pictures, at most, by which int8 is calibrated, and by which its layers are weighed; the proof takes all of them."""
BATCH = 16

PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "torch-export": ("fp32",),
}
REASONS = {
    "onnx": "ONNX Runtime has no convolutions in it on a processor; take --to openvino",
    "torch-export": "a program of torch.export computes as it was written; take --to openvino",
}
"""Why a target lacks a precision that others have, and the remedy."""
NEEDED: dict[Target, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "torch-export": ("torch",),
}
"""Packages that write a file and read it again."""


def require_possible(to: Target, precision: Precision) -> None:
    """Raise UnknownName, or ConfigError for what this Python, this processor or the target cannot do."""
    if to not in PRECISIONS:
        raise UnknownName("target of an export", to, PRECISIONS)
    if precision not in PRECISIONS[to]:
        raise ConfigError(f"--precision {precision}: not --to {to} ({REASONS.get(to, 'take fp32, bf16 or int8')})")
    needed = (*NEEDED[to], *(("openvino", "nncf") if precision == "int8" else ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--to {to}: needs {missing[0]}, which is not installed ({EXTRA})")
    if precision == "bf16":
        from inceptory.engines.openvino import precisions

        if precision not in precisions():
            raise ConfigError("--precision bf16: this processor lacks it, so nothing could be proved (take fp32)")


@dataclass(frozen=True)
class Pictures:
    """What a person gave to prove by."""

    part: Split
    """Labels in the model's order of classes."""
    data: str
    line: str
    """Which pictures these are."""
    labelled: bool = True
    calibration: Split | None = None
    """Others to calibrate by; None where there are none."""

    def halved(self) -> Pictures:
        """With every second picture to calibrate by, where there are no others."""
        if self.calibration is not None:
            return self
        rows = np.arange(len(self.part))
        line = f"{self.line}; every second one calibrates, the others prove"
        return replace(self, part=self.part.take(rows[1::2]), calibration=self.part.take(rows[::2]), line=line)


@dataclass(frozen=True)
class Work:
    """A model on its way into a folder."""

    model: Model
    to: Target
    precision: Precision
    max_drop: float = 0.5
    """Points of top-1 that int8 may cost."""

    @cached_property
    def reverse(self) -> bool:
        """Whether the network takes BGR: the exported one takes RGB and turns it."""
        return self.model.require_preprocess().order == "BGR"

    @cached_property
    def card(self) -> Card:
        """The model's, for pictures in RGB."""
        card = self.model.card
        if not self.reverse:
            return card
        preprocess = self.model.require_preprocess()
        turned = replace(preprocess, order="RGB", mean=preprocess.mean[::-1], std=preprocess.std[::-1])
        return replace(card, preprocess=turned)

    @cached_property
    def preprocess(self) -> Preprocess:
        """How pictures become what the exported network takes."""
        assert self.card.preprocess is not None, "was required of the model"
        return self.card.preprocess

    @property
    def metadata(self) -> dict[str, str]:
        """Texts in the file itself, all in ASCII: XML has no control characters."""
        return {
            "classes": json.dumps(self.card.labels),
            "preprocessing": json.dumps(self.preprocess.to_json()),
            "card": json.dumps(json.loads(self.card.to_json())),
        }

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that write and read the file."""
        return {name: version(name) for name in ("inceptory", *NEEDED[self.to])}

    def write(self, folder: Path, given: Pictures | None) -> Engine:
        """Write the network's files into a folder, and give what they answer; int8 is calibrated by what was `given`.

        Raises WriteError, and ConfigError where int8 costs too much.
        """
        place = folder / FILES[self.to][0]
        if self.to == "torch-export":
            content = self._program()
            files.write(place, content)
            from inceptory.run.exports.program import ProgramEngine

            several = self.card.multi_label
            return ProgramEngine(content, self.preprocess, classes=self.model.plan.classes, multi_label=several)
        network = self._graph()
        if self.precision == "int8":
            assert given is not None, "int8 needs pictures"
            network = self._in_int8(network.SerializeToString(), given)
        if self.to == "onnx":
            from onnx import helper

            helper.set_model_props(network, self.metadata)
            files.write(place, network.SerializeToString())
        else:
            self._save(network, place)
        return engine_of(folder, self.to, self.precision, self.card)

    def _in_int8(self, graph: bytes, given: Pictures) -> ov.Model | onnx.ModelProto:
        """The only place where a network becomes int8: never worse than `max_drop` allows, else ConfigError."""
        from inceptory.engines.openvino import OpenVinoEngine
        from inceptory.engines.quantise import quantised

        assert self.to != "torch-export", "a target without int8"
        calibration, _ = decoded(given.calibration or given.part, self.preprocess, CALIBRATION)
        pixels, labels = decoded(given.part, self.preprocess, VALIDATION)
        reference = labels.astype(np.int64)
        if not given.labelled or self.card.multi_label:
            exact, size = OpenVinoEngine(graph, self.preprocess), self.preprocess.at_a_time(BATCH)
            parts = [exact.answers(pixels[start : start + size]) for start in range(0, len(pixels), size)]
            reference = np.concatenate([part.logits.argmax(1) for part in parts])
        return quantised(
            graph,
            self.preprocess,
            calibration,
            validation=pixels,
            reference=reference,
            max_drop=self.max_drop,
            to=self.to,
        ).model

    def _graph(self) -> onnx.ModelProto:
        from inceptory.engines.graph import graph_of

        return graph_of(
            self.model.plan.tree,
            self.model.arrays(),
            self.preprocess,
            multi_label=self.card.multi_label,
            reverse=self.reverse,
        )

    def _program(self) -> bytes:
        from inceptory.run.exports.program import Whole, program

        net = self.model.network().float()
        whole = Whole(net, self.preprocess, multi_label=self.card.multi_label, reverse=self.reverse)
        return program(whole, self.preprocess, self.metadata)

    def _save(self, network: ov.Model | onnx.ModelProto, place: Path) -> None:
        import openvino as ov

        from inceptory.engines.quantise import settled

        read = network if isinstance(network, ov.Model) else ov.Core().read_model(network.SerializeToString())
        model = settled(read)
        for key, text in self.metadata.items():
            model.set_rt_info(text, ["inceptory", key])
        try:
            ov.save_model(model, str(place), compress_to_fp16=False)
        except RuntimeError as fault:
            what = str(fault).strip().splitlines()[-1]
            raise WriteError(f"{place}: cannot be written, {what} (make room or choose another place)") from None


def decoded(part: Split, preprocess: Preprocess, most: int) -> tuple[NDArray[np.uint8], Labels]:
    """(pixels (n, C, H, W), labels (n,)) of `most` pictures from all over a split, or fewer: those that can be read."""
    rows = np.unique(np.linspace(0, len(part) - 1, min(most, len(part))).astype(np.int64))
    good = Decoder(part.pictures, preprocess)(rows, [part.names[row] for row in rows.tolist()])
    return good.pixels, part.labels[good.rows]
