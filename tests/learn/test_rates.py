"""`train --find-lr`: the curve of a range test, and what it leaves behind."""

from __future__ import annotations

import csv
import io
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.errors import ConfigError, DataError
from inceptory.learn import rates
from inceptory.learn.loop import Loop
from inceptory.learn.rates import Search, Suggestion, tried
from inceptory.learn.settings.recipe import choices
from inceptory.learn.step import Stepper

WORDS = ["--model", "cifar_inception_v2", "--width", "0.25", "--batch", "16", "--precision", "fp32", "--find-lr"]


def valley(lowest: float, noise: float = 0.0) -> list[tuple[float, float]]:
    """A loss that falls up to a rate and rises beyond, each by its distance in powers of ten."""
    chance = np.random.default_rng(0)
    return [(lr, 1 + abs(math.log10(lr / lowest)) + noise * chance.standard_normal()) for lr in tried()]


def test_the_rates_grow_by_one_factor_from_a_millionth_to_ten():
    found = tried()
    assert (found[0], found[-1], len(found)) == (pytest.approx(1e-6), pytest.approx(10), 140)
    assert np.ptp(np.diff(np.log(found))) < 1e-9


@pytest.mark.parametrize("lowest", [1e-4, 3e-3, 0.1])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_quarter_of_the_rate_with_the_smallest_loss_is_suggested(lowest, noise):
    found = Search.of(valley(lowest, noise))
    assert found.suggested == pytest.approx(found.lowest[0] / 4, rel=0.05)
    assert lowest <= found.lowest[0] < 4 * lowest, "the running mean lies some steps behind"


def test_beyond_four_times_the_smallest_loss_no_further_rate_is_tried():
    course = iter([2.0, 1.0] + [1.0] * 30 + [1000.0] * 50)
    found = Search.of(zip(tried(), course, strict=False))
    assert found.points[-1][2] > 4 * min(smooth for *_, smooth in found.points)
    assert len(list(course)) == 49, "the running mean passes it with the first large loss"


@pytest.mark.parametrize("losses", [[], [1.0, 2.0, 3.0], [1.0] * 10])
def test_a_loss_that_never_falls_suggests_nothing(losses):
    with pytest.raises(DataError, match="falls at no rate"):
        _ = Search.of(zip(tried(), losses, strict=False)).suggested


def test_the_drawing_shows_valleys_even_beside_an_explosion(tmp_path: Path):
    found = Search.of([*valley(0.01)[:130], (9.0, 1e9)])
    found.write(tmp_path, "a network on $\\frac{")
    with Image.open(tmp_path / "find-lr.png") as image:
        assert image.size[0] > 900
    rows = list(csv.DictReader(io.StringIO((tmp_path / "find-lr.csv").read_text())))
    assert [float(row["lr"]) for row in rows] == pytest.approx([lr for lr, *_ in found.points], rel=1e-5)
    assert set(rows[0]) == {"lr", "objective", "smoothed_objective"}


