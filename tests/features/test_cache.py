"""The cache: what it finds again, what it does not trust, what it takes, and what it leaves behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inceptory.cli import main
from inceptory.errors import Doubt, UsageError
from inceptory.features.cache import Cache, Kept, kept, limit, size_of, trim

WHAT = {"network": ["a"], "layer": "b", "preprocess": {"size": 32}, "arithmetic": ["cpu fp32"]}
KEYS = np.arange(160, dtype=np.uint8).reshape(10, 16)
VECTORS = np.random.default_rng(0).normal(size=(10, 50)).astype(np.float32)


def filled(what=WHAT, count=10) -> Path:
    """The file of a cache that holds some vectors."""
    with Cache(what) as cache:
        cache.put_note("model", "m.safetensors")
        cache.put(KEYS[:count], VECTORS[:count])
    return cache.path


def used(what=WHAT) -> int:
    """Keep all vectors in a cache, and count those that come back of it before and after."""
    with Cache(what) as cache:
        before = len([*cache.get(KEYS)])
        cache.put(KEYS, VECTORS)
        assert len([*cache.get(KEYS)]) in (0, len(KEYS))
    return before


def held(what=WHAT, keys=KEYS) -> dict[int, np.ndarray]:
    """What a cache gives for these keys, no warning allowed."""
    with warnings.catch_warnings(), Cache(what) as cache:
        warnings.simplefilter("error")
        return dict(cache.get(keys))


# What is found again


def test_vectors_come_back_by_key_bit_for_bit():
    filled(count=7)
    back = held()
    assert sorted(back) == list(range(7))
    for place, vector in back.items():
        assert np.array_equal(vector, VECTORS[place])
    assert sorted(held(keys=KEYS[[6, 9, 0, 6]])) == [0, 2, 3]


def test_more_keys_than_one_question_takes(monkeypatch):
    filled()
    assert len(held(keys=np.tile(KEYS, (120, 1)))) == 1200


def test_another_network_is_another_file():
    one, other = filled(), filled({**WHAT, "layer": "c"}, count=1)
    assert one != other
    assert len(held({**WHAT, "layer": "c"})) == 1


def test_nothing_lies_beside_a_file_that_was_closed(kept_in):
    path = filled()
    held()
    kept()[0].about()
    assert list(kept_in.iterdir()) == [path]


# What is not trusted


def changed(path: Path, at: int, what: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(what)] = what
    path.write_bytes(content)


def another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()


def other_columns(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE about (url TEXT)")
        connection.execute("CREATE TABLE vectors (url TEXT)")
    connection.close()


def another_network(path: Path) -> None:
    other = filled({**WHAT, "layer": "c"})
    path.write_bytes(other.read_bytes())


BROKEN: dict[str, Callable[[Path], object]] = {
    "not a database": lambda path: path.write_bytes(b"hello" * 1000),
    "a half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "without its first page": lambda path: path.write_bytes(path.read_bytes()[4096:]),
    "zeros inside": lambda path: changed(path, 4096, bytes(4096)),
    "another program's": another_program,
    "a database with the same names": other_columns,
    "another network's": another_network,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_file_is_told_once_and_begun_anew(how):
    path = filled()
    BROKEN[how](path)
    with pytest.warns(Doubt, match=rf"^{path}: damaged, .*; its vectors are computed anew \(") as told:
        assert used() == 0
    assert len(told) == 1
    assert len(held()) == 10


def test_an_empty_file_is_a_cache_without_vectors():
    filled().write_bytes(b"")
    assert held() == {}
    filled()
    assert len(held()) == 10


@pytest.mark.filterwarnings("ignore::inceptory.errors.Doubt")
def test_no_damage_ever_gives_a_wrong_vector_or_a_fault():
    path = filled()
    whole, random = path.read_bytes(), np.random.default_rng(0)
    damages = [whole[: int(cut)] for cut in random.integers(1, len(whole), 15)]
    for _ in range(60):
        content = bytearray(whole)
        for at in random.integers(0, len(whole), random.choice([1, 4, 300])):
            content[at] ^= int(random.integers(1, 256))
        damages.append(bytes(content))
    healed = 0
    for content in damages:
        path.write_bytes(content)
        kept()[0].about()
        with Cache(WHAT) as cache:
            for place, vector in cache.get(KEYS):
                assert np.array_equal(vector, VECTORS[place])
            cache.put(KEYS, VECTORS)
        with Cache(WHAT) as cache:
            healed += len(dict(cache.get(KEYS))) == 10
    assert healed >= 0.9 * len(damages)


def test_a_vector_that_was_changed_is_as_if_it_were_not_here():
    path = filled()
    content = path.read_bytes()
    at = content.index(VECTORS[3].tobytes())
    changed(path, at + 10, bytes([content[at + 10] ^ 1]))
    assert sorted(held()) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_the_listing_neither_mends_nor_removes_a_damaged_file(kept_in, capsys):
    path = filled()
    path.write_bytes(b"hello" * 1000)
    assert main(["cache"]) == 0
    assert f"cannot be read; begun anew when it is wanted  {path.name}" in capsys.readouterr().out
    assert path.read_bytes() == b"hello" * 1000


# Where nothing can be kept


def test_a_place_that_is_no_folder_is_told_once_and_the_work_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "file"))
    with pytest.warns(Doubt, match="the work goes on, and what it computes is not kept") as told:
        assert used() == 0
    assert len(told) == 1
    assert "set INCEPTORY_CACHE to another folder" in str(told[0].message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(kept_in):
    kept_in.mkdir(parents=True)
    kept_in.chmod(0o500)
    with pytest.warns(Doubt, match="not kept for the next time"):
        assert used() == 0


FULL = """
import resource, signal, sys, warnings
import numpy as np
from inceptory.errors import Doubt
from inceptory.features.cache import Cache
from tests.features.test_cache import WHAT
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
keys = np.random.default_rng(0).integers(0, 256, (100, 16), dtype=np.uint8)
vectors = np.ones((100, 1000), np.float32)
with warnings.catch_warnings(record=True) as told, Cache(WHAT) as cache:
    warnings.simplefilter("always")
    for start in range(0, 100, 10):
        cache.put(keys[start:start + 10], vectors[start:start + 10])
    print(len([*cache.get(keys)]), len(told), told[0].message)
