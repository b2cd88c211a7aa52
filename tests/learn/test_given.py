"""Training and evaluation on what Python hands over: results, resume, and what cannot be found again."""

from __future__ import annotations

import numpy as np
import pytest

import inceptory
from inceptory import Layout, Recipe, Variant
from inceptory.cli import main
from inceptory.data.feed import feed
from inceptory.data.sources.arrays import from_arrays
from inceptory.data.sources.opening import open_source
from inceptory.errors import ConfigError, DataError, InterruptedRun
from inceptory.learn import fit
from inceptory.learn.settings.command import train_call
from inceptory.learn.settings.job import Job
from inceptory.run.evaluate import measured
from inceptory.system.signals import Stop
from inceptory.weights.card import Card
from tests.data import hub
from tests.learn.running import digests, stopping

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
    assert inceptory.evaluate(run.folder, arrays(), engine="torch", precision="fp32") == run.metrics


def test_other_arrays_are_measured_whole(run, capsys):
    found = inceptory.evaluate(run.folder, arrays(seed=1, count=30), precision="fp32")
    assert found.n == 30
    told = capsys.readouterr().err
    assert "measuring all 30 pictures of arrays" in told
    assert "the checkpoint was trained on others of this name, and may have seen some of these" in told
    assert "has changed" not in told


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


@pytest.mark.slow
def test_a_run_on_arrays_goes_on_with_equal_arrays_bit_for_bit(run, broken_off):
    folder, told = broken_off
    assert "stopped after step" in told
    assert f"go on with inceptory.train(data, resume={str(folder)!r})" in told
    again = inceptory.train(arrays(), resume=str(folder))
    assert digests(folder) == digests(run.folder)
    assert again.metrics == run.metrics


def test_other_arrays_do_not_go_on_and_the_command_line_says_that_it_cannot(broken_off, capsys):
    folder, _ = broken_off
    with pytest.raises(ConfigError, match="this run has other pictures than those that are handed over now"):
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


@pytest.mark.slow
def test_a_data_set_with_splits_trains_and_is_measured_on_its_test(tmp_path):
    pixels, labels = arrays()
    parts = {
        "train": hub.labelled(list(pixels), labels.tolist()),
        "test": hub.labelled(list(pixels[:6]), labels[:6].tolist()),
    }
    found = start(parts, tmp_path / "run")
    assert (found.split, found.metrics.n) == ("test", 6)
    assert inceptory.evaluate(found.folder, parts, engine="torch", precision="fp32") == found.metrics
    assert inceptory.evaluate(found.folder, parts["train"], split="train", precision="fp32").n == 36


def two_columns():
    """A data set whose usual columns are not those that are wanted."""
    pixels, labels = arrays()
    cells = {"image": [None] * 40, "label": [0] * 40, "photo": list(pixels), "kind": labels.tolist()}
    return hub.Dataset(cells, {"image": hub.Image(), "label": hub.ClassLabel("ab")})


COLUMNS = Layout(path_column="photo", label_column="kind")


@pytest.mark.slow
def test_a_layout_names_the_columns_of_a_data_set_also_when_its_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "watched", stopping(5))
    with pytest.raises(InterruptedRun):
        start(two_columns(), tmp_path / "run", layout=COLUMNS)
    monkeypatch.undo()
    job = Job.read(tmp_path / "run")
    assert job.layout == COLUMNS
    assert "layout=inceptory.Layout(path_column='photo', label_column=('kind',))" in job.command
    with pytest.raises(ConfigError, match="this run has --path-column photo, not none; --label-column kind, not label"):
        inceptory.train(two_columns(), resume=tmp_path / "run", layout=Layout(label_column="label"))
    run = inceptory.train(two_columns(), resume=tmp_path / "run")
    assert inceptory.evaluate(run.folder, two_columns(), engine="torch", layout=COLUMNS) == run.metrics


def test_a_layout_that_does_not_fit_what_is_handed_over_is_refused(tmp_path):
    told = {
        "arrays: --label-column goes with tables, parquet files and data sets": (arrays(), Layout(label_column="kind")),
        "arrays: --split-folders goes with class folders": ({"train": arrays()}, Layout(split_folders="on")),
        "dataset: --split-folders goes with class folders": (two_columns(), Layout(split_folders="on")),
        "dataset: --label-column kind label: too many": (two_columns(), Layout(label_column=("kind", "label"))),
        "arrays: is opened already": (from_arrays(*arrays()), Layout(label_column="kind")),
    }
    for words, (data, layout) in told.items():
        with pytest.raises(ConfigError, match=words):
            start(data, tmp_path / "run", layout=layout)


def test_what_is_handed_over_is_never_printed(tmp_path):
    class Long(tuple):
        def __str__(self):
            raise AssertionError("all of it would be printed")

        __repr__ = __format__ = __str__

    pixels, labels = arrays()
    with pytest.raises(DataError, match="one class only"):
        start(Long((pixels, 0 * labels)), tmp_path / "run")


def test_a_table_is_known_again_from_another_folder(tmp_path, monkeypatch):
    lines = [f"{row}.png,{'cat' if row % 2 else 'dog'}" for row in range(20)]
    for row in range(20):
        (tmp_path / f"{row}.png").write_bytes(b"")
    (tmp_path / "tab.csv").write_text("\n".join(lines))
    trained = open_source(tmp_path / "tab.csv")
    card = Card(
        architecture="cifar_inception_v1",
        dialect="slim",
        options={},
        labels=trained.classes,
        recipe={"validation": 0.1},
        data={"name": trained.name, "fingerprint": trained.with_validation(0.1).fingerprint()},
    )
    monkeypatch.chdir(tmp_path)
    source, split, told = measured(open_source("tab.csv"), card, None)
    assert (split, len(source.split(split))) == ("validation", 2)
    assert "those held out when the checkpoint was trained on it" in told


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
