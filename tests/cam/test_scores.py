import pytest
import torch

from medcnn.cam import centre_map, pointing_hits
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


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
def test_tolerance_is_a_euclidean_distance(dims: int, tolerance: int) -> None:
    shape = (9,) * dims
    mask = one(shape=shape, at=(4,) * dims).bool()
    positions = torch.cartesian_prod(*[torch.arange(9)] * dims)
    maps = torch.stack([one(shape=shape, at=tuple(p.tolist())) for p in positions])
    hits = pointing_hits(maps, mask.expand(len(maps), *shape), tolerance)
    distances = (positions - 4).float().square().sum(1).sqrt()
    assert torch.equal(hits, distances <= tolerance)


def test_bad_input() -> None:
    maps, masks = torch.ones(2, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(UserError, match="shape"):
        pointing_hits(maps, masks[:, :2])
    with pytest.raises(UserError, match="tolerance=-1"):
        pointing_hits(maps, masks, -1)
    masks[1] = False
    with pytest.raises(UserError, match=r"1 of 2 images have no lesion \(the first at 1\)"):
        pointing_hits(maps, masks)


@pytest.mark.parametrize("shape", [(9, 9), (8, 10), (7, 8, 9)])
def test_centre_map(shape: tuple[int, ...]) -> None:
    blob = centre_map(shape)
    assert blob.shape == shape
    assert (blob == 1).sum() == 1
    assert blob[tuple(size // 2 for size in shape)] == 1
    assert blob.min() > 0
    edge = blob[(0, *[size // 2 for size in shape[1:]])]
    offset = shape[0] // 2 / (shape[0] / 4)
    torch.testing.assert_close(edge, torch.exp(torch.tensor(-(offset**2) / 2)))
