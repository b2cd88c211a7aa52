"""Keras' ways to a head, which benchmarks/transfer.py times, run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PYTHON = os.environ.get("INCEPTORY_KERAS_PYTHON", sys.executable)


def test_every_way_is_timed():
    command = [sys.executable, ROOT / "benchmarks/transfer.py", "--quick", "--tutorial", "1", "--keras-python", PYTHON]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[3:]] == [
        "| ours, nothing cached, to the fitted head",
        "| ours, nothing cached, to the end of the report",
        "| ours again, another strength, to the fitted head",
        "| ours again, another strength, to the end of the report",
        "| Keras' guide, 5 epochs",
        "| Keras, vectors computed once, 5 epochs",
        "| Keras, the tutorial's way (all layers), 1 epoch",
    ]
