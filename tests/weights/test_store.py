"""A network and its card in one file: whole, bit for bit, or refused with the reason."""

from __future__ import annotations

import json
import os
import struct

import pytest
import safetensors.torch
import torch

from inceptory.errors import DataError, MissingError, WriteError
from inceptory.version import __version__
from inceptory.weights.card import KEY, Card, read_card
from inceptory.weights.model import load
from inceptory.weights.store import save
from tests.weights.checkpoints import STEPS, small


def pictures(net, size):
    source = torch.Generator().manual_seed(1)
    return torch.randn(2, net.plan.in_channels, size, size, generator=source)


@pytest.fixture
def one_thread():
    """With one thread, sums are added in an order that shows where a tensor lies in memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NETWORKS = {
    "cifar_inception_v3": ({}, 32),
    "googlenet": ({"dialect": "caffe"}, 64),
    "xception": ({}, 12),
    "inception_v3": ({}, 80),
    "inception_resnet_v1": ({"dialect": "facenet", "classes": 0}, 80),
    "cifar_inception_v2": ({"se": True, "in_channels": 1}, 24),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_a_loaded_network_answers_bit_for_bit_as_the_saved_one(tmp_path, name):
    options, size = NETWORKS[name]
    net = small(name, **options)
    save(net, tmp_path / "a")
    found, images = load(tmp_path / "a"), pictures(net, size)
    assert torch.equal(found(images), net(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_network_has_the_tensors_of_the_saved_one(tmp_path, name):
    net = small(name, **NETWORKS[name][0])
    save(net, tmp_path / "a")
    found, wanted = load(tmp_path / "a").state_dict(), net.state_dict()
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype, key
        assert torch.equal(found[key], tensor), key


def test_a_loaded_network_is_in_eval_mode_and_has_its_plan(path, saved):
    net = load(path)
    assert not any(part.training for part in net.modules())
    assert net.plan == saved[0].plan


def test_a_loaded_network_can_be_trained_further(path):
    net = load(path).train()
    net(pictures(net, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_auxiliary_heads_are_kept(tmp_path):
    net = small("googlenet", aux=True)
    save(net, tmp_path / "a")
    assert load(tmp_path / "a").state_dict().keys() == net.state_dict().keys()
    assert any("aux" in key.lower() for key in net.state_dict())


def test_weights_in_channels_last_order_are_kept(tmp_path):
    net = small().to(memory_format=torch.channels_last)
    save(net, tmp_path / "a")
    found = load(tmp_path / "a").state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in net.state_dict().items())


def test_the_card_comes_back_with_the_network(path):
    card = load(path).card
    assert card == read_card(path)
    assert card.labels == ("cat", "dog", "fox")
    assert card.preprocess == STEPS


def test_labels_of_every_script_come_back_in_order(tmp_path):
    labels = ("猫", 'a "quoted"\nname', "🦊")
    net = small()
    save(net, tmp_path / "a", Card.of(net.plan, labels=labels))
    assert load(tmp_path / "a").card.labels == labels


def test_a_label_that_is_no_valid_text_can_be_saved(tmp_path):
    """The name of a class folder need not be UTF-8; Python gives it with lone surrogates."""
    net = small()
    save(net, tmp_path / "a", Card.of(net.plan, labels=("caf\udce9", "b", "c")))
    assert len(read_card(tmp_path / "a").labels) == 3


def test_whatever_was_saved_can_be_loaded_however_long_its_labels(tmp_path):
    net = small(classes=2000)
    save(net, tmp_path / "a", Card.of(net.plan, labels=tuple(f"{number:04}" * 150 for number in range(2000))))
    assert len(load(tmp_path / "a").card.labels) == 2000


def test_without_a_card_the_architecture_is_known(tmp_path):
    net = small()
    save(net, tmp_path / "a")
    card = read_card(tmp_path / "a")
    assert card.plan() == net.plan
    assert (card.labels, card.preprocess) == ((), None)


def test_the_versions_that_a_result_depends_on_are_written(tmp_path):
    save(small(), tmp_path / "a")
    assert read_card(tmp_path / "a").versions == {"inceptory": __version__, "torch": str(torch.__version__)}


def test_a_network_saved_again_keeps_its_card(path, tmp_path):
    save(load(path), tmp_path / "b")
    assert read_card(tmp_path / "b") == read_card(path)


def test_a_network_may_be_saved_over_the_file_that_it_came_from(path, saved):
    save(load(path), path)
    assert path.read_bytes() == saved[1]


@pytest.mark.parametrize("classes", [5, 3, 0])
def test_a_fresh_classifier_has_no_labels_of_the_old_one(path, tmp_path, classes):
    net = load(path)
    net.reset_classifier(classes)
    save(net, tmp_path / "b")
    card = read_card(tmp_path / "b")
    assert card.plan().classes == classes
    assert card.labels == ()


def test_a_fresh_classifier_is_loaded_again(path, tmp_path):
    net = load(path)
    net.reset_classifier(5)
    save(net.eval(), tmp_path / "b")
    images = pictures(net, 32)
    assert load(tmp_path / "b")(images).shape == (2, 5)


def test_a_save_that_fails_leaves_the_old_checkpoint(path, saved, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WriteError, match="no space left"):
        save(small("cifar_inception_v2"), path)
    monkeypatch.undo()
    assert path.read_bytes() == saved[1]
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_checkpoint_is_a_missing_error(tmp_path):
    with pytest.raises(MissingError, match="no such file"):
        load(tmp_path / "a")


def rewritten(path, change):
    """Write the file again after `change` has edited its tensors."""
    tensors = safetensors.torch.load_file(path)
    metadata = {KEY: read_card(path).to_json()}
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))


def drop(count):
    def change(tensors):
        for key in sorted(tensors)[:count]:
            del tensors[key]

    return change


def add(count):
    return lambda tensors: tensors.update({f"extra.{number}": torch.zeros(1) for number in range(count)})


def cut(count):
    def change(tensors):
        for key in sorted(tensors)[:count]:
            tensors[key] = torch.zeros(7, 7)

    return change


CHANGES = {"missing": drop, "surplus": add, "of another shape": cut}


@pytest.mark.parametrize("count", [1, 5, 8])
@pytest.mark.parametrize("kind", CHANGES)
def test_tensors_that_do_not_fit_are_counted_and_up_to_five_are_named(path, kind, count):
    names = [f"extra.{n}" for n in range(count)] if kind == "surplus" else sorted(load(path).state_dict())[:count]
    rewritten(path, CHANGES[kind](count))
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: tensors do not fit cifar_inception_v1, {count} {kind}: ")
    told = message.split(f"{kind}: ")[1].split(" (")[0].split(", ")
    assert len(told) == min(count, 5)
    assert set(told) <= set(names)


def test_both_sides_of_a_misfit_are_told(path):
    def rename(tensors):
        tensors["another.weight"] = tensors.pop("head.classifier.1.weight")

    rewritten(path, rename)
    with pytest.raises(DataError, match=r"1 missing: head\.classifier\.1\.weight; 1 surplus: another\.weight \("):
        load(path)


def test_weights_of_another_network_under_this_card_are_refused(path):
    other = small("googlenet").state_dict()
    rewritten(path, lambda tensors: (tensors.clear(), tensors.update(other)))
    with pytest.raises(DataError, match=r"missing: .*; .*surplus: "):
        load(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(safetensors.torch.save(small().state_dict(), metadata={"format": "pt"}))
    with pytest.raises(DataError, match="without inceptory's card"):
        read_card(tmp_path / "a")
    # Its names are ours, and no package of the family has such.
    with pytest.raises(DataError, match="no network of the Inception family"):
        load(tmp_path / "a")


@pytest.mark.parametrize("part", range(64))
def test_a_file_cut_anywhere_is_a_data_error(path, saved, part):
    path.write_bytes(saved[1][: len(saved[1]) * part // 64])
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def header_length(content):
    return struct.unpack("<Q", content[:8])[0]


@pytest.mark.parametrize("part", range(16))
def test_a_file_cut_in_its_header_is_a_data_error(path, saved, part):
    path.write_bytes(saved[1][: 8 + header_length(saved[1]) * part // 16])
    with pytest.raises(DataError, match=r"cut short \(|no weight file of a kind"):
        load(path)


@pytest.mark.parametrize("spare", [-1, 1, 8])
def test_a_file_a_few_bytes_too_short_or_too_long_is_a_data_error(path, saved, spare):
    content = saved[1]
    path.write_bytes(content[:spare] if spare < 0 else content + bytes(spare))
    with pytest.raises(DataError, match="cut short" if spare < 0 else "bytes after its tensors"):
        load(path)


HOLES = {
    "an unknown type": {"dtype": "F31"},
    "a type of another width": {"dtype": "F64"},
    "a negative shape": {"shape": [-1]},
    "a shape without end": {"shape": [2**62, 2**62]},
    "offsets beyond the end": {"data_offsets": [0, 2**60]},
    "offsets backwards": {"data_offsets": [8, 0]},
    "no offsets": {"data_offsets": None},
}


@pytest.mark.parametrize("kind", HOLES)
def test_a_header_that_lies_about_a_tensor_is_a_data_error(path, saved, kind):
    length = header_length(saved[1])
    header = json.loads(saved[1][8 : 8 + length])
    header["head.classifier.1.bias"].update(HOLES[kind])
    content = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + saved[1][8 + length :])
    with pytest.raises(DataError):
        load(path)


def test_flipped_bits_of_the_header_are_a_data_error_and_nothing_else(path, saved):
    source, content = torch.Generator().manual_seed(0), saved[1]
    length = 8 + header_length(content)
    drawn = [tuple(int(torch.randint(most, (), generator=source)) for most in (length, 8)) for _ in range(40)]
    refused = 0
    for place, bit in [*drawn, (content.index(b"cat"), 0)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            load(path)
        except DataError:
            refused += 1
    assert read_card(path).labels == ("bat", "dog", "fox"), "whoever reads the card alone does not notice"
    assert refused == 41
