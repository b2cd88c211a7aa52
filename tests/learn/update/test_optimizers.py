"""What each optimizer brings along, RMSProp by TensorFlow's rule, the papers' schedules, a cycled momentum."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import application, main
from inceptory.errors import ConfigError, UsageError
from inceptory.learn.settings.command import train_command
from inceptory.learn.settings.options import AS_THE_RECIPE, Options, decided
from inceptory.learn.settings.recipe import OPTIMIZERS
from inceptory.learn.settings.recipes import PAPERS, document, named, recipes
from inceptory.learn.update.optim import Optimizer
from inceptory.learn.update.rmsprop import RMSProp
from inceptory.learn.update.schedule import momentum, rate
from inceptory.weights.card import read_card
from tests.learn.running import digests, recipe, start
from tests.learn.stopped import interrupted

QUICK, TUTORIAL = document("quick"), document("tutorial")

# Defaults


def test_an_optimizer_brings_rate_and_decay_where_none_is_given():
    made = decided(None, Options(optimizer="adamw"), "inception_v3")
    assert (made.lr, made.weight_decay, made.rms_decay, made.epsilon, made.nesterov) == (3e-3, 1e-2, 0.999, 1e-8, False)
    made = decided("quick", Options(optimizer="rmsprop"), "inception_v3")
    assert (made.lr, made.weight_decay, made.rms_decay, made.epsilon, made.momentum) == (0.045, 4e-5, 0.9, 1.0, 0.9)
    assert made.epochs == QUICK.epochs, "what is not the optimizer's stays the recipe's"


def test_what_is_given_counts_more_than_what_the_optimizer_brings(tmp_path: Path):
    (tmp_path / "own.toml").write_text('optimizer = "adamw"\nlr = 0.007\n')
    made = decided(tmp_path / "own.toml", Options(weight_decay=0.2), "inception_v3")
    assert (made.optimizer, made.lr, made.weight_decay, made.epsilon) == ("adamw", 0.007, 0.2, 1e-8)


def test_the_recipes_own_optimizer_changes_nothing():
    for name, given in recipes("inception_v3").items():
        assert decided(name, Options(optimizer=given.optimizer), "inception_v3") == given


def test_leaving_a_papers_rmsprop_for_sgd_leaves_its_rate_too():
    made = decided("paper", Options(optimizer="sgd"), "inception_v3")
    assert {name: getattr(made, name) for name in OPTIMIZERS["sgd"]} == OPTIMIZERS["sgd"]
    assert (made.clip, made.epochs) == (2.0, 100)


def test_in_python_a_recipe_of_an_optimizer_has_its_defaults():
    assert Recipe() == QUICK
    assert Recipe(optimizer="adamw") == decided(None, Options(optimizer="adamw"), "inception_v3")
    assert all(value is not None for name, value in vars(Recipe(optimizer="rmsprop")).items() if name != "time")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epsilon": 1.0}, "--epsilon: sgd has no such setting"),
        ({"rms_decay": 0.9}, "--rms-decay: sgd has no such setting"),
        ({"optimizer": "adamw", "nesterov": True}, "--nesterov: adamw has no such setting"),
        ({"optimizer": "adamw", "momentum_rule": "keras"}, "--momentum-rule: adamw has no such setting"),
        ({"optimizer": "rmsprop", "nesterov": True}, "--nesterov: rmsprop has no such setting"),
        ({"optimizer": "adamw", "epsilon": 0.0}, "--epsilon 0: adamw would divide by zero"),
        ({"schedule": "onecycle", "momentum": 0.96}, "--momentum 0.96: schedule onecycle moves it by 0.05"),
    ],
)
def test_a_setting_that_an_optimizer_does_not_have_is_refused(given, told):
    with pytest.raises(ConfigError, match=f"^{told}") as caught:
        decided(None, Options(**given), "inception_v3")
    assert caught.value.exit_code == 78


def test_the_help_says_what_each_optimizer_brings(capsys):
    assert main(["train", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "[sgd 0.05, adamw 0.003, muon 0.24, rmsprop 0.045, tutorial 0.01, paper by network]" in told
    assert "[sgd 0.0005, adamw 0.01, muon 0, rmsprop 4e-05, tutorial 0, paper by network]" in told


CASES = [
    Recipe(optimizer="adamw"),
    Recipe(optimizer="adamw", lr=0.05, weight_decay=5e-4),
    Recipe(optimizer="rmsprop", schedule="exponential", decay_rate=0.5, decay_epochs=4 / 3),
    replace(TUTORIAL, optimizer="rmsprop", momentum_rule="torch", nesterov=False, rms_decay=0.8, epsilon=0.1),
    *(named("paper", name) for name in ("googlenet", "inception_v3", "xception")),
    replace(named("paper", "inception_v3"), clip=0.0, lr=0.01),
    replace(named("paper", "inception_v3"), **{"optimizer": "sgd", **OPTIMIZERS["sgd"]}),
]


@pytest.mark.parametrize("asked", CASES)
@pytest.mark.parametrize("model", ["inception_v3", "cifar_inception_v3"])
def test_the_printed_line_gives_the_very_recipe_again(asked, model):
    _, *words = shlex.split(train_command("digits", model, "x", Variant(), asked))
    _, bound, _ = application().parse_args(words, exit_on_error=False, print_error=False)
    assert decided(bound.kwargs.get("recipe"), bound.kwargs.get("options", AS_THE_RECIPE), model) == asked


def test_the_printed_line_does_not_say_what_an_optimizer_brings():
    line = train_command("digits", "xception", "x", Variant(), Recipe(optimizer="adamw", lr=0.002))
    assert line == "inceptory train digits --model xception --out x --optimizer adamw --lr 0.002"
    line = train_command("digits", "inception_v4", "x", Variant(), named("paper", "inception_v4"))
    assert line == "inceptory train digits --model inception_v4 --out x --recipe paper"


@pytest.mark.slow
def test_the_card_of_a_run_has_the_numbers(colours, tmp_path: Path):
    wanted = {"optimizer": "adamw", "epochs": 1, "batch": 32, "precision": "fp32"}
    inceptory.train(
        str(colours),
        model="cifar_inception_v3",
        out=tmp_path / "run",
        variant=Variant(width=0.25),
        options=Options(**wanted),
        tensorboard=False,
    )
    found = read_card(tmp_path / "run" / "model.safetensors").recipe
    assert {name: found[name] for name in OPTIMIZERS["adamw"]} == OPTIMIZERS["adamw"]


# AdamW and SGD do what their settings say


@pytest.fixture
def net():
    torch.manual_seed(0)
    return inceptory.create("cifar_inception_v3", width=0.25, classes=3).double()


def walked(net, asked, rates, momenta=None):
    """(start, end, gradients) of one kernel after a step along random gradients at each rate."""
    optimizer, chance = Optimizer(net, asked), torch.Generator().manual_seed(1)
    kernel = optimizer.parameters[0]
    start, gradients = kernel.detach().numpy().copy(), []
    for step, each in enumerate(rates):
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=chance, dtype=torch.float64)
        gradients.append(kernel.grad.numpy().copy())
        optimizer.step(each, None if momenta is None else momenta[step])
    return start, kernel.detach().numpy(), gradients


RATES = [0.1, 0.1, 0.01, 0.05, 0.001]


def test_adamw_has_the_betas_epsilon_and_decay_of_the_recipe(net):
    """Loshchilov and Hutter 2017, algorithm 2."""
    asked = Recipe(optimizer="adamw", momentum=0.8, rms_decay=0.95, epsilon=0.1, weight_decay=0.3)
    w, end, gradients = walked(net, asked, RATES)
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, (lr, g) in enumerate(zip(RATES, gradients, strict=True), 1):
        w = w - lr * 0.3 * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        w = w - lr * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 0.1)
    assert np.abs(w - end).max() < 1e-13


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_looks_ahead_where_it_is_asked_to(nesterov, net):
    w, end, gradients = walked(net, Recipe(weight_decay=0.0, nesterov=nesterov, momentum=0.7), RATES)
    b = np.zeros_like(w)
    for lr, g in zip(RATES, gradients, strict=True):
        b = 0.7 * b + g
        w = w - lr * (g + 0.7 * b if nesterov else b)
    assert np.abs(w - end).max() < 1e-14


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_kernels_decay_and_norms_and_biases_do_not_under_any_optimizer(name, net):
    """With gradients of zero nothing but decay moves a weight."""
    optimizer = Optimizer(net, Recipe(optimizer=name, weight_decay=0.1, momentum=0.0))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step(0.01)
    for parameter in net.parameters():
        moved = bool((parameter.detach() < 1).all())
        assert moved == (parameter.ndim > 1)
        assert moved or bool((parameter == 1).all())


# RMSProp


def tensorflow(w, gradients, rates, *, rho, mu, epsilon, decay=0.0):
    """TensorFlow's documented update, tf.compat.v1.train.RMSPropOptimizer: mean_square starts at one."""
    mean_square, mom = np.ones_like(w), np.zeros_like(w)
    for lr, g in zip(rates, gradients, strict=True):
        g = g + decay * w
        mean_square = rho * mean_square + (1 - rho) * g**2
        mom = mu * mom + lr * g / np.sqrt(mean_square + epsilon)
        w = w - mom
    return w


