"""The record inside a checkpoint, and everything that may be wrong with the file around it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import inceptory
from inceptory.data.picture.preprocess import Preprocess
from inceptory.errors import DataError, MissingError
from inceptory.nets.catalogue import plan
from inceptory.weights.card import KEY, Card, read_card, read_metadata
from inceptory.weights.files.source import LARGEST_HEADER

PLAN = plan("cifar_inception_v1", width=0.25, classes=6)
LABELS = ("猫", "naïve", 'a "quoted" one', "two\nlines", "🦊 fox", "\\u0041")
STEPS = Preprocess(size=32, resize=36, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), order="BGR")
CARD = Card.of(
    PLAN,
    labels=LABELS,
    preprocess=STEPS,
    recipe={"epochs": 3, "flip": True},
    data={"name": "photos", "splits": {"train": 5}},
    metrics={"top1": 0.5},
    versions={"torch": "2"},
)


def file(path, header, after=b""):
    """A safetensors file of this header, given as an object or as its bytes."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + after)
    return path


def test_a_card_comes_back_from_its_text():
    assert Card.from_json(CARD.to_json(), "a") == CARD


def test_a_card_that_knows_the_architecture_only_comes_back_too():
    card = Card.of(PLAN)
    assert Card.from_json(card.to_json(), "a") == card
    assert (card.labels, card.preprocess) == ((), None)


def test_labels_keep_their_letters_and_their_order():
    assert Card.from_json(CARD.to_json(), "a").labels == LABELS


def test_labels_are_written_as_themselves():
    assert "猫" in CARD.to_json()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "inception_v3", "dialect": "keras", "width": 0.5, "image": 149},
        {"name": "inception_resnet_v1", "dialect": "facenet", "classes": 0},
        {"name": "inception_resnet_v2", "scale": "off", "aux": True},
        {"name": "xception", "se": True, "in_channels": 1, "dropout": 0.3},
    ],
    ids=str,
)
def test_a_card_leads_back_to_its_network(options):
    found = plan(**options)
    assert Card.from_json(Card.of(found).to_json(), "a").plan() == found


def test_a_card_is_read_from_the_header_of_its_file(tmp_path):
    path = file(tmp_path / "a.safetensors", {"__metadata__": {KEY: CARD.to_json()}})
    assert read_card(path) == CARD
    assert read_card(str(path)) == CARD


