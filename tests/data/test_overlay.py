import numpy as np
import pytest
import torch

from medcnn.data.overlay import agreement, align, local_contrast


def waves(shift: float, stretch: float, dims: int = 2, side: int = 32) -> torch.Tensor:
    """A pattern (1, *spatial) along every axis, at places that are stretched and shifted."""
    line = (torch.arange(side) + 0.5) * 2 / side - 1
    axes = torch.meshgrid(*(line * stretch + shift,) * dims, indexing="ij")
    values = sum(torch.sin(5 * axis + k) + torch.cos(3 * axis) for k, axis in enumerate(axes))
    return torch.as_tensor(values)[None]


def start(dims: int = 2) -> torch.Tensor:
    return torch.tensor([[1.0] * dims, [0.0] * dims])[None]


def test_local_contrast_is_the_distance_from_the_mean_around_in_deviations() -> None:
    image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
    values = image[0].double().numpy()
    around = values[3:8, 5:10]
    noise = (0.03 * values.std(ddof=1)) ** 2
    expected = (values[5, 7] - around.mean()) / np.sqrt(around.var() + noise)
    assert local_contrast(image, 12, 5)[0, 5, 7] == pytest.approx(expected, rel=1e-4)


def test_local_contrast_is_the_same_in_another_window_and_zero_where_flat() -> None:
    image = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        local_contrast(image, 16, 5), local_contrast(1000 + 40 * image, 16, 5), rtol=0.02, atol=0.02
    )
    assert (local_contrast(torch.full((1, 8, 8, 8), 5.0), 4, 3) == 0).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_alignment_finds_shift_and_stretch(dims: int) -> None:
    fixed, moving = waves(0.06, 0.93, dims), waves(0, 1, dims)
    place = align(fixed, moving, start(dims), 12)
    torch.testing.assert_close(place[0, 0], torch.full((dims,), 0.93), rtol=0, atol=0.01)
    torch.testing.assert_close(place[0, 1], torch.full((dims,), 0.06), rtol=0, atol=0.01)
    assert agreement(fixed, moving, place) > 0.995 > agreement(fixed, moving, start(dims))


def test_agreement_is_the_correlation_where_images_overlap() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 20, 20, generator=generator)
    whole = np.corrcoef(first.flatten(), second.flatten())[0, 1]
    assert agreement(first, second, start()) == pytest.approx(whole, abs=1e-5)
    place = torch.tensor([[[1.0, 1.0], [0.2, 0.0]]])  # two of twenty rows
    part = np.corrcoef(first[0, :-2].flatten(), second[0, 2:].flatten())[0, 1]
    assert agreement(first, second, place) == pytest.approx(part, abs=1e-5)
    assert agreement(first, torch.zeros(1, 20, 20), start()) == 0
