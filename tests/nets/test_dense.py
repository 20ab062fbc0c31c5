"""The fully convolutional form against the head on every window of the map."""

from collections import OrderedDict
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.base import stage_shapes
from medcnn.nets.dense import convolutionalise
from medcnn.nets.heads import DenseHead

# net, options, its own size, a larger one, step of its windows on the map, grid
Case = tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...], int, tuple[int, ...]]
CASES: dict[str, Case] = {
    "vgg11": ("vgg11", {}, (224, 224), (384, 384), 2, (6, 6)),
    "vgg11 at 64 px": ("vgg11", {"stem": "imagenet"}, (64, 64), (128, 100), 2, (3, 2)),
    "vgg at 28 px": ("vgg", {}, (28, 28), (40, 40), 1, (2, 2)),
    "alexnet": ("alexnet", {}, (224, 224), (300, 260), 2, (3, 2)),
    "alexnet, 4×9 cells": ("alexnet", {}, (159, 319), (200, 319), 2, (2, 1)),
    "zfnet": ("zfnet", {}, (224, 224), (260, 300), 2, (2, 3)),
    "lenet": ("lenet", {"width": 1.0}, (28, 28), (36, 33), 1, (5, 3)),
    "lenet, rectangle": ("lenet", {"width": 1.0}, (28, 36), (32, 40), 1, (3, 3)),
    "lenet_modern": ("lenet_modern", {"width": 1.0}, (28, 28), (36, 33), 2, (3, 2)),
    "resnet18": ("resnet18", {}, (224, 224), (384, 384), 1, (6, 6)),
    "resnet18, rectangle": ("resnet18", {}, (96, 160), (128, 224), 1, (2, 3)),
    "attention": ("resnet18", {"head": "attention"}, (96, 160), (128, 224), 1, (2, 3)),
    "lse": ("resnet18", {"head": "lse"}, (96, 160), (128, 224), 1, (2, 3)),
    "top": ("resnet18", {"head": "top"}, (96, 160), (128, 224), 1, (2, 3)),
    "googlenet": ("googlenet", {}, (28, 28), (40, 48), 1, (2, 3)),
    "lenet 3-D": ("lenet", {"width": 1.0}, (28, 28, 28), (30, 33, 28), 1, (2, 3, 1)),
    "vgg 3-D": ("vgg", {"stem": "imagenet"}, (32, 32, 32), (64, 48, 32), 2, (2, 1, 1)),
    "resnet18 3-D": ("resnet18", {}, (16, 16, 16), (24, 32, 16), 1, (2, 3, 1)),
    "attention 3-D": ("resnet18", {"head": "attention"}, (16, 24, 16), (24, 24, 32), 1, (2, 1, 3)),
}


def make(name: str, size: tuple[int, ...] | None, dims: int = 2, **options: Any) -> nets.Net:
    torch.manual_seed(0)
    given = {"width": 0.1, "spatial_dims": dims} | options
    return nets.build(name, in_channels=1, num_classes=3, input_size=size, **given).eval()


def images(*size: int) -> Tensor:
    """Two images (2, 1, *size), different from place to place."""
    return 3 * torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1)) + 1


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_cell_is_the_head_on_its_window(case: str) -> None:
    name, options, size, larger, step, grid = CASES[case]
    net = make(name, size, len(size), **options)
    dense = convolutionalise(net)
    logits = dense(images(*size))
    assert logits.shape == (2, 3, *[1] * len(size))
    torch.testing.assert_close(logits.flatten(1), net(images(*size)), atol=1e-4, rtol=1e-4)
    *_, (_, *window) = stage_shapes(net, size).values()
    scores, maps = dense(images(*larger)), net.features(images(*larger))
    assert scores.shape == (2, 3, *grid)
    for cell in product(*map(range, grid)):
        part = maps
        for axis, (place, side) in enumerate(zip(cell, window, strict=True), start=2):
            part = part.narrow(axis, step * place, side)
        here = scores[(..., *cell)]
        torch.testing.assert_close(here, net.head(part), atol=1e-4, rtol=1e-4)
    if scores[0, 0].numel() > 1:
        assert scores.flatten(2).std(2).max() > 1e-3, "cells that differ"


