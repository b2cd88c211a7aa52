"""A short, fixed part of `make attack`, and the proof that it notices."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from tests.attack.attack import Attack
from tests.attack.damage import damaged
from tests.attack.samples import Sample

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and time of children are read from Linux' /proc"),
]


def test_damaged_files_of_every_kind_are_refused_or_read(tmp_path: Path):
    with Attack(tmp_path) as attack:
        for seed in range(4 * len(attack.samples)):
            attack.case(seed)
        assert attack.findings == []
        assert attack.codes["65"] > attack.count / 4, attack.told()
        assert attack.codes["0"] > 0, attack.told()


def test_what_must_not_be_is_noticed(tmp_path: Path):
    """A planted fault of each kind."""
    with Attack(tmp_path, "csv") as attack:
        faults = {
            "import os; os._exit(3)": "died with 3",
            "raise ZeroDivisionError": "ended with ZeroDivisionError",
            f"open({str(tmp_path / 'canary')!r})": "opened",
            "open('data/new', 'w')": "opened",
            "__import__('os').system('true')": "os.system",
            "import pickle; pickle.loads(pickle.dumps(print))": "pickle.find_class",
            "sum(range(10**9))": "took",
        }
        for line, told in faults.items():
            attack.samples = [Sample("planted", "set/x.csv", b"a,b", (shlex.join(["exec", line]),))]
            assert told in " ".join(attack.case(0)), line


def test_a_seed_makes_the_same_damage_again():
    content = bytes(range(256)) * 4 + b'{"x": 12}'
    made = [damaged(content, seed) for seed in range(200)]
    assert made == [damaged(content, seed) for seed in range(200)]
    assert len({bytes(one) for one in made}) > 190
    assert sum(one == content for one in made) < 5
