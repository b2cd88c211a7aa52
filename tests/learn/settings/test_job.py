"""The record of a run: its file, and what is said of it."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import inceptory
from inceptory import Layout, Recipe, Variant
from inceptory.errors import ConfigError, Doubt
from inceptory.learn import state
from inceptory.learn.events import Events
from inceptory.learn.settings.job import Job
from inceptory.learn.state import Position, State
from inceptory.report import plots


def job(**known):
    return Job("/photos", "inception_v3", Variant(), Recipe(), "", "inceptory train /photos", **known)


@pytest.mark.parametrize("name", ["runs/x", "my runs/it's", "$(x)"])
def test_the_line_that_goes_on_is_one_for_a_shell(name):
    assert shlex.split(job().going_on(Path(name))) == ["inceptory", "train", "--resume", name]


def test_a_folder_that_is_not_utf8_keeps_states_and_checkpoints_and_has_no_events(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    net = inceptory.create("cifar_inception_v1", width=0.25, classes=2)
    inceptory.save(net, folder / "model.safetensors")
    assert inceptory.load(folder / "model.safetensors").plan == net.plan
    state.save(folder, State(Position(step=3), {"x": torch.ones(2)}, {"a": "b"}))
    found, notes = state.newest(folder)
    assert (found.position.step, notes) == (3, [])
    with pytest.warns(Doubt, match="TensorBoard"):
        Events(folder, 0, wanted=True).close()


def test_what_differs_is_told_by_flags_and_words(tmp_path):
    own = job(layout=Layout(label_column="breed"))
    asked = {"layout": Layout(split_folders="on", label_column=("a", "b")), "variant": Variant(se=True), "model": "x"}
    with pytest.raises(ConfigError) as caught:
        own.check_same(tmp_path, asked, replace(own.recipe, time="5m"))
    told = (
        str(caught.value)
        .removeprefix(f"{tmp_path}: this run has ")
        .removesuffix(" (leave that out, or start a new run with --out)")
    )
    assert told.split("; ") == [
        "--split-folders auto, not on",
        "--label-column breed, not a b",
        "--se no, not yes",
        "model inception_v3, not x",
        "--time none, not 5m",
    ]


def test_a_job_comes_back_whatever_its_data_is_called(tmp_path):
    asked = Job(os.fsdecode(b"/caf\xe9"), "inception_v3", Variant(), Recipe(), "", os.fsdecode(b"train caf\xe9"))
    asked.write(tmp_path)
    assert Job.read(tmp_path) == asked


def test_a_drawing_bears_the_name_of_data_that_is_not_utf8():
    assert plots.rates("on caf\udce9", [(1e-3, 2.0, 2.0), (1e-2, 1.0, 1.0)], 1e-2, 2.5e-3).startswith(b"\x89PNG")
