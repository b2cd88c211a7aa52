"""What a child process of `bench` does: make the networks of one package, and compute when it is asked to.

It is run as a script by whichever Python has the package, which need not have Inceptory. Each line of standard input is
a question in JSON, answered by a line; what packages print themselves goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

TURN, MOST = 0.2, 20
"""Seconds after which no further call of a turn begins, and calls of a turn at most."""
LONG = 1.0
"""Seconds of a call from which on none goes untimed before the timed ones."""
WARM = 3
"""Calls by which a batch is warmed up, fewer where they take long."""

Call = Callable[[], Any]
Make = Callable[[dict[str, Any]], Callable[[int], Call]]
"""From a way to compute, such as {"precision": "bf16"}, to a function from the size of a batch to a call."""


class Worker:
    """The networks of one child, and its answers to the parent's questions."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup
        self.package = KINDS[setup["kind"]](setup)
        self._calls: dict[str, tuple[Call, float]] = {}

    def warm(self, question: dict[str, Any]) -> dict[str, Any]:
        """Compile and warm up; gives the seconds of the fastest call."""
        call = self.package.make(question["way"])(question["batch"])
        seconds = [_timed(call)]
        while len(seconds) < WARM and sum(seconds) < WARM * LONG:
            seconds.append(_timed(call))
        self._calls[_key(question)] = call, min(seconds)
        return {"seconds": min(seconds)}

    def turn(self, question: dict[str, Any]) -> dict[str, Any]:
        """Seconds of each call of a turn."""
        call, usual = self._calls[_key(question)]
        if usual < LONG:
            call()  # the caches hold another process' values
        seconds, start = list[float](), time.perf_counter()
        while not seconds or (time.perf_counter() - start < TURN and len(seconds) < MOST):
            seconds.append(_timed(call))
        return {"seconds": seconds}

    def export(self, question: dict[str, Any]) -> dict[str, Any]:
        """Write the network's ONNX graph."""
        self.package.export(question["path"])
        return {}

    def labels(self, question: dict[str, Any]) -> dict[str, Any]:
        """The first label of each picture in a file of pixels."""
        return {"labels": self.package.labels(question["way"], question["pixels"])}


class Eager:
    """A network of a PyTorch package, as the package makes it, in fp32."""

    def __init__(self, setup: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(setup["threads"])
        torch.manual_seed(0)
        package = importlib.import_module(setup["kind"])
        name, classes = setup["name"], setup["classes"]
        if setup["kind"] == "timm":
            self.net = package.create_model(name, num_classes=classes)
        else:
            make = getattr(package.models, name)
            self.net = make(weights=None, init_weights=False, aux_logits=False, num_classes=classes)
        self.net.eval()
        self.image = setup["image"]

    def make(self, way: dict[str, Any]) -> Callable[[int], Call]:
        """A call without a gradient."""
        import torch

        def of(batch: int) -> Call:
            x = torch.rand(batch, 3, self.image, self.image)

            def call() -> Any:
                with torch.inference_mode():
                    return self.net(x)

            return call

        return of

    def export(self, path: str) -> None:
        """As the package's users would."""
        import torch

        x = torch.rand(2, 3, self.image, self.image)
        batch = {0: torch.export.Dim("batch")}
        torch.onnx.export(
            self.net, (x,), path, dynamo=True, dynamic_shapes=(batch,), external_data=False, verbose=False
        )


class Keras:
    """A network of Keras Applications on TensorFlow, by `predict`."""

    def __init__(self, setup: dict[str, Any]) -> None:
        import numpy

        os.environ["KERAS_BACKEND"] = "tensorflow"
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.threading.set_intra_op_parallelism_threads(setup["threads"])
        self.random = numpy.random.default_rng(0)
        self.shape = (setup["image"], setup["image"], 3)
        make = getattr(importlib.import_module("keras").applications, setup["name"])
        self.net = make(weights=None, classes=setup["classes"], input_shape=self.shape)

    def make(self, way: dict[str, Any]) -> Callable[[int], Call]:
        """A call of `predict` on one batch."""

        def of(batch: int) -> Call:
            x = self.random.random((batch, *self.shape), dtype="float32")
            return lambda: self.net.predict(x, batch_size=batch, verbose=0)

        return of


class PlainOpenVino:
    """OpenVINO as one would use it on a peer's ONNX graph: compiled for the batch, one stream, one request."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.ov = importlib.import_module("openvino")
        self.setup = setup
        self._models: dict[str, Any] = {}

    def make(self, way: dict[str, Any]) -> Callable[[int], Call]:
        """A call with the precision of `way`."""
        import numpy

        setup, core, model = self.setup, self.ov.Core(), self.model(way["precision"])
        properties = {
            "INFERENCE_PRECISION_HINT": way["hint"],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": setup["threads"],
        }

        def of(batch: int) -> Call:
            shape = [batch, 3, setup["image"], setup["image"]]
            model.reshape(shape)
            request = core.compile_model(model, "CPU", properties).create_infer_request()
            x = numpy.random.default_rng(0).random(shape, dtype="float32")
            return lambda: request.infer({0: x}, share_inputs=True)

        return of

    def model(self, precision: str) -> Any:
        """The graph; in int8 what NNCF makes of it, untuned."""
        import numpy

        if precision not in self._models:
            setup, model = self.setup, self.ov.Core().read_model(self.setup["graph"])
            if precision == "int8":
                nncf = importlib.import_module("nncf")
                pixels = numpy.load(setup["calibration"], allow_pickle=False)
                shape = (1, -1, 1, 1)
                mean, std = (numpy.asarray(setup[name], "float32").reshape(shape) for name in ("mean", "std"))
                values = [
                    (pixels[i : i + 1] / numpy.float32(setup["divisor"]) - mean) / std for i in range(len(pixels))
                ]
                model = nncf.quantize(model, nncf.Dataset(values), subset_size=len(values))
            self._models[precision] = model
        return self._models[precision]


def ours(setup: dict[str, Any]) -> Any:
    """A network of Inceptory's; this Python has it."""
    sys.path[:] = setup["path"]
    from inceptory.run.timing.ours import Ours

    return Ours(setup)


KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ours": ours,
    "timm": Eager,
    "torchvision": Eager,
    "keras": Keras,
    "openvino": PlainOpenVino,
}


def _versions(kind: str) -> str:
    """Of the packages that compute, as far as they were imported by now."""
    names = [name for name in (kind, "torch", "tensorflow") if name in sys.modules]
    return ", ".join(f"{name} {getattr(sys.modules[name], '__version__', '')}" for name in names)


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _key(question: dict[str, Any]) -> str:
    return json.dumps([question["way"], question["batch"]], sort_keys=True)


def serve() -> None:
    """Answer until standard input ends. An interrupt is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if worker is None:
                worker, answer = Worker(question), {"versions": _versions(question["kind"])}
            else:
                answer = getattr(worker, question["do"])(question)
        except ModuleNotFoundError as fault:
            answer = {"absent": fault.name or str(fault)}
        except Exception as fault:  # whatever a package raises, the parent tells it
            answer = {"fault": f"{type(fault).__name__}: {fault}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
