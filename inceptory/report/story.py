"""What a run was, told as a page: `report.html`. Without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from inceptory.measure.results import (
    AnyEpoch,
    Details,
    Ending,
    Metrics,
    Mistake,
    MultiDetails,
    MultiMetrics,
    best_epoch,
    percent_range,
)
from inceptory.nets.catalogue import Plan
from inceptory.report import page
from inceptory.report.plots import names
from inceptory.weights.card import Card

PAIRS = 10
"""Rows of the table of pairs that are confused most."""


@dataclass(frozen=True)
class Story:
    """Everything that the page of a run tells."""

    card: Card
    plan: Plan
    epochs: Sequence[AnyEpoch]
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

    def html(self, plots: Mapping[str, bytes]) -> str:
        """The page, with the PNGs "curves", "confusion" and "calibration" inside, and "batch" where there is one."""
        title = f"{self.plan.architecture} on {self._data('name', 'data of unknown name')}"
        body = [
            page.paragraph(self.paragraph()),
            page.tiles(self._tiles()),
            self._curves(plots["curves"]),
            *self._answers(plots),
            *([self._batch(plots["batch"])] if "batch" in plots else []),
            self._again(),
        ]
        return page.document(title, body)

    def _curves(self, png: bytes) -> str:
        known = self.card.recipe
        kept = "by their running average" if known.get("average") else "as the epoch left them"
        mixed = ", mixed ones by the shares of both classes" if known.get("mixup") or known.get("cutmix") else ""
        told = (
            "Both log-losses are the cross-entropy of the answers alone. Training: augmented pictures"
            f"{mixed}, in train mode, with the weights of each step. Validation: pictures as they are, in eval mode, "
            f"with the weights {kept}. What the steps make small besides, by label smoothing, auxiliary heads, "
            "weights of classes and the penalty, is in the column train_objective of history.csv."
        )
        drawn = page.plot(png, f"Log-loss and {self.epochs[0].measure} over the epochs")
        return page.section("Curves", drawn, page.paragraph(told, dim=True))

    def _batch(self, png: bytes) -> str:
        told = (
            "Up to 32 pictures of the first step as the network saw them: cut, moved and coloured as the recipe says. "
            "Where a person cannot tell the classes apart, neither can the network."
        )
        picture = page.plot(png, "Augmented training pictures with their classes", photos=True)
        return page.section("The first batch", picture, page.paragraph(told, dim=True))

    def _answers(self, plots: Mapping[str, bytes]) -> list[str]:
        """The sections about right and wrong answers."""
        return [
            self._confusion(plots["confusion"]),
            self._classes(),
            self._mistakes(),
            self._calibration(plots["calibration"]),
        ]

    def _data(self, key: str, otherwise: Any) -> Any:
        return self.card.data.get(key, otherwise)

    def paragraph(self) -> str:
        """What was done, in sentences."""
        return " ".join((self._network(), self._training(), self._measuring(), self._effort()))

    def _network(self) -> str:
        plan, numbers = self.plan, self.plan.numbers(stages=False)
        traits = [f"{plan.dialect} dialect"]
        traits += [f"width {plan.width:g}"] * (plan.width != 1)
        traits += ["squeeze and excitation"] * plan.se + ["auxiliary heads"] * plan.aux
        pictures = f"{'grey' if plan.in_channels == 1 else 'colour'} pictures of {plan.image} x {plan.image} pixels"
        return (
            f"{plan.architecture} ({', '.join(traits)}) with {numbers['parameters']:,} learnable parameters was "
            f"trained to {self._purpose()} {pictures}."
        )

    def _purpose(self) -> str:
        return f"tell {self.plan.classes:,} classes apart in"

    def _training(self) -> str:
        sizes = self._data("splits", {})
        held = " and ".join(f"{count:,} {name}" for name, count in sizes.items() if name != "train")
        beside = f"; {held} pictures were kept apart" if held else ""
        known = self.card.recipe
        told = {"batch": "batches of {}", "lr": "a peak learning rate of {:g}", "seed": "seed {}"}
        how = ", ".join(words.format(known[name]) for name, words in told.items() if name in known)
        rounds = self.ending.told(known.get("time"))
        pictures = f"the {sizes['train']:,} training pictures" if "train" in sizes else "the training pictures"
        return (
            f"It saw {pictures} of {self._data('name', 'the data')} for {rounds}{f' ({how})' if how else ''}{beside}."
        )

    def _measuring(self) -> str:
        best = best_epoch(self.epochs).epoch
        if self.split == "validation":
            # The same pictures chose the checkpoint, and the reader must know.
            return (
                f"The best epoch on validation, number {best}, was kept; there is no test split, so the figures below "
                f"are of the same {self.metrics.n:,} validation pictures and a little too good."
            )
        return (
            f"The best epoch on validation, number {best}, was kept and measured on the {self.metrics.n:,} "
            f"{self.split} pictures, which had no part in training."
        )

    def _effort(self) -> str:
        place = self.card.recipe.get("computed_on")
        on = f" on {place} (measured in fp32)" if place else ""
        return (
            f"The run took {_minutes(self.minutes)}{on}, at {self.images_per_second:,.0f} training pictures a second."
        )

    def _tiles(self) -> dict[str, str]:
        numbers = self.plan.numbers(stages=False)
        return {
            **self._figures(),
            f"learnable parameters; {numbers['total']:,} with statistics": f"{numbers['parameters']:,}",
            "model.safetensors": f"{self.file_bytes / 2**20:.1f} MiB",
        }

    def _figures(self) -> dict[str, str]:
        """What was measured, each number under what it means."""
        metrics = self.metrics
        interval = percent_range(metrics.interval)
        return {
            f"{self.split} top-1, 95 % interval {interval}, n {metrics.n:,}": f"{100 * metrics.top1:.2f} %",
            "top-5": f"{100 * metrics.top5:.2f} %",
            "log-loss, nats": f"{metrics.log_loss:.4f}",
            "F1, mean over the classes": f"{100 * self.details.macro()['f1']:.2f} %",
            "calibration error": f"{100 * self.details.calibration_error():.1f} %",
        }

    def _confusion(self, png: bytes) -> str:
        rows = [(truth, answer, f"{count:,}") for truth, answer, count in self.details.confused(PAIRS)]
        told = "The pairs that were confused most:" if rows else "No picture was taken for one of another class."
        return page.section(
            "Confusion matrix",
            page.plot(png, "Confusion matrix: rows are the truth, columns the answer"),
            *self._numbered(),
            page.paragraph(told, dim=True),
            *([page.table(("truth", "answer", "pictures"), rows)] if rows else []),
        )

    def _numbered(self) -> list[str]:
        """Which classes stand in the drawing by their number: a browser has more letters than matplotlib."""
        drawn = zip(names(self.card.labels), self.card.labels, strict=True)
        known = [
            f"class {row} is {label}" for row, (name, label) in enumerate(drawn) if name == f"class {row}" != label
        ]
        return [page.paragraph(f"In the drawing: {', '.join(known)}.", dim=True)] if known else []

    def _classes(self) -> str:
        head = ("class", "pictures", "precision", "recall", "F1")
        rows = [
            (score.label, f"{score.support:,}", score.precision, score.recall, score.f1)
            for score in self.details.classes
        ]
        told = (
            "Precision: of the pictures given this name, those that bear it. Recall: of the pictures that bear this "
            "name, those given it. F1: their harmonic mean."
        )
        return page.section("Metrics of each class", page.paragraph(told, dim=True), page.table(head, rows))

    def _mistakes(self) -> str:
        if not self.mistakes:
            return page.section("Mistakes", page.paragraph(f"None in {self.metrics.n:,} pictures."))
        wrong = self.metrics.n - int(self.details.confusion.diagonal().sum())
        told = f"{len(self.mistakes)} of {wrong:,} wrong answers, those given with the highest probability first."
        shown = "\n".join(map(_shown, self.mistakes))
        return page.section(
            "Most confident mistakes", page.paragraph(told, dim=True), f'<div class="mistakes">{shown}</div>'
        )

    def _calibration(self, png: bytes) -> str:
        told = (
            "Where the bars lie on the diagonal, an answer given with 80 % is right in 80 of 100 cases. Bars above it "
            "mean too little confidence, bars below too much."
        )
        return page.section(
            "Calibration",
            page.plot(png, "Accuracy over confidence"),
            page.paragraph(told, dim=True),
        )

    def _again(self) -> str:
        prints = {"fingerprint of the data": self._data("fingerprint", "unknown"), **self.card.versions}
        return "\n".join(
            [
                page.section("Reproduce this run", page.verbatim(self.command)),
                page.section("Recipe", page.facts(self.card.recipe)),
                page.section("Data and versions", page.facts(prints, ("of", "value"))),
            ]
        )


@dataclass(frozen=True)
class MultiStory(Story):
    """The same of a multi-label run: classes one by one, since none is taken for another."""

    metrics: MultiMetrics  # type: ignore[assignment]  # read-only, and every reader of the other kind is replaced
    details: MultiDetails  # type: ignore[assignment]

    def _purpose(self) -> str:
        return f"say which of {self.plan.classes:,} classes, or none, there are in"

    def _figures(self) -> dict[str, str]:
        metrics = self.metrics
        interval = percent_range(metrics.interval)
        return {
            f"{self.split} mean average precision": f"{100 * metrics.mean_ap:.2f} %",
            f"exact, 95 % interval {interval}, n {metrics.n:,}": f"{100 * metrics.exact:.2f} %",
            "F1, all classes together": f"{100 * metrics.micro_f1:.2f} %",
            "F1, mean over the classes": f"{100 * metrics.macro_f1:.2f} %",
            "log-loss, nats": f"{metrics.log_loss:.4f}",
        }

    def _answers(self, plots: Mapping[str, bytes]) -> list[str]:
        head = ("class", "pictures", "average precision", "precision", "recall", "F1")
        rows = [
            (score.label, f"{score.support:,}", score.average_precision, score.precision, score.recall, score.f1)
            for score in self.details.classes
        ]
        told = (
            "A class is answered where its probability is above 50 %. Average precision: the area under precision over "
            "recall at all probabilities. Precision: of the pictures answered with this class, those that show it. "
            "Recall: of the pictures that show it, those answered with it. F1: their harmonic mean. Exact: pictures of "
            "which every class is answered and no other."
        )
        return [page.section("Metrics of each class", page.paragraph(told, dim=True), page.table(head, rows))]


def _shown(mistake: Mistake) -> str:
    truth, answer = page.text(mistake.truth), page.text(mistake.answer)
    name = page.text(PurePath(mistake.name).name or mistake.name)
    return (
        f'<figure title="{page.text(mistake.name)}">{page.thumbnail(mistake.pixels)}'
        f"<figcaption>said <b>{answer}</b> ({100 * mistake.probability:.1f} %)<br>"
        f"is <b>{truth}</b> ({100 * mistake.probability_of_truth:.1f} %)<small>{name}</small></figcaption></figure>"
    )


def _minutes(minutes: float) -> str:
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