"""


def test_a_full_disk_is_told_once_and_what_was_kept_stays():
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True)
    count, warned, *words = done.stdout.split()
    assert done.stderr == ""
    assert 10 <= int(count) < 60
    assert int(count) % 10 == 0
    assert warned == "1"
    assert "the work goes on" in " ".join(words)
    keys = np.random.default_rng(0).integers(0, 256, (100, 16), dtype=np.uint8)
    assert len(held(keys=keys)) == int(count)


# How much it takes


@pytest.mark.parametrize(
    ("text", "size"), [("20GB", 2e10), ("500 mb", 5e8), ("1.5k", 1500), ("7", 7), ("2TB", 2e12), ("10B", 10)]
)
def test_sizes(text, size):
    assert size_of(text, "--keep") == size


@pytest.mark.parametrize("text", ["much", "-1GB", "1 GB 2", "1e9", "", "GB", "9" * 400 + "GB", "5PB"])
def test_no_size_is_told(text, monkeypatch):
    with pytest.raises(UsageError, match=r"^--keep .*: not a size \(such as 500MB or 20GB\)$"):
        size_of(text, "--keep")
    monkeypatch.setenv("INCEPTORY_CACHE_LIMIT", text or "x")
    with pytest.raises(UsageError, match=r"^INCEPTORY_CACHE_LIMIT .*: not a size"):
        limit()


def test_beyond_the_limit_no_more_is_kept_and_that_is_told_once(monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE_LIMIT", "100KB")
    keys = np.random.default_rng(0).integers(0, 256, (100, 16), dtype=np.uint8)
    vectors = np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32)
    with warnings.catch_warnings(record=True) as told, Cache(WHAT) as cache:
        warnings.simplefilter("always")
        for start in range(0, 100, 4):
            cache.put(keys[start : start + 4], vectors[start : start + 4])
        assert 16 <= len([*cache.get(keys)]) <= 32
    (one,) = told
    assert "has reached the limit of 100KB; the work goes on" in str(one.message)
    assert kept()[0].size < 150_000


def test_what_was_used_longest_ago_goes_first():
    paths = [filled({**WHAT, "layer": str(number)}) for number in range(4)]
    for age, path in enumerate((paths[2], paths[0], paths[3], paths[1])):
        os.utime(path, (1e9 - age, 1e9 - age))
    sizes = {one.path: one.size for one in kept()}
    assert [one.path for one in kept()] == [paths[2], paths[0], paths[3], paths[1]]
    assert trim(sum(sizes.values()) - 1, but=paths[1]) == sizes[paths[3]]
    assert [one.path for one in kept()] == [paths[2], paths[0], paths[1]]
    # Whoever asks for it uses it.
    held({**WHAT, "layer": "1"})
    assert kept()[0].path == paths[1]
    assert trim(0) > 0
    assert kept() == []


def test_a_new_vector_makes_room_by_what_was_used_longest_ago(monkeypatch):
    old, recent = filled(), filled({**WHAT, "layer": "c"})
    os.utime(old, (1e9, 1e9))
    size = recent.stat().st_size
    monkeypatch.setenv("INCEPTORY_CACHE_LIMIT", str(int(2.5 * size)))
    new = filled({**WHAT, "layer": "d"})
    assert {one.path for one in kept()} == {recent, new}


def test_what_another_process_has_open_stays(capsys):
    path = filled()
    with Cache(WHAT) as cache:
        assert trim(0) == 0
        assert main(["cache", "--clear"]) == 0
        assert path.exists()
        assert len([*cache.get(KEYS)]) == 10
    assert trim(0) > 0
    assert not path.exists()


@pytest.mark.parametrize("how", [how for how in BROKEN if "network" not in how])
def test_a_damaged_file_can_be_removed(how, kept_in):
    BROKEN[how](filled())
    assert trim(0) > 0
    assert list(kept_in.iterdir()) == []


# Several processes

CHILD = """
import sys, warnings
import numpy as np
from inceptory.features.cache import Cache
from tests.features.test_cache import WHAT
warnings.simplefilter("error")
own = int(sys.argv[1])
keys = np.random.default_rng(0).integers(0, 256, (400, 16), dtype=np.uint8)
sys.stdin.readline()
with Cache(WHAT) as cache:
    for row in range(own, 400, 4):
        cache.put(keys[row:row + 1], np.full((1, 20), row, np.float32))
