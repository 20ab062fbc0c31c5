"""ResNet's strides: how fine its map is."""

from typing import Any

import pytest
import torch
from torch import nn

from medcnn import nets
from medcnn.errors import UserError


def make(**options: Any) -> nets.Net:
    torch.manual_seed(0)
    return nets.build("resnet18", in_channels=1, num_classes=2, width=0.1, **options).eval()


@pytest.mark.parametrize(
    ("strides", "side"),
    [((1, 2, 2, 2), 4), ((1, 2, 2, 1), 8), ((1, 2, 1, 1), 16), ((1, 1, 1, 1), 32), ((2,) * 4, 2)],
)
def test_each_stride_of_two_halves_the_map(strides: tuple[int, ...], side: int) -> None:
    net = make(strides=strides, stem="imagenet")
    assert net.features(torch.zeros(1, 1, 128, 128)).shape[2:] == (side, side)
    volume = make(strides=strides, stem="imagenet", spatial_dims=3)
    assert volume.features(torch.zeros(1, 1, 64, 32, 32)).shape[2] == side // 2


def test_published_strides_are_the_default() -> None:
    x = torch.rand(2, 1, 64, 64)
    assert torch.equal(make(stem="imagenet")(x), make(stem="imagenet", strides=[1, 2, 2, 2])(x))


def test_finer_maps_have_the_same_weights_but_for_shortcuts() -> None:
    shapes = [
        {name: p.shape for name, p in make(strides=strides).named_parameters()}
        for strides in ((1, 2, 2, 2), (1, 2, 1, 1))
    ]
    assert shapes[0] == shapes[1]


def test_bottlenecks_have_them_too() -> None:
    net = nets.build(
        "resnet50", in_channels=1, num_classes=2, width=0.1, strides=(1, 2, 2, 1), stem="imagenet"
    )
    strided = [
        name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)
    ]
    assert [name.split(".")[1] for name in strided] == ["stem", *["layer2"] * 2, *["layer3"] * 2]


@pytest.mark.parametrize("strides", [[1, 2, 2], [1, 2, 3, 1], 2, [1, 2, 2, "two"], [0, 2, 2, 2]])
def test_other_strides(strides: object) -> None:
    with pytest.raises(UserError, match=r"^model\.strides=.*: give four numbers, each 1 or 2$"):
        make(strides=strides)
