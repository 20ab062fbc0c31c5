"""The same maps as two independent libraries, grad-cam and torchcam, where they are right."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medcnn.cam import explain
from medcnn.nets import Net, build

grad_cam = pytest.importorskip("pytorch_grad_cam")
torchcam = pytest.importorskip("torchcam.methods")
targets_of_grad_cam = pytest.importorskip("pytorch_grad_cam.utils.model_targets")

pytestmark = pytest.mark.no_cover

TARGETS = torch.tensor([3, 0, 2, 9, 3, 7, 1, 0])
NETS: dict[str, dict[str, Any]] = {
    "resnet18": {"name": "resnet", "depth": 18},
    "vgg11": {"name": "vgg", "depth": 11, "batch_norm": False},
    "densenet121": {"name": "densenet", "depth": 121},
}
METHODS = {  # ours: grad-cam's, torchcam's; None where it has no such method, or isn't right
    "cam": (None, "CAM"),
    "gradcam": ("GradCAM", "GradCAM"),
    "gradcampp": ("GradCAMPlusPlus", None),  # torchcam divides a copy, so its α is the numerator
    "hirescam": ("HiResCAM", None),
    "xgradcam": ("XGradCAM", "XGradCAM"),
    "layercam": ("LayerCAM", "LayerCAM"),
    "scorecam": (None, "ScoreCAM"),  # grad-cam interpolates from corner to corner
    "ablationcam": ("AblationCAM", None),
}
EPSILON = ("gradcampp",)  # there 1e-6 is added to squares of gradients, which then has to be little
SLOW = ("scorecam", "ablationcam")  # there a forward pass for each channel: narrower nets


@cache
def net(name: str, width: float, spread: float) -> Net:
    """A net whose logits have a standard deviation of `spread`."""
    torch.manual_seed(0)
    options = {key: value for key, value in NETS[name].items() if key != "name"}
    size = {"in_channels": 3, "num_classes": 10, "input_size": (96, 96), "stem": "imagenet"}
    made = build(NETS[name]["name"], **size, width=width, **options).eval()
    with torch.no_grad():  # statistics of these images, so that activations aren't tiny
        norms = [part for part in made.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        made.train().features(images())
        made.eval()
        *_, last = [module for module in made.modules() if isinstance(module, torch.nn.Linear)]
        last.weight *= spread / made(images()).std()
        last.bias -= made(images()).mean(0)  # so that the images' highest logits differ
    return made


@cache
def images() -> Tensor:
    coarse = torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (96, 96), mode="bicubic")


def by_grad_cam(net: Net, method: str, images: Tensor, targets: Tensor) -> np.ndarray:
    """Its raw maps, before it resizes and scales them."""
    layer = net.features[-1]
    chosen = [targets_of_grad_cam.ClassifierOutputTarget(int(target)) for target in targets]
    with getattr(grad_cam, method)(net, [layer]) as engine:
        images = images.clone().requires_grad_()
        engine(images, chosen)
        hooks = engine.activations_and_grads
        activations, *_ = [tensor.numpy() for tensor in hooks.activations]
        gradients = [tensor.numpy() for tensor in hooks.gradients] or [None]
        return engine.get_cam_image(images, layer, chosen, activations, gradients[0], False)


def by_torchcam(net: Net, method: str, images: Tensor, targets: Tensor) -> np.ndarray:
    """Its raw maps."""
    options = {"fc_layer": "head.fc"} if method == "CAM" else {}
    with getattr(torchcam, method)(net, net.features[-1], **options) as engine:
        scores = net(images.clone().requires_grad_())
        maps = engine(targets.tolist(), scores, normalized=False)
    return maps[0].detach().numpy()


def scaled(maps: Any) -> np.ndarray:
    """Shares of each map's maximum, what is below zero cut off; an empty map is zero."""
    maps = np.maximum(np.asarray(maps, np.float64), 0)
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(peaks > 0, peaks, 1)


def cases() -> Iterator[Any]:
    for name in NETS:
        for method, (first, second) in METHODS.items():
            if method == "cam" and name == "vgg11":
                continue  # its head isn't one linear layer
            for library, theirs in (("grad-cam", first), ("torchcam", second)):
                if theirs is not None:
                    yield pytest.param(
                        name, method, library, theirs, id=f"{name}-{method}-{library}"
                    )


@pytest.mark.parametrize(("name", "method", "library", "theirs"), cases())
def test_same_as_the_library(name: str, method: str, library: str, theirs: str) -> None:
    """To 1e-4 of each map's maximum: a batch of 8 with mixed targets, and image by image."""
    width = 0.0625 if method in SLOW else 0.25
    made = net(name, width, 5000.0 if method in EPSILON else 5.0)
    targets = TARGETS
    if method == "ablationcam":  # which there is divided by the score, and so turned by its sign
        targets = made(images()).argmax(1)
        assert len(targets.unique()) > 2
    ask = by_grad_cam if library == "grad-cam" else by_torchcam
    together = scaled(explain(made, images(), targets, method=method, size=None))
    np.testing.assert_allclose(together, scaled(ask(made, theirs, images(), targets)), atol=1e-4)
    for n in (0, 5):
        one, target = images()[n : n + 1], targets[n : n + 1]
        alone = scaled(explain(made, one, target, method=method, size=None))
        np.testing.assert_allclose(alone[0], together[n], atol=1e-4)
        np.testing.assert_allclose(alone, scaled(ask(made, theirs, one, target)), atol=1e-4)
    assert (together.std(axis=(1, 2)) > 0.01).sum() >= 6  # the others are empty
