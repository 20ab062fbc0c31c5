from itertools import product

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from medcnn.cam.scores import linear_imputation
from medcnn.errors import UserError

SHAPES = [(9, 12), (33, 40), (7, 5, 6), (9, 8, 11), (1, 8, 9)]


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def exact(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """One channel, filled in by solving the explicit matrix."""
    weight = {2: {1: 1 / 6, 2: 1 / 12}, 3: {1: 1 / 14, 2: 1 / 28, 3: 1 / 56}}[image.ndim]
    number = {tuple(place): row for row, place in enumerate(np.argwhere(missing))}
    matrix, right = lil_matrix((len(number), len(number))), np.zeros(len(number))
    for place, row in number.items():
        for shift in product((-1, 0, 1), repeat=image.ndim):
            other = tuple(p + s for p, s in zip(place, shift, strict=True))
            if not any(shift) or not all(
                0 <= o < side for o, side in zip(other, image.shape, strict=True)
            ):
                continue
            w = weight[sum(map(abs, shift))]
            matrix[row, row] += w
            if other in number:
                matrix[row, number[other]] = -w
            else:
                right[row] += w * image[other]
    filled = image.copy()
    filled[missing] = spsolve(matrix.tocsc(), right)
    return filled


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_solution_of_the_explicit_matrix(shape: tuple[int, ...], share: float) -> None:
    images = uniform(2, 2, *shape)
    missing = uniform(2, *shape, seed=1) < share
    missing[1] = torch.arange(shape[-1]) < int(share * shape[-1])  # one gap, up to the border
    filled = linear_imputation(images, missing)
    assert filled.dtype == torch.float32
    for i, c in product(range(2), range(2)):
        expected = exact(images[i, c].double().numpy(), missing[i].numpy())
        np.testing.assert_allclose(filled[i, c], expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(48, 32), (24, 32, 16)])
def test_large_gaps(shape: tuple[int, ...]) -> None:
    """Two known pixels in opposite corners are all there is: the hardest system."""
    images, missing = torch.zeros(1, 1, *shape), torch.ones(1, *shape, dtype=torch.bool)
    first, last = (0, *[0] * len(shape)), (0, *[-1] * len(shape))
    missing[first] = missing[last] = False
    images[:, 0][first] = 1
    filled = linear_imputation(images, missing)[0, 0]
    assert filled.min() >= 0
    assert filled.max() <= 1
    flipped = filled.flip(list(range(len(shape))))
    torch.testing.assert_close(filled + flipped, torch.ones(shape), atol=1e-3, rtol=0)
    if len(shape) == 2:
        expected = exact(images[0, 0].double().numpy(), missing[0].numpy())
        np.testing.assert_allclose(filled, expected, atol=1e-3)


def test_like_pytorch_grad_cam() -> None:
    metrics = pytest.importorskip("pytorch_grad_cam.metrics.road")
    image, missing = uniform(3, 11, 14), uniform(11, 14, seed=1) < 0.6
    expected = metrics.NoisyLinearImputer(noise=0.0)(image, (~missing).float())
    filled = linear_imputation(image[None], missing[None])[0]
    torch.testing.assert_close(filled, expected, atol=2e-5, rtol=0)


def test_known_pixels_stay_and_missing_values_dont_count() -> None:
    images, missing = uniform(1, 3, 8, 8), uniform(1, 8, 8, seed=1) < 0.5
    expected = linear_imputation(images, missing)
    known = ~missing[:, None].expand_as(images)
    assert torch.equal(expected[known], images[known])
    holed = torch.where(known, images, torch.nan)
    assert torch.equal(linear_imputation(holed, missing), expected)
    assert torch.equal(linear_imputation(images, torch.zeros_like(missing)), images)
    moved = linear_imputation(images * 1e-3 + 100, missing)
    torch.testing.assert_close(moved, expected * 1e-3 + 100)
    half = linear_imputation(images.half(), missing)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, atol=2e-3, rtol=0)


def test_everything_missing_gives_the_mean() -> None:
    images, missing = uniform(2, 2, 6, 7), torch.zeros(2, 6, 7, dtype=torch.bool)
    missing[0] = True
    missing[1, 2:4, 2:4] = True
    filled = linear_imputation(images, missing)
    means = images[0].mean((1, 2))[:, None, None].expand(2, 6, 7)
    torch.testing.assert_close(filled[0], means)
    alone = linear_imputation(images[1:], missing[1:])
    assert torch.equal(filled[1:], alone)


def test_a_batch_is_image_by_image() -> None:
    images, missing = uniform(3, 1, 20, 20), uniform(3, 20, 20, seed=1)
    missing = missing < torch.tensor([0.1, 0.95, 0.5])[:, None, None]
    together = linear_imputation(images, missing, noise=0.01, seed=3)
    for i in range(3):
        alone = linear_imputation(images[i : i + 1], missing[i : i + 1], noise=0.01, seed=3)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-6, rtol=0)


def test_noise() -> None:
    images, missing = torch.full((2, 2, 60, 60), 0.5), uniform(2, 60, 60) < 0.5
    noisy = linear_imputation(images, missing, noise=0.01, seed=1)
    gaps = missing[:, None].expand_as(images)
    assert (noisy[~gaps] == 0.5).all()
    added = noisy[gaps] - 0.5
    assert added.std().item() == pytest.approx(0.01, rel=0.05)
    assert abs(added.mean().item()) < 5e-4
    assert torch.equal(noisy, linear_imputation(images, missing, noise=0.01, seed=1))
    assert not torch.equal(noisy, linear_imputation(images, missing, noise=0.01, seed=2))


def test_bad_input() -> None:
    images, missing = torch.ones(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    with pytest.raises(UserError, match="masks of shape"):
        linear_imputation(images, missing[:, :3])
    with pytest.raises(UserError, match="2-D or 3-D"):
        linear_imputation(images[:, :, 0], missing[:, 0])
    for noise in (-1.0, float("nan")):
        with pytest.raises(UserError, match="noise="):
            linear_imputation(images, missing, noise=noise)
    images[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="aren't finite"):
        linear_imputation(images, missing)
