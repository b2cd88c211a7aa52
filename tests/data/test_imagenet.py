"""The classes of ImageNet, held to what everybody knows of them and to torchvision's own list."""

from __future__ import annotations

import difflib
import re
from importlib.resources import files

from torchvision.models._meta import _IMAGENET_CATEGORIES as TORCHVISION

from inceptory.data.imagenet import labels, synsets


def test_there_are_a_thousand_classes_and_a_thousand_synsets():
    assert (len(labels()), len(synsets())) == (1000, 1000)


def test_no_two_classes_share_a_name_even_where_case_does_not_count():
    assert len({name.lower() for name in labels()}) == 1000


def test_the_order_is_that_of_the_sorted_synsets():
    assert list(synsets()) == sorted(set(synsets()))
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets())


def test_well_known_classes_have_their_well_known_numbers():
    known = {0: "tench", 281: "tabby", 340: "zebra", 388: "giant panda", 963: "pizza", 999: "toilet paper"}
    assert {index: labels()[index] for index in known} == known
    assert (synsets()[0], synsets()[999]) == ("n01440764", "n15075141")


def test_the_two_cranes_are_told_apart():
    assert (labels()[134], labels()[517]) == ("crane (bird)", "crane (machine)")


def test_names_are_clean_words():
    assert all(name == name.strip() and name.isprintable() and name for name in labels())


def test_nearly_every_name_is_torchvisions():
    pairs = zip(labels(), TORCHVISION, strict=True)
    same = [difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio() > 0.6 for a, b in pairs]
    assert sum(same) > 970


def test_every_line_of_the_file_carries_its_index():
    lines = files("inceptory.data").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8").splitlines()
    assert [int(line.split("\t")[0]) for line in lines] == list(range(1000))
