"""Each method against its definition written out, or against captum."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_maps import TARGETS, batch, toy
from torch import Tensor, nn

from medcnn.cam import METHODS, SIGNED, explain, normalise
from medcnn.cam.methods import eigencam, gradcampp, xgradcam
from medcnn.errors import UserError
from medcnn.nets import build

DENSE = [method for method in METHODS if method != "cam"]


def score(net: nn.Module, images: Tensor) -> Tensor:
    return net(images).gather(1, TARGETS[:, None])[:, 0]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_batch_is_images_one_by_one(method: str, dims: int) -> None:
    net, images = toy(dims), batch(dims)
    maps = explain(net, images, TARGETS, method=method)
    assert maps.shape == (4, *images.shape[2:])
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.flatten(1).std(1).min() > 0
    for n in range(4):
        alone = explain(net, images[n : n + 1], TARGETS[n : n + 1], method=method)
        torch.testing.assert_close(alone[0], maps[n], rtol=1e-4, atol=1e-6)
    assert (maps.min() < 0) == (method in SIGNED)
    assert method in SIGNED or maps.min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind_and_modes_do_not_matter(method: str) -> None:
    net, images = toy(), batch()
    expected = explain(net, images, TARGETS, method=method)
    state = copy.deepcopy(net.state_dict())
    net.requires_grad_(False)
    with torch.inference_mode():
        inner, targets = batch(), TARGETS + 0
        torch.testing.assert_close(explain(net, inner, targets, method=method), expected)
        assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", torch.bfloat16):
        maps = explain(net, images, TARGETS, method=method)
        assert maps.dtype == torch.float32
        assert maps.isfinite().all()
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert images.grad is None
    assert torch.equal(images, batch())


def test_gradcampp_by_the_papers_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 4, 5, generator=generator).double()
    g = torch.randn(2, 3, 4, 5, generator=generator).double()
    expected = torch.zeros(2, 4, 5).double()
    for n, k in product(range(2), range(3)):
        weight = 0.0
        for i, j in product(range(4), range(5)):
            slope = g[n, k, i, j]
            alpha = slope**2 / (2 * slope**2 + a[n, k].sum() * slope**3)
            weight += alpha * max(slope, 0)
        expected[n] += weight * a[n, k]
    torch.testing.assert_close(gradcampp(a, g), expected.relu())
    negative = gradcampp(-a, 100 * g)
    assert negative.isfinite().all()
    assert gradcampp(a, torch.zeros_like(g)).tolist() == torch.zeros(2, 4, 5).tolist()


def test_xgradcam_without_activations_is_empty() -> None:
    assert xgradcam(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)).tolist() == [[[0.0] * 3] * 3]


def test_hirescam_of_a_linear_head_adds_up_to_the_logit() -> None:
    torch.manual_seed(0)
    net = toy()
    net.head = nn.Sequential(nn.Flatten(), nn.Linear(5 * 6 * 8, 3))
    maps = explain(net, batch(), TARGETS, method="hirescam", size=None)
    expected = score(net, batch()) - net.head[1].bias[TARGETS]
    torch.testing.assert_close(maps.flatten(1).sum(1), expected.detach())


def test_eigencam_is_the_first_singular_vector() -> None:
    a = torch.rand(3, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    for n in range(3):
        matrix = a[n].flatten(1).T.numpy()
        u, s, _ = np.linalg.svd(matrix, full_matrices=False)
        expected = np.abs(u[:, 0] * s[0]).reshape(4, 5)  # of one sign, as all of A is positive
        np.testing.assert_allclose(eigencam(a)[n], expected, rtol=1e-4)


def test_layercam_fused() -> None:
    """Jiang et al. 2021: tanh(2 M / max M) of each stage, the highest of them."""
    net, images = toy(), batch()
    maps = explain(net, images, TARGETS, method="layercam", stage=["second", "first"])
    stages = [explain(net, images, TARGETS, method="layercam", stage=s) for s in ("first", "last")]
    scaled = [torch.tanh(2 * normalise(stage)) for stage in stages]
    torch.testing.assert_close(maps, torch.maximum(*scaled))
    one = explain(net, images, TARGETS, method="layercam", stage=["second"])
    torch.testing.assert_close(one, stages[1])
    classes = TARGETS[:, None].expand(4, 2)
    several = explain(net, images, classes, method="layercam", stage=["first", "second"])
    torch.testing.assert_close(several[:, 1], maps)


def test_ablationcam_channel_by_channel() -> None:
    net, images = toy(head="dense"), batch()
    maps = explain(net, images, TARGETS, method="ablationcam", size=None)
    with torch.no_grad():
        a = net.features(images)
        expected = torch.zeros(4, 6, 8)
        for k in range(5):
            without = a.clone()
            without[:, k] = 0
            lost = score(net, images) - net.head(without).gather(1, TARGETS[:, None])[:, 0]
            expected += lost[:, None, None] * a[:, k]
    torch.testing.assert_close(maps, expected.relu())


def test_scorecam_channel_by_channel() -> None:
    net, images = toy(), batch()
    net.features.second[2].weight.data[3] = 0  # a channel that is constant
    net.features.second[2].bias.data[3] = 0.5
    maps = explain(net, images, TARGETS, method="scorecam", size=None)
    with torch.no_grad():
        a = net.features(images)
        scores = torch.zeros(4, 5)
        for k in range(5):
            low, high = a[:, k].amin((1, 2), keepdim=True), a[:, k].amax((1, 2), keepdim=True)
            mask = (a[:, k] - low) / (high - low).clamp(min=1e-12)
            mask = F.interpolate(mask[:, None], (12, 16), mode="bilinear")
            scores[:, k] = score(net, images * mask)
        expected = (scores.softmax(1)[..., None, None] * a).sum(1)
    torch.testing.assert_close(maps, expected.relu())


def test_integrated_gradients_are_complete() -> None:
    """Sundararajan et al. 2017, proposition 1: they add up to the change of the score."""
    torch.manual_seed(0)
    net = build("resnet", in_channels=1, num_classes=3, depth=18, width=0.125).eval()
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    maps = explain(net, images, TARGETS, method="integrated_gradients")
    with torch.no_grad():
        gained = score(net, images) - score(net, torch.zeros_like(images))
    torch.testing.assert_close(maps.flatten(1).sum(1), gained, rtol=0.03, atol=1e-4)
    smooth = toy(head="dense")
    smooth.features.second[0] = smooth.features.second[3] = nn.Softplus()
    smooth.head[0] = nn.Identity()
    maps = explain(smooth, batch(), TARGETS, method="integrated_gradients")
    with torch.no_grad():
        gained = score(smooth, batch()) - score(smooth, torch.zeros_like(batch()))
    torch.testing.assert_close(maps.flatten(1).sum(1), gained, rtol=1e-4, atol=1e-5)


def test_gradient_is_that_of_autograd() -> None:
    net, images = toy(), batch().requires_grad_()
    score(net, images).sum().backward()
    assert images.grad is not None
    expected = images.grad.abs()[:, 0]
    torch.testing.assert_close(explain(net, images, TARGETS, method="gradient"), expected)


def test_smoothgrad_of_a_linear_net_is_its_gradient() -> None:
    net = nn.Module()
    net.features = nn.Conv2d(1, 2, 3, padding=1)
    net.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * 12 * 16, 3))
    maps = explain(net, batch(), TARGETS, method="smoothgrad")
    torch.testing.assert_close(maps, explain(net, batch(), TARGETS, method="gradient"))
    rough = explain(toy(), batch(), TARGETS, method="smoothgrad")
    assert not torch.allclose(rough, explain(toy(), batch(), TARGETS, method="gradient"))


class WithoutInPlace(nn.Module):
    """For captum, whose hooks don't stand layers that work in place."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        for module in self.net.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("dims", [2, 3])
