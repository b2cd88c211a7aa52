"""Training and evaluation on what Python hands over: results, resume, and what cannot be found again."""

from __future__ import annotations

import numpy as np
import pytest

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.data import feed
from inceptory.data.arrays import from_arrays
from inceptory.errors import ConfigError, InterruptedRun
from inceptory.learn import fit
from inceptory.learn.command import train_call
from inceptory.learn.job import Job
from inceptory.learn.signals import Stop
from tests.data import hub

from .running import digests, stopping

RECIPE = Recipe(epochs=2, batch=8, precision="fp32", flip="off", shift=0.0)


def arrays(seed=0, count=40):
    """Pictures of two brightnesses and their labels."""
    labels = np.arange(count) % 2
    random = np.random.default_rng(seed)
    return random.integers(0, 100, (count, 16, 16, 3), dtype=np.uint8) + 150 * labels[:, None, None, None].astype(
        np.uint8
    ), labels


def start(data, out, **known):
    return inceptory.train(
        data,
        model="cifar_inception_v1",
        out=out,
        variant=Variant(width=0.25, image=16),
        recipe=RECIPE,
        checkpoint_every="1steps",
        tensorboard=False,
        **known,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return start(arrays(), tmp_path_factory.mktemp("given") / "run")


def test_arrays_train_and_the_run_says_how_to_make_it_again(run):
    assert run.metrics.n == 4, "a tenth of each class was held out"
    report = (run.folder / "report.html").read_text()
    assert "inceptory.train(data, model=" in report
    assert inceptory.evaluate(run.folder, arrays(), precision="fp32") == run.metrics


def test_other_arrays_are_measured_whole(run, capsys):
    found = inceptory.evaluate(run.folder, arrays(seed=1, count=30), precision="fp32")
    assert found.n == 30
    assert "measuring all 30 pictures of arrays" in capsys.readouterr().err


def test_arrays_with_names_are_matched_by_them(run, capsys):
    pixels, labels = arrays(seed=1)
    named = from_arrays(pixels, labels, classes=["1", "0"])
    swapped = inceptory.evaluate(run.folder, (pixels, 1 - labels), precision="fp32")
    assert inceptory.evaluate(run.folder, named, precision="fp32") == swapped
    with pytest.raises(ConfigError, match="unknown to the checkpoint: 'cat', 'dog'"):
        inceptory.evaluate(run.folder, from_arrays(pixels, labels, classes=["cat", "dog"]))


@pytest.fixture
def broken_off(tmp_path, monkeypatch):
    """A run that was stopped after some steps."""
    monkeypatch.setattr(fit, "watched", stopping(5))
    with pytest.raises(InterruptedRun) as caught:
        start(arrays(), tmp_path / "run")
    monkeypatch.undo()
    return tmp_path / "run", str(caught.value)


def test_a_run_on_arrays_goes_on_with_equal_arrays_bit_for_bit(run, broken_off):
    folder, told = broken_off
    assert "stopped after step" in told
    assert f"go on with inceptory.train(data, resume={str(folder)!r})" in told
    again = inceptory.train(arrays(), resume=str(folder))
    assert digests(folder) == digests(run.folder)
    assert again.metrics == run.metrics


def test_other_arrays_do_not_go_on_and_the_command_line_says_that_it_cannot(broken_off, capsys):
    folder, _ = broken_off
    with pytest.raises(ConfigError, match="the pictures of arrays as they were"):
        inceptory.train(arrays(seed=1), resume=folder)
    with pytest.raises(ConfigError, match="this run has data arrays, not "):
        inceptory.train("digits", resume=folder)
    assert main(["train", "--resume", str(folder)]) == 78
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "its pictures were handed over in Python and cannot be found from here" in line
    assert "inceptory.train(data, resume=" in line
    with pytest.raises(ConfigError, match=r"holds an unfinished run \(inceptory.train\(data, resume="):
        start(arrays(), folder)


def test_a_finished_run_on_arrays_is_told_as_finished(run, capsys):
    assert main(["train", "--resume", str(run.folder)]) == 0
    assert "this run is finished" in capsys.readouterr().err


def test_a_data_set_with_splits_trains_and_is_measured_on_its_test(tmp_path):
    pixels, labels = arrays()
    parts = {
        "train": hub.labelled(list(pixels), labels.tolist()),
        "test": hub.labelled(list(pixels[:6]), labels[:6].tolist()),
    }
    found = start(parts, tmp_path / "run")
    assert (found.split, found.metrics.n) == ("test", 6)
    assert inceptory.evaluate(found.folder, parts, precision="fp32") == found.metrics
    assert inceptory.evaluate(found.folder, parts["train"], split="train", precision="fp32").n == 36


def test_a_run_looks_at_the_sizes_of_its_pictures_once(monkeypatch):
    asked = []
    for module in (feed, fit):
        monkeypatch.setattr(module, "bytes_of", lambda split, *_: asked.append(len(split)) or 0)
    job = Job("arrays", "cifar_inception_v1", Variant(image=16), Recipe(crop=0.5, batch=2), "", "", workers=0)
    source = from_arrays(*({"train": array[:6], "val": array[:2]} for array in arrays()))
    feeds, _ = fit._feeds(job, job.plan(2), source, Stop(), speaks=False)
    for one in feeds.values():
        one.close()
    assert asked == [6, 2]


def test_the_line_in_python_makes_the_very_recipe():
    line = train_call("xception", "runs/x", Variant(width=0.5), Recipe(drops=(0.5, 0.75), schedule="step"))
    assert line.startswith("inceptory.train(data, model='xception', out='runs/x', variant=")
    made = eval(line.replace("inceptory.train(data, ", "dict("), {"inceptory": inceptory})
    assert made["variant"] == Variant(width=0.5)
    assert made["recipe"] == Recipe(drops=(0.5, 0.75), schedule="step")
