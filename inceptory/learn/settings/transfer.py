"""What `train --from` asks beside a recipe: a new head on a trained network."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from inceptory.errors import ConfigError, UsageError
from inceptory.learn.settings.options import Options, given
from inceptory.learn.settings.recipe import Recipe
from inceptory.nets.variant import PUBLISHED, Variant
from inceptory.system import files
from inceptory.weights.model import open_model

OF_THE_HEAD = ("validation", "seed", "device", "precision", "class_weights", "time")
"""Options of a recipe that count for a head, too."""
NOT_OF_A_BACKBONE = ("statistics", "whitening")
"""Options of a recipe that a trained network has decided."""
MOST_VIEWS = 100
PLAIN = 1e-6
"""Strength of a head that is as good as not held small."""


@dataclass(frozen=True)
class Transfer:
    """How a trained network is put to new pictures (`--from`)."""

    strength: float | None = None
    """With --from: how strongly the new head's weights are held small (strength / 2 * |weights|^2 beside the mean
    log-loss); without it chosen between 1 and 1e-6 by pictures that are held back."""
    views: int = 1
    """With --from: vectors of each training picture, of the picture itself and of random parts of it."""
    finetune: Annotated[bool, Parameter(negative="")] = False
    """With --from: train the network further once its head is fitted, by the recipe finetune or another --recipe, and
    keep what comes of it if it answers more validation pictures rightly, by more than noise."""
    keep_head: Annotated[bool, Parameter(negative="")] = False
    """With --from: keep the last layer of the network, which must have the classes of the data."""
    fresh_head: Annotated[bool, Parameter(negative="")] = False
    """With --from and --finetune: start from a last layer of random weights, as tutorials do; nothing is fitted first,
    and the best epoch is kept."""

    def check(self) -> None:
        """Raise UsageError for a value out of its range."""
        if self.strength is not None and not 0 < self.strength <= 1e6:
            raise UsageError(f"--strength {self.strength:g}: out of range (above 0, at most 1e6)")
        if not 1 <= self.views <= MOST_VIEWS:
            raise UsageError(f"--views {self.views}: out of range (1 to {MOST_VIEWS})")
        if self.keep_head and (self.fresh_head or self.strength is not None):
            other = "--fresh-head" if self.fresh_head else "--strength"
            raise ConfigError(f"--keep-head, {other}: conflicting settings (leave one of them out)")
        if self.fresh_head and not self.finetune:
            raise ConfigError("--fresh-head: nothing would be learnt (add --finetune, or leave it out)")
        if self.fresh_head and (self.strength is not None or self.views > 1):
            other = "--views" if self.strength is None else "--strength"
            raise ConfigError(f"--fresh-head, {other}: conflicting settings, no head is fitted (leave one of them out)")

    def by(self, recipe: object) -> Transfer:
        """What a named recipe asks for beside what is asked for here."""
        if recipe == "tutorial-finetune":
            return replace(self, finetune=True, fresh_head=not self.keep_head)
        if recipe == "tutorial-bottleneck":
            if self.finetune:
                told = "trains the last layer alone"
                raise ConfigError(f"--recipe {recipe}, --finetune: conflicting settings, it {told} (leave one out)")
            return replace(self, strength=PLAIN if self.strength is None else self.strength)
        return replace(self, finetune=self.finetune or recipe == "finetune")

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
        if self.finetune:
            for name in NOT_OF_A_BACKBONE:
                if name in given(options):
                    raise ConfigError(f"--{_flag(name)}: --from {backbone} decides it (leave one of them out)")
            return
        known = _changed(recipe, Recipe()) if isinstance(recipe, Recipe) else ["recipe"] * (recipe is not None)
        for name in [*known, *given(options)]:
            if name not in OF_THE_HEAD:
                told = "a head on a trained network has no such setting"
                raise ConfigError(f"--{_flag(name)}: {told} (leave it out, or add --finetune)")


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
