"""fp16 with a scaled loss: what it does to a step, what is skipped, what is kept, when it gives up."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import inceptory
from inceptory import Variant
from inceptory.cli import main
from inceptory.engines.device import Device, choose
from inceptory.errors import ConfigError, InterruptedRun
from inceptory.learn import state
from inceptory.learn.pictures import Targets
from inceptory.learn.settings.recipe import Recipe
from inceptory.learn.step import Stepper
from inceptory.learn.update.optim import Optimizer
from tests.learn.running import digests
from tests.learn.stopped import stopped_after
from tests.learn.test_distributed import together

PLAIN = Recipe(weight_decay=0.0, average=0.5, label_smoothing=0.0)
HALF = Device("cpu", "fp16")


def made(device=HALF, recipe=PLAIN, **options):
    torch.manual_seed(0)
    net = inceptory.create("cifar_inception_v1", width=0.25, classes=3, dropout=0.0, **options)
    return Stepper(net, recipe, device)


def batch(count=4, seed=1):
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=chance)
    return torch.randn(count, 3, 32, 32, generator=chance), Targets(labels)


def tensors(stepper):
    """What must stay where it was when a step is skipped."""
    return {name: value.clone() for name, value in stepper.tensors().items() if not name.endswith("/scaler")}


def settled(stepper):
    """The stepper after a step that was taken: at the first scale the gradients of some networks are too large."""
    start = stepper.optimizer.parameters[-1].detach().clone()
    while torch.equal(start, stepper.optimizer.parameters[-1]):
        assert stepper.step(0, 0.1, [batch()]).finite
    return stepper


def overflowing(stepper, monkeypatch):
    """Let every gradient be too large."""
    real = stepper.optimizer.scaled
    monkeypatch.setattr(stepper.optimizer, "scaled", lambda loss: real(loss) * float("inf"))


# What is taken


@pytest.mark.parametrize(
    ("capability", "taken"), [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_without_bf16_takes_fp16(capability, taken, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    assert choose("cuda").precision == taken
    assert choose().precision == taken
    assert choose("cuda", "fp32").precision == "fp32"
    assert str(choose("cuda")) == f"cuda {taken}"


def test_fp16_where_gradients_cannot_be_scaled_is_refused(monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    answering = choose("mps", "fp16")
    with pytest.raises(ConfigError, match="--precision fp16: training on mps is not tried with it"):
        answering.scaler()


def test_convolutions_are_in_fp16_and_the_loss_is_scaled():
    stepper, seen = made(), []
    stepper.net.get_submodule("Conv2d_1a_7x7").register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert stepper.optimizer.scale == 65536, "before a step, whose gradients overflow with torch 2.6"
    stepper.step(0, 0.1, [batch()])
    assert seen == [torch.float16]
    assert made(Device("cpu")).optimizer.scale == 1
    assert not made(Device("cpu", "bf16")).optimizer.scaler.is_enabled()


# What a step does


def moves(device, **changed):
    """How far each tensor moves in the first step that is taken."""
    stepper = made(device, Recipe(**{**vars(PLAIN), "momentum": 0.0, **changed}))
    before = [parameter.detach().clone() for parameter in stepper.net.parameters()]
    while all(torch.equal(p, b) for p, b in zip(stepper.net.parameters(), before, strict=True)):
        assert stepper.step(0, 0.5, [batch(), batch(6, seed=2)]).finite
    return torch.cat([(p.detach() - b).flatten() for p, b in zip(stepper.net.parameters(), before, strict=True)])


def test_a_step_in_fp16_is_that_of_fp32_but_for_rounding():
    """Of two accumulated parts: the scale is gone before the step, once."""
    half, full = moves(HALF), moves(Device("cpu"))
    assert float((half - full).norm() / full.norm()) < 0.1, "what fp16 rounds moves some ReLUs"
    assert float(half.norm() / full.norm()) == pytest.approx(1, abs=0.05)


def test_gradients_are_clipped_without_their_scale():
    assert float(moves(HALF, clip=1e-3).norm()) == pytest.approx(0.5e-3, rel=1e-3)


def test_the_penalty_is_not_scaled():
    half, full = (moves(device, penalty=0.5) for device in (HALF, Device("cpu")))
    assert float((half - full).norm() / full.norm()) < 0.1


def test_a_gradient_that_is_too_large_skips_the_step_and_halves_the_scale(monkeypatch):
    stepper = settled(made())
    before, scale = tensors(stepper), stepper.optimizer.scale
    with monkeypatch.context() as patched:
        overflowing(stepper, patched)
        found = stepper.step(1, 0.1, [batch()])
    assert found.finite, "a step that is skipped is no failure"
    assert found.seen == 4
    assert stepper.optimizer.scale == scale / 2
    after = tensors(stepper)
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "weights, momentum, average, norms"
    assert settled(stepper).optimizer.scale <= scale / 2, "it goes on"


def test_a_loss_that_is_not_finite_spoils_nothing_and_counts_nothing(monkeypatch):
    stepper = settled(made())
    before, scale = tensors(stepper), stepper.optimizer.scale
    values, targets = batch()
    found = stepper.step(1, 0.1, [(values * float("inf"), targets)])
    assert (found.losses, found.seen, found.finite) == (0, 0, True)
    after = tensors(stepper)
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "what norms remember, too"
    assert stepper.optimizer.scale == scale / 2


def test_only_repeated_failures_are_one(monkeypatch):
    monkeypatch.setattr(Device, "autocast", lambda _: nullcontext())
    stepper = made()
    overflowing(stepper, monkeypatch)
    outcomes = [stepper.step(number, 0.1, [batch()]) for number in range(17)]
    assert [found.finite for found in outcomes] == [True] * 16 + [False]
    assert math.isnan(outcomes[-1].losses)


def test_in_other_precisions_one_failure_is_enough():
    values, targets = batch()
    assert not made(Device("cpu")).step(0, 0.1, [(values * float("nan"), targets)]).finite


# Runs


def begin(data, out):
    """A run of five steps."""
    inceptory.train(
        str(data),
        model="cifar_inception_v1",
        out=out,
        variant=Variant(width=0.25),
        recipe=Recipe(epochs=1, batch=16, precision="fp16", clip=1.0),
        checkpoint_every="1steps",
        tensorboard=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ["as fp32", "fp16"])
def test_a_run_in_fp16_that_was_stopped_goes_on_bit_for_bit(arithmetic, colours, tmp_path, monkeypatch):
    """With a step that is skipped before the stop and a scale that grows after it: both must be remembered."""
    unscale, calls = torch.amp.GradScaler.unscale_, []

    def spoilt(self, optimizer):
        calls.append(self)
        if len(calls) in skipped:
            optimizer.param_groups[0]["params"][0].grad.fill_(float("inf"))
        unscale(self, optimizer)

    if arithmetic != "fp16":  # processors without fp16 take their time for it, and the scaler is what is asked here
        monkeypatch.setattr(Device, "autocast", lambda _: nullcontext())
    # A first scale at which nothing overflows by itself.
    monkeypatch.setattr(Device, "scaler", lambda _: torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3))
    monkeypatch.setattr(torch.amp.GradScaler, "unscale_", spoilt)
    skipped = {1}
    begin(colours, tmp_path / "whole")
    calls.clear()
    with monkeypatch.context() as patched:
        stopped_after(3, patched)
        with pytest.raises(InterruptedRun):
            begin(colours, tmp_path / "run")
    found, _ = state.newest(tmp_path / "run")
    assert found.tensors["optimizer/scale/scaler"] == 32
    assert found.tensors["optimizer/_growth_tracker/scaler"] == 2
    assert found.facts["computed_on"] == "cpu fp16"
    skipped.clear()
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_the_scaler_takes_back_what_it_gave():
    one, other = made(), made()
    one.step(0, 0.1, [batch()])
    one.optimizer.scaler.update(1024.0)
    other.load(one.tensors(), 0.1)
    assert other.optimizer.scaler.state_dict() == one.optimizer.scaler.state_dict()
    assert other.optimizer.scale == 1024
    assert isinstance(other.optimizer, Optimizer)


def test_a_run_in_fp16_that_cannot_go_on_ends_with_the_usual_words(colours, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Device, "autocast", lambda _: nullcontext())
    monkeypatch.setattr("inceptory.measure.losses.F.cross_entropy", lambda x, *_, **__: x.sum(1) * float("nan"))
    words = [str(colours), "--model", "cifar_inception_v1", "--width", "0.25", "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--precision", "fp16", "--batch", "16", "--no-tensorboard"]) == 65
    assert "step 17: a NaN or infinite loss at rate" in capsys.readouterr().err


def one_overflows(rank: int, folder: Path) -> None:
    """The second process' gradients overflow in the third step; scale, weights and outcome of each are written down."""
    told: list[tuple[float, str, bool]] = []
    scaled, taken = Optimizer.scaled, Stepper.step

    def spoilt(self, loss):
        return scaled(self, loss) * (float("inf") if rank == 1 and len(told) == 2 else 1.0)

    def noted(self, *arguments):
        found = taken(self, *arguments)
        weights = b"".join(p.detach().numpy().tobytes() for p in self.net.parameters())
        told.append((self.optimizer.scale, hashlib.sha256(weights).hexdigest(), found.finite))
        (folder / f"steps.{rank}").write_text(json.dumps(told))
        return found

    Device.scaler = lambda _: torch.amp.GradScaler("cpu", init_scale=64.0)
    Optimizer.scaled, Stepper.step = spoilt, noted


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo between processes is tried on Linux")
def test_of_two_processes_both_skip_where_one_overflows(colours, tmp_path):
    words = ["--model", "cifar_inception_v1", "--width", "0.25", "--precision", "fp16", "--no-tensorboard"]
    words += ["--batch", "16", "--epochs", "1", "--out", str(tmp_path / "run")]
    codes, told = together(2, tmp_path / "both", one_overflows, str(colours), *words)
    assert codes == [0, 0], told
    first, second = (json.loads((tmp_path / "both" / f"steps.{rank}").read_text()) for rank in range(2))
    assert first == second, "one scale and one set of weights, at every step"
    assert [scale for scale, _, _ in first] == [64, 64, 32, 32]
    weights = [digest for _, digest, _ in first]
    assert weights[1] == weights[2], "the step was skipped"
    assert len(set(weights)) == 3
    assert all(sound for _, _, sound in first)
