"""Who takes part: our engines in each precision, and other packages' networks, each in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inceptory.engines import machine
from inceptory.engines.answers import EXTRA, HINTS
from inceptory.engines.choice import LEAST
from inceptory.errors import ConfigError
from inceptory.run.timing.models import Benched
from inceptory.run.timing.rounds import Contestant
from inceptory.run.timing.talk import Absent, Child, Left

PEERS = {
    "timm": {
        "inception_v3": "inception_v3",
        "inception_v4": "inception_v4",
        "inception_resnet_v2": "inception_resnet_v2",
        "xception": "legacy_xception",
        "xception41": "xception41",
        "xception65": "xception65",
        "xception71": "xception71",
    },
    "torchvision": {"inception_v3": "inception_v3", "googlenet": "googlenet"},
    "keras": {"inception_v3": "InceptionV3", "inception_resnet_v2": "InceptionResNetV2", "xception": "Xception"},
}
"""What other packages call our networks; the first that has one gives the graph for plain OpenVINO."""
COMPUTES = {"timm": "torch", "torchvision": "torch", "keras": "tensorflow"}
TRIALS = 3
"""Turns by which the number of streams is chosen."""


@dataclass(frozen=True)
class Entry:
    """What all entrants of a model have in common."""

    model: Benched
    folder: Path
    """For files that the children read."""
    batches: Sequence[int]
    threads: int
    ways: dict[str, list[str]]
    """Precisions by engine, ours."""
    python: str
    """Of the peers."""
    say: Callable[[str], None]

    def setup(self, kind: str, **more: Any) -> dict[str, Any]:
        """What a child is told first."""
        model, preprocess = self.model, self.model.preprocess
        return {
            "kind": kind,
            "path": sys.path,
            "model": model.path,
            "image": preprocess.size,
            "classes": model.plan.classes,
            "threads": self.threads,
            "calibration": str(self.folder / "calibration.npy"),
            **{name: getattr(preprocess, name) for name in ("mean", "std", "divisor")},
            **more,
        }


def offered() -> dict[str, list[str]]:
    """The precisions that each installed engine computes in on this machine, fp32 first."""
    precisions = dict[str, list[str]]()
    for name in machine.installed():
        precisions[name] = ["fp32"]
        if name == "openvino":
            from inceptory.engines.openvino import precisions as more

            precisions[name] += [*more(), *(["int8"] if importlib.util.find_spec("nncf") else [])]
        if name == "torch":
            from inceptory.engines.device import fastest

            precisions[name] += [each for each in [fastest("cpu")] if each != "fp32"]
    return precisions


def ours(entry: Entry, stack: ExitStack, proof: NDArray[np.uint8] | None) -> list[Contestant]:
    """Our engines, warmed up; with `proof`, pixels (N, C, H, W), compared with fp32."""
    entrants = list[Contestant]()
    children = dict[str, Child]()
    for engine, precisions in entry.ways.items():
        try:
            child = _started(stack, sys.executable, entry.setup("ours", engine=engine))
        except Left as fault:
            entry.say(f"left out: {engine}: {fault}")
            continue
        children[engine] = child
        for precision in precisions:
            for batch in entry.batches:
                entrants += _warmed(entry, Contestant(None, engine, precision, entry.threads, batch, child, {}))
    if proof is not None and entrants:
        _agree(entry, stack, entrants, proof)
    return entrants


def _warmed(entry: Entry, entrant: Contestant) -> list[Contestant]:
    """The entrant with the number of streams with which it is faster, or none where it fails."""
    streams = [1]
    if entrant.engine == "openvino" and entrant.peer is None and entrant.batch > 1 < entry.threads:
        streams.append(min(entry.threads, entrant.batch))
    ways = [{"precision": entrant.precision, "streams": count, "hint": HINTS[entrant.precision]} for count in streams]
    try:
        for way in ways:
            entrant.child.ask("warm", way=way, batch=entrant.batch)
        if len(ways) == 1:
            entrant.way = ways[0]
            return [entrant]
        seconds = [
            min(min(entrant.child.ask("turn", way=way, batch=entrant.batch)["seconds"]) for _ in range(TRIALS))
            for way in ways
        ]
    except Left as fault:
        entry.say(f"left out: {entrant}: {fault}")
        return []
    entrant.way = ways[seconds.index(min(seconds))]
    return [entrant]


def _agree(entry: Entry, stack: ExitStack, entrants: list[Contestant], proof: NDArray[np.uint8]) -> None:
    """Say of each entrant on what share of the pictures its first label is that of torch in fp32."""
    if len(proof) < LEAST:
        entry.say(f"{len(proof)} pictures prove nothing (give {LEAST} or more): agreement is left open")
        return
    if entry.model.exported is not None:
        entry.say("an exported folder has its proof in proof.json: agreement is left open")
        return
    file = str(entry.folder / "proof.npy")
    np.save(file, proof, allow_pickle=False)
    exact = {"precision": "fp32", "streams": 1}
    labels = dict[tuple[str, str], NDArray[Any]]()
    try:
        torch = _started(stack, sys.executable, entry.setup("ours", engine="torch"))
        reference = np.array(torch.ask("labels", way=exact, pixels=file)["labels"])
        torch.end()
        for one in entrants:
            key = one.engine, one.precision
            if key not in labels:
                labels[key] = np.array(one.child.ask("labels", way=one.way, pixels=file)["labels"])
            one.agreement = float((labels[key] == reference).mean())
    except Left as fault:
        entry.say(f"agreement is left open: {fault}")


def peers(entry: Entry, stack: ExitStack) -> list[Contestant]:
    """Other packages' networks of the same architecture, warmed up, and plain OpenVINO on the graph of one of them."""
    name, graph = entry.model.plan.architecture, entry.folder / "peer.onnx"
    entrants = list[Contestant]()
    if not entry.model.published or not any(name in names for names in PEERS.values()):
        entry.say(f"{entry.model.name}: no peer has this network")
        return []
    for peer, names in PEERS.items():
        if name not in names:
            continue
        try:
            child = _of_either(stack, entry, peer, names[name])
            for batch in entry.batches:
                one = Contestant(peer, COMPUTES[peer], "fp32", entry.threads, batch, child, {})
                entrants += _warmed(entry, one)
            if peer != "keras" and not graph.exists():
                child.ask("export", path=str(graph))
        except Left as fault:
            entry.say(f"left out: {peer}: {fault}")
    return entrants + (_plain(entry, stack, graph) if graph.exists() else [])


