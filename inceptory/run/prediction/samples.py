"""By which pictures 16 bits are compared with 32: given ones, else a run's validation pictures, else the work ahead."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from inceptory.data.feed.decoding import sample
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.engines.choice import LEAST, Sample
from inceptory.engines.exported import Exported
from inceptory.errors import InceptoryError, UsageError
from inceptory.run.evaluate import measured
from inceptory.system import files

if TYPE_CHECKING:
    from inceptory.data.sources.source import Source
    from inceptory.engines.exported import Opened
    from inceptory.run.pictures import Reading

MOST = 100_000
"""Pictures of a run's data that are looked through at most: 1.2 s on a local disk, but minutes on a slow network."""


def sample_of(opened: Opened, ahead: Reading, data: object = None, layout: Layout = AUTO) -> Sample:
    """The pictures that a model's precision is compared by: `data`, else validation pictures of its run, else `ahead`.

    Only `data`, which may be anything that `train` takes or pictures without labels, is opened at once, so that a
    mistake in it is told. Of labelled data it is the part that `evaluate` would measure. Raises UsageError for a
    layout of no data and for an exported folder, which has one precision, and what opening the data raises.
    """
    if data is None:
        if layout != AUTO:
            raise UsageError("--split-folders, --path-column, --label-column: of --data (give it, or leave them out)")
        return Sample(lambda most: _unasked(opened, ahead, most))
    if isinstance(opened, Exported):
        raise UsageError(f"--data: {opened.path} is an exported folder, which has one precision (leave it out)")
    from inceptory.features.pictures import ALL, pictures_of

    source, chosen = pictures_of(data, layout), ALL
    if chosen not in source.splits:
        source, chosen, _ = measured(source, opened.card, None)
    split, preprocess, whose = source.split(chosen), opened.require_preprocess(), f"pictures of {source.name}"
    return Sample(lambda most: (sample(split.pictures, split.names, preprocess, most), whose), given=True)


def _unasked(opened: Opened, ahead: Reading, most: int) -> tuple[NDArray[np.uint8], str]:
    run = _unchanged(opened)
    if run is not None:
        held = run.split("validation")
        pixels = sample(held.pictures, held.names, ahead.preprocess, most)
        if len(pixels) >= LEAST:
            return pixels, f"validation pictures of {run.name}"
    return ahead.sample(most), "of these pictures"


def _unchanged(opened: Opened) -> Source | None:
    """The data of the run that a model's file lies in, where enough of it was held out and it is as it was then.

    Nothing is downloaded for it. Whatever is wrong with a run is not what the person asked about, and means None.
    """
    from inceptory.data.sources.built_in import SETS, is_here
    from inceptory.learn.settings.job import FILE, Job

    folder, card = opened.path.parent, opened.card
    if not files.exists(folder / FILE) or card.recipe.get("folds"):  # a head was fitted on all of them in turn
        return None
    with suppress(InceptoryError, OSError, msgspec.MsgspecError):
        sizes, job = msgspec.convert(card.data.get("splits"), dict[str, int]), Job.read(folder)
        same = job.fingerprint == card.data.get("fingerprint") and not job.given
        enough = sizes.get("validation", 0) >= LEAST and sum(sizes.values()) <= MOST
        if same and enough and (job.data not in SETS or is_here(job.data)):
            source = job.source()
            if source.fingerprint() == job.fingerprint and "validation" in source.splits:
                return source
    return None
