"""What `train --from` asks beside a recipe: a new head on a trained network."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inceptory.errors import ConfigError, UsageError
from inceptory.learn.settings.options import Options, given
from inceptory.learn.settings.recipe import Recipe
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

    def check(self) -> None:
        """Raise UsageError for a value out of its range."""
        if self.strength is not None and not 0 < self.strength <= 1e6:
            raise UsageError(f"--strength {self.strength:g}: out of range (above 0, at most 1e6)")
        if not 1 <= self.views <= MOST_VIEWS:
            raise UsageError(f"--views {self.views}: out of range (1 to {MOST_VIEWS})")

    def check_beside(
        self, backbone: object, named: dict[str, object], variant: Variant, recipe: object, options: Options
    ) -> None:
        """Raise ConfigError for flags that do not go with one another; `named` holds what says something else than a
        backbone does."""
        if backbone is None:
            if changed := _changed(self, Transfer()):
                raise ConfigError(f"--{_flag(changed[0])}: goes with --from (give a trained network, or leave it out)")
            return
        own = [name for name in _changed(variant, PUBLISHED) if name != "image"]
        for name in [*(key for key, value in named.items() if value is not None), *own]:
            raise ConfigError(f"--{_flag(name)}: --from {backbone} decides it (leave one of them out)")
        known = _changed(recipe, Recipe()) if isinstance(recipe, Recipe) else ["recipe"] * (recipe is not None)
        for name in [*known, *given(options)]:
            if name not in OF_THE_HEAD:
                raise ConfigError(f"--{_flag(name)}: a head on a trained network has no such setting (leave it out)")


def _changed(record: Any, default: Any) -> list[str]:
    """Names of the fields that are not as they are by default."""
    return [each.name for each in fields(record) if getattr(record, each.name) != getattr(default, each.name)]


def _flag(name: str) -> str:
    return name.replace("_", "-")


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
