import numpy as np
import pytest

from medcnn.data.phantom.anatomy import Draws, draw_anatomy, draw_pose
from medcnn.data.phantom.ct import WATER, hounsfield, noise_level, scan, tissues
from medcnn.data.phantom.lesion import EFFUSION, NODULE, NORMAL, Lesion, draw_lesion
from medcnn.data.phantom.projection import Ellipsoids, Grid
from medcnn.data.phantom.radiograph import (
    BONE,
    FLUID,
    LUNG,
    SOFT,
    WIDTH,
    Body,
    build_body,
    line_integrals,
)

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

KINDS = np.array([NORMAL, NODULE, EFFUSION, EFFUSION, NODULE])
GRID = Grid(32, WIDTH)
MU = {"air": 0.0, "lung": LUNG, "fluid": FLUID, "soft": SOFT, "bone": BONE}
HU = {name: round(1000 * (mu - FLUID) / FLUID) for name, mu in MU.items()}


def patients(count: int) -> tuple[Body, Lesion]:
    draws = Draws([np.random.default_rng(seed) for seed in range(count)])
    anatomy, kinds = draw_anatomy(draws), np.resize(KINDS, count)
    lesion = draw_lesion(draws, anatomy, kinds, radius=(2, 2.5), contrast=(0.9, 1.3), depth=(2, 4))
    return build_body(anatomy, draw_pose(draws), lesion), lesion


@pytest.fixture(scope="module")
def bodies() -> tuple[Body, Lesion]:
    return patients(len(KINDS))


def exact(body: Body, lesion: Lesion, row: int, points: np.ndarray) -> tuple[np.ndarray, ...]:
    """HU at points (..., 3), and whether they lie in the lesion, each ellipsoid on its own."""

    def within(parts: Ellipsoids) -> np.ndarray:
        return (parts[row].level(points[..., None, :]) < 1).T.astype(bool)  # (k, ..., reversed)

    soft, lungs, organs = within(body.trunk).any(0), within(body.lungs), within(body.organs).any(0)
    values = np.where(soft, HU["soft"], HU["air"])
    values[lungs.any(0)] = HU["lung"]
    mask = np.zeros_like(soft)
    if lesion.kind[row] == EFFUSION:
        mask = lungs[lesion.side[row]] & ~within(body.aerated)[0] & ~organs
        values[mask] = HU["fluid"]
    values[organs] = HU["soft"]
    for vessels in body.vessels:
        values[within(vessels).any(0)] = HU["soft"]
    if lesion.kind[row] == NODULE:
        mask = within(body.nodule)[0]
        mu = LUNG + lesion.contrast[row] * (SOFT - LUNG)
        values[mask] = round(1000 * (mu / FLUID - 1))
    for bones in body.bones:
        values[within(bones).any(0)] = HU["bone"]
    return values.T, (mask & (values != HU["bone"])).T


def test_water_and_vacuum_define_the_scale() -> None:
    assert hounsfield(np.array([WATER, 0.0])).tolist() == [0, -1000]
    assert -900 < HU["lung"] < -700
    assert 30 < HU["soft"] < 70
    assert 700 < HU["bone"] < 1500


@pytest.mark.parametrize("row", range(len(KINDS)))
def test_points_hold_the_tissue_that_the_ellipsoids_say(
    bodies: tuple[Body, Lesion], row: int
) -> None:
    values, mask = tissues(*bodies, GRID)
    z, y, x = np.meshgrid(GRID.x, GRID.x, GRID.x, indexing="ij")
    expected, lesion = exact(*bodies, row, np.stack([x, y, z], -1))
    assert (values[row] == expected).mean() > 0.9999  # but for float32 right at a surface
    assert (mask[row] == lesion).mean() > 0.9999
    assert set(np.unique(values[row])) >= {HU[name] for name in ("air", "lung", "soft", "bone")}


def test_volume_of_a_nodule_is_that_of_its_ellipsoid() -> None:
    body, lesion = patients(60)
    rows = np.flatnonzero(lesion.kind == NODULE)
    body, lesion = body.take(rows), lesion.take(rows)
    grid = Grid(64, WIDTH)
    generators = [np.random.default_rng(0)] * len(rows)
    _, masks = scan(body, lesion, grid, np.full(len(rows), 1e9), generators)
    closed = 4 / 3 * np.pi * lesion.semi_axes.prod(1)
    np.testing.assert_allclose(masks.sum((1, 2, 3)) * grid.pixel**3, closed, rtol=0.08)
    points = tissues(body, lesion, Grid(128, WIDTH))[1].sum((1, 2, 3))
    np.testing.assert_allclose(points * (WIDTH / 128) ** 3, closed, rtol=0.02)


