"""The table of `make mutants` moves along with the house: every line, test and room of it is there."""

import subprocess
from collections import Counter
from dataclasses import replace

import pytest

from tests.mutants import __main__ as runner
from tests.mutants.table import ROOT, Mutant, faults, mutants

ROOMS = ("system", "nets", "data", "weights", "learn", "measure", "report", "run", "engines", "features")
SMALL = ("report", "run", "engines")
FRONT = ("cli.py", "errors.py")
CORNERS = ("weights/origins/", "weights/files/torch", "weights/files/zip_file", "weights/files/hdf5", "data/sources")
CORNERS += ("data/feed", "data/augment", "data/check", "data/picture", "system/fetch", "system/files", "system/flags")
CORNERS += ("system/outputs", "learn/step", "learn/update/optim", "learn/update/schedule", "learn/state")
CORNERS += ("learn/update/average", "learn/update/norms", "measure/results", "report/folder", "report/compare")
TABLE = mutants()
ONE = TABLE[0]


def test_every_line_and_every_test_is_there():
    assert [fault for mutant in TABLE for fault in faults(mutant, ROOT)] == []


def test_the_table_reaches_into_every_room():
    files = [mutant.file.removeprefix("inceptory/") for mutant in TABLE]
    rooms = Counter(file.split("/")[0] for file in files)
    assert len(TABLE) >= 80
    assert min(rooms[room] for room in ROOMS if room not in SMALL) >= 10
    assert set(rooms) == {*ROOMS, *FRONT}
    assert [corner for corner in CORNERS if not any(file.startswith(corner) for file in files)] == []


def test_no_line_is_broken_twice_in_one_way_and_few_survive():
    assert len({(mutant.file, mutant.line, mutant.broken) for mutant in TABLE}) == len(TABLE)
    assert sum(bool(mutant.reason) for mutant in TABLE) <= (1 - runner.LEAST) * len(TABLE)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"file": "inceptory/gone.py"}, "no such file"),
        ({"line": "a line of another house"}, "0 lines read"),
        ({"broken": ONE.line}, "nothing is broken"),
        ({"test": "tests/system/test_files.py::test_of_another_house"}, "no test"),
        ({"test": "tests/test_of_another_house.py::test_it"}, "no test"),
        ({"test": ""}, "give a test"),
        ({"reason": "both"}, "give a test"),
    ],
)
def test_an_entry_that_did_not_move_along_is_told(wrong, told):
    (fault,) = faults(replace(ONE, **wrong), ROOT)
    assert told in fault


def test_a_line_is_broken_in_its_place_and_a_line_that_is_there_twice_is_none():
    mutant = Mutant("a.py", "x = 1", "x = 2", "it")
    assert mutant.applied("if True:\n    x = 1\n") == "if True:\n    x = 2\n"
    with pytest.raises(ValueError, match="2 lines read"):
        mutant.applied("x = 1\nx = 1\n")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A checkout of one module and its tests."""
    root = tmp_path / "house"
    (root / "tests").mkdir(parents=True)
    (root / "adding.py").write_text("def add(a, b):\n    return a + b\n")
    (root / "tests" / "test_adding.py").write_text(
        "import pytest\nfrom adding import add\n\n\ndef test_adding():\n    assert add(2, 3) == 5\n\n\n"
        "def test_nothing():\n    add(1, 1)\n\n\ndef test_wrong():\n    assert add(1, 1) == 3\n\n\n"
        "@pytest.mark.skip\ndef test_skipped():\n    assert add(1, 1) == 2\n"
    )
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=root, check=True)
    monkeypatch.setattr(runner, "ROOT", root)
    return root


def breaking(test: str, broken: str = "return a - b") -> Mutant:
    return Mutant("adding.py", "return a + b", broken, "adding subtracts", f"tests/test_adding.py::{test}")


@pytest.mark.slow
def test_a_mutant_is_noticed_where_its_test_fails_and_else_survives(house, capsys):
    before = (house / "adding.py").read_bytes()
    assert runner.run([breaking("test_adding")], 1) == 0
    assert runner.run([breaking("test_adding"), breaking("test_nothing")], 2) == 1
    told = capsys.readouterr().out
    assert "1 of 1 noticed, 100.0 %" in told
    assert "1 of 2 noticed, 50.0 %" in told
    assert "SURVIVED" in told
    assert (house / "adding.py").read_bytes() == before


def test_a_broken_import_is_an_error_of_the_table_and_never_counted(house, capsys):
    assert runner.run([breaking("test_adding", "return (")], 1) == 1
    told = capsys.readouterr().out
    assert "TABLE ERROR" in told
    assert "0 of 1 noticed" in told


@pytest.mark.parametrize("test", ["test_wrong", "test_skipped"])
def test_a_test_that_does_not_pass_before_is_an_error_of_the_table(house, test):
    with pytest.raises(runner.TableError, match=f"does not pass while nothing is broken: .*{test}"):
        runner.run([breaking(test), breaking("test_adding")], 1)


def test_a_known_survivor_counts_as_not_noticed_and_is_named(house, capsys):
    known = replace(breaking(""), test="", reason="nobody adds")
    assert runner.run([breaking("test_adding"), known], 1) == 1
    assert "known survivor  adding.py: adding subtracts (nobody adds)" in capsys.readouterr().out