def test_against_captum(dims: int) -> None:
    attr = pytest.importorskip("captum.attr")
    net, images = toy(dims, head="dense"), batch(dims)
    theirs = WithoutInPlace(net)
    guided = attr.GuidedBackprop(theirs).attribute(images, target=TARGETS)
    ours = explain(net, images, TARGETS, method="guided_backprop")
    torch.testing.assert_close(ours, guided.abs()[:, 0])
    path = attr.IntegratedGradients(theirs).attribute(images, target=TARGETS, n_steps=32)
    ours = explain(net, images, TARGETS, method="integrated_gradients")
    torch.testing.assert_close(ours, path[:, 0].float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 48), (6, 8, 10)])
def test_occlusion_against_captum(size: tuple[int, ...]) -> None:
    attr = pytest.importorskip("captum.attr")
    net = toy(len(size))
    images = torch.randn(4, 1, *size, generator=torch.Generator().manual_seed(1))
    window = tuple(-(-side // 8) for side in size)
    step = tuple(width // 2 for width in window) if len(size) == 2 else window
    occlusion = attr.Occlusion(WithoutInPlace(net))
    hidden = occlusion.attribute(images, (1, *window), strides=(1, *step), target=TARGETS)
    ours = explain(net, images, TARGETS, method="occlusion")
    torch.testing.assert_close(ours, hidden[:, 0].float(), rtol=1e-4, atol=1e-6)


def test_guided_backprop_needs_a_relu() -> None:
    net = toy()
    net.features.second[0] = net.features.second[3] = nn.SiLU()
    with pytest.raises(UserError, match="guided_backprop: the net has no ReLU"):
        explain(net, batch(), TARGETS, method="guided_backprop")
