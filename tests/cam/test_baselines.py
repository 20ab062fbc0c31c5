import numpy as np
import pytest
import torch
from scipy import ndimage

from medcnn.cam.baselines import BASELINES, baseline
from medcnn.errors import UserError

SIZES = {2: (12, 17), 3: (7, 9, 11)}


def batch(dims: int = 2, channels: int = 2, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, *SIZES[dims], generator=generator)


ROWS = torch.tensor([5, 0, 12])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", BASELINES)
def test_maps_of_a_batch_are_those_of_its_images(kind: str, dims: int) -> None:
    images = batch(dims)
    maps = baseline(kind, images, ROWS)
    assert maps.shape == (3, *SIZES[dims])
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    backwards = baseline(kind, images.flip(0), ROWS.flip(0)).flip(0)
    alone = torch.cat([baseline(kind, images[i, None], ROWS[i, None]) for i in range(3)])
    torch.testing.assert_close(maps, backwards)
    torch.testing.assert_close(maps, alone)


def test_random_is_uniform_and_independent() -> None:
    maps = baseline("random", torch.zeros(2, 1, 100, 100), torch.tensor([0, 2]))
    assert abs(maps.mean() - 1 / 2) < 0.01
    assert abs(maps.var() - 1 / 12) < 0.005
    assert abs(np.corrcoef(maps.flatten(1).numpy())[0, 1]) < 0.03
    assert abs(np.corrcoef(maps[0, :, 1:].flatten(), maps[0, :, :-1].flatten())[0, 1]) < 0.03


@pytest.mark.parametrize("dims", [2, 3])
def test_edges_are_scipys(dims: int) -> None:
    images = batch(dims)
    for image, edges in zip(images, baseline("edges", images, ROWS), strict=True):
        smoothed = image.mean(0).numpy().astype(float)
        for axis in range(dims):
            smoothed = ndimage.correlate1d(smoothed, [0.25, 0.5, 0.25], axis, mode="nearest")
        slopes = [ndimage.sobel(smoothed, axis, mode="nearest") for axis in range(dims)]
        expected = np.sqrt(np.square(slopes).sum(0)) / (2 * 4 ** (dims - 1))  # scipy's has no 1/8
        np.testing.assert_allclose(edges.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_edges_of_a_ramp_are_its_slope_and_of_a_flat_image_nothing() -> None:
    ramp = (torch.arange(9.0) / 10).expand(1, 1, 8, 9)
    edges = baseline("edges", ramp, torch.tensor([0]))
    torch.testing.assert_close(edges[:, :, 2:-2], torch.full((1, 8, 5), 0.1))
    assert (baseline("edges", torch.ones(1, 1, 4, 4), torch.tensor([0])) == 0).all()


def test_intensity_is_the_mean_of_the_channels() -> None:
    images = batch()
    expected = (images[:, 0] + images[:, 1]) / 2
    torch.testing.assert_close(baseline("intensity", images, ROWS), expected)


@pytest.mark.parametrize("shape", [(8, 9), (7, 8, 9)])
def test_centre_is_a_blob(shape: tuple[int, ...]) -> None:
    maps = baseline("centre", torch.zeros(2, 1, *shape), ROWS[:2])
    maps[0] = 0  # each image has its own
    blob = maps[1]
    assert (blob == 1).sum() == 1
    assert blob[tuple(size // 2 for size in shape)] == 1
    assert blob.min() > 0
    edge = blob[(0, *[size // 2 for size in shape[1:]])]
    offset = shape[0] // 2 / (shape[0] / 4)
    torch.testing.assert_close(edge, torch.exp(torch.tensor(-(offset**2) / 2)))


def test_bad_input() -> None:
    with pytest.raises(UserError, match="baseline=edge: choose one of random, centre, edges"):
        baseline("edge", batch(), ROWS)
    for rows in (ROWS[:2], ROWS.float(), ROWS - 1):
        with pytest.raises(UserError, match="need a row, 0 or more, for each of the 3 images"):
            baseline("random", batch(), rows)
