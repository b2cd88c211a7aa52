"""The demo: the whole job on what is installed. That its last line can be run is held by the README's quickstart."""

from __future__ import annotations

import re
import shlex

import pytest

from inceptory.run import demo


@pytest.mark.slow
def test_a_head_for_digits_is_fitted_evaluated_and_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("INCEPTORY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "my demo"
    told = demo.demo(out=folder).splitlines()
    accuracy = re.fullmatch(r"top-1 (\d+\.\d) %", told[-1])
    assert accuracy is not None
    assert float(accuracy[1]) > 93
    (line,) = [line for line in told if line.startswith("again: ")]
    assert shlex.split(line)[1:] == ["inceptory", "predict", str(folder), str(folder / "pictures")]
    assert {"model.safetensors", "report.html", "pictures", "why"} <= {path.name for path in folder.iterdir()}
    assert len(list((folder / "pictures").iterdir())) == demo.PICTURES
    assert demo.demo(out=folder).splitlines()[-1] == told[-1], "and again beside it"
    assert (tmp_path / "my demo-2").is_dir()
