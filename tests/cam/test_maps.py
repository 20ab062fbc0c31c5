import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medcnn.cam import explain, is_empty, normalise
from medcnn.errors import UserError
from medcnn.objective import Objective


class Toy(nn.Module):
    """Two stages and a head; the second stage and the dense head work in place."""

    def __init__(self, dims: int = 2, outputs: int = 3, head: str = "linear") -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.features = nn.Sequential()
        self.features.add_module("first", conv(1, 4, 3, stride=2, padding=1))
        second = nn.Sequential(nn.ReLU(inplace=True), conv(4, 5, 3, padding=1), norm(5), nn.ReLU())
        self.features.add_module("second", second)
        pool = nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d
        heads = {
            "linear": nn.Sequential(pool(1), nn.Flatten(), nn.Dropout(), nn.Linear(5, outputs)),
            "dense": nn.Sequential(
                nn.ReLU(inplace=True),
                pool(2),
                nn.Flatten(),
                nn.Linear(5 * 2**dims, 6),
                nn.Tanh(),
                nn.Linear(6, outputs),
            ),
            "max": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(5, outputs)),
            "after": nn.Sequential(pool(1), nn.Flatten(), nn.Linear(5, outputs), nn.ReLU()),
        }
        self.head = heads[head]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def toy(dims: int = 2, outputs: int = 3, head: str = "linear") -> Toy:
    torch.manual_seed(0)
    return Toy(dims, outputs, head).eval()


def batch(dims: int = 2, count: int = 4) -> Tensor:
    size = (12, 16) if dims == 2 else (6, 8, 10)
    return torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(1))


TARGETS = torch.tensor([2, 0, 1, 2])


def hooked_gradcam(net: nn.Module, stage: str, image: Tensor, target: int) -> Tensor:
    """Grad-CAM of one image by the textbook: forward and full backward hooks."""
    seen: dict[str, Tensor] = {}
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # full backward hooks don't stand layers that work in place
    layer = net.get_submodule(stage)
    layer.register_forward_hook(lambda module, given, got: seen.update(activations=got))
    layer.register_full_backward_hook(lambda module, given, got: seen.update(gradients=got[0]))
    net(image[None].clone().requires_grad_())[0, target].backward()
    alpha = seen["gradients"].mean(dim=tuple(range(2, image.dim() + 1)), keepdim=True)
    return (alpha * seen["activations"]).sum(1).relu()[0].detach()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("head", ["linear", "dense"])
def test_gradcam_equals_hooks_image_by_image(dims: int, head: str) -> None:
    net, images = toy(dims, head=head), batch(dims)
    maps = explain(net, images, TARGETS, size=None)
    for image, target, map_ in zip(images, TARGETS.tolist(), maps, strict=True):
        expected = hooked_gradcam(net, "features.second", image, target)
        torch.testing.assert_close(map_, expected)
    assert maps.max() > 0


@pytest.mark.parametrize("dims", [2, 3])
def test_cam_is_the_weighted_sum_of_the_channels(dims: int) -> None:
    net, images = toy(dims), batch(dims)
    maps = explain(net, images, TARGETS, method="cam", size=None)
    weight, activations = net.head[3].weight, net.features(images)
    for n, target in enumerate(TARGETS.tolist()):
        expected = sum(weight[target, k] * activations[n, k] for k in range(5))
        torch.testing.assert_close(maps[n], expected.detach())
    logits = maps.flatten(1).mean(1) + net.head[3].bias[TARGETS]
    torch.testing.assert_close(logits, net(images).gather(1, TARGETS[:, None])[:, 0])


@pytest.mark.parametrize("dims", [2, 3])
def test_gradcam_of_a_linear_head_is_cam_over_the_area(dims: int) -> None:
    net, images = toy(dims), batch(dims)
    gradcam = explain(net, images, TARGETS, size=None)
    cam = explain(net, images, TARGETS, method="cam", size=None)
    torch.testing.assert_close(gradcam, cam.relu() / cam[0].numel())


