"""The page of `check --from`: pictures that a person should look at, the likeliest first. Without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inceptory.report import page

SECTIONS = {
    "label-suspect": (
        "Probably under the wrong label",
        "Every picture was answered by a last layer that was fitted without it. The number is the probability that its "
        "label is wrong: that it was given without a look, rather than to a picture as hard as these answers say. "
        "As many are listed as these probabilities add up to.",
        "No picture seems to be under the wrong label.",
    ),
    "near-duplicate-by-features": (
        "Near duplicates in two splits",
        "Pairs that are ten times nearer to each other, to the network, than pictures usually are to the nearest one "
        "of another split, and than the second nearest one. The number is the cosine of their vectors, less the mean "
        "of all. Copies that are found without a network are not repeated here.",
        "No pair of pictures in two splits is nearly equal.",
    ),
    "unlike-the-rest": (
        "Unlike the rest",
        "Pictures farther from the others than a normal spread explains; the number counts its deviations. As many are "
        "listed that at most 5 % of them are expected to belong to the rest.",
        "No picture is unlike the rest.",
    ),
}
"""Of each kind of finding: the title, the rule by which pictures are listed, and what is said where none is."""


@dataclass(frozen=True)
class Shown:
    """One picture on the page."""

    picture: page.Picture
    file: str
    split: str


@dataclass(frozen=True)
class Card:
    """What is said of one picture, or of a pair."""

    pictures: tuple[Shown, ...]
    about: str


def suspects_page(
    data: str, model: str, n: int, expected: int, cards: Mapping[str, Sequence[Card]], counts: Mapping[str, int]
) -> str:
    """The page: of `n` pictures, `expected` labels are expected to be wrong. Of each kind some or all of its cards, and
    how many there are.
    """
    return page.render(
        "suspects.html.j2",
        title=f"{data}: pictures to look at",
        data=f"{data}{os.sep}",
        model=model,
        n=n,
        expected=expected,
        sections=[(kind, *words, cards.get(kind, ()), counts.get(kind, 0)) for kind, words in SECTIONS.items()],
    )
