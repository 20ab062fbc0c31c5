import pytest
import torch
from torch import nn

from medcnn import nets
from medcnn.classifier.memory_format import memory_format


def resnet(width: float, dims: int = 2) -> nn.Module:
    size = (16,) * dims
    options = {"depth": 18, "width": width, "spatial_dims": dims, "input_size": size}
    return nets.build("resnet", in_channels=1, num_classes=3, **options)


@pytest.mark.parametrize(
    ("width", "dims", "expected"),
    [
        (0.25, 2, torch.channels_last),
        (0.1, 2, torch.contiguous_format),
        (0.1, 3, torch.channels_last_3d),
    ],
)
def test_channels_last_where_it_is_safe(
    width: float, dims: int, expected: torch.memory_format
) -> None:
    net = resnet(width, dims)
    assert memory_format(net, dims, channels_last=True) is expected
    assert memory_format(net, dims, channels_last=False) is torch.contiguous_format


def test_the_narrowest_net_that_has_channels_last_learns_as_without() -> None:
    """Of fewer inputs the gradients were wrong, or the process ended."""
    nets_of_both = [resnet(0.25), resnet(0.25)]
    nets_of_both[1].load_state_dict(nets_of_both[0].state_dict())
    images = torch.randn(8, 1, 16, 16)
    found = []
    for net, asked in zip(nets_of_both, (False, True), strict=True):
        kept = memory_format(net, 2, channels_last=asked)
        net.to(memory_format=kept)
        net(images.contiguous(memory_format=kept)).square().sum().backward()
        found.append([p.grad for p in net.parameters()])
    for plain, last in zip(*found, strict=True):
        torch.testing.assert_close(last, plain, atol=1e-3, rtol=1e-3)
