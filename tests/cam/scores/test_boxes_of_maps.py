import numpy as np
import pytest
import torch

from medcnn.cam.scores import Candidates, Froc, box_iou, candidates
from medcnn.errors import UserError


def blank(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(1, *shape)


def test_box_of_the_largest_part() -> None:
    map_ = blank((20, 20))
    map_[0, 2:6, 2:8] = 0.5  # 24 pixels: its box is compared
    map_[0, 15, 15] = 1.0
    mask = blank((20, 20)).bool()
    mask[0, 4:8, 2:8] = True
    mask[0, 14:17, 14:17] = True
    assert box_iou(map_, mask, 0.4).tolist() == pytest.approx([12 / (24 + 24 - 12)])
    assert box_iou(map_, mask, 0.9).tolist() == pytest.approx([1 / 9])
    assert box_iou(-map_, mask, 0.4).tolist() == [0.0]
    mask[0, 4:8, 2:8] = False
    assert box_iou(map_, mask, 0.4).tolist() == [0.0]


def test_boxes_are_tight_and_diagonals_connect() -> None:
    map_ = torch.eye(8)[None]
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    assert box_iou(map_, mask, 0.5).tolist() == [1.0]


def test_boxes_in_three_dimensions() -> None:
    map_, mask = blank((8, 9, 10)), blank((8, 9, 10)).bool()
    map_[0, 1:5, 2:6, 3:7] = 1
    mask[0, 3:7, 2:6, 3:7] = True
    assert box_iou(map_, mask, 0.5).tolist() == pytest.approx([32 / (64 + 64 - 32)])
    ((scores, lesions, count),) = candidates(map_, mask)
    assert (scores.tolist(), lesions.tolist(), count) == ([1.0], [-1], 1)


def test_candidates_are_local_maxima() -> None:
    map_, mask = blank((27, 27)), blank((27, 27)).bool()
    map_[0, 5, 5], map_[0, 5, 6], map_[0, 20, 20], map_[0, 13, 2] = 3.0, 2.0, 7.0, 1.0
    mask[0, 4:7, 4:7] = True
    mask[0, 12:15, 20:23] = True
    (found,) = candidates(map_, mask)
    assert sorted(zip(found.scores.tolist(), found.lesions.tolist(), strict=True)) == [
        (1.0, -1),
        (3.0, 0),
        (7.0, -1),
    ]
    assert found.number == 2
    (none,) = candidates(-map_, mask)
    assert len(none.scores) == 0
    (flat,) = candidates(torch.ones(1, 27, 27), mask)
    assert (flat.scores.tolist(), flat.lesions.tolist()) == ([1.0], [-1])  # not all on a lesion
    mask[:] = True
    (flat,) = candidates(torch.ones(1, 27, 27), mask)
    assert flat.lesions.tolist() == [0]


def made(scores: list[float], lesions: list[int], count: int) -> Candidates:
    return Candidates(np.array(scores), np.array(lesions), count)


FOUND = [
    made([0.9, 0.5, 0.4], [0, -1, 0], 1),  # the lesion counts once
    made([0.8, 0.6, 0.3], [-1, 0, -1], 2),  # one of two is never found
    made([0.7], [-1], 0),
    made([], [], 1),
]


def test_froc_by_hand() -> None:
    """False positives of 4 images from the highest down: .8 .7 .5 .3; lesions at .9 and .6 of 4."""
    recall = Froc(FOUND).recall((0.0, 0.25, 0.49, 0.5, 1.0, 10.0))
    assert recall.tolist() == [0.25, 0.25, 0.25, 0.5, 0.5, 0.5]


def test_froc_with_weights_is_that_of_repeated_images() -> None:
    generator = np.random.default_rng(0)
    found = [made(generator.random(5).round(1), generator.integers(-1, 2, 5), 2) for _ in range(12)]
    weights = generator.integers(0, 4, 12)
    repeated = [one for one, weight in zip(found, weights, strict=True) for _ in range(weight)]
    rates = (0.25, 0.5, 1, 2, 4)
    assert Froc(found).recall(rates, weights.astype(float)).tolist() == pytest.approx(
        Froc(repeated).recall(rates).tolist()
    )


def test_froc_does_not_go_by_the_order_of_ties() -> None:
    tie = [made([0.5, 0.5], [-1, 0], 1)]
    assert Froc(tie).recall((0.0, 1.0)).tolist() == [0.0, 1.0]


def test_froc_without_lesions_is_undefined() -> None:
    assert np.isnan(Froc([made([0.5], [-1], 0)]).recall((1.0,))).all()
    assert Froc([made([], [], 1)]).recall((1.0,)).tolist() == [0.0]
    assert np.isnan(Froc(FOUND).recall((1.0,), np.zeros(4))).all()


def test_shapes() -> None:
    with pytest.raises(UserError, match="box IoU: maps of shape"):
        box_iou(torch.ones(1, 4, 4), torch.ones(1, 4, 5).bool(), 0.5)
    with pytest.raises(UserError, match="candidates: maps of shape"):
        candidates(torch.ones(1, 4, 4), torch.ones(1, 4, 5).bool())
