"""A network of timm, trained by our loop as benchmarks/cifar10_timm.py does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.tiny_cifar10 import TEST, written

ROOT = Path(__file__).parent.parent.parent


def test_a_network_of_timm_learns_and_is_measured_by_our_loop(tmp_path: Path):
    command = [sys.executable, ROOT / "benchmarks/cifar10_timm.py", "--epochs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INCEPTORY_DATA": str(written(tmp_path))}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    row = json.loads(child.stdout.splitlines()[-1])
    assert (row["epochs"], row["trainable"] + row["non_trainable"]) == (1, row["total"])
    assert row["best"] * TEST == pytest.approx(round(row["best"] * TEST))
