"""`train`: everything that can be checked without torch is, before it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from inceptory.data.sources.layout import AUTO, Given, LaidOut, Layout
from inceptory.errors import ConfigError, UsageError
from inceptory.learn.rates import PNG, TABLE, Suggestion, searched
from inceptory.learn.settings.command import train_call, train_command, transfer_command
from inceptory.learn.settings.job import FILE as RUN
from inceptory.learn.settings.job import Every, Job
from inceptory.learn.settings.options import AS_THE_RECIPE, Options, decided
from inceptory.learn.settings.recipe import SMALL, Recipe
from inceptory.learn.settings.recipes import HEAD
from inceptory.learn.settings.transfer import ALONE, Backbone, Transfer
from inceptory.measure.results import Run
from inceptory.nets.arithmetic import fits
from inceptory.nets.catalogue import check_residual, decide
from inceptory.nets.variant import PUBLISHED, Variant
from inceptory.system import clock, files
from inceptory.system.streams import is_first, processes

if TYPE_CHECKING:
    from inceptory.data.sources.source import Source

WRITTEN = (
    *("model.safetensors", "last.safetensors", "metrics.json", "report.html", "first-batch.png"),
    *("curves.png", "confusion.png", "calibration.png", "features.png"),
)
"""Files that a run writes beside run.json and history.csv."""
SEARCH = (PNG, TABLE)
"""Files that `--find-lr` writes."""
MOST_WORKERS = 1024
"""Limit for the processes that decode pictures; each takes 80 MB and more."""
HELP_RECIPE = (
    "quick: for few epochs; fast: that of cifar_inception_fast, its default; tutorial: exactly the CIFAR-10 recipe of "
    "the tutorial; paper: as the network's own paper trained it on ImageNet; or a TOML file of your own: options by "
    'name, such as epochs = 30; it starts from quick unless it names another recipe, as in recipe = "paper". Flags '
    "override all of these. With --from: finetune (what --finetune does), tutorial-finetune (exactly as the Xception "
    "tutorial trains), tutorial-bottleneck (a plain last layer, as good as not held small)."
)
Named = Annotated[
    str | Path | Recipe | None,
    Parameter(help=HELP_RECIPE, accepts_keys=False, n_tokens=1, converter=lambda _, tokens: tokens[0].value),
]
"""A recipe by name or file, or in Python also one of your own."""


def train(
    data: Given = None,
    /,
    *,
    model: str | None = None,
    backbone: Annotated[Path | str | None, Parameter(name="--from")] = None,
    out: Path | str | None = None,
    resume: Path | None = None,
    recipe: Named = None,
    checkpoint_every: str = "5m",
    tensorboard: bool = True,
    workers: int | None = None,
    find_lr: Annotated[bool, Parameter(negative="")] = False,
    variant: Annotated[Variant, Parameter(name="*")] = PUBLISHED,
    transfer: Annotated[Transfer, Parameter(name="*")] = ALONE,
    options: Annotated[Options, Parameter(name="*")] = AS_THE_RECIPE,
    layout: LaidOut = AUTO,
) -> Run | Suggestion:
    """Train a network on your own pictures: from fresh weights, or from those of a trained one; or go on with a run.

    For example:

        inceptory train digits --model cifar_inception_v3 --width 0.25 --out runs/digits

        inceptory train photos/ --model inception_v3 --image 149 --time 2h --out runs/photos

        inceptory train photos/ --from inception_v3.tf_in1k --out runs/photos

        inceptory train photos/ --from xception.keras_in1k --finetune --time 1h --out runs/photos

        inceptory train --resume runs/photos

        torchrun --nproc-per-node 2 --no-python inceptory train photos/ --model inception_v3 --out runs/photos

    A run can always be resumed: after Ctrl-C or SIGTERM nothing is lost, after a crash or power cut it
    goes on from the last saved state.

    Parameters
    ----------
    data
        Labelled pictures: a folder of class folders (with or without train, val, test above them), a
        .csv or .tsv with paths and labels, a parquet file or folder in the Hugging Face image layout,
        WebDataset .tar files, or a built-in set: digits, cifar10, cifar100, fashion-mnist. Where a
        label of a table joins names, as in cat|dog, every picture may show several classes, or none.
        In Python also (pictures, labels) as arrays, a dict of such pairs by split, what `from_arrays` and
        `from_dataset` return, or a Hugging Face Dataset or DatasetDict; `resume` needs them again.
    model
        Name of the network; `inceptory models` lists them.
    backbone
        A trained network in place of `model`: a checkpoint, a run folder, anybody's weight file, or a published
        name (`inceptory weights`). A new last layer is fitted on what it sees in the pictures, which takes seconds
        where that was computed before.
    out
        New folder for the results: model.safetensors (best on validation), last.safetensors,
        history.csv, metrics.json, report.html, plots, events for TensorBoard.
    resume
        Folder of a run to go on with; it holds all settings, so nothing else is needed, except for
        pictures that came from Python.
    recipe
        Named set of the options below, or a file with some of them.
    checkpoint_every
        How often the state of the run is saved: a time such as 5m, or steps such as 200steps.
    tensorboard
        Write events for TensorBoard.
    workers
        Processes that decode pictures where they do not fit in memory; by default one for each core.
    find_lr
        Instead of training, try 140 learning rates from 1e-6 to 10, one a step, and suggest one: a quarter
        of the rate with the smallest loss. find-lr.png (loss against rate) and find-lr.csv are written into
        --out; the folder can then be used for the training.
    variant
        How the network differs from its published form; of these only --image goes with --from.
    transfer
        What is done with a trained network.
    options
        How it is trained.
    layout
        How the pictures are laid out, if the files do not show it.
    """
    began = clock.began()
    Every.of(checkpoint_every)
    if workers is not None and not 0 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers {workers}: out of range (0 to {MOST_WORKERS:,})")
    if resume is not None and find_lr:
        raise ConfigError(f"--find-lr: {resume} has its learning rate (leave --resume out, and give DATA and --out)")
    if resume is not None:
        begins = {"backbone": backbone, "transfer": None if transfer == ALONE else transfer.by(recipe)}
        return _resume(Path(resume), began, data, model, out, recipe, variant, options, layout, begins)
    if data is None or (model is None and backbone is None) or out is None:
        raise UsageError("train needs DATA, --model or --from, and --out (or --resume RUN to go on with one)")
    transfer = transfer.by(recipe)
    transfer.check()
    recipe = None if recipe == HEAD else recipe
    transfer.check_beside(backbone, {"model": model}, variant, recipe, options)
    begun: Backbone | None = None
    if backbone is not None:
        begun, model, variant = _begun(backbone, variant.image, find_lr and not transfer.finetune)
    assert model is not None, "one of both was given"
    settings = decided(recipe, options, None if transfer.finetune else model)
    _check_network(model, variant, settings)  # a wrong name or option is reported before any data is read
    in_memory = not isinstance(data, str | Path)
    if is_first():  # by the time that the other processes look, the first may have made the folder a run
        _check_free(Path(out), SEARCH if find_lr else WRITTEN)
    source, notes = _opened(data, settings, layout)
    decide(model, len(source.classes), variant)
    kept = {"checkpoint_every": checkpoint_every, "tensorboard": tensorboard, "workers": workers, "layout": layout}
    kept |= {"backbone": begun, "transfer": transfer, "calibrated": begun is None or transfer.fresh_head}
    job = Job(_place(data, source), model, variant, settings, source.fingerprint(), "", given=in_memory, **kept)  # type: ignore[arg-type]
    job = replace(job, command=_line(None if in_memory else str(data), job, out))
    # Only the first of several processes makes the folder; the others never write.
    claim = files.new_folder(out, RUN) if is_first() else nullcontext(Path(out))
    with claim as folder:
        if is_first():
            if not find_lr:
                # Before anything else: from now on the run can be resumed, whatever happens.
                job.write(folder)
            print(*notes, sep="\n", file=sys.stderr)
        if find_lr:
            return _suggestion(job, source, None if in_memory else str(data), folder)
        return _done(job, source, folder, began, resumed=False)


def _begun(backbone: Path | str, image: int | None, rates_of_head: bool) -> tuple[Backbone, str, Variant]:
    """`Backbone.of`, where a head can be fitted and has what it is asked for; raises ConfigError."""
    if processes() > 1:
        raise ConfigError(f"--from {backbone}: a head is fitted in one process (start it without torchrun)")
    if rates_of_head:
        raise ConfigError("--find-lr: a head alone has no rate (add --finetune, or leave it out)")
    return Backbone.of(backbone, image)


def _done(job: Job, source: Source, folder: Path, began: float, resumed: bool) -> Run:
    """Do what a job asks, from its start or from where it was."""
    if job.backbone is not None:
        from inceptory.learn.transfer.fit import transfer

        return transfer(job, source, folder, began, resumed)
    from inceptory.learn.fit import fit

    return fit(job, source, folder, began, resumed)


def _opened(data: object, recipe: Recipe, layout: Layout) -> tuple[Source, list[str]]:
    """(pictures with a validation split, the notes of `check`); raises for pictures that cannot be trained on."""
    from inceptory.data.check.check import cheap
    from inceptory.data.sources.given import source_of
    from inceptory.data.sources.opening import place_of
    from inceptory.system.progress import meter

    named = isinstance(data, str | Path)
    # Arrays from Python need no search, and their text may be very long.
    with meter(f"looking for {data}" if named else "", None, shown=is_first() and named) as bar:
        source = source_of(place_of(str(data)) if named else data, bar, layout)
    notes = cheap(source)
    if source.multi_label and recipe.balanced:
        raise ConfigError(
            f"--balanced: {source.name} shows several classes a picture (leave it out; --class-weights works)"
        )
    source = source.with_validation(recipe.validation)
    train = source.split("train")
    if len(train) < 2 or len(source.split("validation")) == 0:
        raise ConfigError(f"{source.name}: {len(train)} training pictures are too few (each class needs at least two)")
    return source, notes


def _line(data: str | None, job: Job, out: Path | str) -> str:
    """The line that repeats a run: for a shell, or for Python if the pictures came from there."""
    begun = None if job.backbone is None else job.backbone.path
    if data is None:
        return train_call(job.model, out, job.variant, job.recipe, job.layout, begun, job.transfer)
    if begun is not None:
        return transfer_command(data, begun, out, job.variant.image, job.recipe, job.transfer, job.layout)
    return train_command(data, job.model, out, job.variant, job.recipe, job.layout)


def _suggestion(job: Job, source: Source, data: str | None, folder: Path) -> Suggestion:
    if job.backbone is not None:
        from inceptory.learn.transfer.fit import rates_of as find_rate
    else:
        from inceptory.learn.fit import find_rate

    search = find_rate(job, source, folder)
    suggested = replace(job, recipe=replace(job.recipe, lr=search.suggested))
    return Suggestion(search, folder, _line(data, suggested, folder))


def _place(data: object, source: Source | None) -> str:
    """The name of a job's data: of a built-in set, a path, or the name of data from Python."""
    from inceptory.data.sources.opening import place_of

    return place_of(str(data)) if isinstance(data, str | Path) or source is None else source.name