def _plain(entry: Entry, stack: ExitStack, graph: Path) -> list[Contestant]:
    """OpenVINO on a peer's graph, in the precisions in which ours takes part."""
    entrants = list[Contestant]()
    precisions = entry.ways.get("openvino", [])
    if not precisions:
        return []
    try:
        child = _started(stack, sys.executable, entry.setup("openvino", graph=str(graph)))
    except Left as fault:
        entry.say(f"left out: the peer's graph on openvino: {fault}")
        return []
    for precision in precisions:
        for batch in entry.batches:
            one = Contestant("openvino", "openvino", precision, entry.threads, batch, child, {})
            entrants += _warmed(entry, one)
    return entrants


def _of_either(stack: ExitStack, entry: Entry, peer: str, name: str) -> Child:
    """A peer's child, in the Python for peers or else in this one."""
    try:
        return _started(stack, entry.python, entry.setup(peer, name=name))
    except Absent:
        if entry.python == sys.executable:
            raise
        return _started(stack, sys.executable, entry.setup(peer, name=name))


def _started(stack: ExitStack, python: str, setup: dict[str, Any]) -> Child:
    child = Child(python, setup)
    stack.callback(child.end)
    return child


def chosen(engines: Sequence[str], precisions: Sequence[str], benched: Sequence[Benched]) -> dict[str, list[str]]:
    """Precisions by engine, of those that were asked for: all that this machine has where nothing was.

    Raises ConfigError for an engine that is not installed and a precision that none of the engines has here.
    """
    have = offered()
    for engine in engines:
        if engine not in have:
            raise ConfigError(f"--engines {engine}: is not installed ({EXTRA})")
    ways = {engine: have[engine] for engine in (engines or have)}
    for precision in precisions:
        if not any(precision in each for each in ways.values()):
            there = ", ".join(dict.fromkeys(name for each in ways.values() for name in each))
            raise ConfigError(f"--precisions {precision}: not with {', '.join(ways)} on this machine (choose {there})")
    ways = {name: [one for one in each if one in precisions or not precisions] for name, each in ways.items()}
    for one in benched:
        if one.exported is not None and one.exported.export.precision not in ways.get(one.exported.computes, []):
            wants = f"{one.exported.computes} {one.exported.export.precision}"
            raise ConfigError(f"{one.name}: was exported for {wants}, which is not among what is benched (add it)")
    return {name: each for name, each in ways.items() if each}