@pytest.mark.parametrize(
    ("rho", "mu", "epsilon", "decay"), [(0.9, 0.9, 1.0, 0.0), (0.9, 0.9, 1.0, 4e-5), (0.5, 0.0, 1e-3, 0.1)]
)
def test_rmsprop_is_tensorflows_through_changes_of_rate(rho, mu, epsilon, decay, net):
    asked = Recipe(optimizer="rmsprop", momentum=mu, rms_decay=rho, epsilon=epsilon, weight_decay=decay)
    w, end, gradients = walked(net, asked, RATES)
    assert np.abs(tensorflow(w, gradients, RATES, rho=rho, mu=mu, epsilon=epsilon, decay=decay) - end).max() < 1e-13


def test_pytorchs_own_rmsprop_is_another_at_the_papers_epsilon(net):
    w, _, gradients = walked(net, Recipe(optimizer="rmsprop", weight_decay=0.0), RATES)
    weight = torch.tensor(w, requires_grad=True)
    theirs = torch.optim.RMSprop([weight], 0.1, alpha=0.9, eps=1.0, momentum=0.9)
    weight.grad = torch.tensor(gradients[0])
    theirs.step()
    ours = tensorflow(w, gradients[:1], RATES[:1], rho=0.9, mu=0.9, epsilon=1.0)
    assert np.abs(weight.detach().numpy() - ours).max() > 0.01


