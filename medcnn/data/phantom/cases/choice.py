"""The cases by name."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from medcnn.data.phantom.cases.column import column
from medcnn.data.phantom.cases.energies import CLASSES, energies
from medcnn.data.phantom.cases.patients import Patients
from medcnn.data.phantom.cases.slices import slices
from medcnn.data.phantom.cases.views import views
from medcnn.data.phantom.options import check_counts, check_dose_and_shortcut, checked_shares
from medcnn.data.phantom.patients import apportion, split_patients
from medcnn.data.samples import SPLITS, Samples
from medcnn.errors import UserError


class Case(NamedTuple):
    """How a case is made."""

    make: Callable[[Patients], Samples]
    groups: tuple[str, ...] = ("normal", "nodule")  # of patients, that each split has its share of
    shares: tuple[float, ...] = (1, 1)
    size: int = 64  # pixels an edge, unless asked for
    spatial_dims: int = 2  # of what is imaged


CASES = {
    "energies": Case(energies, CLASSES),
    "views": Case(views),
    "slices": Case(slices, size=32, spatial_dims=3),
    "column": Case(column, ("with both", "with a nodule alone", "with a marker alone"), (2, 1, 1)),
}


def make_case(
    case: str,
    *,
    size: int | None,
    patients: int,
    split_shares: Mapping[str, float] | None,
    dose: float,
    bits: int,
    seed: int,
) -> Samples:
    """Make the patients of a case; the options are those of `medcnn.data.phantom.dataset.phantom`.

    Raises:
        UserError: There is no such case, or an option has a wrong value.
    """
    if case not in CASES:
        raise UserError(f"dataset.case={case}: choose single, {', '.join(CASES)}")
    chosen = CASES[case]
    size = chosen.size if size is None else size
    check_counts(chosen.spatial_dims, size, patients, 1, bits, seed)
    check_dose_and_shortcut(2, dose, None)
    shares = checked_shares("split_shares", split_shares, SPLITS, (64, 12, 24))
    group = apportion(chosen.shares, patients)
    split = split_patients(group, chosen.groups, shares)
    return chosen.make(Patients(group, split, size, float(dose), bits, seed))
