"""Parameters and operations, against the numbers that others publish."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.describe import build_on_meta, count_macs, count_parameters, facts
from medcnn.nets.variants import VARIANTS, pretrained_file

LARGE = (3, 224, 224)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", [name for name in VARIANTS if pretrained_file(name)])
def test_numbers_that_torchvision_publishes(name: str) -> None:
    theirs = get_model_weights(name)["IMAGENET1K_V1"].meta
    net = build_on_meta(name, LARGE, 1000)
    assert count_parameters(net) == theirs["num_params"]
    assert count_macs(net, LARGE) / 1e9 == pytest.approx(theirs["_ops"], abs=0.0015)


@pytest.mark.parametrize(
    ("name", "parameters", "mega_macs"),
    [
        ("alexnet_2012", 60_965_224, 724),  # Caffe's bvlc_alexnet
        ("resnet18", 11_689_512, 1814),
        ("vgg16", 138_357_544, 15_470),
    ],
)
def test_numbers_that_are_well_known(name: str, parameters: int, mega_macs: int) -> None:
    net = build_on_meta(name, LARGE, 1000)
    assert count_parameters(net) == parameters
    assert round(count_macs(net, LARGE) / 1e6) == mega_macs


def test_macs_by_hand() -> None:
    net = nets.build("lenet", in_channels=1, num_classes=10)
    convolutions = 6 * 28 * 28 * 25 + 16 * 10 * 10 * 6 * 25
    assert count_macs(net, (1, 28, 28)) == convolutions + 400 * 120 + 120 * 84 + 84 * 10
    volume = nets.build("lenet", in_channels=2, num_classes=3, spatial_dims=3, head="gap")
    convolutions = 6 * 20**3 * 2 * 125 + 16 * 6**3 * 6 * 125
    assert count_macs(volume, (2, 20, 20, 20)) == convolutions + 16 * 3


def test_macs_leave_the_net_alone() -> None:
    net = nets.build("resnet18", in_channels=1, num_classes=2, width=0.1)
    net.features.stem.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    count_macs(net, (1, 64, 64))
    assert net.training
    assert net.features.layer1.training
    assert not net.features.stem.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_macs_of_wrong_images() -> None:
    net = build_on_meta("lenet", (1, 28, 28), 2)
    with pytest.raises(UserError, match="built for 1 channel"):
        count_macs(net, (3, 28, 28))


def test_frozen_parameters_count() -> None:
    assert count_parameters(nn.Linear(3, 2).requires_grad_(False)) == 8


def test_on_meta_nothing_is_held() -> None:
    net = build_on_meta("vgg19", (1, 64, 64, 64), 2, head="gap")
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert (net.spatial_dims, net.in_channels, net.training) == (3, 1, False)


def test_facts() -> None:
    net = facts("resnet18")
    assert (net.name, net.shape, net.min_sizes) == ("resnet18", (3, 224, 224), (8, 32))
    assert (net.parameters, net.macs // 10**6) == (11_689_512, 1814)
    assert net.field is not None
    assert (net.field.size, net.field.stride) == (435, 32)


def test_facts_of_nets_for_digits() -> None:
    net = facts("linear")
    assert (net.parameters, net.macs, net.shape) == (7850, 7840, (1, 28, 28))
    assert (net.field, net.min_sizes) == (None, ())
    assert (facts("lenet").parameters, facts("lenet").min_sizes) == (61_706, (14,))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["lenet", "alexnet", "zfnet", "vgg11", "googlenet", "densenet121"])
def test_smallest_input_is_taken(name: str) -> None:
    for size, stem in zip(facts(name).min_sizes, ("small", "imagenet"), strict=False):
        options = {} if name == "lenet" else {"stem": stem}
        net = nets.build(name, in_channels=1, num_classes=2, width=0.1, **options).eval()
        with torch.inference_mode():
            assert net(torch.zeros(1, 1, size, size)).isfinite().all()
        with pytest.raises(UserError, match=f"at least {size} px"):
            net.check_size((size - 1, size))


def test_no_such_net() -> None:
    with pytest.raises(UserError, match="no such net"):
        facts("resnett")
