"""`inceptory demo`: the main job on a small scale, with data that is installed already."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.verbs import train
from inceptory.measure.results import Run
from inceptory.measure.single_label import SingleMetrics
from inceptory.nets.variant import Variant
from inceptory.run.evaluate import evaluate
from inceptory.run.predict import predict

NETWORK = "cifar_inception_v2"
PICTURES = 5


def demo(*, out: Path | str = Path("runs/demo")) -> str:
    """Train on scikit-learn's handwritten digits, evaluate, predict: under a minute on a laptop.

    For example:

        inceptory demo

    Parameters
    ----------
    out
        New folder for the results; a number is added to the name if the folder exists.
    """
    folder = _free(Path(out))
    # A mirrored digit is no digit, and digits are nearly always in the middle of the picture.
    recipe = Recipe(epochs=15, flip="off", shift=0.0625)
    run = train("digits", model=NETWORK, out=folder, variant=Variant(width=0.5), recipe=recipe)
    assert isinstance(run, Run), "only --find-lr returns something else"
    metrics = evaluate(folder, "digits", split="test")
    assert isinstance(metrics, SingleMetrics), "a digit is one class"
    pictures = _write_pictures(folder / "pictures")
    lines = [
        f"trained {NETWORK} at half width on scikit-learn's digits for {len(run.epochs)} epochs",
        str(metrics),
        "",
        str(predict(folder, *pictures, top=3)),
        "",
        f"results in {folder}: report.html tells the run; model.safetensors, metrics.json, history.csv, pictures/",
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
    """A few test digits as PNG files, for `predict` to read."""
    from PIL import Image

    from inceptory.data.sources.opening import open_source

    folder.mkdir(parents=True, exist_ok=True)
    test: Any = open_source("digits").split("test")
    paths = []
    for pixels, label, name in list(zip(test.pictures, test.labels, test.names, strict=True))[:PICTURES]:
        paths.append(folder / f"{name.replace(':', '-')}-is-{label}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
