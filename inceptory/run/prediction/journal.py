"""Answers as they come, a line a picture in a file, so that memory holds none and a killed call goes on where it was.

Beside an output X the folder X.parts holds them until X is whole: `answers.jsonl`, which grows by whole batches, and
`manifest.json`, which says what was asked of which pictures. Without an output the file has no name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from inceptory.data.sources.sequences import Frozen
from inceptory.errors import ConfigError, InceptoryError, WriteError
from inceptory.run.predictions import Prediction
from inceptory.system import files
from inceptory.system.files import reason
from inceptory.system.lock import locked

MANIFEST, LINES = "manifest.json", "answers.jsonl"
FORMAT = 1
IN_MEMORY = 2**22
"""Bytes of answers up to which a file without a name is none."""


class Journal(Frozen[Prediction]):
    """The answers so far, in the order of their pictures; those that could not be read are in `faults`."""

    def __init__(self, file: IO[bytes], end: IO[bytes] | None = None, name: Path | str = "answers") -> None:
        """Of a file that is read, and the same one open without a buffer to be written to, where it is not the same."""
        self._name = name
        self._hold(file, end or file)
        self._starts = array("q")
        self.faults: list[str] = []
        """A line for each picture that could not be read."""

    def _hold(self, file: IO[bytes], end: IO[bytes]) -> None:
        self._file, self._end = file, end
        for each in (file, end):
            weakref.finalize(self, _close, each)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def done(self) -> int:
        """Pictures that need not be looked at again."""
        return len(self._starts) + len(self.faults)

    def item(self, row: int) -> Prediction:
        """The answer of this number, out of the file."""
        self._file.seek(self._starts[row])
        plain = json.loads(self._file.readline())
        return Prediction(**{**plain, "labels": tuple(plain["labels"]), "probabilities": tuple(plain["probabilities"])})

    def add(self, predictions: Sequence[Prediction], faults: Sequence[str]) -> None:
        """Take in all of a batch; a process that is killed from then on loses none of it. Raises WriteError."""
        entries: list[dict[str, Any] | str] = [*map(asdict, predictions), *faults]
        lines = [(files.json_text(entry) + "\n").encode() for entry in entries]
        try:
            start = self._end.seek(0, os.SEEK_END)
            rest = memoryview(b"".join(lines))
            while len(rest):
                rest = rest[self._end.write(rest) :]
        except OSError as fault:
            remedy = "make room; the same call then goes on from here"
            raise WriteError(f"{self._name}: cannot be written, {reason(fault)} ({remedy})") from fault
        for line in lines[: len(predictions)]:
            self._starts.append(start)
            start += len(line)
        self.faults += faults

    def take_up(self, batch: int, total: int) -> None:
        """Go on behind what the file holds of `total` pictures: whole batches, without a line that was torn."""
        starts, faults, end = array("q"), dict[int, str](), 0
        for line in self._file:
            entry = _entry(line)
            if entry is None:
                break
            if isinstance(entry, str):
                faults[len(starts)] = entry
            starts.append(end)
            end += len(line)
        # The network answers the same batches again, so that a resumed call has the same bits.
        whole = len(starts) if len(starts) == total else len(starts) // batch * batch
        self._end.truncate(starts[whole] if whole < len(starts) else end)
        self.faults += [fault for place, fault in faults.items() if place < whole]
        self._starts.extend(start for place, start in enumerate(starts[:whole]) if place not in faults)

    def close(self) -> None:
        """Give up the file's name where it has one; the answers can still be read."""
        if os.name == "nt":  # where a file that is open keeps its name
            nameless = tempfile.TemporaryFile()  # noqa: SIM115
            self._file.seek(0)
            shutil.copyfileobj(self._file, nameless)
            self._file.close()
            self._end.close()
            self._hold(nameless, nameless)


def parts(out: Path) -> Path:
    """The folder beside an output for what is not complete."""
    return out.with_name(f"{out.name}.parts")


def nameless() -> Journal:
    """A journal that ends with its last reader."""
    return Journal(tempfile.SpooledTemporaryFile(IN_MEMORY))


@contextlib.contextmanager
def beside(out: Path, asked: dict[str, object], batch: int, pictures: Sequence[Path], force: bool) -> Iterator[Journal]:
    """The journal of an output, taken up where an earlier call with the same `asked` and pictures was ended.

    Goes away when the work within succeeds, or has answered nothing. Raises ConfigError where an earlier call asked
    for something else, unless `force` starts over, or while another process is at work; WriteError.
    """
    folder = parts(out)
    asked = {"format": FORMAT, "pictures": _digest(pictures), **asked, "batch": batch}
    try:
        folder.mkdir(exist_ok=True)
    except OSError as fault:
        raise WriteError(f"{folder}: cannot be made, {reason(fault)} (choose another --out)") from fault
    try:
        with locked(folder):
            if force:
                _forget(folder)
            _agree(folder, json.loads(files.json_text(asked)))
            try:
                end = open(folder / LINES, "ab", buffering=0)  # noqa: SIM115
                journal = Journal(open(folder / LINES, "rb"), end, folder / LINES)  # noqa: SIM115
                journal.take_up(batch, len(pictures))
            except OSError as fault:
                remedy = "choose another --out"
                raise WriteError(f"{folder / LINES}: cannot be opened, {reason(fault)} ({remedy})") from fault
            succeeded = False
            try:
                yield journal
                succeeded = True
            finally:
                if succeeded or not journal:
                    journal.close()
                    _forget(folder)
    finally:
        files.remove_empty([folder])


def _agree(folder: Path, asked: dict[str, object]) -> None:
    """Write down what is asked; raises ConfigError where something else was before."""
    path = folder / MANIFEST
    if not files.exists(path):
        if files.exists(folder / LINES):
            raise ConfigError(f"{folder}: holds answers of nobody knows what (--force to start over)")
        files.write(path, files.json_text(asked, indent=1) + "\n")
        return
    before = _read(path)
    different = [name for name in asked if before.get(name) != asked[name]]
    if different:
        other = f"an interrupted call with another {', another '.join(different)}"
        raise ConfigError(
            f"{folder}: holds the answers of {other} (repeat that call to end it, or --force to start over)"
        )


def asked_before(out: Path) -> dict[str, Any]:
    """What an earlier call for this output has asked, where one was ended before it was whole; else nothing."""
    path = parts(out) / MANIFEST
    return _read(path) if files.exists(path) else {}


def _read(path: Path) -> dict[str, Any]:
    """A manifest; raises ConfigError for a damaged one."""
    with contextlib.suppress(InceptoryError, ValueError, RecursionError):
        plain = json.loads(files.read(path))
        if isinstance(plain, dict):
            return plain
    raise ConfigError(f"{path}: is damaged (--force to start over)")


def _forget(folder: Path) -> None:
    """Remove what this module has written, and nothing else."""
    for path in (folder / LINES, folder / MANIFEST, *folder.glob(f"{files.TEMPORARY}*")):
        with contextlib.suppress(OSError):
            path.unlink()


def _digest(pictures: Sequence[Path]) -> str:
    """sha256 over the paths, in order."""
    digest = hashlib.sha256()
    for path in pictures:
        digest.update(str(path).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # a disk without room has been told of
        file.close()


def _entry(line: bytes) -> dict[str, Any] | str | None:
    """What a line holds: an answer or a fault; None for one that was torn."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict | str) else None
