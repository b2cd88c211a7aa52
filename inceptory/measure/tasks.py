"""What is asked of each picture: the one class that it shows, or for each class whether it is there.

A task owns all that depends on the question: the loss of a training (`criterion`), how answers are measured, the
records of `metrics.json` and `history.csv`, and its part of the page. It is chosen once, by `task_of`, and then passed
on, so that other code need not ask which task it is. Without torch: only `criterion` loads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inceptory.data.sources.labels import Labels
from inceptory.measure.metrics import (
    Logits,
    among_best,
    binary_cross_entropy,
    class_scores,
    confusion,
    cross_entropy,
    micro_f1,
    probabilities,
    reliability,
    scores_of_several,
    wilson,
)
from inceptory.measure.multi_label import MultiDetails, MultiEpoch, MultiMetrics
from inceptory.measure.results import Details, Epoch, Metrics
from inceptory.measure.single_label import SingleDetails, SingleEpoch, SingleMetrics

if TYPE_CHECKING:
    from inceptory.measure.losses import Criterion


Probabilities = NDArray[np.floating[Any]]
"""(K,) of one picture."""


class Wrong(NamedTuple):
    """A wrong answer."""

    row: int
    """Row of the picture."""
    truth: int
    answer: int
    probability: float
    """Probability of the answer."""
    probability_of_truth: float


class Task(ABC):
    """One kind of question; labels are (N,) classes, or (N, K) with 1 for every class that a picture shows."""

    name: ClassVar[str]
    """Also the name of the template for its sections of the page."""
    metrics: ClassVar[type[Metrics]]
    epoch: ClassVar[type[Epoch]]
    shares: ClassVar[dict[str, str]]
    """Fields of `metrics` by which runs are compared, and how a page names them. The first is the share of correct
    answers; two columns of history end with its name."""
    drawings: ClassVar[tuple[str, ...]]
    """The plots of `details`: names in `report.plots.DRAWINGS`."""
    one_answer: ClassVar[bool]
    """Whether an answer is one class, right or wrong as a whole: then single mistakes can be explained."""

    @abstractmethod
    def criterion(self) -> Criterion:
        """Loss and hits of a training."""

    @abstractmethod
    def right(self, logits: Logits, labels: Labels) -> NDArray[np.bool_]:
        """(N,) which pictures are answered correctly, from logits (N, K)."""

    @abstractmethod
    def measure(self, logits: Logits, labels: Labels, precision: str = "fp32") -> Metrics:
        """Metrics of a whole split, from logits (N, K) that were computed in this precision."""

    @abstractmethod
    def details(self, logits: Logits, labels: Labels, classes: Sequence[str]) -> Details:
        """The measurement in detail; `classes` are the names of the K logits."""

    @abstractmethod
    def wrong(self, logits: Logits, labels: Labels, most: int) -> list[Wrong]:
        """The wrong answers that were given with the highest probability, highest first."""

    @abstractmethod
    def relabelled(self, labels: Labels, order: Labels, classes: int) -> Labels:
        """The labels in an order of so many classes, where `order` (K,) gives the new number of each class."""

    def answers(self, probabilities: Probabilities, most: int) -> list[int]:
        """The classes that are answered for one picture, most probable first, at most so many."""
        ranked: list[int] = probabilities.argsort(kind="stable")[::-1][:most].tolist()
        return ranked

    @abstractmethod
    def purpose(self, classes: int) -> str:
        """What a network is trained to do with pictures, as words of a sentence."""


class SingleLabel(Task):
    """The class of a picture: the largest logit."""

    name = "single-label"
    metrics = SingleMetrics
    epoch = SingleEpoch
    shares: ClassVar[dict[str, str]] = {"top1": "top-1"}
    drawings = ("confusion", "calibration")
    one_answer = True

    def criterion(self) -> Criterion:
        """Cross-entropy."""
        from inceptory.measure.losses import CrossEntropy

        return CrossEntropy()

    def right(self, logits: Logits, labels: Labels) -> NDArray[np.bool_]:
        """Those whose class has the largest logit."""
        right: NDArray[np.bool_] = logits.argmax(1) == labels
        return right

    def measure(self, logits: Logits, labels: Labels, precision: str = "fp32") -> SingleMetrics:
        """Top-1, top-5, log-loss."""
        n, right = len(labels), int(self.right(logits, labels).sum())
        return SingleMetrics(
            top1=right / n,
            top5=among_best(logits, labels, 5),
            log_loss=cross_entropy(logits, labels),
            n=n,
            interval=wilson(right, n),
            precision=precision,
        )

    def details(self, logits: Logits, labels: Labels, classes: Sequence[str]) -> SingleDetails:
        """By class, by pair of classes and by confidence."""
        answers = logits.argmax(1)
        return SingleDetails(
            class_scores(labels, answers, classes),
            confusion(labels, answers, len(classes)),
            reliability(probabilities(logits, answers), labels == answers),
        )

    def wrong(self, logits: Logits, labels: Labels, most: int) -> list[Wrong]:
        """Pictures whose largest logit is another class's."""
        answers = logits.argmax(1)
        of_answer, of_truth = (probabilities(logits, columns) for columns in (answers, labels))
        rows = np.flatnonzero(labels != answers)
        rows = rows[np.argsort(-of_answer[rows], kind="stable")][:most]
        return [
            Wrong(row, int(labels[row]), int(answers[row]), float(of_answer[row]), float(of_truth[row]))
            for row in rows.tolist()
        ]

    def relabelled(self, labels: Labels, order: Labels, classes: int) -> Labels:
        """(N,) new numbers."""
        renumbered: Labels = order[labels]
        return renumbered

    def purpose(self, classes: int) -> str:
        """To tell them apart."""
        return f"tell {classes:,} classes apart in"


