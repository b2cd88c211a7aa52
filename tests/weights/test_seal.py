"""The digest by which a checkpoint proves itself, whoever saved the file again."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from inceptory.errors import DataError, Doubt
from inceptory.weights.card import KEY, Card, read_card, read_metadata
from inceptory.weights.model import load
from inceptory.weights.seal import UNSEALED
from inceptory.weights.store import save
from inceptory.weights.verify import inspect
from tests.weights.checkpoints import small


def again(path, card=None, change=lambda tensors: None, **more):
    """The file as another program saves it again, its metadata kept but for the card."""
    metadata = {**read_metadata(path), **more}
    if card:
        metadata[KEY] = card
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    path.write_bytes(safetensors.torch.save(dict(reversed(tensors.items())), metadata=metadata))


def test_a_checkpoint_that_the_library_saved_again_still_proves_itself(path, recwarn):
    answers = load(path).state_dict()
    again(path, other="a note of somebody's")
    found = load(path).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in answers.items())
    assert inspect(path).notes == ()
    assert not recwarn


def test_any_changed_word_of_the_card_and_any_changed_number_is_noticed(path, saved):
    text = read_metadata(path)[KEY]
    for old, new in (("cat", "car"), ('"size": 32', '"size": 31'), ("0.5", "0.6")):
        path.write_bytes(saved[1])
        again(path, card=text.replace(old, new, 1))
        for read in (load, inspect):
            with pytest.raises(DataError, match="its digest does not fit its card and tensors"):
                read(path)

    def nudge(tensors):
        tensors[sorted(tensors)[3]].view(-1)[0] += 1e-6

    path.write_bytes(saved[1])
    again(path, change=nudge)
    for read in (load, inspect):
        with pytest.raises(DataError, match="its digest does not fit its card and tensors"):
            read(path)


def test_of_single_changed_bits_none_goes_unnoticed(path, saved):
    """In the header spread evenly, where they change labels, options and preprocessing; some in the numbers."""
    net, content = saved
    header = 8 + int.from_bytes(content[:8], "little")
    expected = {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}
    quiet = 0
    for place in [*range(0, header, 131), *range(header, len(content), len(content) // 8)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            found = load(path)
        except DataError:
            continue
        quiet += 1  # a name in the metadata that nobody reads, or white space
        assert found.card == read_card_of(content)
        assert {name: tensor.numpy().tobytes() for name, tensor in found.state_dict().items()} == expected
    assert quiet < 5


def read_card_of(content):
    """The card in a file's content."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return Card.from_json(header["__metadata__"][KEY], "x")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_type_of_numbers_is_sealed_alike_with_and_without_torch(tmp_path, kind):
    save(small().to(kind), tmp_path / "a")
    assert load(tmp_path / "a").state_dict()[next(iter(small().state_dict()))].dtype == kind
    assert inspect(tmp_path / "a").notes == ()


def test_a_file_without_a_digest_loads_with_a_warning(path):
    again(path, card=read_card(path).to_json())
    with pytest.warns(Doubt, match="has no digest of its own"):
        load(path)
    assert inspect(path).notes == (UNSEALED,)