@torch.no_grad()
def test_one_unpadded_convolution_is_a_score_of_every_crop() -> None:
    torch.manual_seed(0)
    net = nets.Net(
        "plain",
        nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 4, 3), relu=nn.ReLU())),
        nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc=nn.Linear(4 * 6 * 8, 3))),
        nets.Problem(in_channels=1, num_classes=3),
    ).eval()
    x = images(11, 12)
    scores = convolutionalise(net, (8, 10))(x)
    assert scores.shape == (2, 3, 4, 3)
    for i, j in product(range(4), range(3)):
        crop = x[:, :, i : i + 8, j : j + 10]
        torch.testing.assert_close(scores[:, :, i, j], net(crop), atol=1e-4, rtol=1e-4)
    fc = net.get_submodule("head.fc")
    weight, bias = fc.get_parameter("weight"), fc.get_parameter("bias")
    expected = F.conv2d(net.features(x), weight.view(3, 4, 6, 8), bias)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def pointers(net: nn.Module) -> dict[str, int]:
    """Where each tensor of a head lies in memory."""
    return {name: p.data_ptr() for name, p in net.get_submodule("head").named_parameters()}


def test_shares_its_weights() -> None:
    for name, size in (("vgg11", (224, 224)), ("alexnet", (224, 224)), ("lenet_modern", (28, 28))):
        net = make(name, size)
        dense = convolutionalise(net)
        assert dense.features is net.features
        assert pointers(dense) == pointers(net), name
        with torch.no_grad():  # so a change of one is a change of both
            net.get_parameter("head.fc1.weight").mul_(2)
            x = images(*size)
            torch.testing.assert_close(dense(x).flatten(1), net(x), atol=1e-4, rtol=1e-4)
    for head in ("gap", "lse", "attention", "top"):
        net = make("resnet18", (28, 28), head=head)
        assert [*pointers(convolutionalise(net)).values()] == [*pointers(net).values()]


def test_shares_all_but_the_layer_that_another_grid_changes() -> None:
    net = make("vgg11", (64, 64), stem="imagenet")
    ours, theirs = pointers(convolutionalise(net)), pointers(net)
    assert [name for name in ours if ours[name] != theirs[name]] == ["fc1.weight"]


def test_keeps_the_mode_of_every_part() -> None:
    for name in ("vgg", "googlenet"):
        net = make(name, (28, 28), dropout=0.5)
        x = images(36, 36)
        net.train()
        net.features.eval()  # as of frozen stages
        before = {key: m.training for key, m in net.named_modules()}
        dense = convolutionalise(net)
        assert dense.training
        assert not dense.features.training
        assert {key: m.training for key, m in net.named_modules()} == before
        assert not torch.equal(dense(x), dense(x)), "dropout"
        dense.eval()
        assert torch.equal(dense(x), dense(x))
        assert not any(m.training for m in convolutionalise(net.eval()).modules())


def test_dropout_comes_before_the_last_layers() -> None:
    net = make("vgg", (28, 28), dropout=0.5).train()
    net.features.eval()
    head = net.head
    assert isinstance(head, DenseHead)
    x = images(28, 28)
    torch.manual_seed(5)
    logits = net(x)
    torch.manual_seed(5)
    torch.testing.assert_close(convolutionalise(net)(x).flatten(1), logits, atol=1e-4, rtol=1e-4)


def test_its_description() -> None:
    dense = convolutionalise(make("resnet18", (96, 160)))
    assert dense.name == "resnet18, fully convolutional"
    assert (dense.in_channels, dense.num_classes, dense.spatial_dims) == (1, 3, 2)
    assert (dense.stem, dense.input_size, dense.min_size) == ("imagenet", (96, 160), 96)


def test_size_given_later() -> None:
    net = make("resnet18", None, stem="small")
    with pytest.raises(UserError, match=r"^convolutionalise\(resnet18\): give the input_size that"):
        convolutionalise(net)
    with torch.no_grad():
        assert convolutionalise(net, (28, 28))(images(36, 44)).shape == (2, 3, 2, 3)
        torch.testing.assert_close(
            convolutionalise(net, (28, 28))(images(28, 28)).flatten(1), net(images(28, 28))
        )
    with pytest.raises(UserError, match="needs images of at least 8 px, got 6×9"):
        convolutionalise(net, (6, 9))


def test_images_that_are_too_small_on_one_side() -> None:
    dense = convolutionalise(make("resnet18", (96, 160)))
    for size in ((95, 160), (128, 130)):
        with pytest.raises(UserError) as error:
            dense(images(*size))
        assert str(error.value) == (
            "resnet18, fully convolutional, was built for images of 96×160 px or larger, got "
            f"{size[0]}×{size[1]}"
        )
    with pytest.raises(UserError, match="got images of 3"):
        dense(torch.zeros(1, 3, 96, 160))


@pytest.mark.parametrize("name", ["mlp", "linear"])
def test_nets_without_a_map(name: str) -> None:
    net = nets.build(name, in_channels=1, num_classes=2, input_size=(8, 8))
    message = f"^{name} has no feature maps, so there is no map of its scores$"
    with pytest.raises(UserError, match=message):
        convolutionalise(net)
