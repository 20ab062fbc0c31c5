import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medcnn.cam.scores.reliance import (
    COVERAGE_TOLERANCE,
    LEAST_COVERAGE,
    MARGIN,
    _otsu,
    body,
    elsewhere,
    grow,
    lesion_reliance,
    verdict,
)
from medcnn.errors import UserError

SIZES = {2: (24, 30), 3: (18, 20, 22)}


def disc(size: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(n) for n in size], indexing="ij")
    squares = [(axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)]
    return torch.stack(squares).sum(0) <= radius**2


def case(dims: int = 2, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Images of a bright body with a brighter, L-shaped lesion; masks; rows."""
    size = SIZES[dims]
    middle = tuple(n / 2 for n in size)
    images, masks = torch.zeros(count, 1, *size), torch.zeros(count, *size, dtype=torch.bool)
    images[:, 0, disc(size, middle, 0.46 * min(size))] = 0.5
    for i in range(count):
        corner = [n // 2 - 4 + i for n in size]
        masks[i][tuple(slice(c, c + 1) for c in corner[:-1])][..., corner[-1] : corner[-1] + 3] = (
            True
        )
        masks[i][tuple(slice(c, c + 2) for c in corner[:-1])][..., corner[-1]] = True
        images[i, 0, masks[i]] = 0.9
    return images, masks, torch.tensor([3, 0, 11, 8][:count])


def fill(images: Tensor, missing: Tensor) -> Tensor:
    """In the colour of the body."""
    return torch.where(missing[:, None], 0.5, images)


@pytest.mark.parametrize("dims", [2, 3])
def test_otsu_is_scikit_images(dims: int) -> None:
    filters = pytest.importorskip("skimage.filters")
    images, _, _ = case(dims)
    generator = torch.Generator().manual_seed(0)
    for image in images[:, 0] + 0.1 * torch.randn(images[:, 0].shape, generator=generator):
        values = image.numpy()
        width = np.ptp(values) / 256
        assert 0 <= _otsu(values) - filters.threshold_otsu(values) <= width


def test_body_is_the_largest_part_with_its_holes_filled() -> None:
    size = (40, 50)
    image = torch.zeros(2, *size)
    whole = disc(size, (20, 22), 15)
    image[:, whole] = 0.7
    image[:, disc(size, (20, 16), 5)] = 0.05  # a lung
    image[:, disc(size, (20, 16), 1)] = 0.8  # a vessel within
    image[:, 2:6, 44:48] = 1.0  # a marker
    image += 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    found = body(torch.stack([image, image.flip(0)]))  # (2, 2 channels, 40, 50)
    assert torch.equal(found, whole.expand(2, *size))


def test_body_of_a_volume_is_filled_where_lungs_are_cut_open() -> None:
    size = (10, 30, 30)
    whole = disc((30, 30), (15, 15), 12).expand(size).clone()
    image = 0.6 * whole.float()
    image[:, disc((30, 30), (15, 15), 5)] = 0.0  # goes through all slices
    image[:, :3, :3] = 0.9
    assert torch.equal(body(image[None, None]), whole[None])


def test_an_image_of_one_value_has_no_body() -> None:
    images = torch.cat(
        [torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.4), torch.ones(1, 1, 8, 8)]
    )
    assert not body(images).any()
    images[1, 0, 2:5, 2:5] = 0.5
    assert body(images).flatten(1).sum(1).tolist() == [0, 9, 0]


@pytest.mark.parametrize("dims", [2, 3])
def test_elsewhere_is_a_legal_place_and_every_legal_place_is_drawn(dims: int) -> None:
    """Against all shifts, tried one by one."""
    images, masks, _ = case(dims, count=1)
    area, mask = body(images)[0].numpy(), masks[0].numpy()
    near = ndimage.binary_dilation(mask, np.ones((3,) * dims), iterations=MARGIN)
    points = np.argwhere(mask)
    coverage = {}
    for shift in np.ndindex(*[2 * n for n in mask.shape]):
        moved = points + np.array(shift) - mask.shape
        if (moved >= 0).all() and (moved < mask.shape).all() and not near[tuple(moved.T)].any():
            coverage[tuple(moved[0])] = area[tuple(moved.T)].mean()
    least = max(LEAST_COVERAGE, max(coverage.values()) - COVERAGE_TOLERANCE)
    legal = {place for place, share in coverage.items() if share >= least}
    draws = 8 * len(legal) if dims == 2 else 200
    one = torch.arange(draws)
    moved, found = elsewhere(
        masks.expand(draws, *mask.shape), body(images).expand(draws, *mask.shape), one
    )
    assert found.all()
    drawn = set()
    for place in moved.numpy():
        where = np.argwhere(place)
        assert (where - where[0] == points - points[0]).all()
        drawn.add(tuple(where[0]))
    assert drawn <= legal
    assert len(drawn) > (0.99 if dims == 2 else 0.05) * len(legal)


@pytest.mark.parametrize("dims", [2, 3])
def test_elsewhere_depends_on_seed_and_row_alone(dims: int) -> None:
    images, masks, rows = case(dims)
    area = body(images)
    moved, _ = elsewhere(masks, area, rows)
    backwards, _ = elsewhere(masks.flip(0).byte(), area.flip(0), rows.flip(0))
    assert torch.equal(backwards.flip(0), moved)
    alone = [elsewhere(masks[i, None], area[i, None], rows[i, None])[0] for i in range(4)]
    assert torch.equal(torch.cat(alone), moved)
    assert not torch.equal(elsewhere(masks, area, rows, seed=1)[0], moved)
    assert not torch.equal(elsewhere(masks, area, rows + 1)[0], moved)


def test_elsewhere_takes_the_best_place_and_none_below_90_percent() -> None:
    masks = torch.zeros(1, 12, 40, dtype=torch.bool)
    masks[0, 1:11, 1:11] = True
    area = torch.zeros(1, 12, 40, dtype=torch.bool)
    area[0, 1:11, 20:30] = True
    for row in range(20):  # one row or column aside is 90 %, but not the best
        moved, found = elsewhere(masks, area, torch.tensor([row]))
        assert found.all()
        assert torch.equal(moved, area)
    area[0, :, 20] = False
    assert elsewhere(masks, area, torch.tensor([4]))[1].all()  # 90 %
    area[0, 5, 22] = False
    moved, found = elsewhere(masks, area, torch.tensor([4]))  # 89 %
    assert found.tolist() == [False]
    assert not moved.any()


def test_elsewhere_keeps_its_distance() -> None:
    masks = torch.zeros(1, 1, 12, dtype=torch.bool)
    masks[..., 4:6] = True
    places = [elsewhere(masks, torch.ones_like(masks), torch.tensor([i]))[0] for i in range(60)]
    assert {int(place.nonzero()[0, 2]) for place in places} == {0, 8, 9, 10}


@pytest.mark.parametrize("dims", [2, 3])
def test_grow_takes_a_radius_for_each_axis(dims: int) -> None:
    mask = torch.zeros(1, *[9] * dims, dtype=torch.bool)
    mask[(0, *[4] * dims)] = True
    radius = [1, 2, 3][:dims]
    expected = torch.zeros_like(mask)
    expected[(0, *[slice(4 - r, 5 + r) for r in radius])] = True
    assert torch.equal(grow(mask, radius), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_reliance_sees_what_a_classifier_uses(dims: int) -> None:
    """One that looks for the lesion's brightness, and one for that of the body's other parts."""
    images, masks, rows = case(dims)
    seen: list[Tensor] = []

    def probs(images: Tensor) -> Tensor:
        seen.append(images)
        ill = images.flatten(1).amax(1)
        return torch.stack([1 - ill, ill], 1)

    found = lesion_reliance(images, masks, probs, fill, rows)
    assert found.found.all()
    expected = torch.tensor([[0.1, 0.9]]).expand(4, 2)
    torch.testing.assert_close(found.original, expected)
    torch.testing.assert_close(found.without_elsewhere, expected)
    torch.testing.assert_close(found.lesion_alone, expected)
    torch.testing.assert_close(found.without_lesion, torch.full((4, 2), 0.5))
    torch.testing.assert_close(
        verdict(found.without_lesion[:, 1], found.without_elsewhere[:, 1]), torch.full((4,), 0.4)
    )
    lesions = grow(masks, [1] * dims)
    alone = seen[-1][:, 0]
    assert torch.equal(alone, torch.where(lesions, images[:, 0], 0.0))
    assert (alone > 0).sum() > masks.sum()


def test_rims_are_a_64th_of_the_axis() -> None:
    images = torch.zeros(1, 1, 40, 128)
    images[..., 2:38, 4:124] = 0.5
    masks = torch.zeros(1, 40, 128, dtype=torch.bool)
    masks[0, 20, 30] = True
    missing: list[Tensor] = []

    def note(images: Tensor, mask: Tensor) -> Tensor:
        missing.append(mask)
        return images

    lesion_reliance(images, masks, lambda images: images.mean((2, 3)), note, torch.tensor([0]))
    lesion = next(mask for mask in missing if mask[0, 20, 30])
    other = next(mask for mask in missing if not mask[0, 20, 30])
    box = torch.zeros_like(masks)
    box[0, 19:22, 28:33] = True
    assert torch.equal(lesion, box)
    assert other.sum() == box.sum()


def test_without_another_place_there_is_no_comparison() -> None:
    images, masks, rows = case()
    masks[1] = body(images)[1]  # all ill

    def probs(images: Tensor) -> Tensor:
        assert len(images) > 0
        return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1)

    found = lesion_reliance(images, masks, probs, fill, rows)
    assert found.found.tolist() == [True, False, True, True]
    assert found.without_elsewhere.isnan().all(1).tolist() == [False, True, False, False]
    assert not found.without_lesion.isnan().any()
    alone = lesion_reliance(images[1:2], masks[1:2], probs, fill, rows[1:2])
    assert alone.without_elsewhere.isnan().all()
    difference = verdict(found.without_lesion[:, 0] > 0.1, found.without_elsewhere[:, 0])
    assert difference.isnan().tolist() == [False, True, False, False]


def test_verdict() -> None:
    """Right or wrong: lost with the lesion, with the other place, with both, with neither."""
    lesion = torch.tensor([False, True, False, True])
    other = torch.tensor([True, False, False, True])
    assert verdict(lesion, other).tolist() == [1.0, -1.0, 0.0, 0.0]
    with pytest.raises(UserError, match="verdict"):
        verdict(lesion, other[:2])


def test_bad_input() -> None:
    images, masks, rows = case()
    area = body(images)
    with pytest.raises(UserError, match=r"masks of \(4, 24, 29\), 4 rows; need a mask and a row"):
        lesion_reliance(images, masks[..., 1:], lambda x: x, fill, rows)
    with pytest.raises(UserError, match=r"images of size \(4, 24, 30\).* 3 rows"):
        elsewhere(masks, area, rows[:3])
    with pytest.raises(UserError, match=r"rows \[2, -1, 10, 7\]; need 0 or more"):
        elsewhere(masks, area, rows - 1)
    masks[2] = False
    with pytest.raises(UserError, match=r"1 of 4 images have no lesion \(the first at 2\)"):
        lesion_reliance(images, masks, lambda x: x, fill, rows)