def test_by_hand() -> None:
    net = nn.Module()
    net.features = nn.Identity()
    net.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        net.head[2].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 2.0]]))
    images = torch.tensor([[[[4.0, 0.0], [0.0, 8.0]], [[0.0, 4.0], [0.0, 4.0]]]])
    targets = torch.tensor([0])
    cam = explain(net, images, targets, method="cam")
    assert cam.tolist() == [[[4.0, -4.0], [0.0, 4.0]]]
    assert explain(net, images, targets).tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


@pytest.mark.parametrize("method", ["cam", "gradcam"])
@pytest.mark.parametrize("targets", [None, TARGETS])
def test_a_batch_is_its_images_one_by_one(method: str, targets: Tensor | None) -> None:
    net, images = toy(), batch()
    net.head[3].bias.data -= net(images).mean(0).detach()  # so that the decisions differ
    assert len(net(images).argmax(1).unique()) > 1
    maps = explain(net, images, targets, method=method)
    for n in range(4):
        one = None if targets is None else targets[n : n + 1]
        torch.testing.assert_close(
            maps[n : n + 1], explain(net, images[n : n + 1], one, method=method)
        )
    decided = explain(net, images, net(images).argmax(1), method=method)
    assert torch.equal(explain(net, images, method=method), decided)


def test_an_earlier_stage() -> None:
    net, images = toy(), batch()
    before = net.features.first(images).clone()
    maps = explain(net, images, TARGETS, stage="first", size=None)
    for n, target in enumerate(TARGETS.tolist()):
        expected = hooked_gradcam(net, "features.first", images[n], target)
        torch.testing.assert_close(maps[n], expected)
    assert torch.equal(net.features.first(images), before)
    last = explain(net, images, TARGETS, stage="second")
    assert torch.equal(last, explain(net, images, TARGETS))
    cam = explain(toy(), images, TARGETS, stage="second", method="cam")
    assert torch.equal(cam, explain(toy(), images, TARGETS, method="cam"))


def test_sizes() -> None:
    for dims, mode in ((2, "bilinear"), (3, "trilinear")):
        net, images = toy(dims), batch(dims)
        small = explain(net, images, TARGETS, size=None)
        maps = explain(net, images, TARGETS)
        assert small.shape[1:] == net.features(images).shape[2:]
        assert maps.shape[1:] == images.shape[2:]
        expected = F.interpolate(small[:, None], images.shape[2:], mode=mode, align_corners=False)
        torch.testing.assert_close(maps, expected[:, 0])


def test_high_means_important() -> None:
    """The blob that makes the class is where the map is highest."""
    net = nn.Module()
    net.features = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())
    net.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    net.head[2].weight.data = torch.tensor([[1.0], [-1.0]])
    images = torch.zeros(1, 1, 8, 8)
    images[0, 0, 2:4, 4:6] = 1
    for method in ("cam", "gradcam"):
        maps = explain(net, images, torch.tensor([0]), method=method, size=None)
        assert maps[0].argmax() == 4 * 1 + 2
    assert is_empty(explain(net, images, torch.tensor([1]))).tolist() == [True]


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_sign(positive: int) -> None:
    """One logit speaks for the positive class, its negative for the other one."""
    net, images = toy(outputs=1), batch()
    objective = Objective("binary", 2, positive=positive)
    yes, no = torch.full((4,), positive), torch.full((4,), 1 - positive)
    for method in ("cam", "gradcam"):
        for_yes = explain(net, images, yes, method=method, objective=objective, size=None)
        for_no = explain(net, images, no, method=method, objective=objective, size=None)
        expected = (net.features(images) * net.head[3].weight[0][:, None, None]).sum(1).detach()
        if method == "gradcam":
            area = expected[0].numel()
            torch.testing.assert_close(for_yes, expected.relu() / area)
            torch.testing.assert_close(for_no, (-expected).relu() / area)
        else:
            torch.testing.assert_close(for_yes, expected)
            torch.testing.assert_close(for_no, -expected)


def test_objectives_decide_the_target() -> None:
    images = batch()
    for task in ("binary", "multiclass", "multilabel", "ordinal"):
        objective = Objective(task, 2 if task == "binary" else 3)
        net = toy(outputs=objective.num_outputs)
        probs = objective.probs(net(images))
        decided = probs.argmax(1) if task == "multilabel" else objective.decide(probs)
        torch.testing.assert_close(
            explain(net, images, objective=objective),
            explain(net, images, decided, objective=objective),
        )


