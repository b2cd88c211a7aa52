"""`check`: a data set looked over before hours are spent on it; with --from also by a trained network's eyes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from inceptory.data.check import check as plain
from inceptory.data.check.findings import Report
from inceptory.data.sources.layout import AUTO, LaidOut
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError
from inceptory.system.outputs import claimed, marked

BARRED = ("unusable", "empty-class", "one-class", "corrupt-class")
"""Kinds of findings with which there is nothing to look at, or nothing to compare it with."""


def check(
    data: str,
    /,
    *,
    model: str | None = None,
    backbone: Annotated[Path | str | None, Parameter(name="--from")] = None,
    image: int | None = None,
    out: Path | str | None = None,
    force: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    strict: bool = False,
    json: bool = False,
    layout: LaidOut = AUTO,
) -> Report:
    """Look a data set over: damaged and duplicate pictures, labels, names, sizes.

    Every picture is decoded once, in processes of its own; no file is changed. Ends with 0 for data
    that can be trained on and 65 for data that cannot. Near duplicates are found where pictures
    have some detail: cuts, tints and new compression, but not mirror images.

    With --from, pictures that a person should look at are listed too, the likeliest first: those that are probably
    under the wrong label, near duplicates in different splits, and pictures unlike the rest. They are guesses, and
    count as warnings.

    For example:

        inceptory check photos/

        inceptory check photos/ --model inception_v3 --strict

        inceptory check photos/ --json > findings.json

        inceptory check photos/ --from inception_v3.tf_in1k --out suspects.html

    Parameters
    ----------
    data
        Labelled pictures, as for `train`.
    model
        Network that is to be trained: pictures smaller than it wants are named.
    backbone
        A trained network by whose eyes the pictures are compared: a checkpoint, a run folder, anybody's weight
        file, or a published name (`inceptory weights`). Best one that was not trained on these pictures. As many
        labels are listed as are expected to be wrong: each picture is answered by a head that was fitted without it,
        and the probabilities that labels were given without a look are added up. Near duplicates are ten times
        nearer than pictures of different splits usually are, and than the second nearest. Of those unlike the rest,
        at most 5 % are expected to belong to it. Nothing is looked for where the data cannot be opened, has one class
        only, or a class with too many unreadable pictures.
    image
        Height and width in pixels that it is to be trained at; without it, the network's own. With --from also the
        side of the pictures that it sees.
    out
        With --from: an HTML page of the listed pictures, up to 200 of each kind, in one file.
    force
        Replace `out` if it is a file that this command did not write. Files that it reads are never replaced.
    device
        With --from: where to compute; auto takes cuda, mps, cpu.
    strict
        End with 65 for warnings too.
    json
        Print a record instead of a text; each finding lists all its files.
    layout
        How the pictures are laid out, where that cannot be told from the files.
    """
    if backbone is None:
        for flag, given in (("--out", out is not None), ("--force", force), ("--device", device != "auto")):
            if given:
                raise ConfigError(f"{flag}: goes with --from (give a trained network, or leave it out)")
        return plain.check(data, model=model, image=image, strict=strict, json=json, layout=layout)

    from inceptory.features.extract import Extractor, Settings
    from inceptory.weights.model import open_model

    with ExitStack() as stack:
        opened = stack.enter_context(open_model(backbone)).warn(2)
        page = None
        if out is not None:
            page = stack.enter_context(claimed(out, marked("a page"), inputs=[data, opened.path], force=force))
        extractor = stack.enter_context(Extractor(opened, Settings(image=image, device=device)))
        report = plain.check(data, model=model, image=image, strict=strict, json=json, layout=layout)
        if any(finding.kind in BARRED for finding in report.findings):
            return report
        from inceptory.run.suspects import with_suspects  # loads torch, which wrong words need not wait for

        return with_suspects(report, open_source(data, layout=layout), extractor, page)
