"""The record of a run: its file, and what is said of it."""

from __future__ import annotations

import os

from inceptory import Recipe, Variant
from inceptory.learn.job import Job


def job(**known):
    return Job("/photos", "inception_v3", Variant(), Recipe(), "", "inceptory train /photos", **known)


def test_a_job_comes_back_whatever_its_data_is_called(tmp_path):
    asked = Job(os.fsdecode(b"/caf\xe9"), "inception_v3", Variant(), Recipe(), "", os.fsdecode(b"train caf\xe9"))
    asked.write(tmp_path)
    assert Job.read(tmp_path) == asked
