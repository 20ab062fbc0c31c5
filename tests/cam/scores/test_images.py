"""Scores of the images of studies, against hand computations and SciPy."""

from collections.abc import Mapping

import pytest
import torch
from refusals import refused
from scipy.stats import spearmanr
from torch import Tensor

from medcnn.cam.scores import (
    image_agreement,
    image_deletion,
    image_pointing_hits,
    middle_image,
)

BAG = torch.tensor([0, 0, 0, 1, 1, 2])


def highest(maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    """A head whose only logit is the highest value of a study."""
    parts = maps.flatten(1).amax(1).split(torch.bincount(context["bag"]).tolist())
    return torch.stack([part.max() for part in parts])[:, None]


def deletion(values: list[float], importance: list[float], bag: list[int]) -> list[float]:
    maps = torch.tensor(values)[:, None, None, None]
    context = {"bag": torch.tensor(bag)}
    score = torch.tensor(importance)
    return image_deletion(highest, maps, context, lambda logits: logits[:, 0], score).tolist()


def test_pointing_game() -> None:
    lesion = torch.tensor([True, False, False, False, True, True])
    hit = torch.tensor([0.5, 0.1, 0.1, 0.1, 0.9, 1.0])
    assert image_pointing_hits(hit, lesion, BAG).tolist() == [True, True, True]
    tied = torch.tensor([0.5, 0.5, 0.1, -0.2, -0.1, torch.nan])
    assert image_pointing_hits(tied, lesion, BAG).tolist() == [False, False, False]
    with refused("1 of 1 images have no lesion"):
        image_pointing_hits(hit, torch.zeros(6, dtype=torch.bool), BAG)


def test_the_middle_image() -> None:
    bag = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])
    assert middle_image(bag).tolist() == [0, 0, 1, 0, 1, 0, 1, 0]


def test_agreement_is_spearmans() -> None:
    first, second = torch.randn(9), torch.randn(9).round()
    bag = torch.tensor([0] * 5 + [1] * 3 + [2])
    found = image_agreement(first, second, bag)
    for k, part in enumerate((slice(0, 5), slice(5, 8))):
        expected = spearmanr(first[part], second[part]).statistic
        assert float(found[k]) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert found[2].isnan()
    assert image_agreement(torch.ones(6), torch.arange(6.0), BAG).isnan().all()


def test_deletion_by_hand() -> None:
    """The curves of the best and the worst order of three images; a random one cancels.

    Most important first 3, 2, 1: an area of (2.5 + 1.5) / 2. Least important first 3, 3, 3.
    """
    values = [3.0, 2.0, 1.0]
    (best,) = deletion(values, values, [0, 0, 0])
    (worst,) = deletion(values, [-v for v in values], [0, 0, 0])
    assert best - worst == pytest.approx(3 - 2)
    assert best > 0 > worst


def test_deletion_does_not_depend_on_the_batch() -> None:
    values = [3.0, 2.0, 1.0, 0.5, 5.0, 4.0, 4.0, 7.0]
    bag = [0, 0, 0, 0, 1, 1, 1, 2]
    together = deletion(values, [1.0, 4.0, 2.0, 3.0, 0.0, 0.0, 1.0, 1.0], bag)
    assert together[0] == deletion(values[:4], [1.0, 4.0, 2.0, 3.0], [0] * 4)[0]
    assert together[1] == deletion(values[4:7], [0.0, 0.0, 1.0], [0] * 3)[0]
    assert str(together[2]) == "nan"


def test_deletion_of_a_long_study_takes_ten_steps() -> None:
    """Of 21 images two go at a time, so that of the best order there are left 21, 19, … 1."""
    values = [float(v) for v in range(21, 0, -1)]
    calls = []

    def counted(maps: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        calls.append(len(maps))
        return highest(maps, context)

    maps, context = torch.tensor(values)[:, None, None, None], {"bag": torch.zeros(21).long()}
    image_deletion(counted, maps, context, lambda logits: logits[:, 0], torch.tensor(values))
    del calls[:2]  # whether means of maps are enough
    assert calls[:11] == list(range(21, 0, -2))
    assert len(calls) == 11 * 11
