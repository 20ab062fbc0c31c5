"""Checks of the phantom's options: what a user may ask for, and what to say otherwise."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import Any

from medcnn.errors import UserError

LIMITS = {"nodule_radius": 3.0, "nodule_contrast": 2.0, "effusion_depth": 10.0}
LARGEST = {2: 1024, 3: 128}  # pixels or voxels of an edge, by spatial_dims


def check_counts(
    spatial_dims: int, size: int, patients: int, images_per_patient: int, bits: int, seed: int
) -> None:
    """Checks the whole numbers.

    Raises:
        UserError: One isn't a whole number in its range.
    """
    if spatial_dims not in LARGEST:
        raise UserError(f"dataset.spatial_dims={spatial_dims}: choose 2 (films) or 3 (CT volumes)")
    given = {
        "size": (size, 16, LARGEST[spatial_dims]),
        "patients": (patients, 1, 1_000_000),
        "images_per_patient": (images_per_patient, 1, 1_000),
        "seed": (seed, 0, 2**63),
    }
    for key, (value, low, high) in given.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or not low <= value <= high:
            raise UserError(f"dataset.{key}={value}: give a whole number {low} … {high}")
    if bits not in (8, 16):
        raise UserError(f"dataset.bits={bits}: choose 8 or 16")


def check_dose_and_shortcut(spatial_dims: int, dose: float, shortcut: float | None) -> None:
    """Checks the two.

    Raises:
        UserError: One isn't a number in its range.
    """
    if not _is_number(dose) or not 0 < dose <= 1e12:
        raise UserError(f"dataset.dose={dose}: give photons per pixel, more than 0, up to 1e12")
    if shortcut is not None and (not _is_number(shortcut) or not 0 <= shortcut <= 1):
        raise UserError(f"dataset.shortcut={shortcut}: give a probability 0 … 1, or null")
    if shortcut is not None and spatial_dims == 3:
        raise UserError(f"dataset.shortcut={shortcut}: a CT volume has no film marker; choose null")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def checked_range(key: str, value: Sequence[float]) -> tuple[float, float]:
    """The two numbers of a range.

    Raises:
        UserError: They aren't two rising numbers above 0 and within `LIMITS`.
    """
    pair = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if (
        len(pair) != 2
        or not all(_is_number(number) for number in pair)
        or not 0 < pair[0] <= pair[1] <= LIMITS[key]
    ):
        raise UserError(
            f"dataset.{key}={value}: give [lowest, highest], above 0 and up to {LIMITS[key]:g}"
        )
    return float(pair[0]), float(pair[1])


def checked_shares(
    key: str, value: Mapping[str, float] | None, names: Sequence[str], default: Sequence[float]
) -> list[float]:
    """The shares in the order of names.

    Raises:
        UserError: A name is missing or unknown, or a share isn't a number above 0.
    """
    if value is None:
        return list(default)
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise UserError(f"dataset.{key}={value}: give a share for each of {', '.join(names)}")
    for name in names:
        if not _is_number(value[name]) or value[name] <= 0:
            raise UserError(f"dataset.{key}.{name}={value[name]}: give a number above 0")
    return [float(value[name]) for name in names]
