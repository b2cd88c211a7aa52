"""The published weight files as a table: `inceptory weights`."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator

from inceptory.weights.published.record import Published
from inceptory.weights.published.records import published


def weights(*, json: bool = False) -> str:
    """List every published weight file: dialect, format, licence, accuracy, hash, whether we read it.

    A name is the network, then who trained it: timm's words (tf_in1k) where timm names the file, else the
    package. "_old" is an older file of the same training. googlenet.torchvision is another name of
    googlenet.tv_in1k, and legacy_xception.tf_in1k of xception.tf_in1k. Where the hash is "-", its publisher
    declares none that reveals wrong bytes: such a file is not checked by one, and never fetched over plain http.
    cifar_inception_fast.cifar10 is part of this package, and needs no connection.

    For example:

        inceptory weights

        inceptory weights --json

    Parameters
    ----------
    json
        Print a list of records instead of a table.
    """
    if json:
        return json_text.dumps([record.to_json() for record in published().values()], indent=2)
    header = ("name", "dialect", "format", "licence", "top-1", "hash", "read")
    return "\n".join(_aligned([header, *map(_cells, published().values())]))


def _cells(record: Published) -> tuple[str, ...]:
    top1 = f"{record.accuracy.top1:g}" if record.accuracy else "-"
    read = "yes" if record.readable else "no"
    hashed = record.declared.algorithm if record.declared and record.declared.binding else "-"
    return record.name, record.dialect or "-", record.format, record.licence, top1, hashed, read


def _aligned(table: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows in columns two spaces apart, a rule under the first."""
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for i, row in enumerate(table):
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        if i == 0:
            yield "-" * (sum(widths) + 2 * (len(widths) - 1))
