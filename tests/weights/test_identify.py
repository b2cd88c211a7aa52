"""Whose file, of which network: told from names and shapes."""

from __future__ import annotations

from functools import cache

import pytest

from inceptory.errors import DataError, UnknownName
from inceptory.nets.catalogue import plan
from inceptory.weights.identify import identify, shapes_of
from inceptory.weights.origins.registry import ORIGINS, Origin
from inceptory.weights.rules import names_there


@cache
def theirs(origin: Origin, classes: int | None = None, aux: bool = False) -> dict[str, tuple[int, ...]]:
    """What a file of that origin holds, as our tables have it."""
    found = plan(origin.architecture, dialect=origin.dialect, classes=classes, aux=aux)
    shapes = shapes_of(found)
    names = names_there(origin.table, shapes)
    return {str(there): shapes[ours] for ours, there in names.items()}


def kept(origin: Origin) -> int:
    return origin.classes - origin.background


BY_ID = {f"{origin.name} {origin.architecture}": origin for origin in ORIGINS}


@pytest.mark.parametrize("key", BY_ID)
def test_every_tensor_has_a_name_there_and_no_two_share_one(key):
    origin = BY_ID[key]
    found = plan(origin.architecture, dialect=origin.dialect, classes=kept(origin), aux=bool(origin.aux))
    names = names_there(origin.table, shapes_of(found))
    assert None not in names.values(), [ours for ours, there in names.items() if there is None][:3]
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("key", BY_ID)
def test_a_file_is_recognised_without_being_told(key):
    origin = BY_ID[key]
    identity = identify("a", theirs(origin, kept(origin)))
    # Where several share all names and shapes, the number of classes decides, then the place in the list.
    same = [o for o in ORIGINS if theirs(o, 7) == theirs(origin, 7)]
    assert identity.origin == next((o for o in same if o.classes == kept(origin)), same[0])
    assert identity.plan.classes == kept(origin)
    assert identity.match.complete


@pytest.mark.parametrize("architecture", ["inception_v4", "inception_resnet_v2"])
def test_a_background_class_is_seen_by_the_number_of_classes(architecture):
    origin = BY_ID[f"cadene {architecture}"]
    identity = identify("a", theirs(origin, 1001))
    assert identity.background
    assert identity.plan.classes == 1000
    assert identity.origin.name == "cadene"
    assert not identify("a", theirs(origin, 1000)).background


def test_fid_is_told_from_torchvision_by_its_classes():
    identity = identify("a", theirs(BY_ID["fid inception_v3"], 1008))
    assert (identity.origin.name, identity.plan.dialect) == ("fid", "fid")
    assert identity.decided == "by its 1008 classes"
    assert identify("a", theirs(BY_ID["torchvision inception_v3"], 1000)).plan.dialect == "torchvision"


def test_auxiliary_heads_are_seen():
    origin = BY_ID["torchvision inception_v3"]
    assert identify("a", theirs(origin, 1000, aux=True)).plan.aux
    assert not identify("a", theirs(origin, 1000)).plan.aux


def test_a_dialect_may_be_asked_for():
    identity = identify("a", theirs(BY_ID["torchvision inception_v3"], 5), dialect="fid")
    assert identity.plan.dialect == "fid"
    assert identity.decided == "as asked for"


def test_counters_of_batches_are_dropped_and_named():
    entries = {**theirs(BY_ID["timm inception_v4"], 1000), "features.0.bn.num_batches_tracked": ()}
    assert identify("a", entries).match.dropped == ("features.0.bn.num_batches_tracked",)


def test_norms_stored_as_rows_fit():
    entries = theirs(BY_ID["cadene bn_inception"], 1000)
    rows = {name: (1, *shape) if len(shape) == 1 and "_bn." in name else shape for name, shape in entries.items()}
    assert identify("a", rows).plan.architecture == "bn_inception"


def without_head(origin: Origin) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in theirs(origin, 1000).items() if not name.startswith("fc.")}


def test_a_head_of_ones_own_is_the_classifier_where_it_is_one_linear_layer():
    entries = {**without_head(BY_ID["torchvision inception_v3"]), "fc.1.weight": (5, 2048), "fc.1.bias": (5,)}
    identity = identify("a", entries)
    assert identity.plan.classes == 5
    assert identity.match.pairs["head.classifier.weight"] == "fc.1.weight"
    assert identity.head == ()


