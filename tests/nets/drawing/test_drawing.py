from __future__ import annotations

import pytest

from inceptory.nets.blocks import LRN, SE, Act, Dropout, GridPool, Leaf, Linear, Norm, Pool
from inceptory.nets.catalogue import Plan, catalogue, plan
from inceptory.nets.drawing.table import (
    WIDEST,
    catalogue_markdown,
    catalogue_table,
    headline,
    macs_text,
    network_table,
    runs,
    shape_text,
    summary,
    words,
)
from inceptory.nets.notation import avg, conv, depthwise, maxpool
from tests.imports import loaded_by

EVERY = [(name, dialect) for name, known in catalogue().items() for dialect in known.dialects]
OPTIONS = [
    plan("inception_v3", aux=True, se=True, width=0.25),
    plan("inception_v4", aux=True, se=True, width=2),
    plan("googlenet", dialect="caffe", aux=True, classes=37),
    plan("inception_resnet_v2", aux=True, scale="off", in_channels=1, dropout=0.5),
    plan("xception", classes=0, image=512),
]
PLANS = [plan(name, dialect=dialect) for name, dialect in EVERY] + OPTIONS
each_plan = pytest.mark.parametrize("decided", PLANS, ids=lambda p: f"{p.architecture}-{p.dialect}")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (conv(32, 3, 2), "3x3/2 32"),
        (conv(192, (1, 7)), "1x7 192"),
        (depthwise(3), "depthwise 3x3"),
        (depthwise(7, 2, multiplier=8), "depthwise 7x7/2 x8"),
        (maxpool(3, 2), "max pool 3x3/2"),
        (avg(3), "avg pool 3x3"),
        (GridPool(5, Pool("avg", 5, 3)), "avg pool 5x5/3 to 5x5"),
        (GridPool(4), "avg pool to 4x4"),
        (Linear(1000), "linear 1000"),
        (Dropout(0.7), "dropout 70 %"),
        (SE(), "squeeze-excite /16"),
        (LRN(), "LRN over 5"),
        (Norm(), "batch norm"),
        (Act(), "ReLU"),
        (Act("silu"), "SiLU"),
    ],
)
def test_every_kind_of_node_has_words(node: Leaf, text: str) -> None:
    assert words(node) == text


@pytest.mark.parametrize(
    ("macs", "text"), [(0, "0"), (999, "999"), (10_250, "10.2 k"), (118_013_952, "118.0 M"), (5_713_216_096, "5.713 G")]
)
def test_multiply_adds_are_given_in_the_unit_that_fits(macs: int, text: str) -> None:
    assert macs_text(macs) == text


@pytest.mark.parametrize(
    ("name", "stage", "text"),
    [
        ("inception_v3", "Mixed_5b", "1x1 | 5x5 | double 3x3 | pooled 1x1"),
        ("inception_v3", "Mixed_6e", "1x1 | 1x7 7x1 | double 7x1 1x7 | pooled 1x1"),
        ("inception_v3", "Mixed_7a", "3x3/2 | 1x7 7x1 3x3/2 | max 3x3/2"),
        ("inception_v3", "Mixed_7c", "1x1 | 1x3 + 3x1 | 3x3, 1x3 + 3x1 | pooled 1x1"),
        ("googlenet", "Mixed_3b", "1x1 | 3x3 | 3x3 | max-pooled 1x1"),
        ("inception_resnet_v2", "block35_1", "x + 0.17 (1x1 | 3x3 | double 3x3)"),
        ("inception_resnet_v2", "Block8", "x + (1x1 | 1x3 3x1)"),
        ("xception", "block2", "1x1/2 + (double sep 3x3, max 3x3/2)"),
        ("xception", "block5", "x + (triple sep 3x3)"),
        ("xception41", "exit_block2", "double sep 3x3 1536, sep 3x3 2048"),
    ],
)
def test_a_stage_is_summed_up_in_the_words_of_the_papers(name: str, stage: str, text: str) -> None:
    assert summary(next(found.body for found in plan(name).tree.stages if found.name == stage)) == text


