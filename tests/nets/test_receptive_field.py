"""Receptive fields, against numbers by hand and against what gradients reach."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from medcnn import nets
from medcnn.nets.describe import build_on_meta
from medcnn.nets.receptive_field import (
    ReceptiveField,
    after,
    evaluating,
    receptive_field,
    stage_fields,
)

IMAGE = ReceptiveField()
LARGE = (3, 224, 224)


# AlexNet and VGG16: 195 and 212 of Araujo et al. 2019, less the last pooling, which is in the head
# here; the others by hand, stage by stage
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "size", "stride"),
    [
        ("alexnet", 195 - 2 * 16, 16),
        ("alexnet_2012", 195 - 2 * 16, 16),
        ("zfnet", 7 + 2 * 2 + 4 * 4 + 2 * 8 + 3 * 2 * 16, 16),
        ("vgg16", 212 - 16, 16),
        ("vgg16_bn", 212 - 16, 16),
        ("googlenet", 11 + 8 + 8 + 2 * 16 + 16 + 5 * 32 + 16 + 2 * 64, 32),
        ("resnet18", 11 + 4 * 8 + (8 + 3 * 16) + (16 + 3 * 32) + (32 + 3 * 64), 32),
        ("resnet34", 11 + 6 * 8 + (8 + 7 * 16) + (16 + 11 * 32) + (32 + 5 * 64), 32),
        ("resnet50", 11 + 3 * 8 + (8 + 3 * 16) + (16 + 5 * 32) + (32 + 2 * 64), 32),
        ("densenet121", 11 + 6 * 8 + 4 + 12 * 16 + 8 + 24 * 32 + 16 + 16 * 64, 32),
    ],
)
def test_known_fields(name: str, size: int, stride: int) -> None:
    field = receptive_field(build_on_meta(name, LARGE, 1000))
    assert field is not None
    assert (field.size, field.stride) == (size, stride)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "googlenet", "densenet121", "vgg11"])
def test_same_as_torchvision(name: str) -> None:
    """Their code is traced, not ours."""
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        parts = dict(models.get_model(name, weights=None, **options).named_children())
    for head in ("avgpool", "fc", "classifier", "dropout", "aux1", "aux2"):
        parts.pop(head, None)
    theirs = after(nn.Sequential(*parts.values()).eval(), IMAGE)
    ours = receptive_field(build_on_meta(name, LARGE, 1000))
    assert ours is not None
    pool = (2, 2, 0, 1) if name == "vgg11" else (1, 1, 0, 1)  # vgg: the last one is in our head
    assert theirs == ours.through(*pool)


def positive(module: nn.Module) -> nn.Module:
    """A module in which nothing cancels, and each pixel of a window counts."""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.MaxPool2d):
            mean = nn.AvgPool2d(part.kernel_size, part.stride, part.padding, part.ceil_mode)
            setattr(module, name, mean)
        positive(part)
    if isinstance(module, nn.Conv2d):
        nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    return module.eval().double()


def reached(module: nn.Module, size: int) -> tuple[int, int, int, int]:
    """The cell in the middle of the map, the first pixel that its gradient reaches, how many it
    reaches, and how many cells the map has, all along the height.
    """
    x = torch.full((1, 1, size, size), 0.1, dtype=torch.float64, requires_grad=True)
    maps: Tensor = module(x)
    middle = maps.shape[2] // 2
    (grad,) = torch.autograd.grad(maps[0, :, middle, middle].sum(), x)
    rows = grad[0, 0].any(1).nonzero().flatten()
    return middle, int(rows[0]), int(rows[-1] - rows[0]) + 1, maps.shape[2]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("lenet", 64, {}),
        ("lenet_modern", 64, {}),
        ("alexnet", 336, {}),
        ("alexnet_2012", 336, {}),
        ("alexnet", 100, {"stem": "small"}),
        ("zfnet", 304, {}),
        ("vgg11", 288, {}),
        ("resnet18", 256, {"stem": "small"}),
        ("resnet50", 256, {"stem": "small"}),
        ("googlenet", 256, {"stem": "small"}),
    ],
)
def test_gradients_reach_it(name: str, size: int, options: dict[str, Any]) -> None:
    net = nets.build(name, in_channels=1, num_classes=2, width=0.05, **options)
    field = receptive_field(net)
    assert field is not None
    middle, first, count, cells = reached(positive(net.features), size)
    assert count == field.size < size, "not cut off by the border"
    assert first == field.start + middle * field.stride
    assert abs(size / cells - field.stride) < 2


def test_each_stage() -> None:
    net = nets.build("resnet18", in_channels=1, num_classes=2, stem="small", width=0.1)
    fields = stage_fields(net)
    assert {name: field and field.size for name, field in fields.items()} == {
        "stem": 3,
        "layer1": 11,
        "layer2": 25,
        "layer3": 53,
        "layer4": 109,
    }
    assert fields["layer4"] == receptive_field(net)
    positive(net.features)
    for i, field in enumerate(fields.values(), start=1):
        assert field is not None
        _, _, count, _ = reached(net.features[:i], 256)
        assert count == field.size


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["lenet", "vgg11", "googlenet", "resnet18", "densenet121"])
def test_volumes_are_as_images(name: str) -> None:
    volume = receptive_field(build_on_meta(name, (1, 64, 64, 64), 2))
    assert volume == receptive_field(build_on_meta(name, (1, 64, 64), 2))


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_nets_without_a_map(name: str) -> None:
    net = build_on_meta(name, (1, 28, 28), 2)
    assert receptive_field(net) is None
    assert set(stage_fields(net).values()) == {None}


def test_googlenet_that_changes_its_input() -> None:
    net = build_on_meta("googlenet", LARGE, 2, transform_input=True)
    assert receptive_field(net) == receptive_field(build_on_meta("googlenet", LARGE, 2))


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_leaves_the_net_alone(drop: float) -> None:
    net = nets.build("resnet18", in_channels=1, num_classes=2, width=0.1, stochastic_depth=drop)
    net.features.stem.eval()
    assert receptive_field(net) == receptive_field(build_on_meta("resnet18", (1, 224, 224), 2))
    assert net.features.layer1.training
    assert net.training
    assert not net.features.stem.training


def test_modes_come_back_after_an_error() -> None:
    module = nn.Sequential(nn.ReLU(), nn.Dropout().eval())

    def fail() -> None:
        with evaluating(module):
            assert not module.training
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [part.training for part in module.modules()] == [True, True, False]


class Scaled(nn.Module):
    """Functions, methods and a weight of its own; only the convolutions count."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1))
        self.wide = nn.Conv2d(1, 1, 3, dilation=2, padding=2)
        self.narrow = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.exp(self.scale.view(1, 1, 1, 1))
        out: Tensor = torch.relu(self.narrow(x) * scale).add(self.wide(x))
        return out