class MultiLabel(Task):
    """For each class whether a picture shows it: a logit above 0. A picture may show several, or none."""

    name = "multi-label"
    metrics = MultiMetrics
    epoch = MultiEpoch
    shares: ClassVar[dict[str, str]] = {"exact": "exact", "mean_ap": "mAP"}
    drawings = ()
    one_answer = False

    def criterion(self) -> Criterion:
        """Binary cross-entropy of each class."""
        from inceptory.measure.losses import BinaryCrossEntropy

        return BinaryCrossEntropy()

    def right(self, logits: Logits, labels: Labels) -> NDArray[np.bool_]:
        """Those with exactly their classes above probability 0.5."""
        right: NDArray[np.bool_] = ((logits > 0) == (labels > 0)).all(1)
        return right

    def measure(self, logits: Logits, labels: Labels, precision: str = "fp32") -> MultiMetrics:
        """Mean average precision, F1, exact matches, log-loss."""
        n, right = len(labels), int(self.right(logits, labels).sum())
        details = self.details(logits, labels, [""] * logits.shape[1])
        return MultiMetrics(
            mean_ap=details.mean("average_precision"),
            micro_f1=micro_f1(logits, labels),
            macro_f1=details.mean("f1"),
            exact=right / n,
            log_loss=binary_cross_entropy(logits, labels),
            n=n,
            interval=wilson(right, n),
            precision=precision,
        )

    def details(self, logits: Logits, labels: Labels, classes: Sequence[str]) -> MultiDetails:
        """By class."""
        return MultiDetails(scores_of_several(logits, labels, classes))

    def wrong(self, logits: Logits, labels: Labels, most: int) -> list[Wrong]:
        """None: an answer of several classes may be correct in part."""
        return []

    def relabelled(self, labels: Labels, order: Labels, classes: int) -> Labels:
        """(N, classes); where two classes have the same new number, it is set if either of them is."""
        renumbered = np.zeros((len(labels), classes), dtype=np.uint8)
        for number, column in zip(order.tolist(), labels.T, strict=True):
            renumbered[:, number] |= column
        return renumbered

    def answers(self, probabilities: Probabilities, most: int) -> list[int]:
        """Only those above probability 0.5."""
        return [number for number in super().answers(probabilities, most) if probabilities[number] > 0.5]

    def purpose(self, classes: int) -> str:
        """To find them."""
        return f"say which of {classes:,} classes, or none, there are in"


SINGLE_LABEL, MULTI_LABEL = SingleLabel(), MultiLabel()


def task_of(multi_label: bool) -> Task:
    """The task of a card or a data set, by its `multi_label`."""
    return MULTI_LABEL if multi_label else SINGLE_LABEL
