"""Roads to a file that lead elsewhere: redirects, mirrors, no network, other processes, the hub."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from inceptory.errors import DataError, MissingError, WriteError
from inceptory.system import fetch as web
from inceptory.system.fetch import cache_folder, offline
from inceptory.weights.published.download import fetch
from tests.weights.published.test_download import CONTENT, closed_port, kept, published, quick, site  # noqa: F401, fixtures


def test_redirects_are_followed(site):
    assert fetch(published(site.url("/to//weights.bin"))).read_bytes() == CONTENT


def test_a_redirect_is_resumed_too(site):
    site.cuts = [1000]
    assert fetch(published(site.url("/to//weights.bin"))).read_bytes() == CONTENT
    assert site.requests[-1] == ("/weights.bin", "bytes=1000-")


def test_redirects_in_a_circle_end_in_one_line(site):
    with pytest.raises(MissingError, match=r"302 .*redirect") as fault:
        fetch(published(site.url("/circle")))
    assert "\n" not in fault.value.line()


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x"])
def test_redirects_out_of_http_are_refused(site, target):
    with pytest.raises(MissingError, match=r"weights FILE|by hand"):
        fetch(published(site.url(f"/to/{target}"), declared=None, size=None))
    assert kept() == []


def test_encryption_is_never_given_up():
    with pytest.raises(MissingError, match="not followed"):
        web._check_step("https://example.org/a", "http://example.org/a")
    web._check_step("http://example.org/a", "https://example.org/a")


def test_an_address_that_is_no_http_is_refused():
    with pytest.raises(MissingError, match="not followed"):
        fetch(published("file:///etc/hostname"))


def test_404_is_told_at_once(site):
    with pytest.raises(MissingError, match=r"nothing.bin: the server answered 404 .*--weights FILE"):
        fetch(published(site.url("/nothing.bin")))
    assert len(site.requests) == 1
    assert kept() == []


def test_a_busy_server_is_asked_again(site):
    site.codes = [503, 429]
    assert fetch(published(site.url())).read_bytes() == CONTENT
    assert len(site.requests) == 3


def test_a_server_that_stays_busy_is_given_up(site):
    site.codes = [503] * 99
    with pytest.raises(MissingError, match=r"503 .* 5 times"):
        fetch(published(site.url()))


def test_a_mirror_is_taken_where_the_first_place_has_nothing(site):
    record = published(f"http://127.0.0.1:{closed_port()}/weights.bin", site.url("/nothing.bin"), site.url())
    assert fetch(record).read_bytes() == CONTENT


def test_wrong_bytes_of_every_mirror_are_told_rather_than_a_closed_door(site):
    site.content = b"x" * len(CONTENT)
    with pytest.raises(DataError, match="wrong bytes"):
        fetch(published(f"http://127.0.0.1:{closed_port()}/weights.bin", site.url()))


def test_no_network_is_one_line_with_the_address_and_the_remedy():
    url = f"http://127.0.0.1:{closed_port()}/weights.bin"
    with pytest.raises(MissingError, match=re.escape(url) + ".*cannot be reached, .*refused.*--weights FILE") as fault:
        fetch(published(url))
    assert fault.value.exit_code == 66


def test_a_silent_server_is_not_waited_for_for_ever(site, monkeypatch):
    monkeypatch.setattr(web, "TIMEOUT", 0.2)
    site.during = lambda: time.sleep(1)
    with pytest.raises(MissingError, match="timed out"):
        fetch(published(site.url()))


def test_offline_names_the_file_and_the_way_by_hand(site, monkeypatch):
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    with pytest.raises(MissingError, match=r"weights.bin: not in the cache.*get it from http.*--weights FILE"):
        fetch(published(site.url()))
    assert site.requests == []


def test_offline_still_gives_what_is_here(site, monkeypatch):
    path = fetch(published(site.url()))
    monkeypatch.setenv("INCEPTORY_OFFLINE", "1")
    assert fetch(published(site.url())) == path


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("yes", True), ("0", False), ("", False), ("false", False)])
def test_offline_is_asked_for_by_a_word(monkeypatch, value, meant):
    monkeypatch.setenv("INCEPTORY_OFFLINE", value)
    assert offline() == meant


def test_a_record_without_an_address_says_where_to_look():
    with pytest.raises(MissingError, match=r"has no address over https \(get it from https://example.org"):
        fetch(published(page="https://example.org"))


def test_a_cache_that_cannot_be_made_is_told(site, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "file"))
    with pytest.raises(WriteError, match="set INCEPTORY_CACHE"):
        fetch(published(site.url()))


def test_a_full_disk_is_told(site, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(web, "open", full, raising=False)
    with pytest.raises(WriteError, match="no space left"):
        fetch(published(site.url()))


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("INCEPTORY_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "inceptory"
    monkeypatch.setattr(web.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "inceptory" / "cache"


def _fetch_in_another_process(record, cache, answers):
    os.environ["INCEPTORY_CACHE"] = cache
    answers.put(fetch(record).read_bytes() == CONTENT)


def test_two_processes_do_not_harm_each_other(site):
    site.during = lambda: time.sleep(0.3)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = (published(site.url()), str(cache_folder()), answers)
    workers = [context.Process(target=_fetch_in_another_process, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=60), answers.get(timeout=60)] == [True, True]
    for worker in workers:
        worker.join()
    assert kept() == ["weights.bin"]


def test_threads_that_ask_for_one_file_at_once_all_get_it(site):
    site.cuts = [1000, 2000, 3000]
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(published(site.url())).read_bytes())) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert kept() == ["weights.bin"]


ON_THE_HUB = replace(published(), repository="timm/net", file="model.safetensors")


def hub(monkeypatch, answer):
    """Let `answer` stand for the hub's client; what it is called with comes back in a list."""
    import huggingface_hub

    asked = []

    def client(*names, **options):
        asked.append((names, options))
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", client)
    return asked


def test_a_file_of_the_hub_comes_through_its_client(monkeypatch, tmp_path):
    asked = hub(monkeypatch, tmp_path / "model.safetensors")
    assert fetch(ON_THE_HUB) == tmp_path / "model.safetensors"
    options = {"cache_dir": cache_folder() / "hub", "local_files_only": False}
    assert asked == [(("timm/net", "model.safetensors"), options)]


def test_the_hubs_own_cache_is_used_unless_a_cache_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("INCEPTORY_CACHE")
    asked = hub(monkeypatch, tmp_path)
    fetch(ON_THE_HUB)
    assert asked[0][1]["cache_dir"] is None


@pytest.mark.parametrize(("value", "why"), [("1", "INCEPTORY_OFFLINE is set"), ("", "cannot be reached")])
def test_a_file_that_is_not_here_without_the_hub_is_told(monkeypatch, value, why):
    from huggingface_hub.errors import LocalEntryNotFoundError

    monkeypatch.setenv("INCEPTORY_OFFLINE", value)
    asked = hub(monkeypatch, LocalEntryNotFoundError("not there"))
    with pytest.raises(MissingError, match=why + r" \(get it from https://huggingface.co/timm/net .*--weights FILE"):
        fetch(ON_THE_HUB)
    assert asked[0][1]["local_files_only"] == bool(value)


@pytest.mark.parametrize("fault", [OSError("403 Client Error\nlong text"), ValueError("bad name"), RuntimeError()])
def test_whatever_the_hub_says_becomes_one_line(monkeypatch, fault):
    hub(monkeypatch, fault)
    with pytest.raises(MissingError, match=r"timm/net/model.safetensors: .*--weights FILE") as told:
        fetch(ON_THE_HUB)
    assert "long text" not in str(told.value)