def test_dilation_and_functions() -> None:
    assert after(Scaled(), IMAGE) == ReceptiveField(5, 1, start=-2)


def test_merging_takes_in_both_ends() -> None:
    one, other = ReceptiveField(3, 2, start=-1), ReceptiveField(3, 2, start=1)
    assert one.merged(other) == other.merged(one) == ReceptiveField(5, 2, start=-1)


class OfItsOwn(nn.Conv2d):
    """A subclass whose forward can't be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


def test_subclasses_count_as_their_layer() -> None:
    assert after(OfItsOwn(1, 1, 5, stride=2), IMAGE) == ReceptiveField(5, 2)


class Calls(nn.Module):
    """A module that does one thing."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Any:
        return self.call(x)


@pytest.mark.parametrize(
    "module",
    [
        nn.Flatten(),
        nn.Linear(4, 4),
        nn.AdaptiveAvgPool2d(4),
        nn.Upsample(scale_factor=2),
        nn.GroupNorm(1, 1),
        nn.Conv2d(1, 1, (1, 3)),
        nn.Conv2d(1, 1, 3, padding="same"),
        Calls(torch.fft.fft2),
        Calls(lambda x: x.flip(2)),
        Calls(lambda x: x if x.sum() > 0 else -x),  # control flow
        Calls(lambda x: x.reshape([1] * x.ndim)),
        Calls(lambda x: 1.0),
        Calls(lambda x: x + nn.functional.relu(x[:, :, ::2])),
    ],
    ids=str,
)
def test_unknown_rather_than_wrong(module: nn.Module) -> None:
    assert after(module, IMAGE) is None


def test_maps_of_different_size_have_no_sum() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.pool(x)

    assert after(Wrong(), IMAGE) is None