def test_rmsprop_alone_serves_as_any_optimizer_of_torch():
    weight, other = torch.nn.Parameter(torch.tensor([3.0, -2.0])), torch.nn.Parameter(torch.ones(1))
    optimizer = RMSProp([weight, other], lr=0.1, momentum=0.0, epsilon=1e-6)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    losses = [float(optimizer.step(closure)) for _ in range(100)]
    assert losses[0] == 13
    assert losses[-1] < 0.1
    assert other.item() == 1, "without a gradient nothing moves"


# The papers


def test_the_papers_numbers():
    v3, v4, xception, googlenet = (named("paper", n) for n in ("inception_v3", "inception_v4", "xception", "googlenet"))
    for each in (v3, v4, named("paper", "inception_resnet_v2")):
        assert (each.optimizer, each.rms_decay, each.epsilon, each.momentum) == ("rmsprop", 0.9, 1.0, 0.9)
        assert (each.lr, each.decay_rate, each.decay_epochs, each.batch) == (0.045, 0.94, 2.0, 32)
    assert (v3.clip, v3.label_smoothing, v4.clip, v4.label_smoothing) == (2.0, 0.1, 0.0, 0.0)
    assert (xception.optimizer, xception.nesterov, xception.lr, xception.weight_decay) == ("sgd", False, 0.045, 1e-5)
    assert (googlenet.lr, googlenet.decay_rate, googlenet.decay_epochs, googlenet.momentum) == (0.01, 0.96, 8.0, 0.9)
    assert all(
        each.warmup == 0 and each.schedule == "exponential" for each in (named("paper", name) for name in PAPERS)
    )


def test_networks_of_no_paper_have_no_recipe_of_one():
    with pytest.raises(UsageError, match=r"^--recipe paper: cifar_inception_v3 has none \(choose quick, tutorial\)"):
        named("paper", "cifar_inception_v3")


