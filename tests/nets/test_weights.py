"""Torchvision's weights give torchvision's logits."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv
from torch import nn

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.weights import rename

Case = tuple[str, dict[str, Any], Any]
CASES: dict[str, Case] = {
    "alexnet": ("alexnet", {}, tv.alexnet),
    "vgg11_bn": ("vgg", {"depth": 11}, tv.vgg11_bn),
    "googlenet": ("googlenet", {"aux": True}, tv.googlenet),
    "resnet18": ("resnet", {"depth": 18}, tv.resnet18),
    "resnet50": ("resnet", {"depth": 50}, tv.resnet50),
    "densenet121": ("densenet", {"depth": 121}, tv.densenet121),
}
OTHER_DEPTHS: dict[str, Case] = {
    "vgg11": ("vgg", {"depth": 11, "batch_norm": False}, tv.vgg11),
    "vgg13_bn": ("vgg", {"depth": 13}, tv.vgg13_bn),
    "vgg16": ("vgg", {"depth": 16, "batch_norm": False}, tv.vgg16),
    "vgg19_bn": ("vgg", {"depth": 19}, tv.vgg19_bn),
    "resnet34": ("resnet", {"depth": 34}, tv.resnet34),
    "resnet101": ("resnet", {"depth": 101}, tv.resnet101),
    "resnet152": ("resnet", {"depth": 152}, tv.resnet152),
    "densenet169": ("densenet", {"depth": 169}, tv.densenet169),
    "densenet201": ("densenet", {"depth": 201}, tv.densenet201),
}


def undrawn(make: Any, **options: Any) -> nn.Module:
    """A net in evaluation mode with memory for its weights and nothing written there."""
    with torch.device("meta"):
        net: nn.Module = make(num_classes=5, **options)
    return net.to_empty(device="cpu").eval()


def ours_for(name: str, **options: Any) -> nets.Net:
    net = undrawn(partial(nets.build, name), in_channels=3, **options)
    assert isinstance(net, nets.Net)
    return net


def reference(make: Any, **options: Any) -> nn.Module:
    """A torchvision net whose every tensor is random, statistics of batch norms too."""
    if make is tv.googlenet:
        options["init_weights"] = False
    net = undrawn(make, **options)
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            bound = (6 / tensor[0].numel()) ** 0.5
            tensor.uniform_(-bound, bound)
        elif name.endswith(("running_mean", "bias")):
            tensor.uniform_(-0.2, 0.2)
        elif tensor.is_floating_point():  # scales and variances of batch norms
            tensor.uniform_(0.5, 1.5)
        else:
            tensor.zero_()
    return net


@pytest.mark.parametrize("case", CASES)
def test_same_logits_as_torchvision(case: str) -> None:
    name, options, make = CASES[case]
    theirs, ours = reference(make), ours_for(name, **options)
    nets.load_weights(ours, theirs.state_dict())
    x = torch.randn(1, 3, 65, 70)
    with torch.inference_mode():
        expected = theirs(x)
        assert expected.std() > 0.01, "logits that tell something"
        torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", OTHER_DEPTHS)
def test_every_tensor_has_its_place(case: str) -> None:
    name, options, make = OTHER_DEPTHS[case]
    with torch.device("meta"):
        theirs = make(num_classes=5)
        ours = nets.build(name, in_channels=3, num_classes=5, **options)
    renamed = rename(theirs.state_dict(), ours.torchvision_names)
    expected = ours.state_dict()
    assert ours.name == case
    assert [*renamed] == [*expected], "the same order too"
    assert all(renamed[key].shape == expected[key].shape for key in expected)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_googlenet_auxiliary_heads_are_torchvisions() -> None:
    theirs = reference(tv.googlenet, aux_logits=True, transform_input=True)
    ours = ours_for("googlenet", aux=True)
    nets.load_weights(ours, theirs.state_dict())
    x = torch.rand(1, 3, 64, 64)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    theirs.train()
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d | nn.Dropout):
            part.eval()
    with torch.inference_mode():
        expected = theirs((x - mean) / std)
        logits, aux1, aux2 = ours.forward_with_aux((x - 0.5) / 0.5)  # type: ignore[operator]
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(aux1, expected.aux_logits1, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(aux2, expected.aux_logits2, atol=1e-5, rtol=1e-5)


def test_googlenet_without_heads_leaves_theirs_out() -> None:
    theirs = reference(tv.googlenet)
    ours = ours_for("googlenet")
    nets.load_weights(ours, theirs.state_dict())
    assert torch.equal(ours.get_parameter("head.fc.weight"), theirs.get_parameter("fc.weight"))


def test_old_densenet_names_and_no_batch_counts() -> None:
    theirs = reference(tv.densenet121)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value
        for key, value in theirs.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    ours = ours_for("densenet")
    nets.load_weights(ours, old)
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", nets.FAMILIES)
def test_own_names_through_a_file(name: str, tmp_path: Path) -> None:
    def make() -> nets.Net:
        return nets.build(name, in_channels=1, num_classes=1, input_size=(28, 28)).eval()

    saved, loaded = make(), make()
    torch.save(saved.state_dict(), tmp_path / "net = 1.pt")
    nets.load_weights(loaded, tmp_path / "net = 1.pt")
    x = torch.randn(1, 1, 28, 28)
    assert torch.equal(loaded(x), saved(x))


def lenet() -> nets.Net:
    return nets.build("lenet", in_channels=1, num_classes=2)


def test_names_that_do_not_fit() -> None:
    state = lenet().state_dict()
    extra = {f"extra.{i}": torch.zeros(1) for i in range(5)}
    with pytest.raises(UserError, match=r"lenet: 5 unknown \(extra\.0, extra\.1, extra\.2, …\); "):
        nets.load_weights(lenet(), state | extra)
    del state["head.fc3.bias"]
    with pytest.raises(UserError, match=r"1 missing \(head\.fc3\.bias\)"):
        nets.load_weights(lenet(), state)


def test_another_depth_changes_nothing() -> None:
    net = nets.build("resnet", depth=18, in_channels=3, num_classes=5)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(
        UserError, match=r"weights don't fit resnet18: .* unknown \(features\.layer"
    ):
        nets.load_weights(net, reference(tv.resnet34).state_dict())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_another_shape() -> None:
    net = nets.build("resnet", in_channels=3, num_classes=2)
    with pytest.raises(UserError, match=r"head\.fc\.weight is 5×512 but the net needs 2×512"):
        nets.load_weights(net, reference(tv.resnet18).state_dict())


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can't read weights .*none\.pt: No such file"):
        nets.load_weights(lenet(), tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not a pickle")
    (tmp_path / "empty.pt").touch()
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    torch.save(lenet(), tmp_path / "module.pt")
    for name, message in (
        ("text.pt", "isn't a file of weights"),
        ("empty.pt", "isn't a file of weights"),
        ("module.pt", "isn't a file of weights"),
        ("other.pt", "doesn't hold a state dict"),
    ):
        with pytest.raises(UserError, match=f"{name} {message}"):
            nets.load_weights(lenet(), str(tmp_path / name))
