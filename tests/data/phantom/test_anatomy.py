import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcnn.data.phantom.anatomy import (
    Anatomy,
    Draws,
    draw_anatomy,
    draw_pose,
    make_branches,
    make_end_on,
    make_lungs,
    make_organs,
    make_ribs,
    make_trunk,
    make_vertebrae,
)
from medcnn.data.phantom.projection import Ellipsoids

SPHERE = Rotation.random(200, random_state=0).as_matrix()[:, 0]  # points of the unit sphere


def draws(count: int) -> Draws:
    return Draws([np.random.default_rng(seed) for seed in range(count)])


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return draw_anatomy(draws(60))


def surface(parts: Ellipsoids) -> np.ndarray:
    """(N, k, points, 3)."""
    return parts[:, :, None].at(SPHERE)


def test_lungs_lie_inside_the_thorax_at_every_breath(anatomy: Anatomy) -> None:
    thorax = make_trunk(anatomy)[:, :1, None]
    for breath in (-1.0, 1.0):
        lungs = make_lungs(anatomy, np.full(60, breath))
        assert thorax.level(surface(lungs)).max() < 1


def test_the_two_lungs_are_on_their_sides_and_apart(anatomy: Anatomy) -> None:
    lungs = make_lungs(anatomy, np.zeros(60))
    assert surface(lungs)[:, 0, :, 0].max() < 0 < surface(lungs)[:, 1, :, 0].min()


def test_the_heart_lies_more_to_the_image_s_right(anatomy: Anatomy) -> None:
    x = surface(make_organs(anatomy, np.zeros(60)))[:, 0, :, 0]
    assert (x.max(1) > -x.min(1)).all()


def test_breathing_in_lowers_the_diaphragm_and_the_lungs_but_not_their_tops(
    anatomy: Anatomy,
) -> None:
    out, into = np.full(60, -1.0), np.full(60, 1.0)
    z_out, z_in = (surface(make_lungs(anatomy, b))[..., 2] for b in (out, into))
    assert (z_in.min(2) < z_out.min(2) - 1.5).all()
    np.testing.assert_allclose(z_in.max(2), z_out.max(2), atol=0.1)
    domes_out, domes_in = (make_organs(anatomy, b).centre[:, 2:, 2] for b in (out, into))
    np.testing.assert_allclose(domes_out - domes_in, 2 * anatomy.size[:, 2:] * np.ones(2))


def test_ribs_and_vertebrae_lie_inside_the_trunk(anatomy: Anatomy) -> None:
    trunk = make_trunk(anatomy)
    for bones in (make_ribs(anatomy), make_vertebrae(anatomy)):
        level = trunk[:, :, None].level(bones.centre[:, None]).min(1)
        assert level.max() < 1


def test_vessels_lie_in_the_lungs(anatomy: Anatomy) -> None:
    lungs = make_lungs(anatomy, np.zeros(60))
    for vessels in (make_branches(anatomy, lungs), make_end_on(anatomy, lungs)):
        assert lungs[:, :, None].level(vessels.centre[:, None]).min(1).max() < 1


def test_end_on_vessels_are_seen_as_dots_smaller_than_a_nodule(anatomy: Anatomy) -> None:
    dots = make_end_on(anatomy, make_lungs(anatomy, np.zeros(60)))
    extent = np.sqrt(np.linalg.inv(dots.matrix).diagonal(axis1=-2, axis2=-1))  # half widths
    assert extent[..., [0, 2]].max() < 1.0
    assert extent[..., 1].min() > extent[..., [0, 2]].max()


def test_anatomies_differ_and_don_t_depend_on_how_many_are_drawn() -> None:
    few, many = draw_anatomy(draws(2)), draw_anatomy(draws(5))
    np.testing.assert_array_equal(few.take(np.array([1])).branches, many.branches[1:2])
    assert len(np.unique(many.heart)) == 5


def test_poses_are_within_their_ranges() -> None:
    pose = draw_pose(draws(200))
    assert np.abs(pose.shift[:, 0]).max() <= 1.3
    assert (pose.shift[:, 1] == 0).all()
    assert np.degrees(np.abs(pose.roll)).max() < 5.2
    assert 0.81 < pose.exposure.min() < pose.exposure.max() < 1.23
