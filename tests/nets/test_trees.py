"""What a tree says of itself, without torch."""

from __future__ import annotations

import random

import pytest

from inceptory.errors import UnknownName, UsageError
from inceptory.nets.arithmetic import fits, minimum_image, output_size, same_padding, state_shapes, steps, tensors
from inceptory.nets.blocks import Residual
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.transform import scaled

EVERY = [(name, dialect) for name, found in catalogue().items() for dialect in found.dialects]
HAVING_AUX = [name for name, found in catalogue().items() if found.aux]
HAVING_SCALE = [name for name, found in catalogue().items() if found.scale]


@pytest.mark.parametrize(("name", "dialect"), EVERY)
def test_every_stage_has_the_size_written_beside_it(name, dialect):
    found = plan(name, dialect=dialect)
    *rows, head = found.rows()
    assert [(row.name, row.shape) for row in rows] == [
        (stage.name, (stage.out[0], stage.out[1], stage.out[1])) for stage in found.tree.stages
    ]
    assert head.name == "head"


@pytest.mark.parametrize(("name", "minimum"), [("googlenet", 15), ("inception_v3", 75), ("inception_resnet_v2", 75)])
def test_the_minimum_image_is_the_one_that_peers_document(name, minimum):
    assert minimum_image(plan(name).tree, 3) == minimum


@pytest.mark.parametrize(("name", "dialect"), EVERY)
def test_below_the_minimum_no_image_fits_and_the_error_says_the_minimum(name, dialect):
    tree = plan(name, dialect=dialect).tree
    minimum = minimum_image(tree, 3)
    assert all(fits(tree, 3, size, size) for size in range(minimum, minimum + 40))
    assert plan(name, dialect=dialect, image=minimum).image == minimum
    if minimum > 1:
        with pytest.raises(UsageError, match=f"give {minimum} or more"):
            plan(name, dialect=dialect, image=minimum - 1)


@pytest.mark.parametrize("size", range(1, 40))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 3), (7, 2)])
def test_same_padding_gives_exactly_the_cells_that_it_promises(size, kernel, stride):
    before, after = same_padding(size, kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == output_size(size, kernel, stride, "same")
    assert 0 <= after - before <= 1


def test_same_padding_follows_tensorflow_on_published_sizes():
    # Xception's pools at 299 pixels, architectures of Keras: 147, 74, 37, 19.
    assert [same_padding(size, 3, 2) for size in (147, 74, 37, 19)] == [(1, 1), (0, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(80, 0.25, 24), (64, 0.25, 16), (32, 0.25, 8), (100, 0.5, 48)]
)
def test_width_rounds_filters_to_the_nearest_eight_and_halves_go_up(filters, width, expected):
    assert scaled(filters, width) == expected
    assert scaled(1, 0.25) == 8, "never below 8"
    assert scaled(20, 1) == 24, "20 is half way between 16 and 24"


def test_width_leaves_classes_necks_and_depth_multipliers_alone():
    facenet = state_shapes(plan("inception_resnet_v1", dialect="facenet", classes=7, width=0.5).tree, 3, 160)
    assert facenet["head.neck.0.weight"][0] == 512
    assert facenet["head.classifier.weight"] == (7, 512)
    v2 = state_shapes(plan("inception_v2", width=0.5).tree, 3, 224)
    assert v2["Conv2d_1a_7x7.0.conv.weight"] == (24, 1, 7, 7)
    assert v2["Conv2d_1a_7x7.1.conv.weight"] == (32, 24, 1, 1)


def test_an_activation_a_pool_or_se_renames_nothing():
    plain, squeezed = (state_shapes(plan("inception_v3", se=se).tree, 3, 299) for se in (False, True))
    assert set(plain) < set(squeezed)
    assert all(".se." in name for name in set(squeezed) - set(plain))
    assert "Mixed_5b.branch1.0.conv.weight" in plain
    assert "Mixed_5b.branch3.0.conv.weight" in plain, "the pool before it takes no number"
    assert "Mixed_5b.se.reduce.weight" in squeezed


def test_scale_off_is_one_and_a_number_replaces_the_origins_factors():
    def factors(**options):
        stages = plan("inception_resnet_v2", **options).tree.stages
        return {stage.body.scale for stage in stages if isinstance(stage.body, Residual)}

    assert factors() == {0.17, 0.10, 0.20, 1.0}
    assert factors(scale="off") == {1.0}
    assert factors(scale=0.3) == {0.3, 1.0}, "the released network's last block is never scaled"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 0.2}, "--width 0.2"),
        ({"width": 3}, "--width 3"),
        ({"width": float("nan")}, "--width nan"),
        ({"classes": -1}, "--classes -1"),
        ({"dropout": 1.0}, "--dropout 1"),
        ({"in_channels": 65}, "--in-channels 65"),
        ({"scale": 0.5}, "does not scale residuals"),
        ({"aux": True, "classes": 0}, "auxiliary heads classify"),
        ({"image": 10}, "give 75 or more"),
    ],
)
def test_an_option_out_of_range_is_named(options, told):
    with pytest.raises(UsageError, match=told):
        plan("inception_v3", **options)


def test_names_that_do_not_exist_get_a_suggestion():
    with pytest.raises(UnknownName, match="did you mean 'inception_v4'"):
        plan("inception_v5")
    with pytest.raises(UnknownName, match="did you mean 'keras'"):
        plan("inception_v3", dialect="kears")
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        plan("inception_v3", widht=0.5)


def random_options(name: str, seed: int) -> dict:
    """A combination of options that the architecture has."""
    draw = random.Random(f"{name} {seed}")
    found = catalogue()[name]
    options = {
        "dialect": draw.choice(list(found.dialects)),
        "classes": draw.choice([0, 2, 10, 1000]),
        "width": draw.choice([0.25, 0.5, 0.75, 1.25, 2]),
        "in_channels": draw.choice([1, 3]),
        "dropout": draw.choice([None, 0.0, 0.7]),
        "se": draw.choice([False, True]),
    }
    if found.scale:
        options["scale"] = draw.choice([None, "off", 0.2])
    if found.aux and options["classes"]:
        options["aux"] = draw.choice([False, True])
    native = plan(name, dialect=options["dialect"]).image
    options["image"] = draw.choice([None, native + draw.randrange(40), max(native // 2, 80)])
    return options


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", catalogue())
def test_any_combination_of_options_adds_up(name, seed):
    found = plan(name, **random_options(name, seed))
    parts = steps(found.tree, found.in_channels, found.image, found.image)
    assert parts[-1][0] == "head"
    if found.classes:
        assert parts[-1][1] == (found.classes, 1, 1)
    shapes = state_shapes(found.tree, found.in_channels, found.image)
    names = [name for _, _, inside in parts for step in inside for name, _, _ in tensors(step)]
    assert sorted(names) == sorted(shapes), "no two tensors share a name"
    numbers = found.numbers()
    assert numbers["total"] == sum(_size(shape) for shape in shapes.values())


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
