"""`export`: a network as a file that answers without Inceptory, with the proof that it answers alike."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from inceptory.data.sources.layout import AUTO, Given, LaidOut
from inceptory.engines import machine
from inceptory.engines.exported import CARD, FILES, FORMAT, RECORD
from inceptory.errors import ConfigError, UsageError, printable
from inceptory.run.exports.folder import LABELS, PAGE, PROOF, README, digests, staged
from inceptory.run.exports.targets import Work, require_possible
from inceptory.system import files
from inceptory.weights.model import open_model
from inceptory.weights.seal import seal

if TYPE_CHECKING:
    from inceptory.report.proof import Proof


@dataclass(frozen=True)
class Exports:
    """What `export` wrote."""

    folder: Path
    to: str
    precision: str
    proof: Proof

    def __str__(self) -> str:
        return printable(f"{self.folder}: {self.to} {self.precision}, {self.proof.told()}")


def export(
    model: Path | str,
    /,
    *,
    to: Annotated[Literal["onnx", "openvino", "torch-export"], Parameter(name="--to")],
    out: Path | str | None = None,
    precision: Literal["fp32", "bf16", "int8"] = "fp32",
    data: Given | None = None,
    max_drop: float = 0.5,
    force: bool = False,
    weights: Path | None = None,
    raw: bool = False,
    layout: LaidOut = AUTO,
) -> Exports:
    """Write a network for ONNX Runtime, OpenVINO or torch.export, with proof.

    For example:

        inceptory export runs/photos --to onnx --out photos-onnx --data photos/

        inceptory export runs/photos --to openvino --precision bf16 --out fast --data photos/

        inceptory predict fast cat.jpg

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    to
        onnx: model.onnx. openvino: model.xml and model.bin. torch-export: model.pt2, a program that torch.export.load
        reads; `predict` does not take that one, since reading it runs what it says.
    out
        Folder for the network, card.json, labels.txt, README.md with three lines that run it without Inceptory, and
        proof.json and proof.html. Pixels (uint8, RGB) go in, in batches of any size; probabilities come out.
    precision
        Arithmetic of the convolutions: fp32; bf16 --to openvino, on processors that have it; int8 --to onnx or
        openvino, calibrated by `data`.
    data
        Pictures to prove by: labelled ones as for `evaluate`, of which it takes the same part, or a folder of pictures
        without labels. Without them only the largest difference on random pictures is known.
    max_drop
        Points of top-1 (without labels: of agreement) that int8 may cost at most; else it is refused.
    force
        Write into a folder that holds other files, too. What it reads is never replaced.
    weights
        Your own copy of the published file that `model` names, which is then not downloaded.
    raw
        If a weight file holds averaged weights as well, take the weights without averaging.
    layout
        How the pictures are laid out, if the files do not show it.
    """
    if out is None:
        raise UsageError("export needs a folder (give --out)")
    if not 0 <= max_drop <= 100:
        raise UsageError(f"--max-drop {max_drop:g}: out of range (0 to 100 points)")
    require_possible(to, precision)
    if precision == "int8" and data is None:
        raise ConfigError("--precision int8: needs pictures to calibrate by (give --data)")
    with ExitStack() as stack:
        opened = stack.enter_context(open_model(model, weights=weights, raw=raw)).warn(2)
        opened.require_preprocess()
        inputs = [opened.path, *([Path(data)] if isinstance(data, str | Path) else [])]
        folder = stack.enter_context(staged(Path(out), inputs, force))
        from inceptory.run.exports.proof import pictures_of, proved

        given = None if data is None else pictures_of(data, opened.card, layout)
        if given is not None:
            given = given.halved() if precision == "int8" else given
            print(printable(given.line), file=sys.stderr)
        work = Work(opened, to, precision, max_drop)
        engine = work.write(folder, given)
        proof = proved(work, engine, given, sum((folder / name).stat().st_size for name in FILES[to]))
        write_rest(folder, work, proof)
    return Exports(Path(out), to, precision, proof)


def write_rest(folder: Path, work: Work, proof: Proof) -> None:
    """What lies beside the network's files; the card, which knows them all, comes last."""
    from inceptory.report.folder import json_page
    from inceptory.report.proof import proof_page
    from inceptory.run.exports.notes import lines, readme

    model = work.model
    facts = {
        "model": str(model.path),
        "network": model.plan.architecture,
        "to": work.to,
        "precision": work.precision,
        "source": model.weights.digest("sha256"),
        "versions": work.versions,
        "processor": machine.processor().partition(";")[0],
        "cores": machine.cores(),
    }
    names = [printable(label) for label in work.card.labels]
    files.write(folder / LABELS, "".join(f"{name}\n" for name in names))
    files.write(folder / README, readme(work, proof.told()))
    files.write(folder / PROOF, json_page({**facts, **proof.to_json()}))
    shown = {**facts, "versions": ", ".join(f"{name} {number}" for name, number in work.versions.items())}
    title = f"{model.plan.architecture} for {work.to}, {work.precision}"
    files.write(folder / PAGE, proof_page(title, proof, shown, lines(work)))
    record = {
        "format": FORMAT,
        "to": work.to,
        "precision": work.precision,
        "source": facts["source"],
        "files": digests(folder),
        "versions": work.versions,
    }
    card = work.card.to_json()
    # The digest must be the last word of the text.
    files.write(folder / CARD, seal(f"{card[:-1]}, {files.json_text({RECORD: record})[1:]}", ()) + "\n")
