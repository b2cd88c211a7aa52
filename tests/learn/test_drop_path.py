"""Drop-path leaves out whole residual branches, picture by picture; checkpointing trades memory for time only."""

from __future__ import annotations

import pytest
import torch

import inceptory
from inceptory import Recipe
from inceptory.engines.device import Device
from inceptory.errors import ConfigError, UsageError
from inceptory.learn.pictures import Targets
from inceptory.learn.step import Stepper
from inceptory.nets import blocks
from inceptory.nets import layers as modules
from inceptory.nets.catalogue import catalogue, check_residual
from inceptory.nets.network import initialise

RESIDUAL = ["inception_resnet_v1", "inception_resnet_v2", "xception", "xception41", "xception65", "xception71"]
IMAGES = {"xception": 71, "googlenet": 64, "inception_v3": 75}


def branch(drop: float = 0.0, scale: float = 0.5) -> modules.Residual:
    """x + scale * conv(x), without batch norm, which would let pictures see one another."""
    conv = blocks.Conv(4, (1, 1), pad="same", bias=False, norm=False, act=False, init=blocks.Init("he_normal"))
    torch.manual_seed(0)
    made = modules.build(blocks.Residual(conv, scale=scale), (4, 3, 3))
    assert isinstance(made, modules.Residual)
    made.drop = drop
    initialise(made)
    return made


def test_whole_branches_are_dropped_picture_by_picture():
    block, x = branch(drop=0.25), torch.randn(4000, 4, 3, 3)
    with torch.no_grad():
        full, found = block.body(x), block(x)
    without = (found == x).flatten(1).all(1)
    kept = torch.isclose(found, x + 0.5 * full / 0.75, atol=1e-6).flatten(1).all(1)
    assert bool((without ^ kept).all()), "a picture has all of its branch, enlarged, or nothing of it"
    assert float(without.float().mean()) == pytest.approx(0.25, abs=0.03)


def test_what_is_expected_is_what_answering_gives():
    block, x = branch(drop=0.4), torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        mean = block(x.expand(20_000, -1, -1, -1)).mean(0)
        expected = block.eval()(x)[0]
    assert torch.allclose(mean, expected, atol=0.03)


def test_in_eval_mode_nothing_is_dropped():
    block, x = branch(drop=0.9).eval(), torch.randn(50, 4, 3, 3)
    assert torch.equal(block(x), branch()(x))


def stepper(name: str, variant: dict | None = None, **recipe) -> Stepper:
    torch.manual_seed(0)
    net = inceptory.create(name, width=0.25, classes=3, image=IMAGES.get(name), **(variant or {}))
    return Stepper(net, Recipe(**recipe), Device("cpu"))


def batch(name: str, count: int = 4):
    chance, size = torch.Generator().manual_seed(1), IMAGES.get(name, 32)
    labels = torch.randint(3, (count,), generator=chance)
    return torch.randn(count, 3, size, size, generator=chance), Targets(labels)


def after_two_steps(made: Stepper, name: str) -> dict[str, torch.Tensor]:
    for number in range(2):
        torch.manual_seed(number)
        made.step(number, 0.01, [batch(name), batch(name, 3)])
    return made.tensors()


def test_deeper_branches_are_dropped_more_often():
    net = stepper("xception", drop_path=0.3).net
    shares = [module.drop for module in net.modules() if isinstance(module, modules.Residual)]
    assert shares == pytest.approx([0.3 * depth / 12 for depth in range(1, 13)])
    net = stepper("xception").net
    assert {module.drop for module in net.modules() if isinstance(module, modules.Residual)} == {0}


def test_a_step_with_drop_path_is_another_and_the_same_again():
    plain, dropped, again = (
        after_two_steps(stepper("xception", drop_path=rate), "xception") for rate in (0.0, 0.5, 0.5)
    )
    name = "net/head.classifier.weight"
    assert not torch.equal(plain[name], dropped[name])
    assert all(torch.equal(value, again[key]) for key, value in dropped.items()), "chance comes from the step's seed"


def test_drop_path_is_for_networks_with_residual_branches():
    assert [name for name, found in catalogue().items() if found.residual] == RESIDUAL
    with pytest.raises(UsageError, match=r"^--drop-path: inception_v3 has no residual branches \(those with: ") as told:
        check_residual("inception_v3", "--drop-path")
    assert ", ".join(RESIDUAL) in str(told.value)
    with pytest.raises(UsageError, match=r"^--drop-path"):
        inceptory.train("none", model="googlenet", out="none", recipe=Recipe(drop_path=0.1))


# Gradient checkpointing

CASES = {
    "xception": {"drop_path": 0.5, "weight_decay": 0.1},
    "googlenet": {"accumulate": 2},
    "cifar_inception_v2": {"moving_variance": "biased", "clip": 1.0},
}


@pytest.mark.parametrize(("name", "recipe"), CASES.items(), ids=CASES)
def test_checkpointing_changes_no_bit(name, recipe):
    """Gradients, chance (dropout, drop-path) and what batch norms remember, which take each batch in once."""
    variant = {"dropout": 0.5, "aux": name == "googlenet"}
    plain = after_two_steps(stepper(name, variant, **recipe), name)
    saving = after_two_steps(stepper(name, variant, **recipe, gradient_checkpointing=True), name)
    assert any("running_var" in key for key in plain)
    assert plain.keys() == saving.keys()
    assert all(torch.equal(value, saving[key]) for key, value in plain.items())


def kept(made: Stepper, values: torch.Tensor) -> int:
    """Bytes of the maps that the forward pass leaves for the backward pass; parameters are there anyway."""
    found: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in made.net.state_dict().values()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        heads = made.net.train().heads(values)
    assert heads["logits"].requires_grad
    return sum(found.values())


@pytest.mark.parametrize("name", ["inception_v3", "xception"])
def test_checkpointing_keeps_less_than_half_of_the_maps(name):
    values, _ = batch(name)
    plain, saving = (kept(stepper(name, gradient_checkpointing=on), values) for on in (False, True))
    assert saving < plain / 2


def test_an_answer_is_not_computed_twice():
    """Nothing is recomputed where there is no way back."""
    net, calls = stepper("xception", gradient_checkpointing=True).net, []
    net.block3.register_forward_hook(lambda *_: calls.append(1))
    values, _ = batch("xception")
    with torch.no_grad():
        net.eval()(values)
        net.train()(values)
    assert len(calls) == 2
    net(values).sum().backward()
    assert len(calls) == 3, "the second pass ends within the block"


def test_checkpointing_and_compiling_do_not_go_together():
    with pytest.raises(ConfigError, match=r"^--compile, --gradient-checkpointing: conflicting settings"):
        Recipe(compile=True, gradient_checkpointing=True).check()
