"""The classic kernels, against SciPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medcnn.nets.classic_kernels import CLASSIC, Kernel, grey, respond

NAMED = {kernel.name: kernel for kernel in CLASSIC}
IMAGE = np.random.default_rng(0).random((9, 7))
BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def smoothed(image: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        image = ndimage.correlate1d(image, BINOMIAL, axis, mode="nearest")
    return image


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", IMAGE),
        ("box blur", ndimage.uniform_filter(IMAGE, 3, mode="nearest")),
        ("Gaussian blur", smoothed(IMAGE)),
        ("sharpen", IMAGE - ndimage.laplace(IMAGE, mode="nearest")),
        ("Sobel x", ndimage.sobel(IMAGE, 1, mode="nearest")),
        ("Sobel y", ndimage.sobel(IMAGE, 0, mode="nearest")),
        ("Laplacian", ndimage.laplace(IMAGE, mode="nearest")),
    ],
)
def test_the_classics_are_those_of_scipy(name: str, expected: np.ndarray) -> None:
    response = respond(torch.from_numpy(IMAGE), NAMED[name])
    np.testing.assert_allclose(response, expected, atol=1e-6)


@pytest.mark.parametrize("kernel", CLASSIC, ids=lambda kernel: kernel.name)
def test_a_kernel_is_applied_as_a_cross_correlation(kernel: Kernel) -> None:
    weights = np.array(kernel.numbers) / kernel.divisor
    np.testing.assert_allclose(kernel.weights, weights, rtol=1e-6)
    expected = ndimage.correlate(IMAGE, weights, mode="nearest")
    np.testing.assert_allclose(respond(torch.from_numpy(IMAGE), kernel), expected, atol=1e-6)


def test_there_are_eight_and_none_twice() -> None:
    assert set(NAMED) == {
        "identity", "box blur", "Gaussian blur", "sharpen", "Sobel x", "Sobel y", "Laplacian",
        "emboss",
    }  # fmt: skip
    assert len({kernel.numbers for kernel in CLASSIC}) == len(CLASSIC) == 8


def test_weights_sum_to_one_or_where_signed_to_zero() -> None:
    signed = {kernel.name for kernel in CLASSIC if kernel.signed}
    assert signed == {"Sobel x", "Sobel y", "Laplacian"}
    for kernel in CLASSIC:
        assert float(kernel.weights.sum()) == pytest.approx(0 if kernel.signed else 1)


def test_the_signs_are_those_that_the_words_say() -> None:
    ramp = torch.arange(5.0).expand(5, 5)
    assert (respond(ramp, NAMED["Sobel x"])[:, 1:-1] == 8).all()
    assert (respond(ramp.T, NAMED["Sobel y"])[1:-1] == 8).all()
    square = torch.zeros(8, 8)
    square[2:6, 2:6] = 1
    relief = respond(square, NAMED["emboss"])
    assert relief[2, 2] > 1  # the upper left edge is lit
    assert relief[6, 6] < 0  # the lower right one lies in the shade


def test_grey_of_colours_is_their_luma() -> None:
    colours = torch.eye(3)[:, :, None]  # red, green, blue
    assert grey(colours)[:, 0].tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert torch.equal(grey(torch.ones(3, 2, 2)), torch.ones(2, 2))
    assert torch.equal(grey(torch.arange(8.0).view(2, 2, 2)), torch.tensor([[0.0, 1], [2, 3]]))
