"""Files from the web, downloaded once: resumed where a connection was cut, checked, put in place whole or not at all.

    path = fetch(Wanted("weights.bin", ("https://example.org/weights.bin",), "get it by hand", "md5", "9e10..."))

Files lie in $INCEPTORY_CACHE, else in the user's cache folder. INCEPTORY_OFFLINE=1 forbids every
connection.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from inceptory.errors import DataError, InceptoryError, MissingError, WriteError
from inceptory.system.files import reason
from inceptory.version import __version__

if TYPE_CHECKING:
    from http.client import HTTPException, HTTPResponse
    from urllib.request import OpenerDirector

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of the whole file, 0 where that is unknown."""

TIMEOUT = 30.0
"""Seconds that a server may be silent."""
TRIES = 5
"""Connections to one address before we give up."""
PAUSE = 1.0
"""Seconds before the second connection; twice as many before the third, and so on."""
CHUNK = 2**18
ABANDONED = 600.0
"""Seconds without a new byte after which another process' part of a file may be taken over."""
LARGEST = 2**32
"""Bytes of a file whose server does not say how long it is; the family's largest has a sixteenth of it."""
BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Status codes after which another try may succeed."""


def cache_folder() -> Path:
    """Where downloaded files lie: $INCEPTORY_CACHE, else the user's cache folder of the platform."""
    if chosen := os.environ.get("INCEPTORY_CACHE"):
        return Path(chosen).expanduser()
    local = os.environ.get("LOCALAPPDATA")
    if sys.platform == "win32" and local:
        return Path(local) / "inceptory" / "cache"
    try:
        return Path.home() / ".cache" / "inceptory"
    except RuntimeError:
        raise MissingError("no home folder to keep downloads in (set INCEPTORY_CACHE to a folder)") from None


def offline() -> bool:
    """Whether INCEPTORY_OFFLINE forbids the network."""
    return os.environ.get("INCEPTORY_OFFLINE", "").lower() not in ("", "0", "false", "no")


@dataclass(frozen=True)
class Wanted:
    """A file and where it is."""

    file: str
    """Where it is kept in the cache."""
    urls: tuple[str, ...]
    """Its addresses, the first place first; all hold the same bytes."""
    by_hand: str
    """The remedy that always works, for the end of an error."""
    kind: str = "sha256"
    """Of its digest, as hashlib names it."""
    digits: str | None = None
    """The first digits of its digest, or all of them; None: not known."""
    size: int | None = None
    """Bytes, where they are known exactly."""


def fetch(wanted: Wanted, progress: Progress | None = None) -> Path:
    """The file, from the cache or else from the first of its addresses that gives it whole.

    Raises MissingError where no address answers or INCEPTORY_OFFLINE is set, DataError where what
    came is not the wanted file (nothing is kept then), WriteError where it cannot be kept.
    """
    target = cache_folder() / wanted.file
    if _is_here(wanted, target):
        return target
    if offline():
        raise MissingError(f"{target.name}: not in the cache, and INCEPTORY_OFFLINE is set ({wanted.by_hand})")
    return _from_first(wanted, target, progress)


def _from_first(wanted: Wanted, target: Path, progress: Progress | None) -> Path:
    """The file from the first address that has it; else the most telling fault: wrong bytes before no answer."""
    faults: list[InceptoryError] = []
    for url in wanted.urls:
        try:
            return _Transfer(wanted, url, target, progress).run()
        except (MissingError, DataError) as fault:
            faults.append(fault)
    raise next((fault for fault in faults if isinstance(fault, DataError)), faults[0])


def _is_here(wanted: Wanted, target: Path) -> bool:
    """Whether the cache holds the file, whole; a damaged one counts as absent and is replaced."""
    try:
        if not target.is_file() or wanted.size not in (None, target.stat().st_size):
            return False
        return not wanted.digits or not _wrong(wanted, _digest_of(wanted, target).hexdigest())
    except (OSError, ValueError) as fault:
        raise MissingError(f"{target}: cannot be read, {reason(fault)} (set INCEPTORY_CACHE to a folder)") from fault


def _new_digest(wanted: Wanted) -> hashlib._Hash:
    return hashlib.new(wanted.kind, usedforsecurity=False)