def test_a_larger_head_of_ones_own_is_reported_and_the_backbone_kept():
    own = {"fc.0.weight": (64, 2048), "fc.0.bias": (64,), "fc.2.weight": (5, 64), "fc.2.bias": (5,)}
    identity = identify("a", {**without_head(BY_ID["torchvision inception_v3"]), **own})
    assert identity.plan.classes == 0
    assert set(identity.head) == set(own)


def test_a_backbone_alone_is_an_embedding():
    identity = identify("a", without_head(BY_ID["torchvision inception_v3"]))
    assert identity.plan.classes == 0
    assert identity.head == ()


def test_what_is_missing_and_what_is_too_much_is_listed_with_the_nearest_network():
    entries = theirs(BY_ID["timm inception_v4"], 1000)
    entries.pop("features.7.branch0.conv.weight")
    entries["strange.weight"] = (3, 3, 1, 1)
    with pytest.raises(DataError) as caught:
        identify("w.pth", entries)
    told = str(caught.value)
    assert told.startswith("w.pth: looks like inception_v4 of timm")
    assert "1 missing: Mixed_5c.branch0.0.conv.weight" in told
    assert "1 surplus: strange.weight" in told


def test_a_tensor_of_another_shape_is_named():
    entries = theirs(BY_ID["timm inception_v4"], 1000)
    entries["features.0.conv.weight"] = (32, 3, 5, 5)
    with pytest.raises(DataError, match=r"1 of another shape: Conv2d_1a_3x3.conv.weight"):
        identify("w.pth", entries)


def test_a_background_class_under_names_of_timm_is_seen_too():
    identity = identify("a", theirs(BY_ID["timm inception_resnet_v2"], 1001))
    assert (identity.origin.name, identity.plan.classes, identity.background) == ("timm", 1000, True)
    identity = identify("a", theirs(BY_ID["torchvision inception_v3"], 1001))
    assert (identity.origin.name, identity.plan.classes, identity.background) == ("timm", 1000, True)
    assert not identify("a", theirs(BY_ID["torchvision googlenet"], 1001)).background


WRAPPED = ("module.", "model.", "_orig_mod.", "timm_model.", "backbone.", "net.encoder.", "module._orig_mod.a.b.")


@pytest.mark.parametrize("key", ["torchvision inception_v3", "timm xception41", "cadene bn_inception", "timm xception"])
@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_file_of_a_wrapped_network_is_read_as_without_it(key, prefix):
    entries = {f"{prefix}{name}": shape for name, shape in theirs(BY_ID[key], 7).items()}
    identity = identify("a", {**entries, f"{prefix}x.num_batches_tracked": (), "n_averaged": ()})
    assert (identity.origin.name, identity.plan.classes) == (BY_ID[key].name, 7)
    assert set(identity.match.pairs.values()) == entries.keys()
    assert identity.remarks == (f"its names begin with {prefix}",)


def test_a_head_beside_a_wrapped_backbone_is_the_classifier():
    entries = {f"backbone.{name}": shape for name, shape in without_head(BY_ID["torchvision inception_v3"]).items()}
    identity = identify("a", {**entries, "head.fc.weight": (5, 2048), "head.fc.bias": (5,)})
    assert identity.plan.classes == 5
    assert identity.match.pairs["head.classifier.weight"] == "head.fc.weight"


def test_two_networks_side_by_side_are_refused_by_name():
    entries = theirs(BY_ID["timm xception41"], 7)
    both = {f"{who}.{name}": shape for who in ("student", "teacher") for name, shape in entries.items()}
    with pytest.raises(
        DataError, match=r"holds several networks, whose names begin with student\., teacher\. \(save one"
    ):
        identify("a", both)


