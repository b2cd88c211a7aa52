"""What the demo says at its end; that it runs is held by the quickstart of the README."""

from __future__ import annotations

import shlex

from inceptory.measure.results import Run
from inceptory.measure.single_label import SingleMetrics
from inceptory.run import demo


def test_the_line_to_predict_again_is_one_for_a_shell(tmp_path, monkeypatch):
    metrics = SingleMetrics(0.9, 1.0, 0.3, 10, (0.6, 0.98))
    monkeypatch.setattr(demo, "train", lambda *_, out, **__: Run(out, metrics, "test", [], 0.1))
    monkeypatch.setattr(demo, "evaluate", lambda *_, **__: metrics)
    monkeypatch.setattr(demo, "predict", lambda *_, **__: "")
    folder = tmp_path / "my demo"
    (line,) = [line for line in demo.demo(out=folder).splitlines() if line.startswith("again: ")]
    assert shlex.split(line)[1:] == ["inceptory", "predict", str(folder), str(folder / "pictures")]