def test_an_exponential_schedule_is_tensorflows_staircase():
    """tf.compat.v1.train.exponential_decay(staircase=True): lr * rate^(step // decay_steps)."""
    asked = replace(named("paper", "inception_v3"), epochs=6)
    found = [rate(asked, step, 60, per_epoch=10) for step in range(60)]
    assert found == pytest.approx([0.045 * 0.94 ** (step // 20) for step in range(60)], rel=1e-12)
    parts = replace(asked, decay_epochs=4 / 3, decay_rate=0.5, lr=1.0)
    assert [rate(parts, step, 60, per_epoch=10) for step in (0, 12, 13, 25, 26)] == [1, 1, 0.5, 0.5, 0.25]
    assert rate(replace(asked, decay_epochs=1e-6, lr=1.0), 1, 60, per_epoch=10) == 0.94, "a step at least"


def test_the_inverse_schedule_is_keras_decay():
    """Keras 2's optimizers: lr * (1 / (1 + decay * iterations)); Keras 3: InverseTimeDecay(lr, 1, decay)."""
    asked = Recipe(schedule="inverse", lr=1e-3, decay=0.5, warmup=0.0)
    assert [rate(asked, step, 4, per_epoch=2) for step in range(4)] == [1e-3, 1e-3 / 1.5, 1e-3 / 2, 1e-3 / 2.5]
    rising = replace(asked, warmup=0.5)
    assert [rate(rising, step, 4, per_epoch=2) for step in range(4)] == [5e-4, 1e-3, 1e-3 / 2, 1e-3 / 2.5]


# One cycle


def cycled(asked, steps):
    return [momentum(asked, step, steps) for step in range(steps)]


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.2), (10, 0.5), (100, 0.3), (1000, 0.2)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_onecycle_moves_the_momentum_as_pytorchs_does(steps, warmup, name):
    asked = Recipe(optimizer=name, schedule="onecycle", warmup=warmup)
    weight = [torch.nn.Parameter(torch.zeros(1))]
    theirs = torch.optim.SGD(weight, 0.1, 0.9) if name == "sgd" else torch.optim.AdamW(weight, 0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        theirs, 0.1, total_steps=steps, pct_start=warmup, anneal_strategy="linear"
    )
    expected = []
    for _ in range(steps):
        group = theirs.param_groups[0]
        expected.append(group["momentum"] if name == "sgd" else group["betas"][0])
        if len(expected) < steps:
            scheduler.step()
    found = cycled(asked, steps)
    assert found == pytest.approx(expected, abs=1e-12)
    rates = [rate(asked, step, steps, per_epoch=steps) for step in range(steps)]
    assert found.index(min(found)) == rates.index(max(rates)), "lowest where the rate is highest"


def test_only_onecycle_moves_the_momentum():
    for name in ("cosine", "step", "exponential", "inverse", "plateau", "constant"):
        assert set(cycled(Recipe(schedule=name, momentum=0.8), 20)) == {0.8}
    assert set(cycled(Recipe(schedule="onecycle", momentum=0.0), 20)) == {0.0}
    low, high = min(cycled(Recipe(schedule="onecycle", momentum=0.8), 20)), max(cycled(Recipe(schedule="onecycle"), 20))
    assert (low, high) == pytest.approx((0.75, 0.95))


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5, 0.999])
def test_the_momentum_of_short_runs_stays_in_its_range(steps, warmup):
    asked = Recipe(schedule="onecycle", warmup=warmup)
    found = [momentum(asked, step, steps) for step in range(steps + 2)]
    assert all(0.85 - 1e-12 <= each <= 0.95 + 1e-12 for each in found)


def test_a_step_is_taken_at_the_momentum_of_its_schedule(net):
    momenta = [0.95, 0.9, 0.85, 0.9, 0.95]
    w, end, gradients = walked(net, Recipe(weight_decay=0.0, nesterov=False, schedule="onecycle"), RATES, momenta)
    b = np.zeros_like(w)
    for lr, mu, g in zip(RATES, momenta, gradients, strict=True):
        b = mu * b + g
        w = w - lr * b
    assert np.abs(w - end).max() < 1e-14


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw"])
def test_a_run_of_onecycle_cycles_and_goes_on_bit_for_bit(name, colours, tmp_path, monkeypatch):
    seen, real = [], Optimizer.step

    def noted(self, *arguments):
        taken = real(self, *arguments)
        group = self.inner.param_groups[0]
        seen.append(group["betas"][0] if "betas" in group else group["momentum"])
        return taken

    monkeypatch.setattr(Optimizer, "step", noted)
    changed = {"schedule": "onecycle", "optimizer": name, "warmup": 0.5}
    start(colours, tmp_path / "whole", **changed)
    assert seen == pytest.approx(cycled(recipe(**changed), 10))
    assert seen[4] == pytest.approx(0.85)
    interrupted(colours, tmp_path / "run", 6, **changed)
    inceptory.train(resume=tmp_path / "run")
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_every_setting_of_an_optimizer_is_an_option_of_the_recipe():
    names = {field.name for field in fields(Recipe)}
    assert all(set(own) <= names and set(own) == set(OPTIMIZERS["sgd"]) for own in OPTIMIZERS.values())
