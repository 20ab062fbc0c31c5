"""Published names."""

import sys
from types import ModuleType

import pytest
import torch
from torchvision import models

from medcnn import nets
from medcnn.nets.variants import VARIANTS, pretrained_file, resolve


@pytest.mark.parametrize("name", VARIANTS)
def test_every_name_builds_its_net(name: str) -> None:
    with torch.device("meta"):
        net = nets.build(name, in_channels=1, num_classes=2, input_size=(64, 64))
    assert net.name == name


def test_every_family_has_a_name() -> None:
    assert {family for family, _ in VARIANTS.values()} == set(nets.FAMILIES)


@pytest.mark.parametrize("name", ["resnet", "no_such_net"])
def test_other_names_are_given_back(name: str) -> None:
    assert resolve(name) == (name, {})


def test_options_are_a_copy() -> None:
    resolve("resnet50")[1]["depth"] = 18
    assert resolve("resnet50") == ("resnet", {"depth": 50})


def test_pretrained_is_what_torchvision_has() -> None:
    ours = {name for name in VARIANTS if pretrained_file(name) is not None}
    families = ("alexnet", "vgg", "googlenet", "resnet", "densenet")
    theirs = {name for name in models.list_models(models) if name.startswith(families)}
    assert ours == theirs - {"densenet161"}  # which isn't here


def test_pretrained_file() -> None:
    assert pretrained_file("resnet18") == "resnet18-f37072fd.pth"
    assert pretrained_file("resnet50") == "resnet50-0676ba61.pth"  # V1, not the newer recipe
    assert pretrained_file("alexnet_2012") is None
    assert pretrained_file("swin_t") is None, "torchvision's, but not ours"


def test_names_need_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", ModuleType("empty"))
    assert resolve("vgg11_bn") == ("vgg", {"depth": 11, "batch_norm": True})
    with pytest.raises(ImportError):
        pretrained_file("resnet18")
