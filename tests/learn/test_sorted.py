"""Training from a file that is sorted by class and too large for the memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import inceptory
from inceptory import Recipe, Variant
from inceptory.cli import main
from inceptory.data.feed import feed as feeding
from inceptory.data.feed import windows
from inceptory.data.feed.feed import Stream
from inceptory.errors import InterruptedRun
from inceptory.learn import fit
from tests.data.pictures import encoded
from tests.learn.running import digests, stopping

COUNT, GROUP = 120, 20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes of one brightness each, one after the other in row groups of half a class."""
    labels = np.arange(COUNT) * 3 // COUNT
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 60, (16, 16, 3), dtype=np.uint8) + np.uint8(90 * label) for label in labels]
    images = [{"bytes": encoded(picture), "path": None} for picture in pixels]
    path = tmp_path_factory.mktemp("sorted") / "train.parquet"
    pq.write_table(pa.table({"image": images, "label": labels.tolist()}), path, row_group_size=GROUP)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch, data):
    """Nothing fits in memory, and a window holds a quarter of the file."""
    monkeypatch.setattr(feeding, "IN_MEMORY", 0)
    monkeypatch.setattr(windows, "WINDOW", data.stat().st_size // 3)


def start(data, out, **changed):
    return inceptory.train(
        str(data),
        model="cifar_inception_v1",
        out=out,
        variant=Variant(width=0.25, image=16),
        recipe=Recipe(**{"epochs": 2, "batch": 12, "precision": "fp32", "flip": "off", **changed}),
        checkpoint_every="1steps",
        tensorboard=False,
        workers=0,
    )


@pytest.fixture
def shown(monkeypatch):
    """Every batch that a stream gives: for the statistics, to be drawn, nine of the epoch, for the measurements."""
    given, batches = Stream.batches, []

    def told(self, rows, draws=None):
        for batch in given(self, rows, draws):
            batches.append(batch)
            yield batch

    monkeypatch.setattr(Stream, "batches", told)
    return batches


@pytest.mark.slow
def test_batches_of_a_training_show_all_classes_and_every_picture_comes_once(data, tmp_path, shown):
    start(data, tmp_path / "run", epochs=1)
    epoch = shown[2:11]
    assert np.mean([len(batch.labels.unique()) for batch in epoch]) > 2.7
    assert sorted(torch.cat([batch.rows for batch in epoch]).tolist()) == list(range(108))


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(data, tmp_path, monkeypatch):
    start(data, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(fit, "watched", stopping(4))
        with pytest.raises(InterruptedRun, match=r"stopped after step [1-9]"):
            start(data, tmp_path / "broken")
    inceptory.train(resume=tmp_path / "broken")
    assert digests(tmp_path / "broken") == digests(tmp_path / "whole")


def test_a_file_that_cannot_be_mixed_ends_in_one_line_and_leaves_nothing(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(windows, "WINDOW", GROUP * 8)
    line = ["train", str(data), "--model", "cifar_inception_v1", "--width", "0.25", "--image", "16"]
    assert main([*line, "--workers", "0", "--out", str(tmp_path / "run")]) == 65
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"error: {data}: its row groups are too large to be mixed" in told
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_balanced_training_from_a_stream_draws_with_replacement(data, tmp_path, shown):
    start(data, tmp_path / "run", epochs=1, balanced=True)
    rows = torch.cat([batch.rows for batch in shown[2:11]])
    assert len(rows) == 108
    assert len(rows.unique()) < 90, "drawn with replacement"
