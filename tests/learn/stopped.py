"""A run that was stopped in its first steps, and the same run without a break."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from inceptory.errors import InterruptedRun
from inceptory.learn.loop import Loop
from inceptory.system.signals import Stop
from tests.learn.running import start


@pytest.fixture(autouse=True)
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are written and not rendered here: over a quarter of a run, held by the tests of plots and reports."""
    monkeypatch.setattr("inceptory.report.plots.png", lambda _: b"a picture")


@pytest.fixture(scope="session")
def whole(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a break, not to be touched."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(colours, folder)
    return folder


def stopped_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a run to stop after so many steps, as a signal would."""
    keep = Loop._keep

    def watched(self: Loop, stop: Stop) -> None:
        stop.asked = self.position.step == step
        keep(self, stop)

    monkeypatch.setattr(Loop, "_keep", watched)


def interrupted(data: Path, folder: Path, step: int, **changed: Any) -> None:
    """Start a run that is stopped after so many steps."""
    with pytest.MonkeyPatch.context() as patched:
        stopped_after(step, patched)
        with pytest.raises(InterruptedRun):
            start(data, folder, **changed)


@pytest.fixture(scope="session")
def third(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its third step, not to be touched."""
    folder = tmp_path_factory.mktemp("third") / "run"
    interrupted(colours, folder, 3)
    return folder


@pytest.fixture
def broken(third: Path, tmp_path: Path) -> Path:
    """A run that was stopped after its third step."""
    return shutil.copytree(third, tmp_path / "broken")
