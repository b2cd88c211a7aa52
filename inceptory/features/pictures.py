"""Pictures to take features of: any labelled data set, or a folder of pictures without labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from inceptory.data.picture.kinds import ENDINGS
from inceptory.data.sources.folders.listing import Listing
from inceptory.data.sources.given import source_of
from inceptory.data.sources.layout import AUTO, Layout
from inceptory.data.sources.sequences import Texts, paths
from inceptory.data.sources.source import Source, Split
from inceptory.errors import Doubt
from inceptory.system.files import is_file, is_folder

ALL = "all"
"""The one split of pictures without labels."""
UNLABELLED = -1


def pictures_of(data: object, layout: Layout = AUTO) -> Source:
    """The pictures behind whatever `train` takes; of a picture, or of a folder in which pictures lie beside one
    another, one split named "all" of the class -1.

    Raises what `source_of` raises.
    """
    if isinstance(data, str | Path) and layout == AUTO:
        path = Path(data)
        if is_file(path) and path.suffix.lower() in ENDINGS:
            return _unlabelled(path, [path])
        listing = Listing(path) if is_folder(path) else None
        if listing and any(Path(name).suffix.lower() in ENDINGS for name in listing.folder().files):
            if listing.folders():
                problem = f"{path}: pictures lie beside its folders, so the folders are not taken for classes"
                warnings.warn(f"{problem} (move those pictures away if they are)", Doubt, stacklevel=3)
            return _unlabelled(path, [path / file for file in listing.files()])
    return source_of(data, layout=layout)


def _unlabelled(path: Path, files: list[Path]) -> Source:
    # Of the current folder, whose files bear no dot before their names, it is nothing.
    prefix = str((path.parent if files == [path] else path) / "x")[:-1]
    names = Texts(prefix, (str(file)[len(prefix) :] for file in files))
    labels = np.full(len(files), UNLABELLED)
    return Source(str(path), (), {ALL: Split(paths(names), labels, names)})
