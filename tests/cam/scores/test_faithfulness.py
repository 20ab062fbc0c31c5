import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from medcnn.cam.scores import average_drop_increase, deletion_insertion, road
from medcnn.errors import UserError


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def brightness(images: Tensor) -> Tensor:
    return images.flatten(1).mean(1)


def of_first_column(images: Tensor) -> Tensor:
    """A toy net that looks at a fifth of the image."""
    return images[..., 0].flatten(1).mean(1)


def first_column(n: int, *shape: int) -> Tensor:
    maps = torch.zeros(n, *shape)
    maps[..., 0] = 1
    return maps


@pytest.mark.parametrize("shape", [(10, 5), (2, 5, 5)])
def test_areas_of_a_perfect_and_of_an_inverted_map(shape: tuple[int, ...]) -> None:
    """The score falls linearly over a fifth of the pixels: areas 0.1 and 0.9 of its height."""
    images = torch.stack([torch.ones(1, *shape), torch.full((1, *shape), 0.5)])
    black, maps = torch.zeros_like(images), first_column(2, *shape)
    maps = maps + 0.1 * uniform(2, *shape)  # no ties
    height = torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = deletion_insertion(images, maps, of_first_column, fill=black, steps=50)
    assert found.deletion.shape == found.insertion.shape == (2, 51)
    torch.testing.assert_close(found.deletion_area, 0.1 * height)
    torch.testing.assert_close(found.insertion_area, 0.9 * height)
    coarse = deletion_insertion(images, maps, of_first_column, fill=black, steps=5)
    torch.testing.assert_close(coarse.deletion_area, 0.1 * height)
    expected = torch.tensor([1.0, 0, 0, 0, 0, 0], dtype=torch.float64) * height[:, None]
    torch.testing.assert_close(coarse.deletion, expected)
    torch.testing.assert_close(coarse.insertion, height[:, None] - expected)
    inverted = deletion_insertion(images, -maps, of_first_column, fill=black, steps=5)
    torch.testing.assert_close(inverted.deletion_area, 0.9 * height)
    torch.testing.assert_close(inverted.insertion_area, 0.1 * height)


def test_curves_step_by_step() -> None:
    images, fill, maps = uniform(3, 2, 7, 6), uniform(3, 2, 7, 6, seed=1), uniform(3, 7, 6, seed=2)
    found = deletion_insertion(images, maps, brightness, fill=fill, steps=8)
    for i in range(3):
        order = np.argsort(-maps[i].numpy().ravel())
        shares, deletion, insertion = [], [], []
        for step in range(9):
            count = round(step * 42 / 8)
            first = np.zeros(42, bool)
            first[order[:count]] = True
            first = first.reshape(7, 6)
            shares.append(count / 42)
            deletion.append(np.where(first, fill[i], images[i]).mean(dtype=float))
            insertion.append(np.where(first, images[i], fill[i]).mean(dtype=float))
        np.testing.assert_allclose(found.deletion[i], deletion, rtol=1e-5)
        np.testing.assert_allclose(found.insertion[i], insertion, rtol=1e-5)
        areas = trapezoid(deletion, shares), trapezoid(insertion, shares)
        assert found.deletion_area[i].item() == pytest.approx(areas[0], rel=1e-5)
        assert found.insertion_area[i].item() == pytest.approx(areas[1], rel=1e-5)


def test_flat_maps_are_not_favoured() -> None:
    """Whatever the place that counts, a flat map has about a random order's area."""
    images = torch.ones(1, 1, 20, 20)
    areas = []
    for place in [(0, 0), (-1, -1), (0, 10), (10, 0), (10, 10)]:
        for seed in range(20):
            found = deletion_insertion(
                images,
                torch.zeros(1, 20, 20),
                lambda x, place=place: x[:, 0][(slice(None), *place)],  # type: ignore[misc]
                fill=torch.zeros_like(images),
                seed=seed,
            )
            areas.append(found.deletion_area.item())
    assert 0.4 < np.mean(areas) < 0.6
    assert np.std(areas) == pytest.approx(12**-0.5, rel=0.2)  # places are uniform