def test_a_card_is_read_without_torch(tmp_path):
    path = file(tmp_path / "a.safetensors", {"__metadata__": {KEY: CARD.to_json()}})
    program = (
        "import sys; from inceptory.weights.card import read_card; "
        f"assert read_card({str(path)!r}).labels[0] == '\\u732b'; "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'torchvision', 'safetensors.torch')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(inceptory.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def damaged(**changes):
    """The text of the card with these fields changed; a value of ... takes the field away."""
    plain = {**json.loads(CARD.to_json()), **changes}
    return json.dumps({key: value for key, value in plain.items() if value is not ...})


OPTIONS = PLAN.options()
DAMAGE = {
    "an unknown network": {"architecture": "inception_v5"},
    "a network that is a number": {"architecture": 5},
    "a network that is a list": {"architecture": ["googlenet"]},
    "an unknown dialect": {"dialect": "latin"},
    "a dialect that is a number": {"dialect": 5},
    "no network": {"architecture": ...},
    "no options": {"options": None},
    "options in a list": {"options": []},
    "an unknown option": {"options": {**OPTIONS, "depth": 3}},
    "negative classes": {"options": {**OPTIONS, "classes": -1}, "labels": []},
    "classes in words": {"options": {**OPTIONS, "classes": "6"}},
    "classes that are no whole number": {"options": {**OPTIONS, "classes": 6.0}},
    "classes beyond all memory": {"options": {**OPTIONS, "classes": 10**18}, "labels": []},
    "squeezing in a list": {"options": {**OPTIONS, "se": []}},
    "auxiliary heads in words": {"options": {**OPTIONS, "aux": "yes"}},
    "pictures of no size": {"preprocess": {**STEPS.to_json(), "size": None}},
    "pictures beyond all memory": {"preprocess": {**STEPS.to_json(), "size": 2**31}},
    "pictures resized beyond all memory": {"preprocess": {**STEPS.to_json(), "resize": 10**18}},
    "a width out of range": {"options": {**OPTIONS, "width": 1e300}},
    "a width that is not a number": {"options": {**OPTIONS, "width": float("nan")}},
    "half a channel": {"options": {**OPTIONS, "in_channels": 1.5}},
    "channels that are no whole number": {"options": {**OPTIONS, "in_channels": 3.0}},
    "half a pixel": {"options": {**OPTIONS, "image": 32.5}},
    "a negative image": {"options": {**OPTIONS, "image": -32}},
    "a dropout in words": {"options": {**OPTIONS, "dropout": "half"}},
    "too few labels": {"labels": ["cat"]},
    "too many labels": {"labels": list("abcdefg")},
    "no labels": {"labels": None},
    "labels that are one word": {"labels": "abcdef"},
    "preprocessing without its numbers": {"preprocess": {"size": 32}},
    "preprocessing that is empty": {"preprocess": {}},
    "preprocessing in a list": {"preprocess": []},
    "preprocessing of another program": {"preprocess": {**STEPS.to_json(), "gamma": 2}},
    "a recipe that is a number": {"recipe": 5},
    "data that are a number": {"data": 5},
    "metrics that are missing": {"metrics": None},
    "versions that are a number": {"versions": 5},
    "a field that nobody knows": {"colour": "red"},
    "no format": {"format": ...},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_card_is_a_data_error_that_names_the_file(kind):
    with pytest.raises(DataError, match=r"^runs/a: its card "):
        Card.from_json(damaged(**DAMAGE[kind]), "runs/a")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"card"', "[" * 100_000, '{"format": 1}'], ids=lambda t: t[:9]
)
def test_text_that_is_no_card_is_a_data_error(text):
    with pytest.raises(DataError, match="its card is damaged"):
        Card.from_json(text, "a")


@pytest.mark.parametrize("number", [2, 99])
def test_a_newer_format_asks_for_an_update(number):
    with pytest.raises(DataError, match=r"newer format \(update inceptory\)"):
        Card.from_json(damaged(format=number), "a")


def test_a_newer_format_is_told_even_if_its_fields_are_others():
    with pytest.raises(DataError, match="newer format"):
        Card.from_json(json.dumps({"format": 2, "network": "inception_v9"}), "a")


def test_a_damaged_card_in_a_file_is_told_with_the_path(tmp_path):
    path = file(tmp_path / "a.safetensors", {"__metadata__": {KEY: damaged(architecture="inception_v5")}})
    with pytest.raises(DataError) as caught:
        read_card(path)
    assert str(caught.value).startswith(f"{path}: its card is damaged")


NO_SAFETENSORS = {
    "empty": b"",
    "seven bytes": b"1234567",
    "eight bytes": bytes(8),
    "a length alone": struct.pack("<Q", 100),
    "a length of zero": bytes(8) + b"{}",
    "a length beyond the file": struct.pack("<Q", 3) + b"{}",
    "the largest length": b"\xff" * 8 + b"{}",
    "no JSON": struct.pack("<Q", 5) + b"hello",
    "no UTF-8": struct.pack("<Q", 4) + b'"\xff\xfe"',
    "a list": struct.pack("<Q", 2) + b"[]",
    "a number": struct.pack("<Q", 1) + b"5",
    "depth without end": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "digits without end": struct.pack("<Q", 10_000) + b"9" * 10_000,
    "a key twice": struct.pack("<Q", 34) + b'{"__metadata__":{"a":"1","a":"2"}}',
    "a page of the web": b"<!DOCTYPE html><html><title>404 Not Found</title></html>",
    "a pointer of git": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a zip file": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("kind", NO_SAFETENSORS)
def test_a_file_that_is_no_safetensors_is_a_data_error_with_its_path(tmp_path, kind):
    (tmp_path / "a").write_bytes(NO_SAFETENSORS[kind])
    with pytest.raises(DataError, match="not a safetensors file") as caught:
        read_card(tmp_path / "a")
    assert str(caught.value).startswith(str(tmp_path / "a"))


def test_a_header_longer_than_any_of_ours_is_not_even_parsed(tmp_path, monkeypatch):
    path = file(tmp_path / "a", b'{"a": 1}'.ljust(LARGEST_HEADER + 1))
    real, seen = json.loads, []
    monkeypatch.setattr(json, "loads", lambda text: (seen.append(len(text)), real(text))[1])
    with pytest.raises(DataError, match="not a safetensors file"):
        read_metadata(path)
    assert sum(seen) == 0


@pytest.mark.parametrize(
    "metadata",
    [..., {}, None, [], "card", {"format": "pt"}, {KEY: None}, {KEY: {"format": 1}}],
    ids=["none", "empty", "null", "list", "text", "another program's", "null card", "card that is no text"],
)
def test_a_safetensors_file_of_another_program_has_no_card(tmp_path, metadata):
    tensors = {"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = tensors if metadata is ... else {**tensors, "__metadata__": metadata}
    with pytest.raises(DataError, match="without inceptory's card"):
        read_card(file(tmp_path / "a", header, after=bytes(4)))


def test_a_missing_checkpoint_is_a_missing_error(tmp_path):
    with pytest.raises(MissingError, match="no such file") as caught:
        read_card(tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(MissingError, match="a folder, not a file"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"], ids=["300 characters", "NUL inside"])
def test_a_name_that_no_file_can_have_is_a_missing_error(tmp_path, name):
    with pytest.raises(MissingError):
        read_card(tmp_path / name)


def test_a_card_may_be_changed_in_a_copy_only():
    changed = replace(CARD, metrics={"top1": 0.9})
    assert CARD.metrics == {"top1": 0.5}
    assert changed != CARD
