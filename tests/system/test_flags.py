"""Fractions where whole numbers belong are refused, and only they are looked into."""

from __future__ import annotations

import pytest
from cyclopts import App

from inceptory.cli import application
from inceptory.errors import UsageError
from inceptory.system import flags

WORDS = ["train", "photos.v2/", "--from", "x.h5", "--out=run.1", "--epochs"]


@pytest.mark.parametrize("value", ["1.5", "-.5", "3.", "1.5e3"])
def test_a_fraction_is_refused_where_a_whole_number_belongs(value):
    app = application("train")
    for words in ([*WORDS, value], [*WORDS[:-1], f"--epochs={value}"]):
        with pytest.raises(UsageError, match=r"--epochs .*a whole number is wanted"):
            flags.refuse_fractions(app, words)
    flags.refuse_fractions(app, [*WORDS[:-1], "--lr", value])


def test_words_without_a_fraction_do_not_ask_what_flags_take(monkeypatch):
    asked = list[App]()
    monkeypatch.setattr(App, "assemble_argument_collection", lambda app: asked.append(app) or ())
    flags.refuse_fractions(application("train"), [*WORDS, "5"])
    assert not asked
    flags.refuse_fractions(application("train"), [*WORDS, "0.5"])
    assert asked
