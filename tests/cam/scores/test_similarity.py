import pytest
import torch
from scipy.stats import spearmanr

from medcnn.cam.scores.similarity import rank_correlation, ssim
from medcnn.errors import UserError

SIZES = {2: (16, 21), 3: (12, 13, 14)}


def pair(dims: int = 2, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps of which the second resembles the first."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(count, *SIZES[dims], generator=generator)
    return a, a + 2 * torch.randn(a.shape, generator=generator)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("ties", ["none", "zeros", "few values"])
def test_rank_correlation_is_scipys(dims: int, ties: str) -> None:
    a, b = pair(dims)
    if ties == "zeros":  # as in Grad-CAM
        a, b = a.relu(), b.relu()
    if ties == "few values":
        a, b = a.round(), (b / 2).round()
    expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(
        rank_correlation(a, b), torch.tensor(expected, dtype=torch.float32), rtol=1e-5, atol=1e-6
    )


def test_only_the_order_counts() -> None:
    a, b = pair()
    torch.testing.assert_close(rank_correlation(a.exp(), 5 * b - 1), rank_correlation(a, b))
    torch.testing.assert_close(rank_correlation(a, -b), -rank_correlation(a, b))
    torch.testing.assert_close(rank_correlation(a, a), torch.ones(3))


def test_large_maps_with_many_ties_keep_their_precision() -> None:
    a = torch.zeros(1, 1500, 1500)
    a[:, :20, :20] = torch.arange(1.0, 401.0).reshape(20, 20)
    b = a.clone()
    b[:, 5, 5] = 0.0
    expected = spearmanr(a.flatten(), b.flatten()).statistic
    assert abs(rank_correlation(a, b).item() - expected) < 1e-5


def test_rank_correlation_without_an_order_is_nan() -> None:
    a, b = pair()
    a[0] = 7.0
    b[1, 3, 3] = torch.nan
    assert rank_correlation(a, b).isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("dims", [2, 3])
def test_ssim_is_scikit_images(dims: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = pair(dims)
    expected = []
    for x, y in zip(a.double(), b.double(), strict=True):
        x, y = ((z - z.min()) / (z.max() - z.min()) for z in (x, y))
        expected.append(
            metrics.structural_similarity(
                x.numpy(),
                y.numpy(),
                data_range=1.0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
    torch.testing.assert_close(
        ssim(a, b), torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=1e-5
    )


def test_ssim_by_hand() -> None:
    """One window of one pixel: 0 against 0 is alike, and of 1×3 by the formula."""
    a, b = torch.tensor([[[0.0, 1.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 2.0]]])
    side = torch.exp(torch.tensor(-1 / 4.5))
    side, middle = side / (1 + 2 * side), 1 / (1 + 2 * side)
    c1, c2 = 1e-4, 9e-4
    var_a, var_b, covariance = middle - middle**2, side - side**2, -middle * side
    expected = (2 * middle * side + c1) * (2 * covariance + c2)
    expected /= (middle**2 + side**2 + c1) * (var_a + var_b + c2)
    torch.testing.assert_close(ssim(a, b), expected[None])


def test_ssim_scales_the_maps_and_takes_flat_ones() -> None:
    a, b = pair()
    torch.testing.assert_close(ssim(3 * a + 5, b / 7), ssim(a, b), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ssim(a, a), torch.ones(3))
    flat = torch.full_like(a, 3.0)
    assert (ssim(flat, 2 * flat) == 1).all()
    assert (ssim(flat, a) < 0.1).all()


def test_each_pair_for_itself() -> None:
    a, b = pair()
    for score in (rank_correlation, ssim):
        alone = torch.cat([score(a[i, None], b[i, None]) for i in range(3)])
        torch.testing.assert_close(score(a, b), alone)


def test_bad_input() -> None:
    a, b = pair()
    for score in (rank_correlation, ssim):
        with pytest.raises(UserError, match=r"maps of shape \(3, 16, 21\) and of shape \(2, 16"):
            score(a, b[:2])
    with pytest.raises(UserError, match=r"ssim: maps of shape \(3, 336\), need \(N, H, W\)"):
        ssim(a.flatten(1), b.flatten(1))
