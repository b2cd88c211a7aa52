"""The line that makes a run again, read back by the command line itself."""

from __future__ import annotations

import shlex

import pytest

from inceptory import Recipe, Variant
from inceptory.cli import application
from inceptory.learn.command import train_command

CASES = [
    (Variant(), Recipe()),
    (Variant(width=0.25, se=True, in_channels=1, image=40), Recipe(epochs=3, lr=1e-3, flip=False, device="cpu")),
    (Variant(dialect="keras", scale="off", aux=True), Recipe(weight_decay=1.23456789e-7, label_smoothing=0.0, seed=7)),
]


@pytest.mark.parametrize("data", ["digits", "my photos/it's; rm -rf $HOME", "照片"])
@pytest.mark.parametrize(("variant", "recipe"), CASES)
def test_the_line_is_read_back_as_what_was_asked_for(data, variant, recipe):
    line = train_command(data, "inception_v3", "runs/a b", (variant, Variant()), (recipe, Recipe()))
    program, *words = shlex.split(line)
    assert program == "inceptory"
    _, bound, _ = application().parse_args(words, exit_on_error=False, print_error=False)
    assert bound.args == (data,)
    asked = bound.kwargs
    assert (asked["model"], str(asked["out"])) == ("inception_v3", "runs/a b")
    assert asked.get("variant", Variant()) == variant
    assert asked.get("recipe", Recipe()) == recipe


def test_what_was_left_at_its_default_is_not_said():
    line = train_command("digits", "xception", "x", (Variant(), Variant()), (Recipe(), Recipe()))
    assert line == "inceptory train digits --model xception --out x"
