"""Folders of pictures that are looked over, and the findings by kind."""

from __future__ import annotations

from tests.data.check.test_duplicates import scene
from tests.data.pictures import encoded


def put(root, where, data):
    path = root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def fill(root, *folders, count=3):
    """Different pictures in each folder; returns the root."""
    for number, folder in enumerate(folders):
        for row in range(count):
            put(root, f"{folder}/{row}.png", encoded(scene(1000 * number + row, 48)))
    return root


def found(report, kind):
    """The files of each finding of this kind, sorted."""
    return [sorted(finding.files) for finding in report.findings if finding.kind == kind]


def kinds(report):
    return {finding.kind for finding in report.findings}
