"""Downloads against a server of our own on 127.0.0.1 that misbehaves as asked."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from inceptory.errors import DataError, MissingError
from inceptory.system import fetch as web
from inceptory.system.fetch import cache_folder
from inceptory.weights.published.download import fetch
from inceptory.weights.published.record import Declared, Published

CONTENT = bytes(range(256)) * 4096
SHA256, MD5, SHA1 = (hashlib.new(kind, CONTENT).hexdigest() for kind in ("sha256", "md5", "sha1"))


class Site(http.server.ThreadingHTTPServer):
    """What the server has and how it behaves; `requests` holds path and Range of every request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.ranges = True
        self.span = ""
        self.cuts: list[int] = []
        self.codes: list[int] = []
        self.length = True
        self.requests: list[tuple[str, str | None]] = []
        self.during = lambda: None

    def handle_error(self, *_):
        """A client that hung up is what many tests are about."""

    def url(self, path="/weights.bin"):
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Site

    def log_message(self, *_):
        pass

    def do_GET(self):
        site, wanted = self.server, self.headers.get("Range")
        site.requests.append((self.path, wanted))
        wanted = wanted if site.ranges else None
        begin = int(wanted[6:-1]) if wanted else 0
        if self.path.startswith("/to/"):
            self.plain(302, Location=self.path.removeprefix("/to/"))
        elif self.path == "/circle":
            self.plain(302, Location="/circle")
        elif self.path == "/nothing.bin" or site.codes:
            self.plain(site.codes.pop(0) if site.codes else 404)
        elif begin >= len(site.content):
            self.plain(416)
        else:
            self.send(begin, 206 if wanted else 200)

    def plain(self, code, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, begin, code):
        site = self.server
        body, whole = site.content[begin:], len(site.content)
        self.send_response(code)
        if site.length:
            self.send_header("Content-Length", str(len(body)))
        if site.etag:
            self.send_header("ETag", site.etag)
        if code == 206:
            self.send_header("Content-Range", site.span or f"bytes {begin}-{whole - 1}/{whole}")
        self.end_headers()
        site.during()
        self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)
        self.close_connection = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """No pauses, no proxy, a cache of its own."""
    for name in ("INCEPTORY_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "PAUSE", 0.0)
    monkeypatch.setattr(web, "TIMEOUT", 5.0)
    web._opener.cache_clear()


@pytest.fixture
def site():
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def published(*urls: str, **known) -> Published:
    """A record of the file that the server has."""
    known = {"declared": Declared("sha256 prefix", SHA256[:8]), "size": len(CONTENT), **known}
    return Published("net.test", "inception_v3", "keras", "test", "weights.bin", "torch", "MIT", urls, **known)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def kept() -> list[str]:
    """What lies in the cache."""
    return sorted(file.name for file in cache_folder().iterdir()) if cache_folder().is_dir() else []


def test_a_file_comes_whole_and_nothing_else_stays(site):
    path = fetch(published(site.url()))
    assert path == cache_folder() / "weights.bin"
    assert path.read_bytes() == CONTENT
    assert kept() == ["weights.bin"]


def test_a_second_call_asks_nobody(site):
    record = published(site.url())
    assert fetch(record) == fetch(record)
    assert len(site.requests) == 1


def test_a_damaged_file_in_the_cache_is_fetched_again(site):
    record = published(site.url())
    path = fetch(record)
    path.write_bytes(CONTENT[:-1] + b"!")
    assert fetch(record).read_bytes() == CONTENT
    assert len(site.requests) == 2


@pytest.mark.parametrize(
    "declared",
    [Declared("md5", MD5), Declared("sha1", SHA1), Declared("sha256 prefix", SHA256), None],
    ids=["md5", "sha1", "sha256", "none"],
)
def test_each_kind_of_hash_is_checked(site, declared):
    assert fetch(published(site.url(), declared=declared)).read_bytes() == CONTENT


def test_progress_counts_up_to_the_whole(site):
    told: list[tuple[int, int]] = []
    fetch(published(site.url()), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_cut_connection_is_resumed_where_it_ended(site):
    site.cuts = [100_000, 50_000]
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == [None, "bytes=100000-", "bytes=150000-"]


def test_a_server_without_ranges_sends_it_all_again(site):
    site.cuts, site.ranges = [100_000], False
    assert fetch(published(site.url())).read_bytes() == CONTENT


def test_a_server_without_etag_is_resumed_by_its_size(site):
    site.cuts, site.etag = [100_000], None
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert site.requests[1][1] == "bytes=100000-"


def test_a_file_that_changed_on_the_server_is_begun_again(site):
    site.cuts = [100_000]
    site.content = b"x" * len(CONTENT)

    def change():
        site.etag, site.content = '"two"', CONTENT

    site.during = change
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert [wanted for _, wanted in site.requests] == [None, "bytes=100000-", None]


def test_a_part_other_than_asked_for_is_not_used(site):
    site.cuts, site.span = [100_000], f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert site.requests[-1][1] is None


def test_a_connection_that_is_always_cut_is_given_up_and_what_came_is_kept(site):
    site.cuts = [1000] * web.TRIES
    with pytest.raises(MissingError, match=r"cut after 5000 of 1048576 bytes, 5 times .*--weights FILE"):
        fetch(published(site.url()))
    assert [re.sub(r"\.[0-9a-f]{12}\.", ".VERSION.", name) for name in kept()] == ["weights.bin.VERSION.part"]


def test_the_next_call_goes_on_with_what_came(site):
    site.cuts = [1000] * web.TRIES
    with pytest.raises(MissingError):
        fetch(published(site.url()))
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert site.requests[-1][1] == "bytes=5000-"
    assert kept() == ["weights.bin"]


def test_a_beginning_that_was_damaged_meanwhile_costs_one_more_download(site):
    site.cuts = [1000] * web.TRIES
    with pytest.raises(MissingError):
        fetch(published(site.url()))
    (part,) = cache_folder().iterdir()
    part.write_bytes(b"?" * 5000)
    assert fetch(published(site.url())).read_bytes() == CONTENT


def test_a_beginning_longer_than_the_file_is_thrown_away(site):
    site.cuts = [1000] * web.TRIES
    with pytest.raises(MissingError):
        fetch(published(site.url()))
    (part,) = cache_folder().iterdir()
    part.write_bytes(b"?" * (len(CONTENT) + 1))
    assert fetch(published(site.url())).read_bytes() == CONTENT


def test_an_abandoned_beginning_is_taken_over_and_one_in_work_is_left_alone(site):
    site.cuts = [1000] * web.TRIES
    with pytest.raises(MissingError):
        fetch(published(site.url()))
    (part,) = cache_folder().iterdir()
    owned = part.rename(part.with_name(part.name.removesuffix("part") + "123-abc.part"))
    fetch(published(site.url()))
    assert site.requests[-1][1] is None
    assert owned.exists()
    (cache_folder() / "weights.bin").unlink()
    long_ago = time.time() - 2 * web.ABANDONED
    os.utime(owned, (long_ago, long_ago))
    fetch(published(site.url()))
    assert site.requests[-1][1] == "bytes=5000-"
    assert kept() == ["weights.bin"]


def test_wrong_bytes_are_told_and_not_kept(site):
    site.content = b"x" * len(CONTENT)
    with pytest.raises(DataError, match=r"wrong bytes, its sha256 is [0-9a-f]{8} and not " + SHA256[:8]):
        fetch(published(site.url()))
    assert kept() == []


def test_a_wrong_size_is_told_before_anything_is_kept(site):
    site.content = CONTENT[:-1]
    with pytest.raises(DataError, match="wrong size, 1048575 bytes and not 1048576"):
        fetch(published(site.url()))
    assert kept() == []


def test_a_wrong_size_is_told_where_the_server_does_not_say_it(site):
    site.content, site.length, site.etag = CONTENT[:-1], False, None
    with pytest.raises(DataError, match="wrong bytes, 1048575 of them and not 1048576"):
        fetch(published(site.url(), declared=None))
    assert kept() == []


def test_an_answer_without_end_is_ended(site, monkeypatch):
    site.length = False
    monkeypatch.setattr(web, "LARGEST", 1000)
    with pytest.raises(DataError, match="longer than"):
        fetch(published(site.url()))
    assert kept() == []


def test_digits_that_are_not_the_files_refuse_nothing(site):
    assert fetch(published(site.url(), declared=Declared("sha1", "0" * 40, binding=False)))
