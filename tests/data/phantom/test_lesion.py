import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcnn.data.phantom.anatomy import Anatomy, Draws, draw_anatomy, make_lungs, make_organs
from medcnn.data.phantom.lesion import (
    EFFUSION,
    NODULE,
    Lesion,
    draw_lesion,
    make_aerated,
    make_nodule,
)

SPHERE = Rotation.random(300, random_state=0).as_matrix()[:, 0]
N = 60


@pytest.fixture(scope="module")
def patients() -> tuple[Anatomy, Lesion]:
    draws = Draws([np.random.default_rng(seed) for seed in range(N)])
    anatomy = draw_anatomy(draws)
    kind = np.full(N, NODULE)
    lesion = draw_lesion(draws, anatomy, kind, radius=(1.0, 2.5), contrast=(0.5, 1), depth=(1, 4))
    return anatomy, lesion


def test_draws_are_within_the_ranges(patients: tuple[Anatomy, Lesion]) -> None:
    lesion = patients[1]
    assert 0.85 <= lesion.semi_axes.min() < lesion.semi_axes.max() <= 2.5 * 1.15
    assert 0.5 <= lesion.contrast.min() < lesion.contrast.max() <= 1
    assert 1 <= lesion.depth.min() < lesion.depth.max() <= 4
    assert set(lesion.side.tolist()) == {0, 1}


def test_nodules_lie_in_their_lung_clear_of_heart_and_mediastinum(
    patients: tuple[Anatomy, Lesion],
) -> None:
    anatomy, lesion = patients
    still = np.zeros(N)
    lungs, organs = make_lungs(anatomy, still), make_organs(anatomy, still)
    surface = make_nodule(lungs, lesion)[:, :, None].at(SPHERE)[:, 0]
    lung = lungs[np.arange(N), lesion.side][:, None]
    assert lung.level(surface).max() < 1
    assert organs[:, :2, None].level(surface[:, None]).min() > 1


def test_nodules_are_all_over_the_lungs(patients: tuple[Anatomy, Lesion]) -> None:
    anatomy, lesion = patients
    centre = make_nodule(make_lungs(anatomy, np.zeros(N)), lesion).centre[:, 0]
    assert np.ptp(centre[:, 2]) > 10
    assert np.abs(centre[:, 0]).min() > 1


def test_a_nodule_that_fits_nowhere_gets_a_place_high_in_the_lung() -> None:
    draws = Draws([np.random.default_rng(0)])
    anatomy = draw_anatomy(draws)
    lesion = draw_lesion(
        draws, anatomy, np.array([NODULE]), radius=(5, 5), contrast=(1, 1), depth=(1, 1)
    )
    assert lesion.place[0, 2] == 0.4
    assert lesion.place[0, 0] == (0.2 if lesion.side[0] else -0.2)


def test_fluid_is_what_the_lifted_lung_leaves_at_the_lower_outer_end(
    patients: tuple[Anatomy, Lesion],
) -> None:
    anatomy, lesion = patients
    lesion = Lesion(**{**vars(lesion), "kind": np.full(N, EFFUSION)})
    lungs = make_lungs(anatomy, np.zeros(N))
    lung, dry = lungs[np.arange(N), lesion.side], make_aerated(lungs, lesion)[:, 0]
    shift = dry.centre - lung.centre
    np.testing.assert_allclose(shift[:, 2], lesion.depth)
    assert (np.sign(shift[:, 0]) == np.where(lesion.side == 0, 1, -1)).all()  # inwards
    lowest = lung[:, None].at(SPHERE[[SPHERE[:, 2].argmin()]] * 0.99)
    assert dry[:, None].level(lowest).min() > 1
