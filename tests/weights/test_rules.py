"""The engine that pairs our names with another package's."""

from __future__ import annotations

import pytest

from inceptory.weights.rules import Alias, Drop, Fill, Numbered, Rule, Table, both_sides, fit, names_there


@pytest.mark.parametrize(
    ("pattern", "template", "name", "there"),
    [
        (r"a\.(\w+)", "b.{1}", "a.weight", "b.weight"),
        (r"block(\d+)", "block{1-1}", "block12", "block11"),
        (r"x(\d)", "{1*3+1}", "x2", "7"),
        (r"Mixed_5([b-e])", "features.{1|b+6}", "Mixed_5d", "features.8"),
        (r"Mixed_(\d)(\w)", "inception{1}{2<}", "Mixed_4c", "inception4b"),
    ],
)
def test_a_template_shifts_numbers_and_letters(pattern, template, name, there):
    assert names_there(Table((Rule(pattern, template),)), [name]) == {name: there}


def test_the_first_rule_that_matches_the_whole_name_counts():
    table = Table((Rule("a", "first"), Rule("a.*", "second")))
    assert names_there(table, ["a", "ab", "b"]) == {"a": "first", "ab": "second", "b": None}


def test_layers_that_no_rule_names_are_numbered_in_their_order():
    table = Table((Rule(r"named\.conv\.(\w+)", "own.{1}"),), numbered=(Numbered(r"(.*)\.conv\.(\w+)", "conv#{#}.{2}"),))
    ours = ["x.conv.weight", "x.conv.bias", "named.conv.weight", "y.conv.weight"]
    assert list(names_there(table, ours).values()) == ["conv#0.weight", "conv#0.bias", "own.weight", "conv#1.weight"]


def test_old_names_are_read_as_present_ones_and_what_says_nothing_is_dropped():
    table = Table(
        rules=(Rule(r"(\w+)\.weight", "{1}.w"),),
        drops=(Drop("step", "a counter"),),
        aliases=(Alias(r"old_(\w+)\.w", r"\1.w", "an old name"),),
    )
    match = fit(table, ["a.weight", "b.weight"], ["old_a.w", "b.w", "step"])
    assert match.pairs == {"a.weight": "old_a.w", "b.weight": "b.w"}
    assert match.dropped == ("step",)
    assert match.complete


def test_a_name_that_is_there_in_both_forms_counts_as_itself():
    table = Table((Rule(r"(\w+)", "{1}"),), aliases=(Alias(r"old_(\w+)", r"\1", "an old name"),))
    match = fit(table, ["a"], ["old_a", "a"])
    assert match.pairs == {"a": "a"}
    assert match.surplus == ("old_a",)


def test_a_tensor_that_an_origin_has_not_is_filled_and_one_that_it_has_is_read():
    table = Table((Rule(r"(\w+)", "{1}"),), fills=(Fill("gamma\\d", 1.0, "trained without"),))
    match = fit(table, ["gamma1", "gamma2"], ["gamma2"])
    assert match.filled == {"gamma1": 1.0}
    assert match.pairs == {"gamma2": "gamma2"}
    assert match.complete


def test_both_sides_are_listed_with_counts_and_up_to_five_names():
    table = Table((Rule(r"(\w+)", "{1}"),))
    match = fit(table, [f"ours{i}" for i in range(7)], ["theirs"])
    assert not match.complete
    told = both_sides(match.missing, match.surplus)
    assert told.startswith("7 missing: ours0, ours1, ours2, ours3, ours4;")
    assert "ours5" not in told
    assert told.endswith("1 surplus: theirs")