@pytest.mark.parametrize("key", ["torchvision inception_v3", "torchvision googlenet"])
def test_an_auxiliary_head_that_kept_its_classes_is_left_out_and_said(key):
    entries = theirs(BY_ID[key], 1000, aux=True)
    own = {**entries, "fc.weight": (5, entries["fc.weight"][1]), "fc.bias": (5,)}
    identity = identify("a", own)
    assert (identity.plan.classes, identity.plan.aux) == (5, False)
    assert identity.remarks == ("its auxiliary heads, for 1000 classes, are left out",)
    assert set(identity.match.dropped) == entries.keys() - theirs(BY_ID[key], 1000).keys()
    # A head of several layers takes the classifier's name away.
    larger = {"fc.1.weight": (5, entries["fc.weight"][1]), "fc.1.bias": (5,)}
    kept = {name: shape for name, shape in entries.items() if not name.startswith("fc.")}
    assert identify("a", {**kept, **larger}).plan.classes == 5


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
@pytest.mark.parametrize("key", ["torchvision inception_v3", "timm xception", "cadene bn_inception"])
def test_a_network_for_any_number_of_channels_is_read_and_its_preprocessing_called_unknown(key, channels):
    entries = dict(theirs(BY_ID[key], 7))
    first = next(iter(entries))
    entries[first] = (entries[first][0], channels, *entries[first][2:])
    identity = identify("a", entries)
    assert identity.plan.in_channels == channels
    assert "its preprocessing is not known" in identity.notes[0]
    assert (identity.preprocess is None) == (channels > 1)


@pytest.mark.parametrize("key", ["timm xception", "cadene xception"])
def test_pointwise_kernels_that_are_matrices_fit(key):
    entries = {name: shape[:2] if "pointwise" in name else shape for name, shape in theirs(BY_ID[key], 1000).items()}
    more = {"adjust_channel.0.weight": (512, 2048, 1, 1), "adjust_channel.1.bias": (512,)}
    identity = identify("a", {**entries, **more})
    assert identity.plan.architecture == "xception"
    assert set(identity.match.dropped) == more.keys()


def test_bn_inception_may_call_its_head_fc():
    renamed = {
        name.replace("last_linear", "fc"): shape for name, shape in theirs(BY_ID["cadene bn_inception"], 7).items()
    }
    identity = identify("a", renamed)
    assert identity.plan.classes == 7
    assert identity.match.pairs["head.classifier.weight"] == "fc.weight"


@pytest.mark.parametrize(("name", "dialect"), [("inception_resnet_v2", "timm"), ("inception_v3", "torchvision")])
@pytest.mark.slow
def test_what_keras_trains_without_gamma_is_filled_where_another_dialect_is_asked_for(name, dialect):
    entries = theirs(BY_ID[f"keras {name}"], 7)
    identity = identify("a", entries, dialect=dialect)
    gammas = [ours for ours in shapes_of(identity.plan) if ours.endswith(".bn.weight")]
    assert identity.plan.dialect == dialect
    assert identity.match.filled == dict.fromkeys(gammas, 1.0)
    assert gammas
    # A person's own model may have them; then they are read.
    more = {names_there(BY_ID[f"keras {name}"].table, shapes_of(identity.plan))[ours]: (1,) for ours in gammas}
    shapes = shapes_of(identity.plan)
    more = {there: shapes[ours] for there, ours in zip(more, gammas, strict=True)}
    assert not identify("a", {**entries, **more}, dialect=dialect).match.filled


def test_another_network_than_asked_for_is_refused():
    with pytest.raises(DataError, match="looks like inception_v4 of timm, not inception_v3"):
        identify("w.pth", theirs(BY_ID["timm inception_v4"], 1000), name="inception_v3")
    with pytest.raises(UnknownName, match="did you mean"):
        identify("w.pth", {}, name="inception_v33")


@pytest.mark.parametrize("entries", [{}, {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512)}])
def test_a_file_of_no_inception_is_called_that(entries):
    with pytest.raises(DataError, match="no network of the Inception family"):
        identify("w.pth", entries)


def test_style_gan_s_network_of_2015_has_no_gamma_and_its_last_pool():
    entries = theirs(BY_ID["stylegan inception_v3"], 1008)
    assert entries["layers.mixed_10.tower_1_mixed_conv_1.conv.weight"] == (384, 384, 3, 1)
    assert entries["layers.mixed.tower_1.conv_2.conv.weight"] == (96, 96, 3, 3)
    kept = {name: shape for name, shape in entries.items() if not name.endswith(".bn.weight")}
    identity = identify("a", kept)
    assert (identity.origin.name, identity.plan.dialect) == ("stylegan", "fid")
    assert len(identity.match.filled) == 94
