"""Outputs that are claimed before work begins, and never destroy what is not a command's own.

A file is a command's own kind by its content: our keys, our header row, our mark. It is then replaced
without a question, as anyone who runs a command again expects. Any other file needs --force, and an input of the
same command is refused even with it. Devices and pipes are written to; a link stays, and what it points
to is replaced.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from inceptory.errors import ConfigError, UsageError, WriteError
from inceptory.system import files
from inceptory.system.files import reason, remove_empty

END = 2**16
"""Bytes at either end of a file that are looked at to know its kind."""
IN_MEMORY = 64 * 2**20
"""Bytes for a device or a pipe up to which they are held in memory, before they are written; more in a file."""
MARK = "made by inceptory"
"""What pictures, pages, tensors and tables that we write contain near one of their ends."""
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output."""


@dataclass(frozen=True)
class Kind:
    """Files that one command writes."""

    what: str
    """In words, such as "predictions"."""
    is_own: Callable[[bytes], bool]
    """Whether a file is of this kind, by its first and last 64 KiB, or all of a shorter one."""


NEVER = Kind("", lambda _: False)
"""A kind that cannot be distinguished from other people's files."""


def marked(what: str) -> Kind:
    """Files that contain `MARK`."""
    return Kind(what, lambda ends: MARK.encode() in ends)


def headed(what: str, *headers: str) -> Kind:
    """Tables whose first line is one of these."""
    return Kind(what, lambda ends: ends.partition(b"\n")[0].rstrip(b"\r").decode(errors="replace") in headers)


def keyed(what: str, *keys: str) -> Kind:
    """JSON that begins with a record which has these keys."""
    words = [f'"{key}": '.encode() for key in keys]
    return Kind(what, lambda ends: ends.startswith(b"{") and all(word in ends for word in words))


@dataclass(frozen=True)
class Output:
    """A place that was claimed; `write` or `opened` fills it once."""

    path: Path
    through: bool = False
    """Whether it is a device or a pipe, which is written to and never replaced."""

    def write(self, content: bytes | str) -> None:
        """Write all of it: files whole or not at all. Raises WriteError."""
        with self.opened() as file:
            file.write(files.encoded(content) if isinstance(content, str) else content)

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """A file for content that comes in pieces, which appears whole or not at all. Raises WriteError."""
        if not self.through:
            with files.pending(self.path) as pending, pending.buffered() as file:
                yield file
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            yield file
            file.seek(0)
            try:
                # No truncation: /dev/stdout may be a file that the shell has begun.
                handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
                with os.fdopen(handle, "wb") as device:
                    shutil.copyfileobj(file, device)
            except BrokenPipeError:
                raise
            except (OSError, ValueError) as fault:
                raise WriteError(f"{self.path}: cannot be written, {reason(fault)} (choose another place)") from fault


@contextlib.contextmanager
def claimed(
    path: Path | str, kind: Kind, flag: str = "--out", *, inputs: Iterable[Path | str] = (), force: bool = False
) -> Iterator[Output]:
    """A place to write to, tried before the work begins.

    `inputs` are what the command reads: files, or folders all of whose files it may read. Folders that are
    created for it are removed again where they stay empty. Raises UsageError for a folder or an input,
    ConfigError for a file of another kind without `force`, WriteError where nothing can be written. `flag` is
    what the user called it, such as "--out".
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        status = None
    except (OSError, ValueError) as fault:
        raise WriteError(f"{flag} {path}: cannot be written, {reason(fault)} (choose another place)") from fault
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{flag} {path}: is a folder (give a file)")
    if status is not None and (not stat.S_ISREG(status.st_mode) or _of_the_system(path)):
        yield Output(path, through=True)
        return
    if status is not None:
        if not os.access(path, os.W_OK):
            raise WriteError(f"{flag} {path}: is write-protected (choose another name, or change its mode)")
        _refuse_inputs(path, status, inputs, flag, kind)
        if not force and status.st_size and not kind.is_own(_ends(path, flag)):
            kept = f"not {kind.what} of inceptory's" if kind.what else "a file that may be another's"
            raise ConfigError(f"{flag} {path}: exists and is {kept} (choose another name, or --force to replace it)")
    # Not the link itself: the file that it points to is replaced, and the link stays.
    place = Path(os.path.realpath(path))
    created = [folder for folder in place.parents if not folder.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except (OSError, ValueError) as fault:
        remove_empty(created)
        raise WriteError(f"{flag} {path}: cannot be written, {reason(fault)} (choose another place)") from fault
    try:
        yield Output(place)
    finally:
        remove_empty(created)


def is_stdout(word: str) -> bool:
    """Whether a word of a command line, alone or as --flag=word, is a name of standard output."""
    return word.rpartition("=")[2] in STDOUT


def _of_the_system(path: Path) -> bool:
    """Whether a path is one of the system's names for what a process has open, such as /dev/stdout."""
    return os.name == "posix" and Path(os.path.abspath(path)).parts[1:2] in (("dev",), ("proc",))


def _ends(path: Path, flag: str) -> bytes:
    """The first and last 64 KiB of a file, or all of a shorter one."""
    try:
        with open(path, "rb") as file:
            start = file.read(END)
            rest = max(file.seek(0, os.SEEK_END) - END, END)
            file.seek(rest)
            return start + file.read(END)
    except OSError as fault:
        raise WriteError(f"{flag} {path}: cannot be looked at, {reason(fault)} (choose another place)") from fault


def _refuse_inputs(path: Path, status: os.stat_result, inputs: Iterable[Path | str], flag: str, kind: Kind) -> None:
    """Raise UsageError where a file that exists is read by the same command, by whatever name or link."""
    real = Path(os.path.realpath(path))
    for source in map(Path, inputs):
        try:
            same = os.path.samestat(source.stat(), status)
        except (OSError, ValueError):
            continue  # the code that reads it has a better message
        if same:
            raise UsageError(f"{flag} {path}: is read by this command (choose another name)")
        # Results of the command itself may lie beside what it read.
        inside = Path(os.path.realpath(source)) in real.parents
        if inside and not kind.is_own(_ends(path, flag)):
            raise UsageError(f"{flag} {path}: belongs to {source}, which this command reads (choose another name)")
