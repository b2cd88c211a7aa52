"""What a run was, told as a page: `report.html`. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inceptory.measure.results import Details, Ending, Epoch, Metrics, Mistake, best_epoch
from inceptory.measure.tasks import Task
from inceptory.measure.vectors import NOTHING, Insight, Reason
from inceptory.nets.catalogue import Plan
from inceptory.report import page
from inceptory.report.plots import names
from inceptory.weights.card import Card


@dataclass(frozen=True)
class Story:
    """The content of a run's page; the words of its sections are in `templates`."""

    task: Task
    card: Card
    plan: Plan
    epochs: Sequence[Epoch]
    metrics: Metrics
    details: Details
    mistakes: Sequence[Mistake]
    split: str
    """Part of the data that was measured."""
    minutes: float
    ending: Ending
    images_per_second: float
    file_bytes: int
    command: str
    insight: Insight = NOTHING
    """What the mistakes rest on."""

    def html(self, plots: Mapping[str, bytes]) -> str:
        """The page, with the PNGs inside: "curves", those of the task, "features" and "batch" where there are these."""
        title = f"{self.plan.architecture} on {self._data('name', 'data of unknown name')}"
        return page.render("report.html.j2", story=self, plots=plots, title=title)

    def _data(self, key: str, otherwise: Any) -> Any:
        return self.card.data.get(key, otherwise)

    @property
    def has_curves(self) -> bool:
        """Whether there are epochs to draw: a head alone has none."""
        return self.ending.by != "head" or len(self.epochs) > 1

    def paragraph(self) -> str:
        """A summary of the run, in sentences."""
        if "strength" in self.card.recipe:
            return " ".join((self._head(), *self._tuned(), self._head_measured(), self._head_effort()))
        return " ".join((self._network(), self._training(), self._measuring(), self._effort()))

    def _network(self) -> str:
        plan, numbers = self.plan, self.plan.numbers(stages=False)
        traits = [f"{plan.dialect} dialect"]
        traits += [f"width {plan.width:g}"] * (plan.width != 1)
        traits += ["squeeze and excitation"] * plan.se + ["auxiliary heads"] * plan.aux
        pictures = f"{'grey' if plan.in_channels == 1 else 'colour'} pictures of {plan.image} x {plan.image} pixels"
        begun = self.card.recipe.get("from")
        further = f"further, from the weights of {begun} and a new last layer, " if begun else ""
        return (
            f"{plan.architecture} ({', '.join(traits)}) with {numbers['parameters']:,} learnable parameters was "
            f"trained {further}to {self.task.purpose(plan.classes)} {pictures}."
        )

    def _training(self) -> str:
        sizes = self._data("splits", {})
        held = " and ".join(f"{count:,} {name}" for name, count in sizes.items() if name != "train")
        known = self.card.calibration
        apart = f", {known['n']:,} of those of validation to calibrate it" if known else ""
        beside = f"; {held} pictures were kept apart{apart}" if held else ""
        recipe = self.card.recipe
        phrases = {"batch": "batches of {}", "lr": "a peak learning rate of {:g}", "seed": "seed {}"}
        settings = ", ".join(words.format(recipe[name]) for name, words in phrases.items() if name in recipe)
        length = self.ending.told(recipe.get("time"))
        pictures = f"the {sizes['train']:,} training pictures" if "train" in sizes else "the training pictures"
        aside = f" ({settings})" if settings else ""
        return f"It saw {pictures} of {self._data('name', 'the data')} for {length}{aside}{beside}."

    def _measuring(self) -> str:
        best = best_epoch(self.epochs).epoch
        if self.split == "validation":
            # The same pictures chose the checkpoint, and the reader must be told.
            return (
                f"The best epoch on validation, number {best}, was kept; there is no test split, so the figures below "
                f"are of the same {self.metrics.n:,} validation pictures and a little too good."
            )
        return (
            f"The best epoch on validation, number {best}, was kept and measured on the {self.metrics.n:,} "
            f"{self.split} pictures, which had no part in training."
        )

    def _head(self) -> str:
        recipe, sizes = self.card.recipe, self._data("splits", {})
        counts = " and ".join(f"{sizes[name]:,} {name}" for name in ("train", "validation") if name in sizes)
        known = self.card.calibration
        apart = f", {known['n']:,} of them kept apart to calibrate it" if known.get("kind") == "held-out" else ""
        views = f", each in {recipe['views']} views" if recipe.get("views", 1) > 1 else ""
        if recipe["strength"] is None:
            return (
                f"{self.plan.architecture} ({self.plan.dialect} dialect) from {recipe.get('from')} kept its last layer "
                f"to {self.task.purpose(self.plan.classes)} pictures of {self.plan.image} x {self.plan.image}, "
                f"measured on those of {self._data('name', 'the data')}{apart}."
            )
        return (
            f"{self.plan.architecture} ({self.plan.dialect} dialect) from {recipe.get('from')} was given a new last "
            f"layer to {self.task.purpose(self.plan.classes)} pictures of {self.plan.image} x {self.plan.image}, a "
            f"logistic regression of strength {recipe['strength']:g} on what it sees in {counts} pictures of "
            f"{self._data('name', 'the data')}{views}{apart}."
        )

    def _tuned(self) -> list[str]:
        """What became of the weights below the head."""
        verdict = self.card.recipe.get("fine_tuning")
        if verdict is None:
            return ["All other weights are as they were."]
        told = verdict["told"]
        return [f"{told[0].upper()}{told[1:]}." + " It was kept." * verdict["kept"]]

    def _head_measured(self) -> str:
        n, folds = f"{self.metrics.n:,}", self.card.recipe.get("folds")
        if self.split == "test":
            return f"It was measured on the {n} test pictures, which had no part in that."
        if folds:
            shares = self.card.recipe.get("right_by_fold") or [0.0]
            spread = f"from {100 * min(shares):.1f} to {100 * max(shares):.1f} % were answered rightly, part by part"
            return (
                f"The pictures took turns in {folds} parts: each of the {n} was answered by a layer that was fitted "
                f"without it ({spread}), and the figures below are of these answers; the layer that is kept was fitted "
                "on all."
            )
        if self.card.recipe["strength"] is None and "fine_tuning" not in self.card.recipe:
            return f"The figures below are of the {n} validation pictures, which chose nothing."
        return (
            f"The figures below are of the {n} validation pictures, which chose among several: there is no test split, "
            "so they are a little too good."
        )

    def _head_effort(self) -> str:
        on = self.card.recipe.get("computed_on", "this machine")
        return f"The run took {_minutes(self.minutes)} on {on}."

    def _effort(self) -> str:
        device = self.card.recipe.get("computed_on")
        on = f" on {device} (measured in fp32)" if device else ""
        return (
            f"The run took {_minutes(self.minutes)}{on}, at {self.images_per_second:,.0f} training pictures a second."
        )

    def tiles(self) -> dict[str, str]:
        """The numbers for the head of the page, by their meaning."""
        numbers = self.plan.numbers(stages=False)
        return {
            **self.metrics.figures(self.split),
            **self.details.figures(),
            f"learnable parameters; {numbers['total']:,} with statistics": f"{numbers['parameters']:,}",
            "model.safetensors": f"{self.file_bytes / 2**20:.1f} MiB",
        }

    def explained(self) -> list[tuple[Mistake, Reason]]:
        """The most confident mistakes and what each rests on."""
        return list(zip(self.mistakes, self.insight.reasons, strict=False))

    def numbered(self) -> str:
        """The classes that the plot names by their number, since matplotlib has no letters for their names."""
        drawn = zip(names(self.card.labels), self.card.labels, strict=True)
        return ", ".join(
            f"class {row} is {label}" for row, (name, label) in enumerate(drawn) if name == f"class {row}" != label
        )

    def classes(self, *columns: str) -> list[tuple[Any, ...]]:
        """Rows of a table, one for each class: name, number of pictures, and these fractions."""
        scores = self.details.classes
        return [(one.label, one.support, *(getattr(one, column) for column in columns)) for one in scores]

    def prints(self) -> dict[str, str]:
        """Data and software, by which one can see whether another run had the same."""
        return {"fingerprint of the data": self._data("fingerprint", "unknown"), **self.card.versions}


def _minutes(minutes: float) -> str:
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
