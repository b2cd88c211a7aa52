"""Outputs: claimed before work, never another's, written through where they are no files."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from inceptory.errors import ConfigError, UsageError, WriteError
from inceptory.system.outputs import MARK, NEVER, claimed, headed, keyed, marked

OWN = marked("drawing")
posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes are those of POSIX")


def put(path, content=b"new", kind=OWN, **options):
    with claimed(path, kind, **options) as place:
        place.write(content)


def test_a_new_file_is_written_with_the_folders_it_needs(tmp_path):
    put(tmp_path / "a" / "b" / "out.svg", "text")
    assert (tmp_path / "a" / "b" / "out.svg").read_text() == "text"


def test_work_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "a" / "b" / "out.svg", OWN):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (OWN, f"<!-- {MARK} -->".encode()),
        (OWN, bytes(200_000) + MARK.encode()),
        (headed("table", "a,b", "a,b,c"), b"a,b,c\r\n1,2,3\n"),
        (keyed("record", "x", "y"), b'{\n  "x": 1,\n  "y": 2}'),
        (NEVER, b""),
    ],
)
def test_its_own_kind_and_empty_files_are_replaced_without_a_word(tmp_path, kind, own):
    (tmp_path / "out").write_bytes(own)
    put(tmp_path / "out", kind=kind)
    assert (tmp_path / "out").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (OWN, b"<svg/>"),
        (OWN, bytes(100_000) + MARK.encode() + bytes(100_000)),
        (headed("table", "a,b"), b"a,b,c\n"),
        (headed("table", "a,b"), b"x\na,b\n"),
        (keyed("record", "x", "y"), b'{"x": 1}'),
        (keyed("record", "x"), b'[{"x": 1}]'),
        (NEVER, MARK.encode()),
    ],
)
def test_other_files_are_kept_unless_forced(tmp_path, kind, other):
    (tmp_path / "out").write_bytes(other)
    with pytest.raises(ConfigError, match=r"--out .*out: exists and is .*--force to replace it"):
        put(tmp_path / "out", kind=kind)
    assert (tmp_path / "out").read_bytes() == other
    put(tmp_path / "out", kind=kind, force=True)
    assert (tmp_path / "out").read_bytes() == b"new"


def test_an_input_is_refused_by_whatever_name_even_when_forced(tmp_path):
    (tmp_path / "in.svg").write_text(MARK)
    (tmp_path / "soft").symlink_to(tmp_path / "in.svg")
    os.link(tmp_path / "in.svg", tmp_path / "hard")
    for name in ("in.svg", "soft", "hard", "../" + tmp_path.name + "/in.svg"):
        with pytest.raises(UsageError, match="is read by this command"):
            put(tmp_path / name, inputs=[tmp_path / "absent", tmp_path / "in.svg"], force=True)
    assert (tmp_path / "in.svg").read_text() == MARK


def test_what_a_folder_that_is_read_holds_is_refused_but_for_results(tmp_path):
    (tmp_path / "data" / "cat").mkdir(parents=True)
    picture, result = tmp_path / "data" / "cat" / "1.svg", tmp_path / "data" / "out.svg"
    picture.write_text("a picture")
    result.write_text(MARK)
    with pytest.raises(UsageError, match=r"belongs to .*data, which this command reads"):
        put(picture, inputs=[tmp_path / "data"], force=True)
    assert picture.read_text() == "a picture"
    put(result, inputs=[tmp_path / "data"])
    assert result.read_bytes() == b"new"


@posix
def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").write_text(MARK)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("later")
    for name in ("link", "dangling"):
        put(tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "later").read_bytes() == b"new"


@posix
def test_the_mode_of_a_replaced_file_stays(tmp_path):
    (tmp_path / "out").write_text(MARK)
    (tmp_path / "out").chmod(0o640)
    put(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640


@posix
def test_devices_are_written_to(tmp_path):
    before = os.stat("/dev/null")
    put("/dev/null")
    assert os.path.samestat(os.stat("/dev/null"), before)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    put(tmp_path / "pipe")
    reader.join()
    assert found == [b"new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@posix
def test_what_the_shell_has_open_is_added_to(tmp_path):
    with open(tmp_path / "shell", "wb", buffering=0) as file:
        file.write(b"before ")
        put(f"/dev/fd/{file.fileno()}", kind=NEVER)
    assert (tmp_path / "shell").read_bytes() == b"before new"


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "out", tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(WriteError, match="cannot be written"), claimed(path, OWN):
            pytest.fail("the work must not begin")
    with pytest.raises(UsageError, match="is a folder"), claimed(tmp_path, OWN):
        pytest.fail("the work must not begin")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