@pytest.mark.slow
def test_it_prints_a_rate_and_the_line_and_leaves_no_run(colours: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(rates, "STEPS", 24)
    taken, step = [], Stepper.step
    monkeypatch.setattr(Stepper, "step", lambda self, n, lr, *rest: taken.append(lr) or step(self, n, lr, *rest))
    folder = tmp_path / "run"
    assert main(["train", str(colours), *WORDS, "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["find-lr.csv", "find-lr.png"]
    assert taken == tried()[: len(taken)], "every step took the rate that it is drawn at"
    told = capsys.readouterr().out
    assert told.startswith("--lr ")
    program, *words = shlex.split(told.splitlines()[-1])
    assert program == "inceptory"
    assert words[words.index("--lr") + 1] == told.split()[1].rstrip(":")
    # The line that was printed trains, in that very folder.
    assert main([*words, "--epochs", "1", "--no-tensorboard"]) == 0
    assert {"find-lr.png", "model.safetensors", "run.json"} < {path.name for path in folder.iterdir()}
    assert main(["train", str(colours), *WORDS, "--out", str(folder)]) == 78, "into a run it does not write"


@pytest.mark.slow
def test_a_search_replaces_an_earlier_one_and_nothing_else(colours: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(rates, "STEPS", 24)
    monkeypatch.setattr(Search, "lowest", property(lambda self: self.points[-1][::2]))  # it need not fall so soon
    words = ["train", str(colours), *WORDS, "--out", str(tmp_path)]
    (tmp_path / "find-lr.png").write_bytes(b"a drawing of mine")
    assert main(words) == 78
    assert "find-lr.png: a run would replace it" in capsys.readouterr().err
    assert (tmp_path / "find-lr.png").read_bytes() == b"a drawing of mine"
    (tmp_path / "find-lr.png").unlink()
    assert main(words) == 0
    before = (tmp_path / "find-lr.csv").read_bytes()
    assert main([*words, "--seed", "1"]) == 0, "as anybody expects who runs a line again"
    assert (tmp_path / "find-lr.csv").read_bytes() != before


@pytest.mark.parametrize("optimizer", choices("optimizer"))
@pytest.mark.slow
def test_every_optimizer_has_its_rates_tried(optimizer, colours: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(rates, "STEPS", 24)
    found = inceptory.train(
        str(colours),
        model="cifar_inception_v2",
        out=tmp_path / "x",
        find_lr=True,
        variant=Variant(width=0.25),
        recipe=Recipe(optimizer=optimizer, batch=16, precision="fp32"),
    )
    assert isinstance(found, Suggestion)
    assert 1e-6 < found.lr < 2.5
    assert f"--lr {found.lr}" in found.command


@pytest.mark.slow
def test_a_time_has_no_part_in_it(colours: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(rates, "STEPS", 24)
    points = []
    for time in (None, "1s"):
        found = inceptory.train(
            str(colours),
            model="cifar_inception_v2",
            out=tmp_path / str(time),
            find_lr=True,
            variant=Variant(width=0.25),
            recipe=Recipe(time=time, batch=16, precision="fp32"),
        )
        points.append(found.search.points)
    assert points[0] == points[1]
    assert "--time 1s" in found.command, "the training has its time"
    lines = capsys.readouterr().err.splitlines()
    known = lines.index("3 classes of 24 training pictures each")
    assert known < next(row for row, line in enumerate(lines) if line.startswith("trying learning rates"))


def test_stopped_on_the_way_it_leaves_nothing(colours: Path, tmp_path: Path, monkeypatch, capsys):
    real = Loop.objectives

    def asked(self, tried, stop):
        for number, found in enumerate(real(self, tried, stop)):
            stop.asked = number == 3
            yield found

    monkeypatch.setattr(Loop, "objectives", asked)
    assert main(["train", str(colours), *WORDS, "--out", str(tmp_path / "x")]) == 75
    assert "nothing is written" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_run_under_way_has_its_rate(tmp_path: Path):
    with pytest.raises(ConfigError, match="has its learning rate"):
        inceptory.train(resume=tmp_path, find_lr=True)


@pytest.mark.slow
def test_the_suggested_rate_trains_well(tmp_path: Path):
    asked = {"model": "cifar_inception_v2", "variant": Variant(width=0.25)}
    recipe = Recipe(epochs=6, flip="off", precision="fp32")
    found = inceptory.train("digits", out=tmp_path / "a", find_lr=True, recipe=recipe, **asked)
    assert 0.05 / 8 < found.lr < 0.05 * 8, "the recipe's own rate is known to be good"
    words = shlex.split(found.command)[1:]
    assert main([*words, "--no-tensorboard"]) == 0
    run = inceptory.train(resume=tmp_path / "a")
    assert run.metrics.top1 > 0.8
