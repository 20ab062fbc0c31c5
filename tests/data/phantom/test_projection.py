import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcnn.data.phantom.projection import (
    Ellipsoids,
    Grid,
    Intervals,
    chord_sum,
    covered,
    ellipsoids,
    intervals,
    join,
    spheroids,
    turn,
)

GRID = Grid(size=24, width=12.0)


def sphere(x: float, y: float, z: float, radius: float) -> Ellipsoids:
    return ellipsoids(np.array([[x, y, z]]), np.array([[radius] * 3]))


def oblique(seed: int, count: int) -> Ellipsoids:
    """Ellipsoids (1, count) in random directions, some of them beyond the edge."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.random(count, random_state=seed).as_matrix()
    body = ellipsoids(
        rng.uniform([-7, -3, -7], [7, 3, 7], (count, 3)), rng.uniform(0.3, 3, (count, 3)), rotation
    )
    return body[None]


def numeric_chords(body: Ellipsoids, grid: Grid) -> np.ndarray:
    """(n, size, size) length inside, by counting points 0.01 cm apart along each ray."""
    y = np.arange(-6, 6, 0.01) + 0.005
    z, x = np.meshgrid(grid.z, grid.x, indexing="ij")
    points = np.stack(np.broadcast_arrays(x[..., None], y, z[..., None]), -1)
    levels = [body[one].level(points) for one in range(len(body.centre))]
    return np.stack([(level < 1).sum(-1) * 0.01 for level in levels])


def test_grid_puts_row_0_at_the_top_and_column_0_at_the_left() -> None:
    grid = Grid(size=4, width=8.0)
    assert grid.pixel == 2
    assert grid.x.tolist() == [-3, -1, 1, 3]
    assert grid.z.tolist() == [3, 1, -1, -3]


def test_chord_of_a_sphere_is_its_closed_form() -> None:
    rays = intervals(sphere(1.0, 2.0, -0.5, 3.0), GRID)
    z, x = np.meshgrid(GRID.z, GRID.x, indexing="ij")
    distance2 = (x - 1.0) ** 2 + (z + 0.5) ** 2
    expected = 2 * np.sqrt(np.maximum(9.0 - distance2, 0))
    np.testing.assert_allclose(rays.length[0], expected, atol=1e-5)
    np.testing.assert_allclose(chord_sum(sphere(1, 2, -0.5, 3)[None], GRID)[0], expected, atol=1e-5)
    inside = distance2 < 9
    np.testing.assert_allclose(((rays.low + rays.high) / 2)[0][inside], 2.0, atol=1e-5)


def test_chords_of_oblique_ellipsoids_agree_with_numerical_integration() -> None:
    body = oblique(seed=3, count=6)[0]
    expected = numeric_chords(body, GRID)
    np.testing.assert_allclose(intervals(body, GRID).length, expected, atol=0.021)


def test_where_a_ray_enters_and_leaves_lies_on_the_surface() -> None:
    body = oblique(seed=4, count=3)[0]
    rays = intervals(body, GRID)
    z, x = np.meshgrid(GRID.z, GRID.x, indexing="ij")
    for one, low, high in zip(range(3), rays.low, rays.high, strict=True):
        hit = high - low > 0.5
        for y in (low, high):
            points = np.stack([x, y, z], -1)[hit]
            np.testing.assert_allclose(body[one].level(points), 1, atol=1e-4)


def test_chord_sum_adds_up_all_parts_also_at_and_beyond_the_edge() -> None:
    far = ellipsoids(np.full((1, 1, 3), 40.0), np.ones((1, 1, 3)))
    parts = join([oblique(seed=1, count=30), far])
    expected = intervals(parts[0], GRID).length.sum(0)
    np.testing.assert_allclose(chord_sum(parts, GRID)[0], expected, atol=1e-4)


def test_chord_sum_keeps_images_apart() -> None:
    parts = join([sphere(2, 0, 0, 2)[None], sphere(-2, 0, 1, 1)[None]])
    two = Ellipsoids(
        np.stack([parts.centre[0], parts.centre[0] + 1]), np.stack([parts.matrix[0]] * 2)
    )
    sums = chord_sum(two, GRID)
    for image in range(2):
        np.testing.assert_array_equal(sums[image], chord_sum(two[[image]], GRID)[0])


def test_covered_is_the_length_of_the_union_within_the_ray() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 8, (4, 500))
    bodies = [Intervals(a, a + rng.uniform(-1, 4, 500)) for a in low]
    y = np.arange(0, 12, 0.005)[:, None]
    within = [(y >= body.low) & (y < body.high) for body in bodies]
    expected = (within[0] & (within[1] | within[2] | within[3])).sum(0) * 0.005
    np.testing.assert_allclose(covered(bodies[0], bodies[1:]), expected, atol=0.03)


def test_covered_by_nothing_is_zero() -> None:
    assert covered(Intervals(np.zeros(3), np.ones(3)), []).tolist() == [0, 0, 0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turn_is_a_right_handed_rotation(axis: int) -> None:
    angles = np.array([0.3, -1.2])
    expected = Rotation.from_euler("xyz"[axis], angles[:, None]).as_matrix()
    np.testing.assert_allclose(turn(angles, axis), expected, atol=1e-12)


def test_moved_takes_the_surface_along() -> None:
    body = oblique(seed=5, count=2)[0]
    linear, shift = np.diag([1.1, 0.9, 1.2]) @ turn(np.array(0.4), 1), np.array([1.0, -2.0, 3.0])
    surface = body[:, None].at(Rotation.random(7, random_state=0).as_matrix()[:, 0])
    np.testing.assert_allclose(body[:, None].level(surface), 1)
    moved = body.moved(linear, shift)
    np.testing.assert_allclose(moved[:, None].level(surface @ linear.T + shift), 1)


def test_grown_lengthens_every_semi_axis() -> None:
    rotation = Rotation.random(random_state=2).as_matrix()
    body = ellipsoids(np.zeros((1, 3)), np.array([[1.0, 2.0, 3.0]]), rotation)
    expected = ellipsoids(np.zeros((1, 3)), np.array([[1.5, 2.5, 3.5]]), rotation)
    np.testing.assert_allclose(body.grown(np.array([0.5])).matrix, expected.matrix, atol=1e-12)


def test_flat_keeps_the_order() -> None:
    body = ellipsoids(np.arange(36.0).reshape(2, 2, 3, 3), np.ones((2, 2, 3, 3)))
    assert body.flat().centre.shape == (2, 6, 3)
    assert body.flat().centre[1, 4].tolist() == body.centre[1, 1, 1].tolist()


def test_spheroid_reaches_along_its_segment_and_its_radius_across() -> None:
    start, end = np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 4.0])
    body = spheroids(start, end, np.array(0.5))
    surface = np.array([[1, 0, 2 + 0.6 * 4], [1.5, 0, 2], [1, -0.5, 2]])
    np.testing.assert_allclose(body.level(surface), 1)


def test_a_chain_of_spheroids_has_an_even_thickness() -> None:
    x = np.arange(-8.0, 9.0)
    nodes = np.stack([x, 0 * x, 0 * x], -1)[None]
    chain = spheroids(nodes[:, :-1], nodes[:, 1:], np.full((1, 16), 0.5))
    axis = chord_sum(chain, Grid(size=401, width=8.0))[0, 200]
    assert axis.min() == pytest.approx(np.sqrt(1 - (0.4 / 0.6) ** 2), abs=0.01)
    assert axis.max() == pytest.approx(2 * np.sqrt(1 - (0.5 / 0.6) ** 2), abs=0.01)
