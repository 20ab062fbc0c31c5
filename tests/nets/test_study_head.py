import pytest
import torch

from medcnn.errors import UserError
from medcnn.nets import build
from medcnn.nets.aggregators import AGGREGATORS
from medcnn.nets.base import Net
from medcnn.nets.describe import build_on_meta, count_macs
from medcnn.nets.studies import StudyHead

BAG = torch.tensor([0, 0, 0, 1, 2, 2])


def small(aggregate: str, **options: object) -> Net:
    return build(
        "lenet", head="gap", aggregate=aggregate, in_channels=1, num_classes=2,
        input_size=(28, 28), **options,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("aggregate", list(AGGREGATORS))
def test_a_study_has_the_same_logits_alone_and_in_a_batch(aggregate: str) -> None:
    net, images = small(aggregate, views=3), torch.rand(6, 1, 28, 28)
    view, order = torch.tensor([0, 1, 2, -1, 1, 0]), torch.tensor([0, 1, 2, 0, 0, 1])
    torch.nn.init.normal_(net.head.view.weight)  # type: ignore[union-attr, arg-type]
    maps = net.features(images)
    together = net.head(maps, {"bag": BAG, "view": view, "order": order})
    assert together.shape == (3, 2)
    for number in range(3):
        own = number == BAG
        given = {"bag": BAG[own] * 0, "view": view[own], "order": order[own]}
        torch.testing.assert_close(
            net.head(maps[own], given)[0], together[number], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("aggregate", list(AGGREGATORS))
def test_weights_of_a_study_add_up_to_one(aggregate: str) -> None:
    net = small(aggregate)
    maps = net.features(torch.rand(6, 1, 28, 28))
    assert isinstance(net.head, StudyHead)
    weights = net.head.weights(maps, {"bag": BAG})
    assert weights.shape == (6,)
    assert (weights >= 0).all()
    torch.testing.assert_close(torch.zeros(3).index_add(0, BAG, weights), torch.ones(3))


@pytest.mark.parametrize("aggregate", list(AGGREGATORS))
def test_without_a_context_each_image_is_a_study(aggregate: str) -> None:
    net, images = small(aggregate), torch.rand(3, 1, 28, 28)
    given = net.head(net.features(images), {"bag": torch.arange(3)})
    torch.testing.assert_close(net(images), given)


def test_the_vector_of_a_view_is_added_and_one_that_is_unknown_adds_nothing() -> None:
    net = small("mean", views=2)
    maps, bag = net.features(torch.rand(2, 1, 28, 28)), torch.tensor([0, 1])
    head = net.head
    assert isinstance(head, StudyHead)
    plain = head(maps, {"bag": bag})
    assert torch.equal(head(maps, {"bag": bag, "view": torch.tensor([0, 1])}), plain)  # at first
    with torch.no_grad():
        head.view.weight[2] = 1.0  # type: ignore[union-attr]
    told = head(maps, {"bag": bag, "view": torch.tensor([-1, 1])})
    assert torch.equal(told[0], plain[0])
    torch.testing.assert_close(told[1], plain[1] + head.fc.weight.sum(1))


def test_a_net_of_studies_is_described_without_memory() -> None:
    for aggregate in AGGREGATORS:
        net = build_on_meta("resnet18", (1, 64, 64), 2, aggregate=aggregate)
        assert count_macs(net, (1, 64, 64)) > 1e9


def test_a_head_that_does_not_pool_each_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.aggregate=mean takes a head that pools each image"):
        build("lenet", aggregate="mean", in_channels=1, num_classes=2, input_size=(28, 28))
    with pytest.raises(UserError, match=r"model.aggregate=sum: choose one of mean, max, attention"):
        small("sum")
