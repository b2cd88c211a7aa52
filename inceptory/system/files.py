"""Files written whole or not at all, folders that are claimed, and removed again where they stay empty."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from inceptory.errors import ConfigError, DataError, InceptoryError, InterruptedRun, MissingError, WriteError, printable

TEMPORARY = ".inceptory-"
"""Beginning of the names of unfinished files; one that is left over was interrupted and may be removed."""
LONE = re.compile("[\ud800-\udfff]")
"""What no UTF-8 can hold."""
LARGEST = 256 * 2**20
"""Bytes of a file that is read whole: a picture, a list of names, settings."""
NAMELESS = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Those that stand for no byte of a file's name (PEP 383)."""


def reason(fault: OSError | ValueError) -> str:
    """What the operating system says, in its words and without its numbers.

    For a name with a NUL inside, Python raises ValueError before it asks the system.
    """
    words = fault.strerror if isinstance(fault, OSError) else None
    return (words or str(fault) or type(fault).__name__).lower()


def of_the_system(fault: Exception) -> InceptoryError | None:
    """The error for a fault of the operating system that no other code expected; None for all other faults."""
    if isinstance(fault, MemoryError) or (isinstance(fault, RuntimeError) and "can't allocate memory" in str(fault)):
        return InterruptedRun("not enough memory (free some, or give smaller pictures, batches or models)")
    if not isinstance(fault, OSError) or fault.errno is None:
        return None
    problem = f"{'' if fault.filename is None else f'{fault.filename}: '}{reason(fault)}"
    if fault.errno in (*FULL, errno.EIO, errno.EROFS):
        return WriteError(f"{problem} (make room, or look at the disk)")
    return MissingError(f"{problem} (check the path and its permissions)")


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: the name of a file need not be, and then holds lone surrogates."""
    return LONE.search(text) is None


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON in which `json.loads` finds every text again; beyond ASCII only what is UTF-8 stays readable."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return text if is_utf8(text) else json.dumps(value, indent=indent)


def write(path: Path | str, content: bytes | str) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part.

    Text is `encoded`. Raises WriteError and leaves the old file as it was.
    """
    data = encoded(content) if isinstance(content, str) else content
    with pending(path) as file:
        file.write(data)


def encoded(text: str) -> bytes:
    """Text as UTF-8, and names of files in it as the bytes that they have on the disk (`os.fsencode`).

    The few other lone surrogates, which no file can be named by, are escaped.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return NAMELESS.sub(lambda match: printable(match[0]), text).encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def pending(path: Path | str) -> Iterator[Pending]:
    """A file to write to, which appears under its path when all went well, and is removed otherwise.

    Temporary file in the same folder, flush, fsync, rename, fsync of the folder. Raises WriteError
    with the bytes needed and free where the disk is full.
    """
    file = Pending(Path(path))
    temporary: str | None = None
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.path.parent, prefix=TEMPORARY)
        with os.fdopen(handle, "wb", buffering=0) as raw:
            file.raw = raw
            yield file
            file.sync()
        # mkstemp's files are private; ours get what the user's umask gives any new file, or keep their mode.
        os.chmod(temporary, _mode(file.path))
        os.replace(temporary, file.path)
        _sync_folder(file.path.parent)
    except (OSError, ValueError) as fault:
        raise WriteError(f"{file.path}: cannot be written, {_why(file, fault)}") from fault
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What systems call a disk, a file or a quota that is full; Windows knows no quota error."""


@dataclass
class Pending:
    """An unfinished file; `path` may still change while it is written."""

    path: Path
    raw: BinaryIO | None = None
    requested: int = 0
    """Bytes that were to be written so far."""

    def write(self, data: bytes | memoryview) -> None:
        """Append all of it, however the system cuts it."""
        assert self.raw is not None
        rest = memoryview(data).cast("B")
        self.requested += len(rest)
        while len(rest):
            rest = rest[self.raw.write(rest) :]

    @contextlib.contextmanager
    def buffered(self) -> Iterator[IO[bytes]]:
        """The file for writers that write a few bytes at a time, from its end on."""
        assert self.raw is not None
        file = io.BufferedWriter(self.raw)
        try:
            yield file
            file.flush()
        finally:
            self.requested += file.tell()
            file.detach()

    def sync(self) -> None:
        """Wait until what was written so far lies on the disk."""
        assert self.raw is not None
        os.fsync(self.raw.fileno())


