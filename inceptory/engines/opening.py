"""`open_engine`: from an open model to an engine, as a person wished or as it was measured on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from inceptory.engines import machine
from inceptory.engines.answers import ENGINES, EXTRA, Engine, Name, Precision
from inceptory.engines.choice import Choice, Sample, Setting
from inceptory.engines.exported import Exported
from inceptory.errors import ConfigError, UnknownName, UsageError

if TYPE_CHECKING:
    from inceptory.engines.exported import Opened
    from inceptory.weights.model import Model


@dataclass(frozen=True)
class Wish:
    """What a person asks of an engine; auto leaves it to measurement."""

    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


REFERENCE = Wish("torch", "fp32")
"""The exact one."""


def open_engine(
    model: Opened, wish: Wish = REFERENCE, *, pictures: int = 1, sample: Sample | None = None
) -> tuple[Engine, str]:
    """An engine for so many pictures, and a line that says which it is and why; "" where nobody had to choose.

    Without a wish for a precision, only one is used whose answers were compared with those in fp32 on `sample`, once,
    where that takes less time than it saves in two calls or the sample was given for it.
    Raises ConfigError for an engine that is not installed, a precision or a device that the machine lacks, a model
    that knows no preprocessing, and a wish that an exported folder does not fulfil.
    """
    model.require_preprocess()
    if isinstance(model, Exported):
        _require_granted(model, wish)
        return model.engine(), ""
    maker = Maker(model, wish)
    settings = maker.settings()
    if len(settings) == 1:
        return maker.make(settings[0]), ""
    choice = Choice(model, settings, maker.make)
    setting, why = choice.settle(pictures, sample, proved=wish.precision != "auto")
    return choice.taken(setting), why


def _require_granted(exported: Exported, wish: Wish) -> None:
    """Raise ConfigError for a wish that does not fit an exported folder, which was made for one engine."""
    granted = {"engine": exported.computes, "precision": exported.export.precision, "device": "cpu"}
    for flag, value in granted.items():
        if getattr(wish, flag) not in ("auto", value):
            problem = f"{exported.path} was exported for {value}"
            raise ConfigError(f"--{flag} {getattr(wish, flag)}: {problem} (leave --{flag} out, or give the checkpoint)")


class Maker:
    """What a wish leaves to choose from, and engines made of it. The graph is written once."""

    def __init__(self, model: Model, wish: Wish) -> None:
        self.model, self.wish = model, wish

    @cached_property
    def graph(self) -> bytes:
        """The network's, for the engines without torch."""
        from inceptory.engines.graph import graph_of

        model = self.model
        preprocess, several = model.require_preprocess(), model.card.multi_label
        made = graph_of(model.plan.tree, model.arrays(), preprocess, multi_label=several, planes=True)
        content: bytes = made.SerializeToString()
        return content

    def settings(self) -> list[Setting]:
        """Candidates, the one first that answers soonest exactly. Raises ConfigError where there is none."""
        wish, present = self.wish, machine.installed()
        if wish.engine != "auto" and wish.engine not in ENGINES:
            raise UnknownName("engine", wish.engine, ["auto", *ENGINES])
        if wish.precision == "int8":
            remedy = "inceptory export MODEL --to openvino --precision int8 --data PICTURES --out DIR, then give DIR"
            raise ConfigError(f"--precision int8: needs pictures to calibrate by ({remedy})")
        if wish.engine not in ("auto", *present):
            raise ConfigError(f"--engine {wish.engine}: is not installed ({EXTRA})")
        if wish.engine not in ("auto", "torch") and wish.device not in ("auto", "cpu"):
            raise UsageError(f"--engine {wish.engine}: computes on the processor (leave --device {wish.device} out)")
        on_gpu = wish.device in ("cuda", "mps") or (
            wish.engine in ("auto", "torch") and wish.device == "auto" and machine.may_have_gpu()
        )
        names = ("torch",) if on_gpu else present if wish.engine == "auto" else (wish.engine,)
        settings = [setting for name in names for setting in self._of(name)]
        if wish.precision != "auto":
            settings = [setting for setting in settings if setting.precision == wish.precision]
        if not settings:
            raise ConfigError(f"--precision {wish.precision}: not with --engine {wish.engine} here (take fp32 or auto)")
        return settings

    def _of(self, name: Name) -> list[Setting]:
        match name:
            case "openvino":
                from inceptory.engines.openvino import precisions

                cores = machine.cores()
                ways = {(0, 1), (0, cores), *([(1, 1)] if "amx" in machine.processor() else [])}
                return [
                    Setting(name, precision, threads, streams)
                    for precision in ("fp32", *precisions())
                    for threads, streams in sorted(ways)
                ]
            case "onnxruntime":
                return [Setting(name)]
            case "torch":
                return self._of_torch()

    def _of_torch(self) -> list[Setting]:
        # Loading torch takes seconds: where its precision is wished, nothing must be asked of it.
        if self.wish.precision != "auto":
            return [Setting("torch", self.wish.precision)]
        on_processor = self.wish.device in ("auto", "cpu") and not machine.may_have_gpu()
        if self.wish.engine == "auto" and "openvino" in machine.installed() and on_processor:
            return []  # it is slower than that one in every precision
        from inceptory.engines.device import choose

        fastest: Precision = choose(self.wish.device).precision
        return [Setting("torch", precision) for precision in dict.fromkeys(("fp32", fastest))]

    def fastest(self) -> Setting:
        """What is fastest as a rule: OpenVINO before torch, 16 bits before 32, a stream for each core."""
        settings = self.settings()
        engines = [setting.engine for setting in settings]
        wanted = next((name for name in ("openvino", "torch") if name in engines), engines[0])
        return max(
            (setting for setting in settings if setting.engine == wanted),
            key=lambda setting: (setting.precision != "fp32", setting.streams),
        )

    def device(self, setting: Setting) -> str:
        """Where a setting computes; raises ConfigError for a device that the machine does not have."""
        if setting.engine != "torch":
            return "cpu"
        from inceptory.engines.device import choose

        return choose(self.wish.device).name

    def make(self, setting: Setting) -> Engine:
        """The engine of a setting."""
        model, precision = self.model, setting.precision
        if setting.engine == "torch":
            from inceptory.engines.torch import torch_engine

            return torch_engine(model, self.wish.device, precision)
        preprocess, several = model.require_preprocess(), model.card.multi_label
        if setting.engine == "openvino":
            from inceptory.engines.openvino import OpenVinoEngine

            return OpenVinoEngine(
                self.graph,
                preprocess,
                multi_label=several,
                precision=precision,
                threads=setting.threads,
                streams=setting.streams,
            )
        from inceptory.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(self.graph, preprocess, multi_label=several, threads=setting.threads)
