"""How fast the maps are: beside grad-cam and torchcam, and beside a forward pass.

python scripts/benchmark_cam.py [--rounds 5] [--output docs/benchmark_cam.csv] [--parts NAME …]

Every figure is a ratio of seconds taken in turn, with its median, lowest and highest of all
rounds: how many times as long the other takes. Nothing else should run meanwhile. 224 px, 16 images
a batch (one image where every channel takes a forward pass), random weights. Parts:

- gradcam: grad-cam's and torchcam's Grad-CAM by ours, in float32; torchcam's by ours with bf16 and
  channels_last, and how that map ranks with the one in float32.
- classes: ten classes of each image by one.
- cam: our CAM by a forward pass.
- channels: grad-cam's Ablation-CAM and Score-CAM by ours.
- leaks: hooks and memory that 100 calls leave behind.
"""

import gc
import resource
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from benchmark_nets import measure, ratios
from pytorch_grad_cam import AblationCAM, GradCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor
from torchcam.methods import GradCAM as TorchcamGradCAM

from medcnn import cam, nets
from medcnn.cam.scores import rank_correlation

NETS = ("resnet18", "resnet50")
BATCH, SIZE, CLASSES = 16, 224, 1000


def main() -> None:
    """Measure the parts that are asked for."""
    measure(PARTS, str(__doc__), "docs/benchmark_cam.csv", rounds=5)


def gradcam(rounds: int) -> Iterator[dict[str, Any]]:
    """Grad-CAM of one class an image."""
    for name in NETS:
        net, images, targets = made(name)
        ours = partial(cam.explain, net, images, targets)
        theirs = partial(by_grad_cam, GradCAM, net, images, targets)
        yield {"what": f"{name}, grad-cam by ours", **ratios(theirs, ours, rounds)}
        raw = partial(cam.explain, net, images, targets, size=None)
        torchcam = partial(by_torchcam, net, images, targets)
        yield {"what": f"{name}, torchcam by ours", **ratios(torchcam, raw, rounds)}
        twin = made(name)[0].to(memory_format=torch.channels_last)
        last = images.to(memory_format=torch.channels_last)
        fast = partial(in_bf16, twin, last, targets)
        alike = float(rank_correlation(fast(), raw()).nanmean())
        found = ratios(torchcam, fast, rounds)
        yield {"what": f"{name}, torchcam by ours in bf16", **found, "rank correlation": alike}


def classes(rounds: int) -> Iterator[dict[str, Any]]:
    """Ten classes of each image by one."""
    for name in NETS:
        net, images, targets = made(name)
        ten = torch.arange(10).expand(len(images), 10)
        several = partial(cam.explain, net, images, ten)
        one = partial(cam.explain, net, images, targets)
        yield {"what": f"{name}, ten classes by one", **ratios(several, one, rounds)}


def plain(rounds: int) -> Iterator[dict[str, Any]]:
    """CAM by a forward pass."""
    for name in NETS:
        net, images, targets = made(name)
        ours = partial(cam.explain, net, images, targets, method="cam")
        yield {"what": f"{name}, CAM by forward", **ratios(ours, partial(run, net, images), rounds)}


def channels(rounds: int) -> Iterator[dict[str, Any]]:
    """The methods that try every channel, for one image."""
    rounds = max(2, rounds // 2)
    for name, method, engine in (
        ("resnet18", "ablationcam", AblationCAM),
        ("vgg11", "ablationcam", AblationCAM),
        ("resnet18", "scorecam", ScoreCAM),
    ):
        net, images, targets = made(name, batch=1)
        ours = partial(cam.explain, net, images, targets, method=method)
        theirs = partial(by_grad_cam, engine, net, images, targets)
        yield {"what": f"{name}, {method}, grad-cam by ours", **ratios(theirs, ours, rounds)}


def leaks(rounds: int) -> Iterator[dict[str, Any]]:
    """What 100 calls leave behind."""
    net, _, targets = made("resnet18")
    small = torch.randn(2, 3, 64, 64)
    explain = partial(cam.explain, net, small, targets[:2])
    for _ in range(10):
        explain()
    before, tensors = peak_memory(), count_tensors()
    for _ in range(100):
        explain()
    hooks = sum(
        len(getattr(part, kind))
        for part in net.modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    )
    filled = sum(parameter.grad is not None for parameter in net.parameters())
    more = {"tensors": count_tensors() - tensors, "peak MB": peak_memory() - before}
    yield {"what": "100 calls", "hooks": hooks, "gradients": filled, **more}


def made(name: str, batch: int = BATCH) -> tuple[nets.Net, Tensor, Tensor]:
    """A net, images, and a class for each."""
    torch.manual_seed(0)
    net = nets.build(name, in_channels=3, num_classes=CLASSES, input_size=(SIZE, SIZE)).eval()
    return net, torch.randn(batch, 3, SIZE, SIZE), torch.arange(batch)


def by_grad_cam(engine: Any, net: nets.Net, images: Tensor, targets: Tensor) -> np.ndarray:
    """As its manual shows."""
    chosen = [ClassifierOutputTarget(int(target)) for target in targets]
    with engine(net, [net.features[-1]]) as made_engine:
        return made_engine(images, chosen)


def by_torchcam(net: nets.Net, images: Tensor, targets: Tensor) -> Tensor:
    """As its manual shows; raw maps, at the stage's size."""
    with TorchcamGradCAM(net, net.features[-1]) as engine:
        return engine(targets.tolist(), net(images), normalized=False)[0]


@torch.no_grad()
def run(net: nets.Net, images: Tensor) -> Tensor:
    """A forward pass alone."""
    return net(images)


def in_bf16(net: nets.Net, images: Tensor, targets: Tensor) -> Tensor:
    """Our Grad-CAM under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return cam.explain(net, images, targets, size=None)


def peak_memory() -> float:
    """The most that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def count_tensors() -> int:
    """Tensors that are alive."""
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


PARTS = {
    "gradcam": gradcam,
    "classes": classes,
    "cam": plain,
    "channels": channels,
    "leaks": leaks,
}


if __name__ == "__main__":
    main()
