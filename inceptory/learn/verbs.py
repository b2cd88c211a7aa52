"""`train` and `evaluate`: everything that can be checked without torch is, before it is imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from inceptory import files
from inceptory.errors import ConfigError, UsageError
from inceptory.learn.recipe import QUICK, Recipe
from inceptory.learn.results import Metrics, Run
from inceptory.nets.variant import PUBLISHED, Variant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inceptory.data.sources import Source
    from inceptory.weights.card import Card
    from inceptory.weights.resolve import Resolved

MARK = "history.csv"
"""The file that makes a folder a run."""


def train(
    data: str,
    /,
    *,
    model: str,
    out: Path | str,
    variant: Annotated[Variant, Parameter(name="*")] = PUBLISHED,
    recipe: Annotated[Recipe, Parameter(name="*")] = QUICK,
) -> Run:
    """Train a network from fresh weights on your own pictures.

    For example:

        inceptory train digits --model cifar_inception_v3 --width 0.25 --out runs/digits

        inceptory train photos/ --model inception_v3 --image 149 --epochs 30 --out runs/photos

    Parameters
    ----------
    data
        A folder of class folders (with or without train, val, test above them), a parquet file or
        folder in the Hugging Face image layout, or the built-in set: digits.
    model
        Name of the network; `inceptory models` lists them.
    out
        New folder for the results: model.safetensors (best on validation), last.safetensors,
        history.csv, metrics.json, curves.png.
    variant
        How the network differs from its published form.
    recipe
        How it is trained.
    """
    from inceptory.data.sources import open_source
    from inceptory.nets.catalogue import decide

    recipe.check()
    decide(model, 2, variant)  # a wrong name or option is told before any data is read
    source = open_source(data).with_validation(recipe.validation)
    plan = decide(model, len(source.classes), variant)
    _check_trainable(source)
    with files.new_folder(out, MARK) as folder:
        from inceptory.learn.train import fit

        return fit(plan, source, recipe, folder)


def _check_trainable(source: Source) -> None:
    train = source.split("train")
    if len(train) < 2 or len(source.split("validation")) == 0:
        raise ConfigError(f"{source.name}: {len(train)} training pictures are too few (each class needs at least two)")


def evaluate(
    model: Path | str,
    data: str,
    /,
    *,
    split: Literal["train", "validation", "test"] | None = None,
    out: Path | str | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "bf16", "fp32"] = "auto",
    weights: Path | None = None,
) -> Metrics:
    """Measure a checkpoint on labelled pictures.

    For example:

        inceptory evaluate runs/digits/model.safetensors digits

        inceptory evaluate runs/photos/model.safetensors photos/ --split validation --out result.json

    Parameters
    ----------
    model
        A checkpoint, a run folder, anybody's weight file, or a published name (`inceptory weights`).
    data
        Labelled pictures, as for `train`.
    split
        Part of the data; without it test, or validation where the data has no test split.
    out
        File for the metrics as JSON: top1, top5, log_loss, n, interval, as fractions.
    device
        Where to compute.
    precision
        Arithmetic of the convolutions.
    weights
        A copy of the published file that `model` names, fetched by hand.
    """
    from inceptory.data.sources import open_source

    meant, card = classifier(model, weights)
    _check_json(out)
    source = open_source(data).with_validation(float(card.recipe.get("validation", Recipe.validation)))
    chosen = split or ("test" if "test" in source.splits else "validation")
    part = replace(source.split(chosen), labels=relabelled(source, card, chosen))

    from inceptory.learn.train import score

    metrics = score(meant, card, part, source.name, device, precision)
    if out is not None:
        from inceptory.learn.report import write_json

        write_json(Path(out), {**metrics.to_json(), "split": chosen, "model": str(meant.path), "data": source.name})
    return metrics


def classifier(model: Path | str, weights: Path | str | None) -> tuple[Resolved, Card]:
    """File and card of a model that can name pictures; raises ConfigError for one that cannot."""
    from inceptory.weights.resolve import card_of, resolve

    meant = resolve(model, weights)
    card = card_of(meant)
    if card.preprocess is None or not card.labels:
        raise ConfigError(f"{meant.path}: knows no class names or preprocessing (train it first)")
    return meant, card


def relabelled(source: Source, card: Card, split: str) -> NDArray[np.int64]:
    """Labels of a split in the checkpoint's order of classes; raises ConfigError for other classes."""
    import numpy as np

    strange = [name for name in source.classes if name not in card.labels]
    if strange:
        told = ", ".join(repr(name) for name in strange[:5])
        raise ConfigError(
            f"{source.name}: {len(strange)} of its classes are unknown to the checkpoint: {told} (use its own data)"
        )
    order = np.asarray([card.labels.index(name) for name in source.classes], dtype=np.int64)
    return order[source.split(split).labels]


def _check_json(out: Path | str | None) -> None:
    if out is not None and Path(out).is_dir():
        raise UsageError(f"--out {out}: is a folder (give a file, for example {Path(out) / 'metrics.json'})")
