"""Weights for other channels and for volumes: the response is what it was."""

import pytest
import torch
import torch.nn.functional as F

from medcnn.nets.pretrained.adapt import adapt_channels, inflate

CHANNELS = [(3, 1), (3, 2), (3, 3), (3, 4), (3, 5), (3, 6), (1, 3), (4, 1), (2, 7), (7, 2)]


@pytest.mark.parametrize(("old", "new"), CHANNELS)
def test_grey_images_give_the_response_of_their_copy(old: int, new: int) -> None:
    torch.manual_seed(0)
    weight, image = torch.randn(5, old, 3, 3) / 5, torch.randn(2, 1, 9, 11)
    adapted = adapt_channels(weight, new)
    assert adapted.shape == (5, new, 3, 3)
    expected = F.conv2d(image.expand(-1, old, -1, -1), weight)
    response = F.conv2d(image.expand(-1, new, -1, -1), adapted)
    torch.testing.assert_close(response, expected, atol=1e-6, rtol=1e-6)
    assert all(channel.any() for channel in adapted.unbind(1)), "each channel has a share"


def test_channels_take_turns() -> None:
    weight = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    assert adapt_channels(weight, 2).flatten().tolist() == [5.0, 2.0]
    assert adapt_channels(weight, 5).flatten().tolist() == [0.5, 1.0, 4.0, 0.5, 1.0]


def test_volumes() -> None:
    torch.manual_seed(0)
    weight, volume = torch.randn(5, 3, 3, 3, 3) / 9, torch.randn(1, 1, 6, 7, 8)
    response = F.conv3d(volume, adapt_channels(weight, 1))
    expected = F.conv3d(volume.expand(-1, 3, -1, -1, -1), weight)
    torch.testing.assert_close(response, expected, atol=1e-6, rtol=1e-6)


def test_the_same_channels_change_nothing() -> None:
    weight = torch.randn(5, 3, 3, 3)
    assert torch.equal(adapt_channels(weight, 3), weight)


def test_one_to_three_shares_equally() -> None:
    weight = torch.randn(5, 1, 3, 3)
    torch.testing.assert_close(adapt_channels(weight, 3), weight.expand(-1, 3, -1, -1) / 3)


def test_keeps_the_type_of_number() -> None:
    assert adapt_channels(torch.ones(1, 3, 1, 1, dtype=torch.float16), 2).dtype == torch.float16
    assert inflate(torch.ones(1, 3, 1, 1, dtype=torch.float64), 2).dtype == torch.float64


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_a_constant_volume_gives_the_response_of_its_slice(depth: int) -> None:
    torch.manual_seed(0)
    weight, image = torch.randn(5, 2, 3, 3) / 4, torch.randn(1, 2, 9, 11)
    volume = image[:, :, None].expand(-1, -1, 8, -1, -1)
    kernel = inflate(weight, depth)
    assert kernel.shape == (5, 2, depth, 3, 3)
    pad = depth // 2
    response = F.conv3d(volume, kernel, padding=(pad, 0, 0))
    assert response.shape[2] == 8
    expected = F.conv2d(image, weight)
    for place in range(pad, 8 - pad):
        torch.testing.assert_close(response[:, :, place], expected, atol=1e-6, rtol=1e-6)
    if pad:  # at the ends the kernel hangs over
        assert not torch.allclose(response[:, :, 0], expected, atol=1e-3)
