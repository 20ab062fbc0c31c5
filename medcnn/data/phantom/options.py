"""Checks of the phantom's options."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import Any

from medcnn.data.draws import check_shares
from medcnn.errors import UserError, check_whole_number

LIMITS = {"nodule_radius": 3.0, "nodule_contrast": 2.0, "effusion_depth": 10.0}
LARGEST = {2: 1024, 3: 128}  # pixels or voxels of an edge, by spatial_dims


def check_counts(
    spatial_dims: int, size: int, patients: int, images_per_patient: int, bits: int, seed: int
) -> None:
    """Raise UserError unless the whole numbers are so, and in their ranges."""
    if spatial_dims not in LARGEST:
        raise UserError(f"dataset.spatial_dims={spatial_dims}: choose 2 (films) or 3 (CT volumes)")
    check_whole_number("dataset.size", size, 16, LARGEST[spatial_dims])
    check_whole_number("dataset.patients", patients, 1, 1_000_000)
    check_whole_number("dataset.images_per_patient", images_per_patient, 1, 1_000)
    check_whole_number("dataset.seed", seed, 0, 2**63)
    if bits not in (8, 16):
        raise UserError(f"dataset.bits={bits}: choose 8 or 16")


def check_dose_and_shortcut(spatial_dims: int, dose: float, shortcut: float | None) -> None:
    """Raise UserError unless the two are numbers in their ranges."""
    if not _is_number(dose) or not 0 < dose <= 1e12:
        raise UserError(f"dataset.dose={dose}: give photons per pixel, more than 0, up to 1e12")
    if shortcut is not None and (not _is_number(shortcut) or not 0 <= shortcut <= 1):
        raise UserError(f"dataset.shortcut={shortcut}: give a probability 0 … 1, or null")
    if shortcut is not None and spatial_dims == 3:
        raise UserError(f"dataset.shortcut={shortcut}: a CT volume has no film marker; choose null")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def checked_range(key: str, value: Sequence[float]) -> tuple[float, float]:
    """Return the two numbers of a range; raise UserError unless they rise within 0 … `LIMITS`."""
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    numbers = len(pair) == 2 and all(map(_is_number, pair))
    if not (numbers and 0 < pair[0] <= pair[1] <= LIMITS[key]):
        raise UserError(
            f"dataset.{key}={value}: give [lowest, highest], above 0 and up to {LIMITS[key]:g}"
        )
    return float(pair[0]), float(pair[1])


def checked_shares(
    key: str, value: Mapping[str, float] | None, names: Sequence[str], default: Sequence[float]
) -> list[float]:
    """Return the shares in the order of names; raise UserError unless all are above 0."""
    if value is None:
        return list(default)
    return list(check_shares(f"dataset.{key}", value, names).values())