@pytest.mark.slow
def test_volume_of_fluid_is_that_counted_at_random_points(bodies: tuple[Body, Lesion]) -> None:
    body, lesion = bodies
    grid = Grid(48, WIDTH)
    generators = [np.random.default_rng(0)] * len(KINDS)
    _, masks = scan(body, lesion, grid, np.full(len(KINDS), 1e9), generators)
    fine = tissues(body, lesion, Grid(96, WIDTH))[1]
    points = np.random.default_rng(1).uniform(-WIDTH / 2, WIDTH / 2, (200_000, 3))
    for row in np.flatnonzero(lesion.kind == EFFUSION):
        share = exact(body, lesion, row, points)[1].mean()
        assert fine[row].mean() == pytest.approx(share, rel=0.06)  # 2 % of it is chance
        assert masks[row].mean() == pytest.approx(share, rel=0.15)  # a thin layer: 3 voxels
    assert not masks[lesion.kind == NORMAL].any()


def test_axes_run_up_back_and_to_the_left(bodies: tuple[Body, Lesion]) -> None:
    generators = [np.random.default_rng(0)] * len(KINDS)
    volumes, masks = scan(*bodies, GRID, np.full(len(KINDS), 1e9), generators)
    body, lesion = bodies

    def index(point: np.ndarray) -> tuple[int, ...]:  # of x left, y front, z up
        x, y, z = np.floor((point + WIDTH / 2) / GRID.pixel).astype(int)
        return int(z), GRID.size - 1 - int(y), int(x)

    for row in np.flatnonzero(lesion.kind == NODULE):
        assert masks[row][index(body.nodule.centre[row, 0])]
    for vertebra in body.bones[2].centre[0, 3:7]:
        assert volumes[0][index(vertebra)] > 900
    spine = (volumes[0][8:24] > 900).sum((0, 2))
    assert spine.argmax() > GRID.size / 2  # behind the middle


def test_sum_along_the_rays_is_the_film(bodies: tuple[Body, Lesion]) -> None:
    generators = [np.random.default_rng(0)] * len(KINDS)
    volumes, _ = scan(*bodies, GRID, np.full(len(KINDS), 1e12), generators)
    attenuation = WATER * (1 + volumes / 1000)
    projected = attenuation.sum(2)[:, ::-1] * GRID.pixel
    path, _ = line_integrals(*bodies, Grid(128, WIDTH))
    films = path.reshape(len(KINDS), 32, 4, 32, 4).mean((2, 4))
    for ours, film in zip(projected, films, strict=True):
        assert np.corrcoef(ours.ravel(), film.ravel())[0, 1] > 0.98
        assert abs(np.median(ours - film)) < 0.05  # of about 4


def test_noise_is_that_of_filtered_back_projection() -> None:
    """Ramachandran-Lakshminarayanan's filter on simulated noise, at the centre of 400 sinograms."""
    grid, dose = Grid(24, WIDTH), 2e4
    views, pitch = round(np.pi / 2 * grid.size), grid.pixel
    n = np.arange(-12, 13)
    taps = np.where(n % 2 == 1, -1 / (np.pi * np.maximum(abs(n), 1) * pitch) ** 2, 0.0)
    taps[n == 0] = 1 / (4 * pitch**2)
    photons = dose * np.exp(-WATER * 20)
    rng = np.random.default_rng(0)
    counts = rng.poisson(photons, (2000, views, len(n)))
    noise = -np.log(counts / photons)
    centre = np.pi / views * pitch * (noise * taps).sum((1, 2))
    (expected,) = noise_level(np.array([dose]), grid)
    assert 1000 / WATER * centre.std() == pytest.approx(expected, rel=0.06)


def test_noise_of_a_volume_has_that_level(bodies: tuple[Body, Lesion]) -> None:
    def volumes(dose: float) -> np.ndarray:
        generators = [np.random.default_rng(seed) for seed in range(len(KINDS))]
        return scan(*bodies, GRID, np.full(len(KINDS), dose), generators)[0].astype(float)

    clean = volumes(1e12)
    for dose in (2e4, 5e3):
        difference = (volumes(dose) - clean)[clean > -500]  # air is cut at -1024
        assert difference.std() == pytest.approx(noise_level(dose, GRID), rel=0.03)
        assert abs(difference.mean()) < 1


def test_volumes_are_those_of_16_bit_scanners(bodies: tuple[Body, Lesion]) -> None:
    generators = [np.random.default_rng(0)] * len(KINDS)
    volumes, masks = scan(*bodies, GRID, np.full(len(KINDS), 1.0), generators)
    assert (volumes.dtype, masks.dtype) == (np.int16, bool)
    assert volumes.shape == masks.shape == (len(KINDS), 32, 32, 32)
    assert (volumes.min(), volumes.max()) == (-1024, 3071)