"""


def test_processes_that_begin_at_once_fill_one_file():
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(own)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for own in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate()[1] == b""
        assert child.returncode == 0
    keys = np.random.default_rng(0).integers(0, 256, (400, 16), dtype=np.uint8)
    back = held(keys=keys)
    assert sorted(back) == list(range(400))
    assert all((vector == place).all() for place, vector in back.items())
    assert [path.suffix for path in kept()[0].path.parent.iterdir()] == [".sqlite"]


# The command


def test_the_command_tells_what_is_kept_and_where(kept_in, capsys):
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"{kept_in}: 0.0 KB of at most 20.0 GB (INCEPTORY_CACHE_LIMIT)\n"
    filled()
    assert main(["cache"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    size = kept()[0].size
    assert first == f"{kept_in}: {size / 1000:.1f} KB of at most 20.0 GB (INCEPTORY_CACHE_LIMIT)"
    assert second.split(None, 2)[2].startswith("10 vectors of a, b, 32 pixels, cpu fp32, used 20")
    assert second.endswith(", m.safetensors")


def test_the_command_empties_it(kept_in, capsys):
    paths = [filled({**WHAT, "layer": str(number)}) for number in range(3)]
    for age, path in enumerate(paths):
        os.utime(path, (1e9 - age, 1e9 - age))
    size = kept()[0].size
    assert main(["cache", "--keep", str(2 * size)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"removed {size / 1000:.1f} KB"
    assert [one.path for one in kept()] == paths[:2]
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"removed {2 * size / 1000:.1f} KB"
    assert list(kept_in.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--keep", "much"], "--keep much: not a size"),
        (["--clear", "--keep", "1GB"], "give one of them"),
    ],
)
def test_misuse_of_the_command_is_told_and_removes_nothing(words, named, capsys):
    path = filled()
    assert main(["cache", *words]) == 64
    assert named in capsys.readouterr().err
    assert path.exists()


def test_a_limit_that_is_no_size_is_one_line(monkeypatch, capsys):
    monkeypatch.setenv("INCEPTORY_CACHE_LIMIT", "much")
    assert main(["cache"]) == 64
    assert capsys.readouterr().err == "error: INCEPTORY_CACHE_LIMIT much: not a size (such as 500MB or 20GB)\n"


def test_a_file_that_is_gone_is_no_fault(tmp_path):
    gone = Kept(tmp_path / "gone.sqlite", 5, 0.0)
    assert gone.about() == {}
    assert gone.remove()
    assert not (tmp_path / "gone.sqlite").exists()