@each_plan
def test_runs_hold_every_stage_once_and_in_order(decided: Plan) -> None:
    assert [name for run in runs(decided) for name in run.names] == [stage.name for stage in decided.tree.stages]


@each_plan
def test_the_stages_of_a_run_have_equal_numbers(decided: Plan) -> None:
    rows = {row.name: row for row in decided.rows()}
    for run in runs(decided):
        numbers = {(rows[name].shape, rows[name].parameters, rows[name].macs) for name in run.names}
        assert len(numbers) == 1


def test_a_run_is_named_by_its_first_stage_and_the_number_of_its_last() -> None:
    titles = [run.title for name in ("inception_resnet_v2", "inception_v4", "xception") for run in runs(plan(name))]
    assert {"block17_1 ... 20", "Mixed_6b ... 6h", "block5 ... 12", "Block8"} <= set(titles)


def test_a_run_ends_where_an_auxiliary_head_hangs() -> None:
    decided = plan("inception_v4", aux=True)
    assert any(run.names[-1] == decided.tree.aux[0].after for run in runs(decided))


@each_plan
def test_no_table_is_wider_than_the_terminal(decided: Plan) -> None:
    assert max(map(len, network_table(decided).splitlines())) <= WIDEST


@each_plan
def test_a_table_is_plain_text_and_ends_in_the_totals(decided: Plan) -> None:
    table, numbers = network_table(decided), decided.numbers(stages=False)
    assert table.isascii()
    assert "\x1b" not in table
    assert f"{numbers['parameters']:,} parameters + {numbers['statistics']:,}" in table
    assert table.endswith(f"{macs_text(numbers['macs'])} multiply-adds for one picture")


@each_plan
def test_the_column_of_parameters_sums_to_the_total(decided: Plan) -> None:
    lines = network_table(decided).splitlines()
    end = lines[2].index("parameters") + len("parameters")
    rows = lines[4 : lines.index("", 4)]
    assert sum(int(row[:end].split()[-1].replace(",", "")) for row in rows) == decided.numbers()["parameters"]


def test_a_table_has_a_row_for_each_run_and_each_head() -> None:
    table = network_table(plan("inception_v3", aux=True)).splitlines()
    assert [line.split("  ")[0] for line in table[4:-3]][-5:] == [
        "Mixed_7a",
        "Mixed_7b",
        "Mixed_7c",
        "AuxLogits",
        "head",
    ]
    assert any(line.startswith("Mixed_6c ... 6d x2  768 x 17 x 17") for line in table)


def test_the_headline_names_what_differs_from_the_dialect() -> None:
    assert headline(plan("inception_v3")) == "inception_v3 (torchvision): 3 x 299 x 299 to 1000 classes"
    changed = plan("inception_v3", dialect="keras", classes=0, in_channels=1, image=128, width=0.5, se=True)
    assert headline(changed) == "inception_v3 (keras): 1 x 128 x 128 to an embedding, width 0.5, se"


def test_the_catalogue_lists_every_network_and_dialect_within_the_terminal() -> None:
    lines = catalogue_table().splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(catalogue())
    assert max(map(len, lines)) <= WIDEST
    for line, known in zip(lines[2:], catalogue().values(), strict=True):
        assert " ".join(known.dialects) in line


def test_the_catalogue_in_markdown_links_each_network_to_its_page() -> None:
    _, rule, *rows = catalogue_markdown().splitlines()
    assert rule == "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    expected = [f"| [{name}](docs/networks/{name}.md) |" for name in catalogue()]
    assert [row[: len(start)] for row, start in zip(rows, expected, strict=True)] == expected


def test_shapes_are_channels_height_width() -> None:
    assert shape_text((256, 35, 34)) == "256 x 35 x 34"


def test_drawing_a_network_imports_no_torch() -> None:
    code = (
        "from inceptory.nets import catalogue; from inceptory.nets.drawing import svg, table;"
        "net = catalogue.plan('inception_v3'); table.network_table(net), table.catalogue_table(), svg.svg(net)"
    )
    assert "torch" not in loaded_by(code)
