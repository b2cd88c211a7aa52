"""The records of published files, held to the catalogue, to the origins and to each other."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import FrozenInstanceError
from urllib.parse import urlsplit

import pytest

from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import MissingError, UnknownName
from inceptory.nets.catalogue import catalogue
from inceptory.weights.origins.registry import ORIGINS, Origin
from inceptory.weights.published.listing import weights
from inceptory.weights.published.record import Declared, Published
from inceptory.weights.published.records import ALIASES, by_hash, published, record
from tests.imports import loaded_by

RECORDS = list(published().values())
READABLE = [found for found in RECORDS if found.readable]
ELSEWHERE = [found for found in READABLE if not found.bundled]
DECLARED = [found for found in RECORDS if found.declared]
PREPARED = [found for found in RECORDS if found.preprocess]
MEASURED = [found for found in RECORDS if found.accuracy]
BY_HAND = [found for found in RECORDS if found.page]
ALGORITHMS = {"md5": 32, "sha1": 40}


def each(records: list[Published]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("found", records, ids=lambda found: found.name)


def test_there_are_records_of_every_kind_that_is_looked_at():
    kinds = (RECORDS, READABLE, DECLARED, PREPARED, MEASURED, BY_HAND)
    assert list(map(len, kinds)) == [62, 57, 30, 58, 36, 10]


@each(ELSEWHERE)
def test_a_readable_file_is_of_a_network_and_dialect_that_we_have_and_can_read(found: Published):
    assert found.dialect in catalogue()[found.architecture].dialects
    assert (found.architecture, found.dialect) in {(origin.architecture, origin.dialect) for origin in ORIGINS}


@each(ELSEWHERE)
def test_a_readable_file_comes_with_its_preprocessing_and_an_address(found: Published):
    assert found.preprocess is not None
    assert found.urls or found.repository or found.page


@each(RECORDS)
def test_what_is_not_readable_says_why(found: Published):
    assert bool(found.why_not) != found.readable


@each(RECORDS)
def test_a_dialect_is_missing_only_where_the_network_is(found: Published):
    assert (found.dialect is None) == (found.architecture not in catalogue())
    assert found.dialect is None or found.dialect in catalogue()[found.architecture].dialects


@each(RECORDS)
def test_a_file_has_one_kind_of_home(found: Published):
    assert sum(map(bool, (found.urls, found.repository, found.page, found.bundled))) == 1
    assert all(urlsplit(url).scheme == "https" and url.endswith(f"/{found.file}") for url in found.urls)


@each(DECLARED)
def test_a_hash_has_the_digits_of_its_kind(found: Published):
    assert re.fullmatch(r"[0-9a-f]+", found.declared.digits)
    if found.declared.kind == "sha256 prefix":
        assert f"-{found.declared.digits}." in found.file
    else:
        assert len(found.declared.digits) == ALGORITHMS[found.declared.kind]


@each(BY_HAND)
def test_what_only_a_person_can_get_says_where(found: Published):
    from inceptory.weights.published.download import fetch

    with pytest.raises(MissingError, match=f"has no address over https .get it from {found.page} and give it with"):
        fetch(found)


@each(RECORDS)
def test_a_background_class_is_the_thousand_and_first(found: Published):
    assert found.background == (found.classes == 1001)


@each(PREPARED)
def test_the_preprocessing_is_well_formed(found: Published):
    assert Preprocess.from_json(found.preprocess.to_json()) == found.preprocess
    assert (found.preprocess.resize or 1000) >= found.preprocess.size


@each(MEASURED)
def test_an_accuracy_is_in_percent_and_names_its_source(found: Published):
    assert 60 < found.accuracy.top1 < found.accuracy.top5 < 100
    assert found.accuracy.source


def test_no_two_records_are_the_same_file():
    homes = Counter((found.repository, found.urls, found.file) for found in RECORDS)
    assert max(homes.values()) == 1
    assert max(Counter(found.file for found in RECORDS if found.urls).values()) == 1


def test_the_name_begins_with_the_network():
    assert all(found.name.split(".")[0] == found.architecture for found in RECORDS)


def test_torchvisions_files_are_where_torchvision_says():
    from torchvision.models import GoogLeNet_Weights, Inception_V3_Weights

    for name, theirs in (
        ("googlenet.tv_in1k", GoogLeNet_Weights.IMAGENET1K_V1),
        ("inception_v3.torchvision", Inception_V3_Weights.IMAGENET1K_V1),
    ):
        found, steps = record(name), theirs.transforms()
        assert found.urls == (theirs.url,)
        assert (found.preprocess.resize, found.preprocess.size) == (steps.resize_size[0], steps.crop_size[0])
        measured = theirs.meta["_metrics"]["ImageNet-1K"]
        assert (found.accuracy.top1, found.accuracy.top5) == (measured["acc@1"], measured["acc@5"])


@pytest.mark.parametrize("found", [found for found in RECORDS if found.repository], ids=lambda found: found.name)
def test_files_of_the_hub_are_prepared_as_timm_says(found: Published):
    timm = pytest.importorskip("timm")
    theirs = timm.models.get_pretrained_cfg(found.name)
    assert found.repository == theirs.hf_hub_id
    size = theirs.input_size[-1]
    assert found.preprocess == Preprocess(
        size=size,
        resize=int(size / theirs.crop_pct),
        filter=theirs.interpolation,
        mean=theirs.mean,
        std=theirs.std,
    )


@pytest.mark.parametrize("found", [found for found in RECORDS if found.origin == "slim"], ids=lambda found: found.name)
def test_files_of_slim_keep_the_middle_and_squash_it_to_the_size_of_the_network(found: Published):
    size = 224 if found.architecture in ("googlenet", "inception_v2") else 299
    assert str(found.preprocess) == (
        f"central 87.5 % | squash {size}x{size} bilinear without antialias on TensorFlow 1's grid | RGB | "
        "(x / 255 - 0.5) / 0.5"
    )


TWINS = [(origin, twin) for origin in ORIGINS for twin in origin.twins if twin in published()]


@pytest.mark.parametrize(("origin", "twin"), TWINS, ids=lambda value: getattr(value, "name", value))
def test_a_twins_pictures_are_prepared_in_another_way(origin: Origin, twin: str):
    assert record(twin).preprocess != origin.preprocess
    assert (record(twin).architecture, record(twin).dialect) == (origin.architecture, origin.dialect)


def test_a_name_finds_its_record():
    assert record("inception_v3.keras_notop").classes == 0


def test_another_name_finds_the_same_record_and_hides_none():
    assert record("googlenet.torchvision") is record("googlenet.tv_in1k")
    assert record("legacy_xception.tf_in1k") is record("xception.tf_in1k")
    assert not ALIASES.keys() & published().keys()
    assert all(alias in weights.__doc__ for alias in ALIASES)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean 'inception_v3.tf_in1k'\? `inceptory weights` lists them"):
        record("inception_v3.tf_in1")


def test_a_hash_finds_the_record_by_prefix_or_by_md5():
    found = by_hash("0CC3C7BD" + "0" * 56)
    assert found is not None
    assert found.name == "inception_v3.torchvision"
    found = by_hash("0" * 64, "0a58e3b7378bc2990ea3b43d5981f1f6")
    assert found is not None
    assert found.name == "xception.keras_in1k"


@pytest.mark.parametrize("digits", ["52deb4733", "9f5701afb96c8044", "43020ad28", "8e4777a0"])
def test_a_hash_fits_a_prefix_of_any_length_and_all_of_its_digits_count(digits):
    found = by_hash(digits.ljust(64, "0"))
    assert found is not None
    assert f"-{digits}." in found.file
    assert by_hash(digits[:-1].ljust(64, "f")) is None


def test_digits_bind_only_where_torch_hubs_eight_are_meant():
    prefixes = [found.declared for found in DECLARED if found.declared.kind == "sha256 prefix"]
    assert len(prefixes) == 20
    for declared in prefixes:
        assert declared.binding == (len(declared.digits) == 8)
        assert declared.algorithm == "sha256"
    assert (
        Declared("sha256 prefix", "0cc3c7bd").wrong("0cc3c7be" + "0" * 56) == "its sha256 is 0cc3c7be and not 0cc3c7bd"
    )
    assert not Declared("sha256 prefix", "0cc3c7bd", binding=False).wrong("0" * 64)


@pytest.mark.parametrize("digests", [("0" * 64,), ("0" * 64, "0" * 32), ("", ""), ("0cc3", None)])
def test_another_hash_finds_nothing(digests):
    assert by_hash(*digests) is None


def test_records_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        RECORDS[0].licence = "mine"
    with pytest.raises(TypeError):
        published()["x"] = RECORDS[0]


def test_the_table_has_a_line_for_each_and_fits_110_columns():
    lines = weights().splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert max(map(len, lines)) <= 110
    assert lines[2].split() == [
        "googlenet.tv_in1k",
        "torchvision",
        "torch",
        "BSD-3-Clause",
        "69.778",
        "sha256",
        "yes",
    ]


def test_the_records_are_told_as_json_too():
    told = json.loads(weights(json=True))
    assert [entry["name"] for entry in told] == list(published())
    assert told[0]["declared"] == {"kind": "sha256 prefix", "digits": "1378be20", "binding": True}


def test_listing_needs_no_torch_and_no_network_client():
    found = loaded_by("from inceptory.weights.published import listing, download; listing.weights()")
    assert not {"torch", "huggingface_hub", "urllib.request"} & found
