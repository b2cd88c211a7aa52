"""Published weight files, downloaded once and checked.

    path = fetch(record("inception_v3.torchvision"))

Files of the Hugging Face hub lie in its own cache, which other packages share.
"""

from __future__ import annotations

import os
from pathlib import Path

from inceptory.errors import MissingError
from inceptory.system import fetch as web
from inceptory.system.fetch import cache_folder, offline
from inceptory.weights.files.unpacking import ENDING, unpacked
from inceptory.weights.published.record import Published

BUNDLED = Path(__file__).parent / "bundled"
"""Folder of the weights that are part of this package."""


def fetch(record: Published, progress: web.Progress | None = None) -> Path:
    """The file of a record, from the cache or else from the first of its addresses that gives it whole.

    A checkpoint inside an archive is unpacked. Raises MissingError where no address answers or
    INCEPTORY_OFFLINE is set, DataError where what came is not the published file (nothing is kept then),
    WriteError where it cannot be kept.
    """
    if record.bundled:
        return BUNDLED / record.file
    if record.repository is not None:
        return _from_hub(record, record.repository)
    if not record.urls:
        raise MissingError(f"{record.name}: has no address over https ({_by_hand(record)})")
    path = web.fetch(_wanted(record), progress)
    return unpacked(path) if path.name.endswith(ENDING) else path


def _wanted(record: Published) -> web.Wanted:
    file, remedy = Path(record.file).name, _by_hand(record)
    declared = record.declared
    if declared is None or not declared.binding:
        return web.Wanted(file, record.urls, remedy, size=record.size)
    return web.Wanted(file, record.urls, remedy, declared.algorithm, declared.digits, record.size)


def _by_hand(record: Published) -> str:
    """The remedy that always works."""
    place = record.page or (record.urls[0] if record.urls else f"https://huggingface.co/{record.repository}")
    return f"get it from {place} and give it with --weights FILE"


def _from_hub(record: Published, repository: str) -> Path:
    """A file of the Hugging Face hub, through its own client, which shows its own progress, and its cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = cache_folder() / "hub" if os.environ.get("INCEPTORY_CACHE") else None
    try:
        return Path(hf_hub_download(repository, record.file, cache_dir=folder, local_files_only=offline()))
    except LocalEntryNotFoundError as fault:
        why = "INCEPTORY_OFFLINE is set" if offline() else "the hub cannot be reached"
        raise MissingError(f"{repository}/{record.file}: not here, and {why} ({_by_hand(record)})") from fault
    except Exception as fault:  # besides its own, those of whichever HTTP client it is built on
        cause = str(fault).strip().partition("\n")[0][:80] or type(fault).__name__
        raise MissingError(f"{repository}/{record.file}: {cause} ({_by_hand(record)})") from fault
