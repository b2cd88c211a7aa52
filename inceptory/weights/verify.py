"""`verify`: what a weight file of any package is, and whether every tensor of it finds its place."""

from __future__ import annotations

import json as json_text
from pathlib import Path

from inceptory.weights.certificate import Certificate
from inceptory.weights.model import open_model


def inspect(path: Path | str, name: str | None = None, dialect: str | None = None, *, raw: bool = False) -> Certificate:
    """The certificate of a file; its names and shapes are compared, its tensors are not read."""
    with open_model(path, name=name, dialect=dialect, raw=raw) as model:
        return model.certificate()


def verify(
    file: Path | str,
    /,
    *,
    name: str | None = None,
    dialect: str | None = None,
    raw: bool = False,
    json: bool = False,
) -> str:
    """Say what a weight file of any package is, and whether every tensor of it finds its place.

    Nothing in the file is executed; its tensors are not read.

    For example:

        inceptory verify inception_v3_google-0cc3c7bd.pth

        inceptory verify weights.pth --json

    Parameters
    ----------
    file
        Our own checkpoint, or weights of torchvision, timm, Keras, Cadene's pretrained-models,
        facenet-pytorch or pytorch-fid, as .pth, .pt, .safetensors, .h5 or .keras; what is inside
        counts, not the name.
    name
        Network that it must be.
    dialect
        Dialect to read it as, where the tensors cannot tell.
    raw
        Look at the plain weights where the file also holds their average.
    json
        Print one record instead of lines.
    """
    certificate = inspect(file, name, dialect, raw=raw)
    return json_text.dumps(certificate.to_json(), indent=2) if json else str(certificate)