def _check_free(out: Path, written: Sequence[str]) -> None:
    """Raise ConfigError for a folder that holds a run, or files that would be replaced."""
    # A folder that cannot be looked into counts as free here: making the run's folder in it reports the reason.
    begun = os.path.exists(out / RUN)
    if begun and not (job := Job.read(out)).finished:
        raise ConfigError(f"{out}: holds an unfinished run ({job.going_on(out)} goes on with it)")
    if begun or os.path.exists(out / "history.csv"):
        raise ConfigError(f"{out}: already holds a run (choose another --out, or remove it)")
    # Whoever runs a search again expects the files of the first one to be replaced.
    again = written == SEARCH and searched(out)
    for name in () if again else written:
        if os.path.lexists(out / name):
            raise ConfigError(f"{out / name}: a run would replace it (choose another --out, or move it away)")


def _resume(
    folder: Path,
    began: float,
    data: object,
    model: str | None,
    out: Path | str | None,
    recipe: str | Path | Recipe | None,
    variant: Variant,
    options: Options,
    layout: Layout,
    begins: dict[str, Any],
) -> Run:
    from inceptory.data.sources.given import source_of

    job = Job.read(folder)
    in_memory = data is not None and not isinstance(data, str | Path)
    columns = job.layout if layout == AUTO and job.given else layout
    source = source_of(data, layout=columns) if in_memory else None
    if out is not None and Path(out).resolve() != folder.resolve():
        raise UsageError(f"--out {out}: a resumed run stays in its folder (leave --out out)")
    parts = {
        "data": None if data is None else _place(data, source),
        "model": model,
        "variant": None if variant == PUBLISHED else variant,
        "layout": None if layout == AUTO else layout,
        "backbone": None if begins["backbone"] is None else Backbone.of(begins["backbone"], None)[0],
        "transfer": begins["transfer"],
    }
    settings = decided(job.recipe if recipe is None else recipe, options, job.recipes_of)
    job.check_same(folder, {name: value for name, value in parts.items() if value is not None}, settings)
    if job.finished:
        from inceptory.report.folder import read_run

        run = read_run(folder)
        print(f"{folder}: this run is finished, nothing is left to do", file=sys.stderr)
        return run
    if source is None and job.within:
        raise ConfigError(f"{folder}: is one of several networks with the same pictures (go on with {job.within})")
    if source is None and job.given:
        problem = f"{folder}: its pictures were handed over in Python and cannot be found from here"
        raise ConfigError(f"{problem} (go on there with {job.going_on(folder)})")
    source = job.source() if source is None else source.with_validation(job.recipe.validation)
    job.check_data(folder, source)
    return _done(job, source, folder, began, resumed=True)


def _check_network(model: str, variant: Variant, recipe: Recipe) -> None:
    network = decide(model, 2, variant)
    if recipe.drop_path:
        check_residual(model, "--drop-path")
    side = round(SMALL * network.image)
    if recipe.progressive and not fits(network.tree, network.in_channels, side, side):
        raise ConfigError(f"--progressive: {model} takes no pictures of {side} pixels (leave it out, or raise --image)")
    if variant.in_channels not in (1, 3):
        raise UsageError(f"--in-channels {variant.in_channels}: pictures have 1 (grey) or 3 (leave it out for colour)")
