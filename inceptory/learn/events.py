"""TensorBoard's view of a run: `tensorboard --logdir runs`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from inceptory.errors import Doubt
from inceptory.measure.results import Epoch
from inceptory.system.files import is_utf8

FOLDER = "events"
EVERY = 10
"""Steps between two points of the objective."""


class Events:
    """Scalars of a run in TensorBoard's format; a resumed run replaces the points after its saved state.

    TensorBoard cannot use a folder whose name is not UTF-8: then nothing is written, and a Doubt says so.
    """

    def __init__(self, folder: Path, step: int, wanted: bool) -> None:
        self._writer: Any = None
        if wanted and not is_utf8(str(folder)):
            problem = f"{folder}: not UTF-8, which TensorBoard needs of a folder; no events are written"
            warnings.warn(f"{problem} (--no-tensorboard avoids this message)", Doubt, stacklevel=2)
        elif wanted:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / FOLDER), purge_step=step)

    def step(self, step: int, objective: float, rate: float) -> None:
        """Note a step of training, counted from 1; every tenth is written as a point."""
        if self._writer is not None and step % EVERY == 0:
            self._writer.add_scalar("objective/step", objective, step)
            self._writer.add_scalar("learning rate", rate, step)

    def epoch(self, step: int, row: Epoch) -> None:
        """Write the metrics of an epoch that ended after this step."""
        if self._writer is None:
            return
        train, validation = row.right
        for name, value in (
            ("objective/training", row.train_objective),
            ("log-loss/training", row.train_log_loss),
            ("log-loss/validation", row.validation_log_loss),
            (f"{row.measure}/training", train),
            (f"{row.measure}/validation", validation),
            ("images per second", row.images_per_second),
        ):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write the last points and close the file."""
        if self._writer is not None:
            self._writer.close()
