"""`inceptory demo`: the main job, from pictures to answers, on what is installed already."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from inceptory.learn.verbs import train
from inceptory.measure.results import Run
from inceptory.measure.single_label import SingleMetrics
from inceptory.run.evaluate import evaluate
from inceptory.run.explain import explain
from inceptory.run.predict import predict

BACKBONE = "cifar_inception_fast.cifar10"
PICTURES = 5


def demo(*, out: Path | str = Path("runs/demo")) -> str:
    """Fit a head for handwritten digits on the network that comes along; evaluate, predict, explain: under a minute.

    The network learned CIFAR-10's photographs, the digits are scikit-learn's.

    For example:

        inceptory demo

    Parameters
    ----------
    out
        New folder for the results; a number is added to the name if the folder exists.
    """
    folder = _free(Path(out))
    run = train("digits", backbone=BACKBONE, out=folder)
    assert isinstance(run, Run), "only --find-lr returns something else"
    metrics = evaluate(folder, "digits", split="test")
    assert isinstance(metrics, SingleMetrics), "a digit is one class"
    pictures = _write_pictures(folder / "pictures")
    explain(folder, pictures[0], out=folder / "why")
    lines = [
        f"fitted a head for scikit-learn's digits on {BACKBONE}",
        str(metrics),
        "",
        str(predict(folder, *pictures, top=3)),
        "",
        f"results in {folder}: report.html tells the run, why/ where a digit is seen; model.safetensors, pictures/",
        f"again: {shlex.join(['inceptory', 'predict', str(folder), str(folder / 'pictures')])}",
        f"top-1 {100 * metrics.top1:.1f} %",
    ]
    return "\n".join(lines)


def _free(out: Path) -> Path:
    """The folder, or the first of out-2, out-3, ... that does not exist."""
    number, folder = 1, out
    while os.path.exists(folder):
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    return folder


def _write_pictures(folder: Path) -> list[Path]:
    """A few test digits, evenly spaced among all, as PNG files for `predict` to read."""
    from PIL import Image

    from inceptory.data.sources.opening import open_source

    folder.mkdir(parents=True, exist_ok=True)
    test: Any = open_source("digits").split("test")
    paths = []
    spaced = slice(0, None, len(test) // PICTURES)
    for pixels, label, name in list(zip(test.pictures, test.labels, test.names, strict=True))[spaced][:PICTURES]:
        paths.append(folder / f"{name.replace(':', '-')}-is-{label}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