def test_ordinal_gradcam_explains_the_log_probability() -> None:
    net, images, objective = toy(outputs=2), batch(), Objective("ordinal", 3)
    maps = explain(net, images, TARGETS, objective=objective, size=None)
    activations = net.features(images).detach().requires_grad_()
    objective.probs(net.head(activations)).log().gather(1, TARGETS[:, None]).sum().backward()
    alpha = activations.grad.mean((2, 3), keepdim=True)
    torch.testing.assert_close(maps, (alpha * activations).sum(1).relu().detach())


@pytest.mark.parametrize("head", ["dense", "max", "after"])
def test_cam_refuses_other_heads(head: str) -> None:
    with pytest.raises(UserError, match="use method=gradcam"):
        explain(toy(head=head), batch(), TARGETS, method="cam")
    explain(toy(head=head), batch(), TARGETS)


def test_bad_input() -> None:
    net, images = toy(), batch()
    with pytest.raises(UserError, match="method=magic: choose one of cam, gradcam"):
        explain(net, images, method="magic")
    with pytest.raises(UserError, match="stage=third: choose one of first, second, last"):
        explain(net, images, stage="third")
    with pytest.raises(UserError, match="size=big"):
        explain(net, images, size="big")
    with pytest.raises(UserError, match="method=cam: defined for stage=last only"):
        explain(net, images, method="cam", stage="first")
    with pytest.raises(UserError, match="ordinal class has no linear weights; use method=gradcam"):
        explain(toy(outputs=2), images, method="cam", objective=Objective("ordinal", 3))
    with pytest.raises(UserError, match="one class index for each of the 4 images"):
        explain(net, images, torch.tensor([0]))
    with pytest.raises(UserError, match="one class index for each of the 4 images"):
        explain(net, images, torch.zeros(4))
    with pytest.raises(UserError, match=r"leave the classes 0 … 2"):
        explain(net, images, TARGETS + 1)
    with pytest.raises(UserError, match="one logit"):
        explain(toy(outputs=1), images)
    with pytest.raises(UserError, match="no spatial activations"):
        explain(net, torch.zeros(2, 7))


def test_nets_without_maps() -> None:
    net = toy()
    net.spatial = False
    with pytest.raises(UserError, match=r"Toy.*no spatial activations"):
        explain(net, batch())
    net = toy()
    net.features.add_module("flat", nn.Flatten())
    with pytest.raises(UserError, match=r"stage=last: its output has the shape \(4, 240\)"):
        explain(net, batch())
    net.features = nn.Identity()
    with pytest.raises(UserError, match="stage=first: choose one of last"):
        explain(net, batch(), stage="first")


@pytest.mark.parametrize("name", ["lenet", "resnet", "densenet", "googlenet"])
def test_our_nets(name: str) -> None:
    nets = pytest.importorskip("medcnn.nets")
    net = nets.build(name, in_channels=1, num_classes=3, input_size=(32, 32)).eval()
    images = torch.randn(2, 1, 32, 32)
    maps = explain(net, images)
    assert maps.shape == (2, 32, 32)
    assert maps.min() >= 0
    if name != "lenet":
        cam = explain(net, images, method="cam", size=None)
        gradcam = explain(net, images, size=None)
        torch.testing.assert_close(gradcam, cam.relu() / cam[0].numel())
    with pytest.raises(UserError, match="1 channel"):
        explain(net, torch.randn(2, 3, 32, 32))


def test_normalise() -> None:
    maps = torch.tensor([[[-2.0, 1.0], [0.5, 4.0]], [[-1.0, 0.0], [-3.0, 0.0]]])
    assert normalise(maps).tolist() == [[[0.0, 0.25], [0.125, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert is_empty(maps).tolist() == [False, True]
    volumes = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(normalise(volumes * 1e-30), normalise(volumes))
    broken = torch.tensor([[1.0, float("nan")]])
    assert is_empty(broken).tolist() == [True]
    assert normalise(broken).tolist() == [[0.0, 0.0]]
