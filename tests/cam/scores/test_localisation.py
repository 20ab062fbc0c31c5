import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, precision_score

from medcnn.cam.scores import (
    energy_inside,
    iou_at_thresholds,
    overlap,
    pixel_average_precision,
    pointing_hits,
)
from medcnn.errors import UserError


def one(*, shape: tuple[int, ...] = (9, 9), at: tuple[int, ...] = (4, 4)) -> torch.Tensor:
    map_ = torch.zeros(shape)
    map_[at] = 1.0
    return map_


def test_hits_and_misses() -> None:
    maps = torch.stack([one(at=(2, 3)), one(at=(2, 5)), one(at=(8, 8))])
    masks = torch.zeros(3, 9, 9, dtype=torch.bool)
    masks[:, 2:4, 2:4] = True
    assert pointing_hits(maps, masks).tolist() == [True, False, False]
    assert pointing_hits(maps * 1e-20 - 1e-25, masks).tolist() == [True, False, False]


def test_ties_and_empty_maps() -> None:
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[2:4, 2:4] = True
    tie_outside, tie_inside = one(at=(2, 2)), one(at=(2, 2))
    tie_outside[7, 7] = 1
    tie_inside[3, 3] = 1
    maps = torch.stack(
        [torch.zeros(9, 9), torch.ones(9, 9), -one(at=(7, 7)), tie_outside, tie_inside]
    )
    hits = pointing_hits(maps, mask.expand(5, 9, 9))
    assert hits.tolist() == [False, False, False, False, True]


def test_bad_input() -> None:
    maps, masks = torch.ones(2, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(UserError, match="shape"):
        pointing_hits(maps, masks[:, :2])
    masks[1] = False
    with pytest.raises(UserError, match=r"1 of 2 images have no lesion \(the first at 1\)"):
        pointing_hits(maps, masks)


def random_pair(dims: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps with ties, and masks with a lesion each."""
    generator = torch.Generator().manual_seed(dims)
    shape = (count, *[7, 8, 9][:dims])
    maps = torch.randint(-3, 6, shape, generator=generator).float()
    masks = torch.rand(shape, generator=generator) < 0.2
    masks.flatten(1)[:, 5] = True
    return maps, masks


@pytest.mark.parametrize("dims", [2, 3])
def test_average_precision_is_that_of_scikit_learn(dims: int) -> None:
    maps, masks = random_pair(dims)
    expected = [
        average_precision_score(mask.flatten(), map_.flatten())
        for map_, mask in zip(maps, masks, strict=True)
    ]
    assert pixel_average_precision(maps, masks).tolist() == pytest.approx(expected)
    flat = pixel_average_precision(torch.zeros_like(maps), masks)
    torch.testing.assert_close(flat, masks.flatten(1).double().mean(1))
    broken = maps.clone()
    broken[0].view(-1)[3] = torch.nan
    assert pixel_average_precision(broken, masks)[0] == pytest.approx(float(flat[0]))
    assert pixel_average_precision(broken, masks)[1:].tolist() == pytest.approx(expected[1:])


@pytest.mark.parametrize("dims", [2, 3])
def test_overlap_is_that_of_scikit_learn(dims: int) -> None:
    maps, masks = random_pair(dims)
    iou, dice, iobb = overlap(maps, masks, 0.5)
    several = iou_at_thresholds(maps, masks, (0.2, 0.5))
    assert torch.equal(several[:, 1], iou)
    assert not torch.equal(several[:, 0], iou)
    for n in range(len(maps)):
        marked, mask = (maps[n] >= 0.5 * maps[n].max()).flatten(), masks[n].flatten()
        assert iou[n] == pytest.approx(jaccard_score(mask, marked))
        assert dice[n] == pytest.approx(f1_score(mask, marked))
        assert iobb[n] == pytest.approx(precision_score(mask, marked))


def test_energy_by_hand() -> None:
    maps = torch.tensor([[[3.0, 1.0], [-5.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]], [[1.0] * 2] * 2])
    mask = torch.tensor([[True, False], [True, False]]).expand(3, 2, 2)
    assert energy_inside(maps, mask).tolist() == [0.75, 0.0, 0.5]
    assert energy_inside(torch.full((1, 2, 2), torch.nan), mask[:1]).tolist() == [0.0]


def test_empty_maps_overlap_with_nothing() -> None:
    mask = torch.ones(2, 3, 3, dtype=torch.bool)
    for score in overlap(torch.stack([torch.zeros(3, 3), -torch.ones(3, 3)]), mask, 0.05):
        assert score.tolist() == [0.0, 0.0]


def test_thresholds_out_of_range() -> None:
    maps, masks = random_pair(2)
    for threshold in (0.0, 1.1, -1):
        with pytest.raises(UserError, match=f"threshold={threshold}"):
            overlap(maps, masks, threshold)
