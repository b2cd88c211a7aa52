"""Files written whole or not at all, folders that are claimed and given back, digests."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from inceptory.errors import ConfigError, DataError, MissingError, WriteError
from inceptory.system import files

POSIX = pytest.mark.skipif(os.name != "posix", reason="only POSIX systems have it")
IMPOSSIBLE = [pytest.param("x" * 300, id="300 characters"), pytest.param("a\0b", id="NUL inside")]


def failing(fault: BaseException):
    def fail(*args, **kwargs):
        raise fault

    return fail


def test_what_is_written_is_what_is_read(tmp_path):
    files.write(tmp_path / "a", b"\0\xff\r\n")
    assert files.read(tmp_path / "a") == b"\0\xff\r\n"


def test_text_is_written_as_utf8_without_touching_its_line_ends(tmp_path):
    files.write(tmp_path / "a", "Füchse\n狐狸\r\n")
    assert files.read(tmp_path / "a") == "Füchse\n狐狸\r\n".encode()


def test_folders_above_a_file_are_made(tmp_path):
    files.write(tmp_path / "one" / "two" / "a", b"new")
    assert os.listdir(tmp_path / "one" / "two") == ["a"]


def test_an_old_file_is_replaced_and_nothing_else_is_left(tmp_path):
    files.write(tmp_path / "a", b"the old and longer content")
    files.write(tmp_path / "a", b"new")
    assert files.read(tmp_path / "a") == b"new"
    assert os.listdir(tmp_path) == ["a"]


@POSIX
def test_a_reader_never_sees_half_a_file(tmp_path):
    path, contents = tmp_path / "a", (b"a" * 300_000, b"b" * 200_000)
    files.write(path, contents[0])
    done = threading.Event()
    seen = set()

    def look():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(30):
        files.write(path, contents[turn % 2])
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert seen


STEPS = {"mkstemp": tempfile, "fsync": os, "chmod": os, "replace": os}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch, step):
    files.write(tmp_path / "a", b"old")
    monkeypatch.setattr(STEPS[step], step, failing(OSError(28, "No space left on device")))
    with pytest.raises(WriteError, match="no space left on device"):
        files.write(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert files.read(tmp_path / "a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_an_interrupt_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    files.write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "replace", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert files.read(tmp_path / "a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_process_that_dies_in_the_middle_leaves_the_old_content(tmp_path, step):
    files.write(tmp_path / "a", b"old")
    program = (
        f"import os; from inceptory.system import files; os.{step} = lambda *a, **k: os._exit(9); "
        "files.write('a', b'new' * 1000)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(files.__file__).parents[2])}
    died = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=False)
    assert died.returncode == 9
    assert files.read(tmp_path / "a") == b"old"


@POSIX
def test_a_write_is_never_denied_after_it_has_happened(tmp_path, monkeypatch):
    """Some file systems cannot sync a folder: the error must not come with the new content in place."""
    files.write(tmp_path / "a", b"old")
    real, calls = os.fsync, []

    def second_fails(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", second_fails)
    expected = b"new"
    try:
        files.write(tmp_path / "a", b"new")
    except WriteError:
        expected = b"old"
    assert len(calls) == 2
    assert files.read(tmp_path / "a") == expected


@POSIX
def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    order = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name, function in real.items():
        monkeypatch.setattr(os, name, lambda *a, name=name, function=function: (order.append(name), function(*a))[1])
    files.write(tmp_path / "a", b"new")
    assert order == ["fsync", "replace", "fsync"]


@POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o666)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write(tmp_path / "a", b"new")
    finally:
        left = os.umask(before)
    assert left == umask
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_a_place_below_a_file_cannot_be_written_and_the_exit_code_is_74(tmp_path):
    files.write(tmp_path / "a", b"old")
    with pytest.raises(WriteError) as caught:
        files.write(tmp_path / "a" / "b", b"new")
    assert caught.value.exit_code == 74
    assert str(tmp_path / "a" / "b") in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_refused_and_left(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(WriteError):
        files.write(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_name_that_no_file_can_have_cannot_be_written(tmp_path, name):
    with pytest.raises(WriteError):
        files.write(tmp_path / name, b"new")


@pytest.mark.parametrize("name", ["a" * 255, "😀" * 63], ids=["ascii", "four bytes each"])
def test_every_name_that_the_system_takes_can_be_written(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")
    files.write(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


def test_a_missing_file_is_a_missing_error_with_its_path(tmp_path):
    with pytest.raises(MissingError, match="no such file") as caught:
        files.read(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)
    assert caught.value.exit_code == 66


def test_a_folder_is_not_read(tmp_path):
    with pytest.raises(MissingError, match="not a regular file"):
        files.read(tmp_path)


@POSIX
def test_a_pipe_is_refused_at_once_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    answers = []

    def attempt():
        try:
            files.read(tmp_path / "pipe")
        except MissingError as fault:
            answers.append(str(fault))

    reader = threading.Thread(target=attempt, daemon=True)
    reader.start()
    reader.join(timeout=5)
    assert len(answers) == 1
    assert "not a regular file" in answers[0]


@POSIX
def test_a_link_that_turns_in_a_circle_is_a_missing_error(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(MissingError):
        files.read(tmp_path / "a")


def test_a_file_that_may_not_be_read_is_told_with_the_systems_reason(tmp_path, monkeypatch):
    files.write(tmp_path / "a", b"old")
    monkeypatch.setattr(builtins, "open", failing(PermissionError(13, "Permission denied")))
    with pytest.raises(MissingError, match="permission denied"):
        files.read(tmp_path / "a")


@pytest.mark.parametrize("size", [11, 2**33])
def test_a_file_beyond_what_is_asked_for_is_a_data_error_and_not_read(tmp_path, size):
    with open(tmp_path / "a", "wb") as file:
        file.truncate(size)
    with pytest.raises(DataError, match=f"a: {size:,} bytes \\(at most 10 are read"):
        files.read(tmp_path / "a", 10)
    with open(tmp_path / "a", "wb") as file:
        file.truncate(10)
    assert files.read(tmp_path / "a", 10) == bytes(10)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_name_that_no_file_can_have_is_a_missing_error(tmp_path, name):
    with pytest.raises(MissingError):
        files.read(tmp_path / name)


def test_a_new_folder_is_there_for_the_work_and_stays_after_it(tmp_path):
    with files.new_folder(tmp_path / "one" / "run", "mark") as folder:
        assert folder == tmp_path / "one" / "run"
        assert os.listdir(folder) == []
    assert folder.is_dir()


def test_a_folder_that_holds_a_run_is_refused_and_the_exit_code_is_78(tmp_path):
    (tmp_path / "mark").write_text("old")
    with pytest.raises(ConfigError, match="already holds a run") as caught, files.new_folder(tmp_path, "mark"):
        pytest.fail("the folder was given for new work")
    assert caught.value.exit_code == 78
    assert (tmp_path / "mark").read_text() == "old"


def test_a_folder_with_other_files_may_be_used(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with files.new_folder(tmp_path, "mark") as folder:
        (folder / "mark").write_text("run")
    assert sorted(os.listdir(tmp_path)) == ["mark", "notes"]


@pytest.mark.parametrize("fault", [DataError("no pictures"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_fault_that_leaves_the_new_folder_empty_gives_back_all_that_was_made(tmp_path, fault):
    with pytest.raises(type(fault)), files.new_folder(tmp_path / "one" / "two" / "run", "mark"):
        raise fault
    assert os.listdir(tmp_path) == []


def test_a_fault_keeps_a_folder_that_holds_something(tmp_path):
    def work():
        with files.new_folder(tmp_path / "one" / "run", "mark") as folder:
            (folder / "last.safetensors").write_bytes(b"work")
            raise DataError("no pictures")

    with pytest.raises(DataError):
        work()
    assert (tmp_path / "one" / "run" / "last.safetensors").read_bytes() == b"work"


def test_a_fault_keeps_folders_that_were_there_before(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(DataError), files.new_folder(tmp_path / "runs" / "run", "mark"):
        raise DataError("no pictures")
    assert os.listdir(tmp_path) == ["runs"]
    assert os.listdir(tmp_path / "runs") == []


def test_a_fault_keeps_an_empty_folder_that_the_user_had_made(tmp_path):
    with pytest.raises(DataError), files.new_folder(tmp_path / ".", "mark"):
        raise DataError("no pictures")
    assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_written_is_told_before_the_work_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", failing(OSError(30, "Read-only file system")))
    with (
        pytest.raises(WriteError, match="read-only file system"),
        files.new_folder(tmp_path / "one" / "run", "mark"),
    ):
        pytest.fail("the folder was given for new work")
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_a_write_error(tmp_path):
    (tmp_path / "run").write_bytes(b"old")
    with pytest.raises(WriteError), files.new_folder(tmp_path / "run", "mark"):
        pytest.fail("the folder was given for new work")
    assert (tmp_path / "run").read_bytes() == b"old"


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_name_that_no_folder_can_have_is_a_write_error(tmp_path, name):
    with pytest.raises(WriteError), files.new_folder(tmp_path / name, "mark"):
        pytest.fail("the folder was given for new work")


# Names that are not UTF-8


def test_a_name_that_is_not_utf8_is_written_with_its_own_bytes(tmp_path):
    files.write(tmp_path / "a", f"é {os.fsdecode(b'caf' + bytes([0xE9]))} \ud800")
    assert files.read(tmp_path / "a") == "é caf".encode() + b"\xe9 \\ud800"


@pytest.mark.parametrize("name", ["żółw", "caf\udce9", "\ud800", "a\nb"], ids=ascii)
def test_json_gives_every_name_again_and_is_readable_where_it_can_be(name):
    text = files.json_text({"name": name, "other": ["é"]})
    assert json.loads(text.encode("utf-8")) == {"name": name, "other": ["é"]}
    assert ("é" in text) == files.is_utf8(name)
    assert files.json_text([1, {"a": name}], indent=2).count("\n") == 5
