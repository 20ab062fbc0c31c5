"""Nets of other libraries are taken apart for a map, and stay as they were."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from medcnn.cam import explain
from medcnn.errors import UserError
from medcnn.nets.foreign.apart import Halves, apart

pytestmark = pytest.mark.no_cover

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def gradcam_by_hooks(net: nn.Module, layer: nn.Module, targets: Tensor) -> Tensor:
    """Grad-CAM as its paper has it, at the resolution of the layer."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, gave: seen.append(gave))
    logits = net(IMAGES)
    handle.remove()
    (gradients,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), seen[0])
    weights = gradients.mean((2, 3), keepdim=True)
    return (weights * seen[0]).sum(1).relu().detach()


def test_maps_of_a_net_of_torchvision() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=5).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    targets = torch.tensor([3, 0])
    maps = explain(net, IMAGES, targets, size=None)
    expected = gradcam_by_hooks(net, net.layer4, targets)
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected)
    early = explain(net, IMAGES, targets, stage="layer2", size=None)
    torch.testing.assert_close(early, gradcam_by_hooks(net, net.layer2, targets))
    assert net.relu.inplace
    assert not any(part._forward_hooks for part in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


class Between(nn.Module):
    """Features and a head, but they are not all that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.norm = nn.Conv2d(4, 4, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.features(images)))


class Arithmetic(nn.Module):
    """A net that no chain of modules describes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.linear(maps.mean((2, 3))) if maps.mean() < 9 else self.linear(maps.amax((2, 3)))


def test_features_and_head_have_to_be_the_whole_net() -> None:
    net = Between().eval()
    halves = apart(net, IMAGES)
    assert halves is not net
    torch.testing.assert_close(halves.head(halves.features(IMAGES)), net(IMAGES))
    net.norm = nn.Identity()
    assert apart(net, IMAGES) is net


def test_a_net_in_training_is_judged_as_it_answers_afterwards() -> None:
    net = Between()
    net.norm = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5))
    net.norm[0].eval()  # frozen
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert apart(net, IMAGES) is net  # the fresh norm changes nothing but by its epsilon
    net.norm[0].running_mean.fill_(3)
    assert apart(net, IMAGES) is not net
    net.norm[0].running_mean.fill_(0)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert [part.training for part in (net, net.norm, *net.norm)] == [True, True, False, True]


def test_nothing_is_copied_and_inference_mode_is_no_obstacle() -> None:
    net = torchvision.models.resnet18(num_classes=5).eval()
    with torch.inference_mode():
        halves = apart(net, IMAGES)
        assert explain(net, IMAGES).shape == (2, 64, 64)
    assert halves.features.layer4 is net.layer4
    assert halves.head.fc is net.fc


class InPlace(nn.Module):
    """A head that begins by writing into what it is given."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3)
        parts = (nn.ReLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
        self.head = nn.Sequential(*parts)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@pytest.mark.parametrize("method", ["eigencam", "scorecam", "ablationcam"])
def test_a_head_that_works_in_place_does_not_change_the_map(method: str) -> None:
    net, like = InPlace(True).eval(), InPlace(False).eval()
    like.load_state_dict(net.state_dict())
    maps, expected = (explain(one, IMAGES[..., :9, :9], method=method) for one in (net, like))
    torch.testing.assert_close(maps, expected)


def test_arithmetic_between_the_modules() -> None:
    torch.manual_seed(0)
    net = torchvision.models.densenet121(num_classes=5).eval()
    halves = apart(net, IMAGES)
    torch.testing.assert_close(halves.head(halves.features(IMAGES).clone()), net(IMAGES))
    shared = {id(tensor) for tensor in net.state_dict(keep_vars=True).values()}
    both = nn.ModuleList([halves.features, halves.head]).state_dict(keep_vars=True)
    assert {id(tensor) for tensor in both.values()} == shared
    targets = torch.tensor([3, 0])
    maps = net.features(IMAGES).relu()  # by a function, which is of the features
    weights = net.classifier.weight[targets] / maps[0, 0].numel()
    expected = torch.einsum("nkhw,nk->nhw", maps, weights).relu().detach()
    torch.testing.assert_close(explain(net, IMAGES, targets, size=None), expected)


def test_halves_are_kept_until_the_net_changes() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()

    def kept_and_right() -> bool:
        """Whether halves were there already; they have to be those of the net as it is."""
        before = len(made)
        made.add(halves := apart(net, IMAGES))
        torch.testing.assert_close(halves.head(halves.features(IMAGES)), net(IMAGES))
        return len(made) == before

    made: set[Halves] = set()
    assert [kept_and_right() for _ in range(2)] == [False, True]
    net[0].stride = (2, 2)
    assert [kept_and_right() for _ in range(2)] == [False, True]
    net[1] = nn.Identity()
    assert [kept_and_right() for _ in range(2)] == [False, True]
    with torch.no_grad():
        net[0].weight.mul_(2)  # the same tensor, of which halves know
    assert kept_and_right()
    net.append(nn.Linear(4, 2))
    assert [kept_and_right() for _ in range(2)] == [False, True]
    handle = net[0].register_forward_hook(lambda module, given, gave: gave + 1)
    assert not kept_and_right()
    handle.remove()
    assert not kept_and_right()


def test_a_net_that_cannot_be_taken_apart_says_what_it_lacks() -> None:
    with pytest.raises(UserError, match=r"Arithmetic can't be taken apart.*`features`.*`head`"):
        explain(Arithmetic().eval(), IMAGES)
