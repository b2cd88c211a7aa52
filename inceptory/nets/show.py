"""The commands that look at networks: `models` and `show`."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from inceptory.errors import UsageError
from inceptory.nets.variant import PUBLISHED, Variant
from inceptory.system.outputs import claimed, marked


def models(*, json: bool = False) -> str:
    """List every network: dialects, image, parameters, multiply-adds.

    For example:

        inceptory models

        inceptory models --json

    Parameters
    ----------
    json
        Print a list of records instead of a table.
    """
    from inceptory.nets.catalogue import catalogue, plan

    if json:
        return json_text.dumps([plan(name).numbers(stages=False) for name in catalogue()], indent=2)
    from inceptory.nets.drawing.table import catalogue_table

    return catalogue_table()


def show(
    name: str,
    /,
    *,
    classes: int | None = None,
    variant: Annotated[Variant, Parameter(name="*")] = PUBLISHED,
    draw: Path | str | None = None,
    force: bool = False,
    json: bool = False,
) -> str:
    """Show one network stage by stage: shapes, parameters, multiply-adds.

    For example:

        inceptory show inception_v3

        inceptory show inception_resnet_v2 --dialect keras --classes 5 --draw network.svg

    Parameters
    ----------
    name
        Name of the network; `inceptory models` lists them.
    classes
        Classes to tell apart; 0 shows the network without its classifier.
    variant
        How the network differs from its published form.
    draw
        Also draw it, every module with its branches, into this SVG file.
    force
        Replace a file of `draw` that this command has not drawn.
    json
        Print one record instead of a table.
    """
    from inceptory.nets.catalogue import decide

    network = decide(name, classes, variant)
    if draw is not None:
        from inceptory.nets.drawing.svg import svg

        if Path(draw).suffix.lower() != ".svg":
            raise UsageError(f"--draw {draw}: drawings are SVG (give a name that ends in .svg)")
        with claimed(draw, marked("a drawing"), "--draw", force=force) as place:
            place.write(svg(network))
    if json:
        return json_text.dumps(network.numbers(), indent=2)
    from inceptory.nets.drawing.table import network_table

    return network_table(network)
