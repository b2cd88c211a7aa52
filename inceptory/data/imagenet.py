"""The 1,000 classes of ImageNet's challenge (ILSVRC 2012), in the order that published networks answer in.

`imagenet_classes.tsv` holds index, WordNet synset, one name and all words of the synset per line. The
order is that of the sorted synsets, a public fact of the challenge; the name is the synset's word
that people know best, as torchvision and timm list them, with a few of its other words where two
classes would share one ("crane", "maillot", "cardigan"). The words are WordNet 3.0's, copyright 2006
Princeton University, free to use, copy and distribute under the WordNet licence
(wordnet.princeton.edu/license-and-commercial-use).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _table() -> tuple[tuple[str, str, str], ...]:
    """Synset, name and words of every class."""
    text = files("inceptory.data").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return tuple((synset, name, words) for _, synset, name, words in rows)


def labels() -> tuple[str, ...]:
    """One name for each class, all different: `labels()[0]` is "tench"."""
    return tuple(name for _, name, _ in _table())


def synsets() -> tuple[str, ...]:
    """The WordNet synset of each class: `synsets()[0]` is "n01440764"."""
    return tuple(synset for synset, _, _ in _table())


def words() -> tuple[tuple[str, ...], ...]:
    """The words of each class's synset in WordNet's order; some are those of other classes too ("crane")."""
    return tuple(tuple(words.split(", ")) for _, _, words in _table())
