"""The error tree: exit codes, one printable line, suggestions."""

from __future__ import annotations

import pytest

from inceptory import errors
from inceptory.errors import InceptoryError, UnknownName, one_line, printable

CODES = {
    "UsageError": 64,
    "UnknownName": 64,
    "DataError": 65,
    "MissingError": 66,
    "WriteError": 74,
    "InterruptedRun": 75,
    "ConfigError": 78,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_kind_of_error_has_the_exit_code_of_the_tree(name, code):
    assert getattr(errors, name).exit_code == code


def test_the_tree_holds_no_error_without_a_listed_exit_code():
    kinds = {name for name, found in vars(errors).items() if getattr(found, "exit_code", None)}
    assert kinds == {*CODES, "InceptoryError"}


@pytest.mark.parametrize("name", CODES)
def test_every_error_is_caught_as_an_inceptory_error(name):
    assert issubclass(getattr(errors, name), InceptoryError)


def test_the_module_draws_the_tree_that_the_classes_form():
    for name, code in CODES.items():
        drawn = next(line for line in errors.__doc__.splitlines() if f" {name} " in line)
        assert f" {code} " in drawn


def test_a_line_begins_with_the_word_error():
    assert errors.DataError("a.png: truncated (replace it)").line() == "error: a.png: truncated (replace it)"


CONTROL = ["\n", "\r", "\t", "\0", "\x1b[31m", "\x7f", "\x9b", "\u2028", "\u202e", "\ufeff"]


@pytest.mark.parametrize("text", CONTROL, ids=ascii)
def test_a_control_character_is_escaped(text):
    line = errors.DataError(f"bad{text}name.png: truncated").line()
    assert line.isprintable()
    assert "\\" in line


def test_a_lone_surrogate_is_escaped_so_that_every_terminal_takes_it():
    line = one_line("photo\udcff.png")
    assert line.encode("utf-8") == b"photo\\udcff.png"


def test_letters_of_every_script_stay_as_they_are():
    assert printable("Füchse, 狐狸, лиса, 🦊") == "Füchse, 狐狸, лиса, 🦊"


def test_a_message_of_300_characters_is_left_whole():
    assert one_line("x" * 300) == "x" * 300


@pytest.mark.parametrize("length", [301, 302, 1000, 100_000])
def test_a_longer_message_keeps_at_most_300_characters_with_its_beginning_and_its_remedy(length):
    text = "error: " + "x" * length + " (choose another place)"
    line = one_line(text)
    assert len(line) <= 300
    assert line.startswith("error: xxx")
    assert line.endswith("xxx (choose another place)")


def test_a_message_is_cut_after_its_characters_are_escaped():
    line = one_line("\n" * 200 + " (rename it)")
    assert len(line) <= 300
    assert line.endswith(" (rename it)")


def test_a_near_name_is_suggested():
    fault = UnknownName("network", "inception_v33", ["googlenet", "inception_v3", "xception"])
    message = str(fault)
    assert "'inception_v33'" in message
    assert "did you mean 'inception_v3'?" in message


def test_a_suggestion_does_not_mind_capitals():
    assert "did you mean 'googlenet'?" in str(UnknownName("network", "GoogLeNet", ["googlenet", "xception"]))


def test_a_name_near_to_none_gets_the_list_and_no_suggestion():
    message = str(UnknownName("dialect", "zzzz", ["slim", "keras"]))
    assert "did you mean" not in message
    assert "known: slim, keras" in message


def test_a_place_of_the_list_stands_in_for_the_list():
    message = str(UnknownName("network", "zzzz", ["slim", "keras"], listed="`inceptory models` lists them"))
    assert message.endswith("(`inceptory models` lists them)")
    assert "keras" not in message
