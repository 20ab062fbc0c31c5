"""Weights of others give their logits.

What torchvision and MONAI have under the same name is the independent source: same weights, same
logits, in evaluation and in training.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import jobs
import monai.networks.nets as monai_nets
import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn

from medcnn import nets
from medcnn.nets.pretrained.weights import rename

pytestmark = pytest.mark.no_cover  # for speed; the lines are covered by other tests
AnyNet = TypeVar("AnyNet", bound=nn.Module)
close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
SIDES = {  # px of the batch in training; in evaluation it is 224
    "alexnet": 96,
    "vgg11": 64,
    "vgg16": 64,
    "vgg16_bn": 96,
    "vgg19": 64,
    "googlenet": 224,
    "resnet18": 128,
    "resnet50": 96,
    "resnet152": 96,
    "densenet121": 96,
}
LARGE = ("vgg16", "vgg19", "resnet152")  # which differ from others of theirs in depth alone
OTHERS = [name for name in tv.list_models(tv) if re.match(r"(vgg|resnet|densenet)\d", name)]
OTHERS = [name for name in OTHERS if name not in (*SIDES, "densenet161")]

# prefixes of MONAI's names, and ours
MONAI_RESNET = {
    "conv1": "features.stem.conv",
    "bn1": "features.stem.norm",
    **{f"layer{i}": f"features.layer{i}" for i in range(1, 5)},
    "fc": "head.fc",
}
MONAI_DENSENET = {
    "features.conv0": "features.stem.conv",
    "features.norm0": "features.stem.norm",
    "features.norm5": "features.final.norm",
    "class_layers.out": "head.fc",
    **{
        f"features.denseblock{i}.denselayer{j}.layers": f"features.denseblock{i}.denselayer{j}"
        for i, count in enumerate((6, 12, 24, 16), start=1)
        for j in range(1, count + 1)
    },
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def undrawn(make: Any, **options: Any) -> nn.Module:
    """A net with memory for its weights and nothing written there."""
    with torch.device("meta"):
        net: nn.Module = make(**({"num_classes": 5} | options))
    return net.to_empty(device="cpu")


@torch.no_grad()
def drawn(net: AnyNet) -> AnyNet:
    """The net, in evaluation mode, with every tensor random, statistics of batch norms too."""
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound)
        elif name.endswith(("running_mean", "bias")):
            tensor.uniform_(-0.2, 0.2)
        elif name.endswith("num_batches_tracked"):
            tensor.zero_()
        elif ".bn2." in name or ".bn3." in name:  # of residuals, whose sums grow otherwise
            tensor.uniform_(0.2, 0.6)
        else:  # scales and variances of batch norms
            tensor.uniform_(0.5, 1.5)
    return net.eval()


def ours(name: str, **options: Any) -> nets.Net:
    net = undrawn(partial(nets.build, name), **({"in_channels": 3} | options)).eval()
    assert isinstance(net, nets.Net)
    return net


def torchvisions(name: str, **options: Any) -> nn.Module:
    if name == "googlenet":
        options |= {"init_weights": False}
    return undrawn(getattr(tv, name), **options).eval()


def without_dropout(*both: nn.Module) -> None:
    for net in both:
        net.train()
        for part in net.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0


def same_statistics(net: nets.Net, state: Mapping[str, Tensor]) -> None:
    """Asserts that the statistics of all batch norms are those of a state dict of our names."""
    for name, value in net.named_buffers():
        close(value, state[name])
        assert not name.endswith("num_batches_tracked") or value == 1


@pytest.mark.parametrize("to", ["ours", "torchvision"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in SIDES],
)
@torch.inference_mode()
def test_same_weights_same_logits_as_torchvision(name: str, to: str) -> None:
    aux = {"aux": True} if name == "googlenet" else {}
    net, theirs = ours(name, **aux), torchvisions(name)
    if to == "ours":
        report = nets.load_weights(net, drawn(theirs).state_dict())
        assert str(report) == f"{len(theirs.state_dict())} tensors loaded"
    else:
        theirs.load_state_dict(jobs.renamed_back(drawn(net)), strict=True)
    side = 224 if to == "ours" else SIDES[name]  # its usual size once
    x = torch.randn(2, 3, side, side)
    expected = theirs(x)
    assert 0.05 < float((expected[0] - expected[1]).abs().max()) < 100, "images that differ"
    close(net(x), expected)


@pytest.mark.parametrize("name", [name for name in SIDES if name not in ("googlenet", *LARGE)])
@torch.no_grad()
def test_same_logits_and_statistics_in_training(name: str) -> None:
    net, theirs = ours(name), torchvisions(name)
    nets.load_weights(net, drawn(theirs).state_dict())
    without_dropout(net, theirs)
    x = torch.randn(2, 3, SIDES[name], SIDES[name])
    expected = theirs(x)
    assert expected.std() > 0.01
    close(net(x), expected)
    same_statistics(net, rename(theirs.state_dict(), net.published_names))


@pytest.mark.parametrize("transform_input", [False, True])
@torch.no_grad()
def test_googlenet_has_torchvisions_auxiliary_logits(transform_input: bool) -> None:
    net = ours("googlenet", aux=True, transform_input=transform_input)
    theirs = torchvisions("googlenet", transform_input=transform_input)
    theirs.load_state_dict(jobs.renamed_back(drawn(net)), strict=True)
    without_dropout(net, theirs)
    x = torch.randn(2, 3, 224, 224)
    for training in (False,) if transform_input else (True, False):
        # the transformations round differently, which statistics of a small batch magnify
        for part in (*net.modules(), *theirs.modules()):
            if isinstance(part, nn.BatchNorm2d):
                part.train(training)
        expected = theirs(x)
        logits, aux1, aux2 = net.forward_with_aux(x)  # type: ignore[operator]
        close(logits, expected.logits)
        close(aux1, expected.aux_logits1)
        close(aux2, expected.aux_logits2)
        assert aux1.std() > 0.01
        if training:
            same_statistics(net, rename(theirs.state_dict(), net.published_names))
    close(net.eval()(x), theirs.eval()(x))


def test_transform_input_matters() -> None:
    x = torch.randn(1, 3, 64, 64)
    plain, transformed = ours("googlenet"), ours("googlenet", transform_input=True)
    nets.load_weights(transformed, drawn(plain).state_dict())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = x * std.view(3, 1, 1) + mean.view(3, 1, 1)  # in 0 … 1
    with torch.inference_mode():
        close(transformed(x), plain((pixels - 0.5) / 0.5))
        assert not torch.allclose(transformed(x), plain(x), atol=1e-2)


@pytest.mark.parametrize("name", OTHERS)
def test_every_tensor_has_its_place(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(tv, name)(num_classes=5)
        net = nets.build(name, in_channels=3, num_classes=5)
    renamed = rename(theirs.state_dict(), net.published_names)
    expected = net.state_dict()
    assert [*renamed] == [*expected], "the same order too"
    assert all(renamed[key].shape == expected[key].shape for key in expected)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert {*jobs.renamed_back(net)} == {*theirs.state_dict()}


def test_every_other_depth_is_torchvisions() -> None:
    assert OTHERS == [
        "densenet169",
        "densenet201",
        "resnet101",
        "resnet34",
        "vgg11_bn",
        "vgg13",
        "vgg13_bn",
        "vgg19_bn",
    ]


def test_old_densenet_names_and_no_batch_counts() -> None:
    theirs = drawn(torchvisions("densenet121"))
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in theirs.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    net = ours("densenet121")
    report = nets.load_weights(net, old)
    assert len(report.loaded) == len(old)
    assert not report.left
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        close(net(x), theirs(x))


def test_the_longest_prefix_counts() -> None:
    state = {key: torch.zeros(1) for key in ("a.b.weight", "a.c.weight", "ab.weight")}
    assert [*rename(state, {"a": "x", "a.b": "y"})] == ["y.weight", "x.c.weight", "ab.weight"]


class TestMonai:
    """3-D nets, where the architectures agree."""

    def pair(self, name: str) -> tuple[nets.Net, nn.Module, dict[str, str]]:
        """Ours, MONAI's, and the map of names."""
        options: dict[str, Any]
        make: Any
        net = ours(name, in_channels=1, spatial_dims=3)
        if name == "resnet18":
            options = {"n_input_channels": 1, "num_classes": 5, "conv1_t_stride": 2}
            options |= {"shortcut_type": "B", "bias_downsample": False}
            make, names = monai_nets.resnet18, MONAI_RESNET
        else:
            options = {"in_channels": 1, "out_channels": 5}
            make, names = monai_nets.DenseNet121, MONAI_DENSENET
        with torch.device("meta"):
            theirs = make(spatial_dims=3, **options)
        return net, theirs.to_empty(device="cpu").eval(), names

    @pytest.mark.parametrize("to", ["ours", "monai"])
    @pytest.mark.parametrize("name", ["resnet18", "densenet121"])
    @torch.no_grad()
    def test_same_weights_same_logits(self, name: str, to: str) -> None:
        net, theirs, names = self.pair(name)
        if to == "ours":
            nets.load_weights(net, rename(drawn(theirs).state_dict(), names))
        else:
            inverse = {our: their for their, our in names.items()}
            theirs.load_state_dict(rename(drawn(net).state_dict(), inverse), strict=True)
        x = torch.randn(2, 1, 48, 64, 40)
        expected = theirs(x)
        assert 0.05 < float((expected[0] - expected[1]).abs().max()) < 100, "images that differ"
        close(net(x), expected)
        if to == "ours":
            return
        without_dropout(net, theirs)
        close(net(x), theirs(x))
        same_statistics(net, rename(theirs.state_dict(), names))
