"""What `train --from` asks beside a recipe: a new head on a trained network."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inceptory.errors import ConfigError, UsageError
from inceptory.learn.settings.options import Options, given
from inceptory.nets.variant import PUBLISHED, Variant
from inceptory.system import files
from inceptory.weights.model import open_model

OF_THE_HEAD = ("validation", "seed", "device", "precision", "class_weights")
"""Options of a recipe that count for a head, too."""
MOST_VIEWS = 100


@dataclass(frozen=True)
class Transfer:
    """How a trained network is put to new pictures (`--from`)."""

    strength: float | None = None
    """With --from: how strongly the new head's weights are held small (strength / 2 * |weights|^2 beside the mean
    log-loss); without it chosen between 1 and 1e-6 by pictures that are held back."""
    views: int = 1
    """With --from: vectors of each training picture, of the picture itself and of random parts of it."""

    def check(self, backbone: object, named: dict[str, object], variant: Variant, options: Options) -> None:
        """Raise for flags that do not go with one another; `named` holds what was given in place of a backbone."""
        if backbone is None:
            said = [
                f"--{each.name.replace('_', '-')}" for each in fields(self) if getattr(self, each.name) != each.default
            ]
            if said:
                raise ConfigError(f"{said[0]}: goes with --from (give a trained network, or leave it out)")
            return
        changed = [name for name in vars(variant) if getattr(variant, name) != getattr(PUBLISHED, name)]
        for name in [*(key for key, value in named.items() if value is not None), *changed]:
            if name != "image":
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag}: --from {backbone} decides it (leave one of them out)")
        if self.strength is not None and not 0 < self.strength <= 1e6:
            raise UsageError(f"--strength {self.strength:g}: out of range (above 0, at most 1e6)")
        if not 1 <= self.views <= MOST_VIEWS:
            raise UsageError(f"--views {self.views}: out of range (1 to {MOST_VIEWS})")
        for name in given(options):
            if name not in OF_THE_HEAD:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag}: a head on a trained network has no such setting (leave it out)")


@dataclass(frozen=True)
class Backbone:
    """A trained network that a run begins from."""

    path: str
    """Absolute path, or a published name."""
    digest: str
    """sha256 of its file."""

    @classmethod
    def of(cls, model: Path | str, image: int | None) -> tuple[Backbone, str, Variant]:
        """(what to begin from, its architecture, how that differs from the published form).

        Pictures are of the size that the model knows, or of `image`. Raises for a model that cannot be begun from.
        """
        with open_model(model) as opened:
            options: dict[str, Any] = opened.plan.options()
            size = opened.require_preprocess().size if image is None else image
            known = {name: options[name] for name in vars(PUBLISHED) if name in options}
            variant = Variant(**{**known, "dialect": opened.plan.dialect, "image": size, "aux": False})
            place = os.path.abspath(model) if files.exists(model) else str(model)
            return cls(place, opened.weights.digest("sha256")), opened.plan.architecture, variant


ALONE = Transfer()
"""Nothing said: the head alone, its strength chosen."""