def test_ties_and_nan_are_ordered_by_the_seed() -> None:
    images, fill = uniform(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    maps = torch.zeros(2, 8, 8)
    maps[1] = 1.0
    maps[1, 0, 0] = torch.nan
    images[1] = images[0]
    first = deletion_insertion(images, maps, brightness, fill=fill, seed=1)
    assert torch.equal(first.deletion[0], first.deletion[1])
    again = deletion_insertion(images, maps, brightness, fill=fill, seed=1)
    assert torch.equal(first.deletion, again.deletion)
    other = deletion_insertion(images, maps, brightness, fill=fill, seed=2)
    assert not torch.equal(first.deletion, other.deletion)


def test_road_of_a_map_that_knows() -> None:
    """A bright column on black: gone at once by MoRF, untouched by LeRF."""
    images = torch.zeros(1, 1, 10, 10)
    images[..., 0] = 1
    maps = first_column(1, 10, 10) + 0.01 * uniform(1, 10, 10)
    found = road(images, maps, of_first_column, shares=(0.1, 0.5, 0.9), noise=0.0)
    torch.testing.assert_close(found.morf, torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(found.lerf, torch.ones(1, 3, dtype=torch.float64))
    assert found.combined.tolist() == pytest.approx([0.5])
    inverted = road(images, -maps, of_first_column, shares=(0.1, 0.5, 0.9), noise=0.0)
    torch.testing.assert_close(inverted.morf, found.lerf)
    torch.testing.assert_close(inverted.combined, -found.combined)


@pytest.mark.parametrize("shape", [(12, 12), (6, 8, 7)])
def test_road_batch_is_image_by_image(shape: tuple[int, ...]) -> None:
    images, maps = uniform(3, 2, *shape), uniform(3, *shape, seed=1).sub(0.5).relu()
    together = road(images, maps, of_first_column, seed=4)
    assert together.morf.shape == together.lerf.shape == (3, 9)
    assert together.combined.isfinite().all()
    for i in range(3):
        alone = road(images[i : i + 1], maps[i : i + 1], of_first_column, seed=4)
        for a, b in zip(alone, together, strict=True):
            torch.testing.assert_close(a, b[i : i + 1], atol=1e-6, rtol=0)
    untied = uniform(3, *shape, seed=2)
    noisy = [
        road(images, untied, of_first_column, noise=0.1, seed=seed).combined for seed in (4, 5)
    ]
    assert not torch.equal(*noisy)  # by the noise alone
    other = road(images, maps, of_first_column, seed=5)
    assert not torch.equal(together.morf, other.morf)


def test_road_like_pytorch_grad_cam() -> None:
    metrics = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.metrics import perturbation_confidence as confidence

    images, maps = uniform(3, 2, 10, 10), uniform(3, 10, 10, seed=1)
    weights = uniform(2, 10, 10, seed=2)

    def logits(x: Tensor) -> Tensor:
        return (x * weights).sum((1, 2, 3))[:, None]

    imputer = metrics.NoisyLinearImputer(noise=0.0)
    expected = {}
    for name, remove in (
        ("morf", confidence.RemoveMostRelevantFirst),
        ("lerf", confidence.RemoveLeastRelevantFirst),
    ):
        expected[name] = np.stack(
            [
                confidence.PerturbationConfidenceMetric(remove(percentile, imputer))(
                    images, maps.numpy(), [lambda out: out[0]] * 3, logits, return_diff=False
                )
                for percentile in range(90, 0, -10)  # what is kept
            ],
            1,
        )
    found = road(images, maps, lambda x: logits(x)[:, 0], noise=0.0)
    np.testing.assert_allclose(found.morf, expected["morf"], rtol=1e-5)
    np.testing.assert_allclose(found.lerf, expected["lerf"], rtol=1e-5)
    combined = (expected["lerf"] - expected["morf"]).mean(1) / 2
    np.testing.assert_allclose(found.combined, combined, atol=1e-4)


def test_average_drop_and_increase() -> None:
    images = torch.ones(5, 1, 4, 5)
    images[4] = 0
    maps = first_column(5, 4, 5) * 7
    maps[1] = maps[1].flip(-1)  # looks at what doesn't count
    maps[2, :, 0] = -1  # empty
    maps[3, :, 0] = torch.tensor([2.0, 1.0, 0.0, -3.0])  # normalised 1, ½, 0, 0
    drop, increase = average_drop_increase(images, maps, of_first_column)
    assert drop.dtype == torch.float64
    assert drop.tolist() == pytest.approx([0, 1, 1, 1 - 1.5 / 4, 0])
    assert increase.tolist() == [False] * 5
    drop, increase = average_drop_increase(
        images, maps, lambda x: of_first_column(x) / (0.1 + brightness(x))
    )
    assert increase.tolist() == [True, False, False, True, False]
    assert drop.tolist() == [0, 1, 1, 0, 0]


def test_no_graph_and_inputs_unchanged() -> None:
    weight = torch.ones(1, requires_grad=True)
    images, maps = uniform(1, 1, 6, 6), uniform(1, 6, 6, seed=1)
    before = images.clone(), maps.clone()

    def score(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return brightness(x) * weight

    assert not deletion_insertion(images, maps, score, fill=images).deletion.requires_grad
    assert not road(images, maps, score).morf.requires_grad
    assert not average_drop_increase(images, maps, score)[0].requires_grad
    assert torch.equal(images, before[0])
    assert torch.equal(maps, before[1])


def test_scores_see_images_of_one_type() -> None:
    images, other = uniform(1, 1, 6, 6), torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    seen = set()

    def score(x: Tensor) -> Tensor:
        seen.add(x.dtype)
        return brightness(x)

    maps = uniform(1, 6, 6, seed=1).double()
    deletion_insertion(images, maps, score, fill=other)
    road(images, maps, score)
    average_drop_increase(images, maps, score)
    average_drop_increase(images, maps, score)
    assert seen == {torch.float32}


def test_bad_input() -> None:
    images, maps = torch.ones(2, 1, 4, 4), torch.ones(2, 4, 4)
    with pytest.raises(UserError, match="with maps or masks of shape"):
        road(images, maps[:, :3], brightness)
    with pytest.raises(UserError, match="2-D or 3-D"):
        average_drop_increase(images[:, :, 0], maps[:, 0], brightness)
    with pytest.raises(UserError, match="fill of shape"):
        deletion_insertion(images, maps, brightness, fill=images[:1])
    with pytest.raises(UserError, match="steps=0"):
        deletion_insertion(images, maps, brightness, fill=images, steps=0)
    for shares in ((), (0.5, 1.5), (float("nan"),)):
        with pytest.raises(UserError, match="shares="):
            road(images, maps, brightness, shares=shares)
    with pytest.raises(UserError, match="one probability for each"):
        road(images, maps, lambda x: x.flatten(1))
