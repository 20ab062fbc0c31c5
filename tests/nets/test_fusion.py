"""Nets that take columns beside the images, by hand."""

from typing import Any

import pytest
import torch
from refusals import refused
from torch import Tensor, nn

from medcnn.nets import Net, build
from medcnn.nets.fusion import FUSIONS, ConcatHead, FilmHead, LateHead

UNKNOWN = (0.0, 1.0, 0.0)
COLUMNS = torch.tensor([[0.5, 0.0, 1.0], [-1.0, 0.0, 0.0]])
BAG = torch.tensor([0, 0, 1, 1, 1])


def net_of(fusion: str | None, name: str = "resnet18", **options: Any) -> Net:
    torch.manual_seed(0)
    given = {} if fusion is None else {"fusion": fusion, "columns": UNKNOWN, "task": "multiclass"}
    shape = {"in_channels": 1, "num_classes": 3, "input_size": (28, 28), "width": 0.125}
    return build(name, **shape | given | options).eval()  # type: ignore[arg-type]


def awake(net: Net) -> None:
    """Draw the last weights of FiLM, which are zero at first."""
    head: Any = net.head
    nn.init.normal_(head.film[2].weight)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def maps_of(net: Net, count: int) -> Tensor:
    with torch.no_grad():
        maps: Tensor = net.features(drawn(count, 1, 28, 28))
    return maps


def test_concatenation_is_one_linear_layer_of_both() -> None:
    net = net_of("concat")
    head, maps = net.head, maps_of(net, 2)
    assert isinstance(head, ConcatHead)
    linear: Any = head.head.fc
    whole = torch.cat([linear.weight, head.fc.weight], 1)
    embed: Any = head.embed[0]
    both = torch.cat([maps.mean((2, 3)), (COLUMNS @ embed.weight.T + embed.bias).relu()], 1)
    expected = both @ whole.T + linear.bias
    torch.testing.assert_close(head(maps, {"features": COLUMNS}), expected)


def test_film_scales_and_shifts_each_channel() -> None:
    net = net_of("film")
    head, maps = net.head, maps_of(net, 2)
    assert isinstance(head, FilmHead)
    plain = net_of(None)
    torch.testing.assert_close(head(maps, {"features": COLUMNS}), plain.head(maps))  # at first
    awake(net)
    channels = maps.shape[1]
    gamma, beta = head.film(COLUMNS).split(channels, 1)
    changed = (1 + gamma)[:, :, None, None] * maps + beta[:, :, None, None]
    torch.testing.assert_close(head(maps, {"features": COLUMNS}), plain.head(changed))


def test_late_fusion_is_the_mean_of_probabilities() -> None:
    net = net_of("late")
    head, maps = net.head, maps_of(net, 2)
    assert isinstance(head, LateHead)
    of_columns = COLUMNS @ head.linear.weight.T + head.linear.bias
    expected = (head.head(maps).softmax(1) + of_columns.softmax(1)) / 2
    torch.testing.assert_close(head(maps, {"features": COLUMNS}).softmax(1), expected)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_without_columns_each_counts_as_missing(fusion: str) -> None:
    net = net_of(fusion)
    if fusion == "film":
        awake(net)
    images = drawn(2, 1, 28, 28)
    maps = net.features(images)
    expected = net.head(maps, {"features": torch.tensor([UNKNOWN, UNKNOWN])})
    torch.testing.assert_close(net(images), expected)
    assert not torch.allclose(expected, net.head(maps, {"features": COLUMNS}))
    double = net.double()
    assert double.head(maps.double(), {"features": COLUMNS}).dtype == torch.float64
    assert "unknown" not in "".join(net.state_dict())  # the card has it


@pytest.mark.parametrize("fusion", FUSIONS)
def test_columns_of_studies(fusion: str) -> None:
    net = net_of(fusion, aggregate="mean")
    if fusion == "film":
        awake(net)
    maps = maps_of(net, 5)
    both = net.head(maps, {"bag": BAG, "features": COLUMNS})
    assert both.shape == (2, 3)
    for study in (0, 1):  # one by itself
        own = maps[study == BAG]
        context = {"bag": BAG[: len(own)] * 0, "features": COLUMNS[study : study + 1]}
        torch.testing.assert_close(net.head(own, context)[0], both[study])
    unknown = net.head(maps, {"bag": BAG, "features": torch.tensor([UNKNOWN, UNKNOWN])})
    torch.testing.assert_close(net.head(maps, {"bag": BAG}), unknown)


@pytest.mark.parametrize("name", ["lenet", "alexnet", "googlenet", "densenet121"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_of_other_families(name: str, fusion: str) -> None:
    options: dict[str, Any] = {"aux": True} if name == "googlenet" else {}
    width = {} if name == "lenet" else {"width": 0.1}
    shape = {"in_channels": 1, "num_classes": 3, "input_size": (32, 32), **width}
    given = {"fusion": fusion, "columns": UNKNOWN, "task": "ordinal", **options}
    with torch.device("meta"):
        net = build(name, **shape | given).eval()  # type: ignore[arg-type]
        logits = net.head(net.features(torch.zeros(2, 1, 32, 32)), {"features": torch.zeros(2, 3)})
    assert logits.shape == (2, 3)
    assert not len(getattr(net, "aux", ()))


def test_what_cannot_be_fused() -> None:
    with refused("model.fusion=early: choose one of late, concat, film, or null"):
        net_of("early")
    with refused("model.fusion=concat takes columns, and there are none"):
        net_of("concat", columns=())
    with refused("model.fusion=film scales feature maps, and mlp.* has none"):
        net_of("film", "mlp", width=1.0)
    with refused("model.fusion=late averages probabilities: give the task"):
        net_of("late", task=None)
