"""Epochs without some of the pictures that the network knows well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import inceptory
from inceptory import Recipe, Variant, create, train
from inceptory.data.feed.feed import Batch
from inceptory.engines.device import Device
from inceptory.errors import ConfigError
from inceptory.learn.order.easy import Easy
from inceptory.learn.order.steps import Steps
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.system.ranks import Ranks
from tests.learn.running import MODEL, digests, start
from tests.learn.stopped import interrupted, unpainted  # noqa: F401, a fixture

PICTURES, SHARE = 100, 0.3


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def known() -> Easy:
    """Pictures of which the first half has the smaller losses, at the start of an epoch."""
    easy = Easy(SHARE, PICTURES)
    easy.told(torch.arange(PICTURES), torch.arange(PICTURES) / 10)
    easy.begin(0.5)
    return easy


def test_some_of_the_easier_half_are_left_out_and_the_others_count_for_them(known):
    order = torch.randperm(PICTURES, generator=chance())
    kept = known.order(order, chance())
    assert len(kept) == known.kept(PICTURES) == 70
    assert set(range(50, 100)) <= set(kept.tolist()), "the harder half is whole"
    assert kept.tolist() == [row for row in order.tolist() if row in set(kept.tolist())], "in their order"
    assert known.counts[50:].tolist() == pytest.approx([0.7] * 50)
    assert known.counts[:50].tolist() == pytest.approx([1.75] * 50)
    assert float(known.counts[kept].mean()) == pytest.approx(1)
    shown = torch.zeros(PICTURES)
    for seed in range(400):
        shown[known.order(order, chance(seed))] += 1 / 400
    expected = known.counts * shown
    assert expected.tolist() == pytest.approx([0.7] * PICTURES, abs=0.2), "in the long run all count alike"


def test_where_no_loss_is_known_any_are_left_out_and_all_count_alike(known):
    for easy, first in ((Easy(SHARE, PICTURES), False), (known, True)):
        order = torch.randperm(PICTURES, generator=chance())
        assert easy.order(order, chance(), first).tolist() == order[:70].tolist()
        assert easy.counts.tolist() == [1.0] * PICTURES
    known.begin(7 / 8)
    assert known.order(order, chance()).tolist() == order[:70].tolist(), "nor at the end, whatever is known"


def test_losses_of_this_epoch_decide_the_next_one_only(known):
    before = known.order(torch.arange(PICTURES), chance()).tolist()
    known.told(torch.arange(PICTURES), -torch.arange(PICTURES) / 10)
    assert known.order(torch.arange(PICTURES), chance()).tolist() == before
    known.begin(0.6)
    assert set(range(50)) <= set(known.order(torch.arange(PICTURES), chance()).tolist())


def test_pictures_that_were_never_shown_are_not_easy():
    easy = Easy(SHARE, PICTURES)
    easy.told(torch.arange(70), torch.zeros(70))
    easy.begin(0.2)
    assert set(range(70, 100)) <= set(easy.order(torch.arange(PICTURES), chance()).tolist())


def test_a_picture_counts_in_the_gradient_as_often_as_it_is_said_to():
    stepper = Stepper(create(MODEL, classes=3, width=0.25), Recipe(), Device("cpu"))
    logits, labels, counts = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0.7, 1.75, 0.7, 1.75, 0.7])
    expected = (counts * F.cross_entropy(logits, labels, reduction="none")).sum()
    assert torch.allclose(stepper._loss(logits, Targets(labels, counts=counts)), expected)


@pytest.mark.slow
def test_a_training_leaves_out_what_it_knows_until_its_last_eighth(monkeypatch, tmp_path, unpainted):
    seen: list[Tensor] = []
    real = Stepper.step

    def noted(self, number, rate, parts, momentum=None):
        seen.extend(targets.counts for _, targets in parts)
        return real(self, number, rate, parts, momentum)

    monkeypatch.setattr(Stepper, "step", noted)
    pixels = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), dtype=np.uint8)
    data = {"train": (pixels[:60], np.arange(60) % 2), "validation": (pixels[60:], np.arange(20) % 2)}
    recipe = Recipe(epochs=8, batch=16, skip_easy=SHARE, precision="fp32")
    train(data, model=MODEL, variant=Variant(width=0.25), recipe=recipe, tensorboard=False, out=tmp_path / "run")
    assert len(seen) == 8 * 3, "batches of 16, 16 and 10"
    epochs = [seen[first : first + 3] for first in range(0, 24, 3)]
    for number, parts in enumerate(epochs):
        counts = torch.cat(parts)
        assert len(counts) == 42
        assert float(counts.mean()) == pytest.approx(1, abs=0.01)
        different = sorted({round(count, 4) for count in counts.tolist()})
        assert different == ([1.0] if number in (0, 7) else [0.7, 1.75]), number


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_same_pictures(colours, tmp_path):
    changed = {"epochs": 3, "skip_easy": 0.4, "batch": 8}
    start(colours, tmp_path / "whole", **changed)
    interrupted(colours, tmp_path / "run", 8, **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_balanced_draws_have_no_order_to_leave_pictures_out_of():
    with pytest.raises(ConfigError, match=r"^--balanced, --skip-easy: conflicting settings"):
        Recipe(balanced=True, skip_easy=SHARE).check()


def test_processes_know_the_losses_of_all():
    class Two(Ranks):
        """As if another process had seen the rows one further on, with twice the losses."""

        def gathered(self, rows: Tensor) -> Tensor:
            return torch.cat([rows, 2 * rows if rows.is_floating_point() else rows + 1])

    class Train:
        labels = torch.zeros(6)

        def __len__(self) -> int:
            return 6

    steps = Steps(Train(), Recipe(batch=2, skip_easy=SHARE), Two(0, 1))
    pixels, single = torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    batches = [Batch(pixels, torch.zeros(2), torch.tensor([0, 2])), Batch(single, torch.zeros(1), torch.tensor([5]))]
    steps.told(batches, torch.tensor([0.5, 0.25]))
    assert steps.easy is not None
    assert steps.easy.tensors()["easy/latest"][:4].tolist() == [0.5, 1.0, 0.25, 0.5]
    assert float(steps.easy.tensors()["easy/latest"][5]) > 1e9, "a single picture has no part in a step"