def _digest_of(wanted: Wanted, path: Path) -> hashlib._Hash:
    """The digest of a whole file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: _new_digest(wanted))


def _wrong(wanted: Wanted, digest: str) -> str:
    """What is wrong with a digest, in words; empty where it is as it must be."""
    if not wanted.digits or digest.startswith(wanted.digits):
        return ""
    return f"its {wanted.kind} is {digest[: len(wanted.digits)]} and not {wanted.digits}"


def _check_step(url: str, target: str) -> None:
    """Raise MissingError where a redirect leaves http and https, or gives up the encryption."""
    from urllib.parse import urlsplit

    before, after = urlsplit(url).scheme, urlsplit(target).scheme
    if after not in ("http", "https") or (before, after) == ("https", "http"):
        raise MissingError(f"{url}: leads to {target}, which is not followed (get the file by hand)")


@cache
def _opener() -> OpenerDirector:
    """urllib's opener, proxies of the environment included, with redirects checked."""
    from email.message import Message
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(
            self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
        ) -> Request | None:
            try:
                _check_step(req.full_url, newurl)
            except MissingError:
                fp.close()
                raise
            return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]

    return build_opener(Redirects)


def _total(answer: HTTPResponse) -> int:
    """Bytes of the whole file; 0 where the server does not say."""
    if answer.status == 206:
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", "").strip())
        return int(match[1]) if match else 0
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _version(answer: HTTPResponse) -> str:
    """A short name for the version that the server has: from its ETag or date, and the size; empty without these."""
    mark, total = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "", _total(answer)
    return hashlib.sha256(f"{mark} {total}".encode(errors="replace")).hexdigest()[:12] if mark or total else ""


class _Cut(Exception):
    """The connection ended before the file did; the next one may go on from there."""


