"""A network written for one of the targets, and its answers read back. Loads torch for torch-export only."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from inceptory.data.picture.preprocess import Preprocess
from inceptory.engines.answers import Engine, Precision
from inceptory.engines.exported import FILES, Target, engine_of
from inceptory.engines.opening import EXTRA
from inceptory.errors import ConfigError, UnknownName, WriteError
from inceptory.system import files
from inceptory.weights.card import Card
from inceptory.weights.model import Model

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
    if precision == "int8":
        raise ConfigError("--precision int8: is not there yet (take fp32, or bf16 --to openvino)")
    if precision not in PRECISIONS[to]:
        raise ConfigError(f"--precision {precision}: not --to {to} ({REASONS.get(to, 'take fp32, bf16 or int8')})")
    missing = [name for name in NEEDED[to] if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"--to {to}: needs {missing[0]}, which is not installed ({EXTRA})")
    if precision == "bf16":
        from inceptory.engines.openvino import precisions

        if precision not in precisions():
            raise ConfigError("--precision bf16: this processor lacks it, so nothing could be proved (take fp32)")


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

    def write(self, folder: Path) -> Engine:
        """Write the network's files into a folder, and give what they answer. Raises WriteError."""
        place = folder / FILES[self.to][0]
        if self.to == "torch-export":
            content = self._program()
            files.write(place, content)
            from inceptory.run.exports.program import ProgramEngine

            several = self.card.multi_label
            return ProgramEngine(content, self.preprocess, classes=self.model.plan.classes, multi_label=several)
        graph = self._graph()
        if self.to == "onnx":
            files.write(place, graph)
        else:
            self._save(graph, place)
        return engine_of(folder, self.to, self.precision, self.card)

    def _graph(self) -> bytes:
        from inceptory.engines.graph import graph_of

        graph: bytes = graph_of(
            self.model.plan.tree,
            self.model.arrays(),
            self.preprocess,
            multi_label=self.card.multi_label,
            reverse=self.reverse,
            metadata=self.metadata,
        ).SerializeToString()
        return graph

    def _program(self) -> bytes:
        from inceptory.run.exports.program import Whole, program

        net = self.model.network().float()
        whole = Whole(net, self.preprocess, multi_label=self.card.multi_label, reverse=self.reverse)
        return program(whole, self.preprocess, self.metadata)

    def _save(self, graph: bytes, place: Path) -> None:
        import openvino as ov

        network = ov.Core().read_model(graph)
        for key, text in self.metadata.items():
            network.set_rt_info(text, ["inceptory", key])
        try:
            ov.save_model(network, str(place), compress_to_fp16=False)
        except RuntimeError as fault:
            what = str(fault).strip().splitlines()[-1]
            raise WriteError(f"{place}: cannot be written, {what} (make room or choose another place)") from None
