"""The contract of every network as a torch module."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import logistic

import inceptory
from inceptory.errors import UnknownName, UsageError
from inceptory.nets.arithmetic import minimum_image, output_size, state_shapes, steps
from inceptory.nets.blocks import Act, Defaults, Head, Stage, Tree
from inceptory.nets.catalogue import catalogue, plan
from inceptory.nets.layers import build
from inceptory.nets.network import Network, create, empty, initialise
from inceptory.nets.notation import chain, conv
from inceptory.nets.transform import inherit
from tests.nets.test_trees import EVERY, HAVING_AUX, random_options


def small(name: str, **options: object) -> Network:
    """A network at quarter width that tells pictures apart before training."""
    torch.manual_seed(0)
    net = create(name, width=0.25, **options)
    for key, parameter in net.named_parameters():
        # Some origins start so small that signals die without training; the contract is not about that.
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
        # Nor about the few squeezed values of a thin network, which a ReLU may kill at random: of two
        # opposite rows one is always alive.
        if key.endswith("se.reduce.weight"):
            parameter.data[1] = -parameter.data[0]
    return net


def picture(net: Network, count: int = 2, extra: int = 24) -> torch.Tensor:
    size = net.minimum + extra
    return torch.randn(count, net.plan.in_channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "dialect"), EVERY)
def test_the_running_module_has_the_shapes_of_the_arithmetic(name, dialect):
    """Of no pictures torch runs every operator on shapes alone, a third as long as on the meta device."""
    found = plan(name, dialect=dialect, aux=catalogue()[name].aux and plan(name, dialect=dialect).classes > 0)
    net = empty(found).to_empty(device="cpu").eval()
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == state_shapes(
        found.tree, 3, found.image
    )
    minimum = minimum_image(found.tree, 3)
    for size in (found.image, minimum, found.image + 7, minimum + 12):
        with torch.inference_mode():
            maps = net.features(torch.empty(0, 3, size, size))
        for stage, shape, _ in steps(found.tree, 3, size, size):
            if stage in maps:
                assert tuple(maps[stage].shape) == (0, *shape), (stage, size)


@pytest.mark.parametrize("name", catalogue())
def test_real_values_flow_at_the_minimum_and_at_two_odd_unequal_sizes(name):
    net = small(name, classes=5).eval()
    low = net.minimum
    for height, width in ((low, low), (low + 3, low + 8), (low + 21, low + 10)):
        with torch.inference_mode():
            logits = net(torch.randn(2, 3, height, width))
        assert logits.shape == (2, 5)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", catalogue())
def test_every_parameter_receives_a_gradient(name):
    net = small(name, classes=5, se=True, aux=catalogue()[name].aux).eval()
    heads = net.heads(picture(net, count=3))
    torch.stack([(logits**2).mean() for logits in heads.values()]).sum().backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", catalogue())
def test_a_row_of_a_batch_equals_the_picture_alone(name):
    net = small(name, classes=5).eval()
    images = picture(net, count=3)
    with torch.inference_mode():
        together, alone = net(images), torch.cat([net(image[None]) for image in images])
    assert (together - alone).abs().max() <= 1e-5 * together.abs().max()
    assert (together[0] - together[1]).abs().max() > 1e-3 * together.abs().max(), "pictures must differ"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", catalogue())
def test_any_combination_of_options_builds_and_runs(name, seed):
    options = random_options(name, seed)
    net = empty(plan(name, **options)).eval()
    image = torch.empty(2, net.plan.in_channels, net.plan.image, net.plan.image, device="meta")
    heads = net.heads(image)
    assert all(logits.shape[0] == 2 for logits in heads.values())
    if net.plan.classes:
        assert {logits.shape[1] for logits in heads.values()} == {net.plan.classes}
    else:
        assert heads["logits"].shape == net.embed(image).shape


@pytest.mark.parametrize("name", HAVING_AUX)
def test_auxiliary_heads_are_asked_for_by_name_and_never_change_the_answer(name):
    net = small(name, classes=5, aux=True)
    images = picture(net)
    net.eval()
    with torch.inference_mode():
        heads = net.heads(images)
        assert torch.equal(heads["logits"], net(images))
    assert set(heads) == {"logits", *(aux.name for aux in net.plan.tree.aux)}
    assert isinstance(net.train()(images), torch.Tensor), "the type is the same in training"


def test_features_are_named_maps_and_stop_at_the_last_one_asked_for():
    net = small("inception_v3").eval()
    images = picture(net)
    called = []
    net.Mixed_7a.register_forward_hook(lambda *_: called.append("Mixed_7a"))
    maps = net.features(images, "Mixed_6e", "Conv2d_1a_3x3")
    assert list(maps) == ["Conv2d_1a_3x3", "Mixed_6e"]
    assert not called
    assert list(net.features(images)) == list(net.stage_names)
    with pytest.raises(UnknownName, match="did you mean 'Mixed_6e'"):
        net.features(images, "Mixed_6z")


def test_maps_asked_for_are_not_overwritten_by_later_stages():
    net = small("xception").eval()
    images = picture(net)
    with torch.inference_mode():
        alone = net.features(images, "block2")["block2"].clone()
        among_all = net.features(images)["block2"]
    assert torch.equal(alone, among_all)


def test_without_classes_a_network_gives_its_embedding():
    net = small("inception_v3", classes=0).eval()
    images = picture(net)
    with torch.inference_mode():
        assert torch.equal(net(images), net.embed(images))
        pooled = net.features(images, "Mixed_7c")["Mixed_7c"].mean((2, 3))
    assert torch.allclose(net(images), pooled)


def test_facenets_embedding_has_512_values_and_length_one():
    net = small("inception_resnet_v1", dialect="facenet").eval()
    with torch.inference_mode():
        vectors = net(picture(net))
    assert vectors.shape == (2, 512)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2))


def test_facenets_logits_take_the_vector_before_it_is_scaled():
    net = small("inception_resnet_v1", dialect="facenet", classes=4).eval()
    images = picture(net)
    with torch.inference_mode():
        scaled = net.head.classifier(net.embed(images))
        assert not torch.allclose(net(images), scaled)


@pytest.mark.parametrize(("name", "aux"), [("googlenet", True), ("inception_v3", True), ("cifar_inception_v1", False)])
@pytest.mark.slow
def test_the_classifier_can_be_replaced_and_all_else_stays(name, aux):
    net = small(name, classes=5, aux=aux).eval()
    images = picture(net)
    before = {key: value.clone() for key, value in net.state_dict().items() if "classifier" not in key}
    embedding = net.embed(images)
    net.reset_classifier(7)
    assert net.plan.classes == 7
    assert {logits.shape[1] for logits in net.heads(images).values()} == {7}
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())
    assert torch.equal(embedding, net.embed(images))
    net.reset_classifier(0)
    assert torch.equal(net(images), net.embed(images))
    assert set(net.heads(images)) == {"logits"}


FORMULAS = {"relu": lambda x: x.clip(0), "silu": lambda x: x * logistic.cdf(x)}


@pytest.mark.parametrize("kind", FORMULAS)
def test_convolutions_and_activations_of_their_own_have_that_of_the_dialect(kind):
    body = chain(conv(4, 1, act=False), conv(4, 1), Act())
    tree = inherit(Tree((Stage("body", (4, 5), body),), Head(None)), Defaults(norm=False, activation=kind))
    module = initialise(build(tree.stages[0].body, (3, 5, 5)))
    linear, active, alone = module.children()
    x = torch.randn(2, 3, 5, 5)
    with torch.inference_mode():
        first = linear(x)
        second = active(first)
        kernel = active.conv.weight[:, :, 0, 0]
        assert first.min() < 0, "without an activation"
        expected = FORMULAS[kind](torch.einsum("oi,nihw->nohw", kernel, first).double().numpy())
        np.testing.assert_allclose(second, expected, atol=1e-6)
        np.testing.assert_allclose(alone(first), FORMULAS[kind](first.double().numpy()), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 74, 74), (1, 1, 99, 99), (3, 99, 99)])
def test_an_input_that_cannot_be_is_refused_with_what_is_expected(shape):
    net = empty(plan("inception_v3")).eval()
    with pytest.raises(UsageError, match="minimum 75" if shape[-1] == 74 else "expected"):
        net(torch.empty(shape, device="meta"))


def test_training_changes_statistics_and_evaluation_does_not():
    net = small("cifar_inception_v3", classes=5)
    images = picture(net, count=4)
    before = net.Conv2d_1a_3x3.bn.running_mean.clone()
    net.eval()(images)
    assert torch.equal(before, net.Conv2d_1a_3x3.bn.running_mean)
    net.train()(images)
    assert not torch.equal(before, net.Conv2d_1a_3x3.bn.running_mean)


def test_the_same_seed_builds_the_same_network():
    nets = []
    for _ in range(2):
        torch.manual_seed(7)
        nets.append(inceptory.create("cifar_inception_v3", width=0.25).state_dict())
    assert all(torch.equal(value, nets[1][key]) for key, value in nets[0].items())


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_windows_that_round_up_are_those_of_pytorch(kernel, stride):
    """Caffe's rule, which PyTorch shares: the last window starts inside the map."""
    for size in range(kernel, 20):
        cells = torch.nn.functional.max_pool2d(torch.zeros(1, 1, size, size), kernel, stride, ceil_mode=True).shape[2]
        assert output_size(size, kernel, stride, "ceil") == cells
