"""The line that makes a run again, read back by the command line itself."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from inceptory import Recipe, Variant
from inceptory.cli import application
from inceptory.learn.settings.command import train_command
from inceptory.learn.settings.options import AS_THE_RECIPE, decided
from inceptory.learn.settings.recipes import document

TUTORIAL = document("tutorial")
CASES = [
    (Variant(), Recipe()),
    (Variant(width=0.25, se=True, in_channels=1, image=40), Recipe(epochs=3, lr=1e-3, flip="off", device="cpu")),
    (Variant(dialect="keras", scale="off", aux=True), Recipe(weight_decay=1.23456789e-7, label_smoothing=0.0, seed=7)),
    (Variant(), replace(TUTORIAL, drops=(0.25, 0.1 + 0.2), time="20m", compile=True)),
]


@pytest.mark.parametrize("data", ["digits", "my photos/it's; rm -rf $HOME", "照片"])
@pytest.mark.parametrize(("variant", "recipe"), CASES)
def test_the_line_is_read_back_as_what_was_asked_for(data, variant, recipe):
    line = train_command(data, "inception_v3", "runs/a b", variant, recipe)
    program, *words = shlex.split(line)
    assert program == "inceptory"
    _, bound, _ = application().parse_args(words, exit_on_error=False, print_error=False)
    assert bound.args == (data,)
    asked = bound.kwargs
    assert (asked["model"], str(asked["out"])) == ("inception_v3", "runs/a b")
    assert asked.get("variant", Variant()) == variant
    assert decided(asked.get("recipe"), asked.get("options", AS_THE_RECIPE), "inception_v3") == recipe


def test_what_was_left_at_its_default_is_not_said():
    line = train_command("digits", "xception", "x", Variant(), Recipe())
    assert line == "inceptory train digits --model xception --out x"
    line = train_command("digits", "cifar_inception_v1", "x", Variant(), document("tutorial_200"))
    assert line == "inceptory train digits --model cifar_inception_v1 --out x --recipe tutorial"