class _Transfer:
    """One file from one address, into a file beside `target` that no other process writes to."""

    def __init__(self, wanted: Wanted, url: str, target: Path, progress: Progress | None) -> None:
        self.wanted, self.url, self.target, self.progress = wanted, url, target, progress
        self.version = ""
        """Which version of the file the part is the beginning of."""
        self.part = self._own_name()
        self.have = self.total = 0
        self.digest = _new_digest(wanted)
        self.joined = False
        """Whether the part came over more than one connection."""
        self.trouble = ""

    def run(self) -> Path:
        """The file in its place."""
        try:
            self._take_over()
            for attempt in range(TRIES):
                time.sleep(PAUSE * attempt)
                with contextlib.suppress(_Cut):
                    self._attempt()
                    self._check()
                    return self._place()
        finally:
            self._leave()
        raise MissingError(f"{self.url}: {self.trouble}, {TRIES} times (try again, or {self.wanted.by_hand})")

    def _own_name(self) -> Path:
        mark = f"{os.getpid()}-{secrets.token_hex(4)}"
        return self.target.with_name(f"{self.target.name}.{self.version or 'new'}.{mark}.part")

    def _take_over(self) -> None:
        """Go on with the part that an earlier call left; the rename gives it to one process only."""
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as fault:
            raise self._unwritable(fault) from fault
        for leftover in sorted(self.target.parent.glob(f"{glob.escape(self.target.name)}.*.part")):
            with contextlib.suppress(OSError):
                if self._adopt(leftover):
                    return

    def _adopt(self, leftover: Path) -> bool:
        """Take over a part, unless its owner still works on it."""
        version, _, owner = leftover.name[len(self.target.name) + 1 : -len(".part")].partition(".")
        if owner and time.time() - leftover.stat().st_mtime < ABANDONED:
            return False
        if version == "new":
            leftover.unlink()
            return False
        os.utime(leftover)
        self.version = version
        self._rename(leftover)
        self.digest, self.have = _digest_of(self.wanted, self.part), self.part.stat().st_size
        return True

    def _rename(self, old: Path) -> None:
        new = self._own_name()
        old.rename(new)
        self.part = new

    def _leave(self) -> None:
        """Keep what came so far under a name that the next call finds, or remove it where it is of no use."""
        with contextlib.suppress(OSError):
            if self.have and self.version:
                os.replace(self.part, self.target.with_name(f"{self.target.name}.{self.version}.part"))
            else:
                self.part.unlink()

    def _attempt(self) -> None:
        """One connection; raises _Cut where another may bring the rest."""
        from http.client import HTTPException
        from urllib.error import HTTPError

        try:
            with self._ask() as answer:
                self._begin(answer)
                self._receive(answer)
        except HTTPError as fault:
            fault.close()
            self._refused(fault.code, str(fault.reason).partition("\n")[0])
        except (OSError, HTTPException, ValueError) as fault:
            self._unreached(fault)

    def _ask(self) -> HTTPResponse:
        from urllib.request import Request

        headers = {"User-Agent": f"inceptory/{__version__}", "Accept-Encoding": "identity"}
        if self.have:
            headers["Range"] = f"bytes={self.have}-"
        _check_step(self.url, self.url)
        answer: HTTPResponse = _opener().open(Request(self.url, headers=headers), timeout=TIMEOUT)
        return answer

    def _refused(self, code: int, words: str) -> None:
        """The server answered, but not with the file."""
        self.trouble = f"the server answered {code} {words}"
        if code == 416:  # no bytes from there on: what we have is not the beginning of this file
            self._forget()
        elif code not in BUSY:
            raise MissingError(f"{self.url}: {self.trouble} ({self.wanted.by_hand})") from None
        raise _Cut

    def _unreached(self, fault: OSError | HTTPException | ValueError) -> None:
        """No server, or one that fell silent; only a connection that has brought something is tried again."""
        cause = getattr(fault, "reason", fault)
        words = reason(cause) if isinstance(cause, OSError) else str(cause) or type(cause).__name__
        if not self.have:
            raise MissingError(f"{self.url}: cannot be reached, {words} ({self.wanted.by_hand})") from fault
        self.trouble = f"the connection was cut, {words}"
        raise _Cut from fault

    def _begin(self, answer: HTTPResponse) -> None:
        """Decide by the headers of the answer whether to go on or to start again."""
        total, version = _total(answer), _version(answer)
        expected = self.wanted.size
        if expected is not None and total not in (0, expected):
            raise DataError(f"{self.url}: wrong size, {total} bytes and not {expected} ({self.wanted.by_hand})")
        span = answer.headers.get("Content-Range", "") if answer.status == 206 else ""
        if self.have and (version != self.version or not span.startswith(f"bytes {self.have}-")):
            self._forget()
        if answer.status == 206 and not self.have:
            self.trouble = "the server sent another part than was asked for"
            raise _Cut
        self.joined = self.have > 0
        self.total, self.version = total, version

    def _forget(self) -> None:
        """Start from the first byte again."""
        with contextlib.suppress(OSError):
            self.part.unlink()
        self.have, self.version, self.joined = 0, "", False
        self.digest = _new_digest(self.wanted)

    def _receive(self, answer: HTTPResponse) -> None:
        with self._opened() as file:
            while block := answer.read1(CHUNK):
                self._write(file, block)
                self.digest.update(block)
                self.have += len(block)
                if self.progress is not None:
                    self.progress(self.have, self.total)
                if self.have > (self.total or LARGEST):
                    self._forget()
                    raise DataError(f"{self.url}: longer than it says ({self.wanted.by_hand})")
        if self.have < self.total:
            self.trouble = f"the connection was cut after {self.have} of {self.total} bytes"
            raise _Cut

    def _opened(self) -> IO[bytes]:
        """The part, open for more bytes; named after its version, so that another process can go on with it."""
        try:
            if self.have:
                self._rename(self.part)
                return open(self.part, "ab", buffering=0)
            self.part = self._own_name()
            return open(self.part, "wb", buffering=0)
        except OSError as fault:
            raise self._unwritable(fault) from fault

    def _write(self, file: IO[bytes], block: bytes) -> None:
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as fault:
            raise self._unwritable(fault) from fault

    def _unwritable(self, fault: OSError | ValueError) -> WriteError:
        return WriteError(
            f"{self.target}: cannot be written, {reason(fault)} (check its permissions, or set INCEPTORY_CACHE)"
        )

    def _check(self) -> None:
        """Raise DataError where these are not the published bytes; a part that came in two pieces is fetched again."""
        wrong = _wrong(self.wanted, self.digest.hexdigest())
        if self.wanted.size not in (None, self.have):
            wrong = f"{self.have} of them and not {self.wanted.size}"
        if not wrong:
            return
        joined, self.trouble = self.joined, f"wrong bytes, {wrong}"
        self._forget()
        if joined:
            raise _Cut
        raise DataError(f"{self.url}: {self.trouble} ({self.wanted.by_hand})")

    def _place(self) -> Path:
        """Move the whole file to its place in the cache, durably."""
        try:
            with open(self.part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.part, self.target)
        except OSError as fault:
            # On Windows a file that another process has just put there and reads cannot be replaced.
            if not _is_here(self.wanted, self.target):
                raise self._unwritable(fault) from fault
        self.have = 0
        return self.target
