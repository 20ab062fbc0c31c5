import numpy as np
import pytest

from medcnn.data.phantom.anatomy import Draws, draw_anatomy, draw_pose
from medcnn.data.phantom.lesion import EFFUSION, NODULE, NORMAL, Lesion, draw_lesion
from medcnn.data.phantom.projection import Ellipsoids, Grid
from medcnn.data.phantom.radiograph import (
    BONE,
    FLUID,
    FLUID_SEEN,
    LUNG,
    SOFT,
    STROKES,
    WIDTH,
    WINDOW,
    Body,
    Marker,
    build_body,
    develop,
    expose,
    lay_marker,
    line_integrals,
    marker_coverage,
)

GRID = Grid(size=16, width=WIDTH)
KINDS = np.array([NORMAL, NODULE, EFFUSION, EFFUSION])


@pytest.fixture(scope="module")
def films() -> tuple[Body, Lesion]:
    draws = Draws([np.random.default_rng(seed) for seed in range(len(KINDS))])
    anatomy = draw_anatomy(draws)
    lesion = draw_lesion(draws, anatomy, KINDS, radius=(2, 2), contrast=(0.7, 0.9), depth=(2, 4))
    lesion.side[2:] = [0, 1]
    return build_body(anatomy, draw_pose(draws), lesion), lesion


def attenuation(body: Body, lesion: Lesion, film: int, points: np.ndarray) -> np.ndarray:
    """The attenuation in 1/cm at points (..., 3), and whether there is fluid."""

    def within(parts: Ellipsoids) -> np.ndarray:  # (..., k)
        return parts[film].level(points[..., None, :]) < 1

    solid = within(body.organs)
    lungs = within(body.lungs) & ~solid[..., :2].any(-1, keepdims=True) & ~solid[..., 2:]
    fluid = np.zeros(points.shape[:-1], dtype=bool)
    if lesion.kind[film] == EFFUSION:
        fluid = lungs[..., lesion.side[film]] & ~within(body.aerated)[..., 0]
    mu = np.where(within(body.trunk).any(-1) | lungs.any(-1), SOFT, 0.0)
    mu = np.where(lungs.any(-1), LUNG, mu)
    mu = np.where(fluid, FLUID, mu)
    for bones in body.bones:
        mu = mu + (BONE - SOFT) * within(bones).sum(-1)
    for vessels in body.vessels:
        mu = mu + (SOFT - LUNG) * within(vessels).sum(-1)
    if lesion.kind[film] == NODULE:
        mu = mu + (SOFT - LUNG) * lesion.contrast[film] * within(body.nodule)[..., 0]
    return np.stack([mu, fluid], -1)


@pytest.mark.parametrize("film", range(len(KINDS)))
def test_line_integrals_agree_with_voxels(films: tuple[Body, Lesion], film: int) -> None:
    body, lesion = films
    path, mask = line_integrals(body, lesion, GRID)
    step = 0.025
    y = np.arange(-13, 13, step) + step / 2
    pixels = np.random.default_rng(film).permutation(GRID.size**2)[:40]
    rows, columns = np.divmod(pixels, GRID.size)
    points = np.stack(np.broadcast_arrays(GRID.x[columns, None], y, GRID.z[rows, None]), -1)
    mu, fluid = np.moveaxis(attenuation(body, lesion, film, points).sum(1) * step, -1, 0)
    np.testing.assert_allclose(path[film, rows, columns], mu, atol=0.02)
    if lesion.kind[film] == EFFUSION:
        clear = np.abs(fluid - FLUID_SEEN) > 0.1
        assert (mask[film, rows, columns] == (fluid > FLUID_SEEN))[clear].all()
        assert mask[film].any()


def test_mask_of_a_nodule_is_its_shadow_and_normal_films_have_none(
    films: tuple[Body, Lesion],
) -> None:
    body, lesion = films
    grid = Grid(size=256, width=WIDTH)
    _, mask = line_integrals(body, lesion, grid)
    assert not mask[0].any()
    area = mask[1].sum() * grid.pixel**2
    a = np.linalg.inv(body.nodule.matrix[1, 0])[np.ix_([0, 2], [0, 2])]  # the shadow's covariance
    assert area == pytest.approx(np.pi * np.sqrt(np.linalg.det(a)), rel=0.02)


def test_a_nodule_adds_its_chord_times_its_contrast(films: tuple[Body, Lesion]) -> None:
    body, lesion = films
    without = Lesion(**{**vars(lesion), "kind": np.zeros_like(KINDS)})
    grid = Grid(size=128, width=WIDTH)
    added = line_integrals(body, lesion, grid)[0][1] - line_integrals(body, without, grid)[0][1]
    volume = 4 / 3 * np.pi * lesion.semi_axes[1].prod()
    expected = (SOFT - LUNG) * lesion.contrast[1] * volume
    assert added.sum() * grid.pixel**2 == pytest.approx(expected, rel=0.01)


def test_photons_follow_beer_lambert_and_poisson() -> None:
    path = np.broadcast_to(np.array([0.0, 1.5])[:, None, None], (2, 200, 200))
    counts = expose(path, np.array([1000.0, 2000.0]), [np.random.default_rng(s) for s in (0, 1)])
    for film, mean in enumerate([1000, 2000 * np.exp(-1.5)]):
        assert counts[film].mean() == pytest.approx(mean, rel=0.003)
        assert counts[film].var() == pytest.approx(mean, rel=0.03)


def test_film_is_linear_in_the_line_integral_between_the_window_s_ends() -> None:
    dose = 1e9
    integrals = np.array([0.0, WINDOW[0], np.mean(WINDOW), WINDOW[1], 9.0])
    for bits, dtype in ((8, np.uint8), (16, np.uint16)):
        grey = develop(dose * np.exp(-integrals), dose, bits)
        top = 2**bits - 1
        assert grey.dtype == dtype
        np.testing.assert_allclose(grey, [0, 0, top / 2, top, top], atol=0.51)


def test_a_pixel_without_photons_is_white() -> None:
    assert develop(np.zeros(1), 20_000, 8).tolist() == [255]


@pytest.mark.parametrize("size", [28, 64, 224])
def test_marker_covers_its_strokes_in_the_upper_right_corner(size: int) -> None:
    grid = Grid(size, WIDTH)
    shift = np.array([0.3, -0.2])
    coverage = marker_coverage(shift, grid)
    assert 0 <= coverage.min() < coverage.max() < 1 + 1e-9
    area = sum((right - left) * (top - bottom) for left, right, bottom, top in STROKES)
    assert coverage.sum() * grid.pixel**2 == pytest.approx(area)
    box = Marker(np.array([False, True]), np.stack([shift, shift])).boxes(grid)
    assert box[0].tolist() == [0, 0, 0, 0]
    top, left, bottom, right = box[1]
    assert coverage[top:bottom, left:right].sum() == pytest.approx(coverage.sum())
    assert bottom < size / 4
    assert left > size * 3 / 4


def test_marker_lets_a_poisson_share_pass_and_leaves_the_rest_alone() -> None:
    rng = np.random.default_rng(0)
    before = rng.poisson(2000.0, (200, 200))
    coverage = np.zeros((200, 200))
    coverage[:, 100:] = 0.5
    after = before.copy()
    lay_marker(after, coverage, rng)
    np.testing.assert_array_equal(after[:, :100], before[:, :100])
    mean = 2000 * (0.5 + 0.5 * np.exp(-5.021 * 11.35 * 0.1))
    assert after[:, 100:].mean() == pytest.approx(mean, rel=0.003)
    assert after[:, 100:].var() == pytest.approx(mean, rel=0.05)
