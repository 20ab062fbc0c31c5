import pytest
import torch

from medcnn.cam.scores.similarity import rank_correlation
from medcnn.cam.scores.stability import agreement, noise_stability
from medcnn.errors import UserError


def batch(dims: int = 2, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.6 * torch.rand(count, 2, *[12] * dims, generator=generator)


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.mean(1)


@pytest.mark.parametrize("dims", [2, 3])
def test_noise_lowers_the_correlation_as_the_closed_form_says(dims: int) -> None:
    """Of a Gaussian image of sd s, with noise of sd n: ρ = (6/π) asin(r/2), r = s / √(s² + n²)."""
    generator = torch.Generator().manual_seed(1)
    size = 64 if dims == 2 else 16
    images = 0.5 + 0.05 * torch.randn(2, 1, *[size] * dims, generator=generator)
    stability = noise_stability(images, brightness, sd=0.05, draws=2)
    r = torch.tensor(0.5).sqrt()
    torch.testing.assert_close(
        stability, (6 / torch.pi * torch.asin(r / 2)).expand(2), atol=0.02, rtol=0
    )


def test_depends_on_the_seed_and_not_on_the_batch() -> None:
    images = batch()
    stability = noise_stability(images, brightness)
    assert ((stability > 0.9) & (stability < 1)).all()
    torch.testing.assert_close(noise_stability(images[1:], brightness), stability[1:])
    assert torch.equal(noise_stability(images, brightness), stability)
    assert not torch.equal(noise_stability(images, brightness, seed=1), stability)
    state = torch.get_rng_state()
    noise_stability(images, brightness)
    assert torch.equal(torch.get_rng_state(), state)


def test_is_the_mean_over_draws_of_valid_images() -> None:
    images, seen = batch(), []

    def explain(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images[:, 0]

    stability = noise_stability(images, explain, sd=0.3, draws=3)
    assert torch.equal(seen[0], images)
    assert len(seen) == 4
    assert all(noisy.min() == 0 and noisy.max() == 1 for noisy in seen[1:])
    each = torch.stack([rank_correlation(images[:, 0], noisy[:, 0]) for noisy in seen[1:]])
    torch.testing.assert_close(stability, each.mean(0))
    assert each.std(0).min() > 0


def test_the_default_noise_is_two_grey_levels() -> None:
    seen: list[torch.Tensor] = []

    def explain(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images[:, 0]

    images = torch.full((1, 1, 200, 200), 0.5)
    noise_stability(images, explain, draws=1)
    noise = 255 * (seen[1] - images)
    assert abs(noise.std() - 2) < 0.05
    assert abs((noise.abs() <= 4).float().mean() - 0.954) < 0.01
    assert abs(10 * torch.log10(255**2 / noise.square().mean()) - 42.1) < 0.2


def test_a_map_that_ignores_the_image_is_stable_and_an_empty_one_undefined() -> None:
    ramp = torch.arange(144.0).reshape(12, 12)
    torch.testing.assert_close(
        noise_stability(batch(), lambda images: ramp.expand(3, 12, 12)), torch.ones(3)
    )
    assert noise_stability(batch(), lambda images: torch.zeros(3, 12, 12)).isnan().all()


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_agreement_is_the_mean_over_pairs(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, *shape, generator=generator) for _ in range(3)]
    a, b, c = maps
    pairs = torch.stack([rank_correlation(a, b), rank_correlation(a, c), rank_correlation(b, c)])
    torch.testing.assert_close(agreement(maps), pairs.mean(0))
    torch.testing.assert_close(agreement([a, a.exp(), 2 * a]), torch.ones(2))
    a[0] = 0
    assert agreement(maps).isnan().tolist() == [True, False]


def test_bad_input() -> None:
    with pytest.raises(UserError, match="agreement: need the maps of two nets or more, got 1"):
        agreement([torch.ones(2, 4, 4)])
    for wrong in ({"sd": 0.0}, {"sd": float("nan")}, {"draws": 0}):
        with pytest.raises(UserError, match="need sd above 0, draws from 1 on"):
            noise_stability(batch(), brightness, **wrong)  # type: ignore[arg-type]
