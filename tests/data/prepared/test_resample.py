import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from medcnn.data.prepared.resample import Points, interpolate, nearest

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(11, 13)).astype(np.float32)


def stretched(length: int, count: int) -> Points:
    return Points(((length - 1) - (count - 1) * length / count) / 2, length / count, count)


@pytest.mark.parametrize("size", [(5, 4), (11, 6), (1, 1), (24, 20), (4, 31)])
def test_pillow_and_torch_do_the_same(size: tuple[int, int]) -> None:
    ours = NOISE
    for axis in range(2):
        ours = interpolate(ours, axis, stretched(NOISE.shape[axis], size[axis]))
    pillow = Image.fromarray(NOISE).resize(size[::-1], Image.Resampling.BILINEAR)
    torches = F.interpolate(
        torch.from_numpy(NOISE)[None, None], size, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(ours, np.asarray(pillow), atol=1e-5)
    np.testing.assert_allclose(ours, torches[0, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [3, 5, 11, 24, 33])
def test_nearest_is_that_of_torch(size: int) -> None:
    ours = nearest(NOISE, 0, stretched(11, size))
    torches = F.interpolate(torch.from_numpy(NOISE.T.copy())[None], size, mode="nearest-exact")
    np.testing.assert_array_equal(ours, torches[0].numpy().T)


@pytest.mark.parametrize(("first", "step", "count"), [(0.3, 0.7, 9), (1.25, 0.5, 12), (4, 1, 3)])
def test_a_ramp_stays_one(first: float, step: float, count: int) -> None:
    ramp = np.arange(11)[:, None] * np.array([1.0, -3])
    points = Points(first, step, count)
    np.testing.assert_allclose(
        interpolate(ramp, 0, points), points.places()[:, None] * [1, -3], rtol=1e-5
    )


def test_a_ramp_stays_one_from_afar() -> None:
    """Away from the edges; exactly so where the triangle is a whole number of voxels wide."""
    ramp = np.arange(21.0)
    for step in (2.0, 3.0):
        points = Points(4.3, step, 4)
        np.testing.assert_allclose(interpolate(ramp, 0, points), points.places(), rtol=1e-5)
    points = Points(4.3, 2.6, 4)
    np.testing.assert_allclose(interpolate(ramp, 0, points), points.places(), atol=0.05)


def test_points_beyond_the_edges() -> None:
    values = np.array([10, 20, 30], np.uint8)
    points = Points(-2, 1, 7)
    np.testing.assert_array_equal(points.outside(3), [1, 1, 0, 0, 0, 1, 1])
    for resample in (interpolate, nearest):
        found = resample(values, 0, points)
        assert found.dtype == np.uint8  # copied
        np.testing.assert_array_equal(found, [10, 10, 10, 20, 30, 30, 30])
    between = Points(-1.25, 0.75, 6)  # -1.25 -0.5 0.25 1 1.75 2.5
    np.testing.assert_array_equal(between.outside(3), [1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(interpolate(values, 0, between), [10, 10, 12.5, 20, 27.5, 30])
    np.testing.assert_array_equal(nearest(values, 0, between), [10, 10, 10, 20, 30, 30])


def test_a_whole_step_is_not_copying() -> None:
    """Every third point of a fast pattern would be its highest value."""
    pattern = np.tile([0.0, 9, 0], 4)
    np.testing.assert_allclose(interpolate(pattern, 0, stretched(12, 4))[1:3], 3, rtol=1e-6)
    assert not stretched(12, 4).on_voxels