def _why(file: Pending, fault: OSError | ValueError) -> str:
    if isinstance(fault, OSError) and fault.errno in FULL:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(file.path.parent).free
            problem = f"{reason(fault)}, {file.requested:,} bytes or more needed and {free:,} free"
            return f"{problem} (make room or choose another place)"
    return f"{reason(fault)} (choose another place, or check its permissions)"


def _mode(path: Path) -> int:
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    # A rename is durable once its folder is; Windows cannot open folders and does not need it.
    if os.name == "posix":
        # The new content is in place by now, so a folder that cannot be synced is no error.
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def read(path: Path | str, most: int = LARGEST) -> bytes:
    """The whole content of a regular file; raises MissingError, or DataError for one beyond `most` bytes."""
    path = regular(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(most + 1) if size <= most else b""
    except OSError as fault:
        raise MissingError(f"{path}: cannot be read, {reason(fault)} (check its permissions)") from fault
    if max(size, len(data)) > most:
        raise DataError(too_large(path, max(size, len(data)), most))
    return data


def too_large(name: object, size: int, most: int = LARGEST) -> str:
    """The message for something that is too large to be read."""
    return f"{name}: {size:,} bytes (at most {most:,} are read; is it the right file?)"


@contextlib.contextmanager
def in_utf8(path: Path | str) -> Iterator[str]:
    """A name of a file for libraries that take UTF-8 only: its own, or where that is not UTF-8 one of the open file."""
    if is_utf8(str(path)):
        yield str(path)
        return
    with open(path, "rb") as file:
        yield f"/dev/fd/{file.fileno()}"


def exists(path: Path | str) -> bool:
    """Whether something has this path; raises MissingError where the system does not say.

    It does not for a name that is too long, or a folder that may not be entered. A broken link counts as nothing.
    """
    return _mode_of(path) is not None


def is_file(path: Path | str) -> bool:
    """Whether the path is that of a regular file; raises MissingError as `exists` does."""
    return stat.S_ISREG(_mode_of(path) or 0)


def is_folder(path: Path | str) -> bool:
    """Whether the path is that of a folder; raises MissingError as `exists` does."""
    return stat.S_ISDIR(_mode_of(path) or 0)


NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)
"""What systems say of a path to nothing."""


def _mode_of(path: Path | str) -> int | None:
    try:
        return os.stat(path).st_mode
    except ValueError:  # a NUL inside names nothing
        return None
    except OSError as fault:
        if fault.errno in NOTHING:
            return None
        raise MissingError(f"{path}: cannot be looked at, {reason(fault)} (check the path)") from fault


def regular(path: Path | str) -> Path:
    """The path of a regular file; raises MissingError for anything else, without opening it."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device never ends
            raise MissingError(f"{path}: not a regular file (give a file)")
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file (check the path)") from None
    except (OSError, ValueError) as fault:
        raise MissingError(f"{path}: cannot be read, {reason(fault)} (check the path)") from fault
    return path


@contextlib.contextmanager
def new_folder(path: Path | str, mark: str) -> Iterator[Path]:
    """Claim a folder for new work; where an error leaves it empty, it is removed again.

    Raises ConfigError where it already holds `mark`, WriteError where nothing can be written.
    """
    path = Path(path)
    created: list[Path] = []
    try:
        if (path / mark).exists():
            raise ConfigError(f"{path}: already holds a run (choose another --out, or remove it)")
        created = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError) as fault:
        remove_empty(created)
        raise WriteError(f"{path}: cannot be written, {reason(fault)} (choose another folder)") from fault
    try:
        yield path
    except (InceptoryError, KeyboardInterrupt):
        remove_empty(created)
        raise


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders that hold nothing, in this order."""
    for folder in folders:
        # rmdir refuses a folder that holds something, which is what keeps it.
        with contextlib.suppress(OSError, ValueError):
            folder.rmdir()
