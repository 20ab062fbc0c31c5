"""The lower part of a net with a new head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medcnn import nets
from medcnn.errors import UserError
from medcnn.nets.cut import cut, head_kind, middle_stage
from medcnn.nets.heads import AttentionHead, LinearHead, LogSumExpHead, TopHead

SPATIAL = [name for name in nets.FAMILIES if name not in ("linear", "mlp")]


def make(name: str = "resnet18", **options: Any) -> nets.Net:
    torch.manual_seed(0)
    given: dict[str, Any] = {"in_channels": 1, "num_classes": 3, "width": 0.25}
    return nets.build(name, **(given | options))


def clones(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


@pytest.mark.no_cover
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", SPATIAL)
@torch.no_grad()
def test_at_every_stage(name: str, dims: int) -> None:
    size = (16,) * dims
    net = make(name, spatial_dims=dims, input_size=size).eval()
    before, maps = clones(net), torch.randn(2, 1, *size)
    x, kept = maps, []
    for stage, module in net.features.named_children():
        kept.append(stage)
        maps = module(maps)
        made = cut(net, stage)
        assert [key for key, _ in made.features.named_children()] == kept
        assert all(getattr(made.features, key) is getattr(net.features, key) for key in kept)
        torch.testing.assert_close(made.features(x), maps)
        assert type(made.head) is LinearHead
        assert made.head.fc.in_features == maps.shape[1]
        assert made(x).shape == (2, 3)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_its_description() -> None:
    net = make("lenet", input_size=(28, 30), in_channels=2)
    made = cut(net, "c1")
    assert made.name == "lenet[:c1]"
    assert (made.in_channels, made.num_classes, made.spatial_dims) == (2, 3, 2)
    assert (made.min_size, made.input_size, made.stem) == (14, (28, 30), None)
    assert made.nonlinearity == "tanh"
    made = cut(make(stem="small"), "layer1")
    assert (made.stem, made.min_size, made.input_size) == ("small", 8, None)
    assert made.published_names["conv1"] == "features.stem.conv"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("gap", LinearHead),
        ("attention", AttentionHead),
        ("lse", LogSumExpHead),
        ("top", TopHead),
    ],
)
def test_heads(kind: str, form: type[LinearHead]) -> None:
    made = cut(make(), "layer2", head=kind, dropout=0.25)
    assert type(made.head) is form
    assert made.head.dropout.p == 0.25
    built = make(head=kind, cut="layer2", dropout=0.25)
    assert type(built.head) is form
    assert built.head.dropout.p == 0.25
    assert built.name == "resnet18[:layer2]"


def test_a_hidden_head_gives_way_to_a_linear_one() -> None:
    made = make("vgg", cut="block3", input_size=(28, 28))
    assert type(made.head) is LinearHead
    assert made.head.dropout.p == 0.0
    assert head_kind(make("vgg").head) == "gap"
    assert head_kind(make(head="lse").head) == "lse"


@pytest.mark.parametrize("size", [None, (40, 24)])
def test_leaves_modes_and_statistics_alone(size: tuple[int, int] | None) -> None:
    net = make(input_size=size)
    before = clones(net)
    assert all(m.training for m in net.modules())
    made = cut(net, "layer3", dropout=0.5)
    assert all(m.training for m in (*net.modules(), *made.modules()))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    made = cut(net.eval(), "layer3", dropout=0.5)
    assert not any(m.training for m in (*net.modules(), *made.modules()))
    net.train()
    net.features.eval()  # as of frozen stages
    made = cut(net, "layer3", dropout=0.5)
    assert made.training
    assert made.head.training
    assert not any(m.training for m in made.features.modules())


def test_trains_the_stages_of_the_net() -> None:
    net = make(input_size=(16, 16))
    made = cut(net, "layer1")
    made(torch.randn(2, 1, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in made.parameters())
    grads = {key for key, p in net.named_parameters() if p.grad is not None}
    assert grads == {
        f"features.{key}"
        for key, _ in net.features.named_parameters()
        if key.startswith(("stem", "layer1"))
    }


def test_middle_stage() -> None:
    assert middle_stage(make("lenet")) == "c1"
    assert middle_stage(make("resnet18")) == "layer2"  # of stem, layer1 … layer4
    assert middle_stage(make("googlenet")) == "inception3"  # the second of four


def test_refused() -> None:
    message = r"^model\.cut=layer9: resnet18 has the stages stem, layer1, layer2, layer3, layer4$"
    with pytest.raises(UserError, match=message):
        cut(make(), "layer9")
    with pytest.raises(UserError, match=r"^model\.head=fc: resnet18 has gap, attention, lse, top$"):
        cut(make(), "layer1", head="fc")
    mlp = make("mlp", input_size=(8, 8))
    with pytest.raises(UserError, match=r"^model\.cut=hidden1: mlp has no feature maps to cut at$"):
        cut(mlp, "hidden1")


def test_images_that_are_too_small_for_the_net() -> None:
    message = "^alexnet with the imagenet stem needs images of at least 63 px, got 20×20"
    with pytest.raises(UserError, match=message):
        make("alexnet", stem="imagenet", input_size=(20, 20), cut="conv5")


class TestWithWeights:
    def test_are_loaded_before_the_cut(self, tmp_path: Path) -> None:
        net, path = make(num_classes=7), tmp_path / "net.pt"
        with torch.no_grad():
            for tensor in net.state_dict().values():
                tensor.add_(1)
        torch.save(net.state_dict(), path)
        made = make(cut="layer2", weights=path)
        assert [name for name, _ in made.features.named_children()] == ["stem", "layer1", "layer2"]
        expected = net.state_dict()
        features = made.features.state_dict()
        assert features
        assert all(torch.equal(value, expected[f"features.{k}"]) for k, value in features.items())
        assert made.get_parameter("head.fc.weight").shape == (3, 32)
        assert "dropped head.fc.weight" in str(made.loaded)

    def test_have_to_fit_the_whole_net(self, tmp_path: Path) -> None:
        torch.save(make("resnet34").state_dict(), tmp_path / "net.pt")
        with pytest.raises(UserError, match=r"weights don't fit resnet18: .* unknown"):
            make(cut="layer2", weights=tmp_path / "net.pt")

    def test_without_weights_nothing_is_said(self) -> None:
        assert make(cut="layer2").loaded is None

    def test_of_a_cut_net_load_into_its_twin(self) -> None:
        made, twin = make(cut="layer2"), make(cut="layer2", init="xavier")
        nets.load_weights(twin, made.state_dict())
        assert all(torch.equal(v, made.state_dict()[k]) for k, v in twin.state_dict().items())
