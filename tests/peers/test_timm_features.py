"""What our networks say of their maps, in timm's terms, is what timm says of its own."""

from __future__ import annotations

import pytest

import inceptory
from inceptory.nets.network import empty

timm = pytest.importorskip("timm")

SAME = {
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2",
    "legacy_xception": "xception",
}
INNER = {"xception41": "xception41", "xception65": "xception65", "xception71": "xception71"}
"""timm takes maps inside their strided blocks, whose channels may be others than those of a whole block."""


@pytest.mark.parametrize(("theirs", "ours"), (SAME | INNER).items())
def test_maps_and_embedding_have_the_channels_and_reductions_of_timm(theirs: str, ours: str):
    module, net = timm.create_model(theirs), empty(inceptory.plan(ours))
    assert net.num_features == module.num_features
    levels = [(level["num_chs"], level["reduction"]) for level in net.feature_info]
    expected = [(level["num_chs"], level["reduction"]) for level in module.feature_info]
    assert [reduction for _, reduction in levels] == [reduction for _, reduction in expected]
    if theirs == "inception_v4":
        # timm takes Mixed_3a, before the last map of that resolution, Mixed_4a.
        assert (levels.pop(1), expected.pop(1)) == ((192, 4), (160, 4))
    if theirs in SAME:
        assert levels == expected
    if theirs == "inception_v3":
        assert [level["module"] for level in net.feature_info] == [level["module"] for level in module.feature_info]
