"""Proofs against other packages' own code: opt-in, since they need those packages and some minutes.

    make peers

or, in an environment with both requirement files of this folder installed:

    INCEPTORY_PEERS=1 python -m pytest tests/peers

INCEPTORY_KERAS_PYTHON names the Python that has Keras, where it is another one. The proof in a browser needs npm, from
which it gets onnxruntime-web, and Chromium (apt-get install nodejs npm chromium).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.peers.proof import FOUND

HERE = Path(__file__).parent
WANTED = os.environ.get("INCEPTORY_PEERS") == "1"
REASON = "proofs against other packages run by `make peers` only (INCEPTORY_PEERS=1 and their packages installed)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            # Other packages warn of their own affairs.
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            if not WANTED:
                item.add_marker(pytest.mark.skip(reason=REASON))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FOUND:
        terminalreporter.section("largest differences, relative to the largest value unless in levels")
        for line in FOUND:
            terminalreporter.write_line(line)
