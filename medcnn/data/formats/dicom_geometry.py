"""Places of DICOM pixels: spacing, the affine of a stack of slices, Siemens mosaics."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medcnn.data.formats import dicom_header as header
from medcnn.data.image import Array
from medcnn.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TOLERANCE = 0.1  # of the slice distance: how far a slice may lie from its place in an even stack
SAME = 1e-3  # difference of direction cosines, or of spacings in parts, that is rounding
RAS = np.diag([-1.0, -1.0, 1.0])  # DICOM's axes run to the patient's left, back and head


class Plane(NamedTuple):
    """Place of one slice, in DICOM's coordinates (LPS, mm)."""

    position: Array  # of the first pixel's centre
    row: Array  # unit vector along a row, as the column index grows
    column: Array  # unit vector along a column, as the row index grows
    spacing: tuple[float, float]  # of rows, of columns

    @property
    def normal(self) -> Array:
        """Unit vector across the slice, to the side that makes the three right-handed."""
        return np.cross(self.row, self.column)


def spacing(dataset: "Dataset") -> tuple[float, float] | None:
    """Return the distance of rows and of columns, mm: in the patient, else on the detector."""
    for key in ("PixelSpacing", "ImagerPixelSpacing"):
        found = header.numbers(dataset, key, 0)
        if found and len(found) == 2 and min(found) > 0:
            return found[0], found[1]
    return None


def plane(dataset: "Dataset", frame: int = 0) -> Plane | None:
    """Return the place of a slice, None where the header doesn't say it."""
    position = header.numbers(dataset, "ImagePositionPatient", frame)
    orientation = header.numbers(dataset, "ImageOrientationPatient", frame)
    between = header.numbers(dataset, "PixelSpacing", frame)
    if position is None or orientation is None or between is None or min(between) <= 0:
        return None
    if len(position) != 3 or len(orientation) != 6 or len(between) != 2:
        raise UserError("has a broken position, orientation or spacing in its header")
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    if abs(row @ row - 1) > 0.01 or abs(column @ column - 1) > 0.01 or abs(row @ column) > 0.01:
        raise UserError("has an ImageOrientationPatient that isn't two directions at right angles")
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    return Plane(np.array(position), row, column, (between[0], between[1]))


def stack(planes: list[Plane]) -> tuple[list[int], Array]:
    """Order slices by position along their normal.

    Returns:
        Indices of the slices (two or more) in order, and the (4, 4) affine from (slice, row,
        column) to mm in RAS+: a sheared one where they are shifted evenly (a tilted gantry).

    Raises:
        UserError: Not one evenly spaced stack of parallel slices.
    """
    first = planes[0]
    for other in planes:
        turned = max(abs(first.row - other.row).max(), abs(first.column - other.column).max())
        if turned > SAME:
            raise UserError("has slices of different orientations: it is not one volume")
        if not np.allclose(first.spacing, other.spacing, rtol=SAME, atol=0):
            raise UserError("has slices of different pixel spacings: it is not one volume")
    heights = np.array([one.position @ first.normal for one in planes])
    order = [int(index) for index in np.argsort(heights, kind="stable")]
    gaps = np.diff(heights[order])
    if gaps.min() <= TOLERANCE * gaps.max():
        raise UserError(
            "has several slices at one place, as of several times or echoes: it is not one volume"
        )
    positions = np.array([planes[index].position for index in order])
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    even = positions[0] + np.arange(len(planes))[:, None] * step
    astray = np.linalg.norm(positions - even, axis=1).max()
    if astray > TOLERANCE * np.linalg.norm(step):
        raise UserError(
            f"has slices {gaps.min():.3g} … {gaps.max():.3g} mm apart, or shifted unevenly (by up "
            f"to {astray:.3g} mm, {TOLERANCE:.0%} of the distance allowed): one may be missing"
        )
    return order, affine(planes[order[0]], step)


def affine(one: Plane, step: Array) -> Array:
    """Return the (4, 4) affine from (slice, row, column) to mm in RAS+ of a stack.

    Of its first slice, and the step (LPS, mm) from each to the next.
    """
    result = np.eye(4)
    result[:3, 0] = RAS @ step
    result[:3, 1] = RAS @ one.column * one.spacing[0]
    result[:3, 2] = RAS @ one.row * one.spacing[1]
    result[:3, 3] = RAS @ one.position
    return result


def is_mosaic(dataset: "Dataset") -> bool:
    """Return whether the picture shows the slices of a Siemens volume as tiles."""
    kinds = header.value(dataset, "ImageType") or ()
    return "MOSAIC" in ([kinds] if isinstance(kinds, str) else kinds)


def untile(dataset: "Dataset", values: Array) -> tuple[Array, Array | None]:
    """Take the slices of a Siemens mosaic apart.

    The header's position is that of a slice as large as the whole mosaic about the same centre.

    Returns:
        From values (C, 1, rows, columns) those of (C, slices, rows, columns), and the affine as of
        `stack`, None where the place is not said.

    Raises:
        UserError: Siemens' private CSA header is missing or doesn't fit.
    """
    header.silence()
    from nibabel.nicom import csareader

    with header.reason("is a mosaic of slices without the private header that says how many"):
        csa = csareader.get_csa_header(dataset)
        count = int(csareader.get_n_mosaic(csa))
        normal = csareader.get_slice_normal(csa)
        tiles = math.ceil(math.sqrt(count))
        channels, _, rows, columns = values.shape
        if not count or rows % tiles or columns % tiles:
            raise UserError(
                f"is a mosaic of {count} slices, into which its {rows} × {columns} pixels can't be "
                "cut"
            )
        high, wide = rows // tiles, columns // tiles
        parts = values.reshape(channels, tiles, high, tiles, wide).swapaxes(2, 3)
        parts = parts.reshape(channels, tiles**2, high, wide)[:, :count]
    one, step = plane(dataset), header.number(dataset, "SpacingBetweenSlices")
    if one is None or normal is None or not step:
        return parts, None
    corner = one.position + one.row * one.spacing[1] * (columns - wide) / 2
    corner = corner + one.column * one.spacing[0] * (rows - high) / 2
    return parts, affine(one._replace(position=corner), np.asarray(normal, float) * step)
