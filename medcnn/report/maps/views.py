"""The three planes of a volume, as a radiologist sees them."""

from collections.abc import Sequence
from typing import NamedTuple

from medcnn.report.maps.scale import Array

PLANES = ("axial", "coronal", "sagittal")  # across head to foot, front to back, side to side


class View(NamedTuple):
    """The slices across one axis of a volume, as they are shown."""

    across: int  # the axis
    name: str  # of the plane
    rows: int  # the axis that runs down the picture
    columns: int  # the axis that runs to the right
    up: bool = False  # the rows are turned, so that their index grows upwards
    back: bool = False  # the columns are turned, so that their index grows to the left
    ends: tuple[str, str] = ("", "")  # the patient's side at the top and at the left: S, A or R

    def cut(self, volume: Array, index: int) -> Array:
        """Return one slice of a volume (D, H, W)."""
        flat = volume.take(index, self.across)
        flat = flat if self.rows < self.columns else flat.swapaxes(0, 1)
        flat = flat[::-1] if self.up else flat
        return flat[:, ::-1] if self.back else flat

    def place(self, index: Sequence[int], shape: Sequence[int]) -> tuple[int, int]:
        """Return row and column in the picture of a voxel of a volume of this shape."""
        row, column = index[self.rows], index[self.columns]
        row = shape[self.rows] - 1 - row if self.up else row
        return row, shape[self.columns] - 1 - column if self.back else column


def views(orientation: str | None) -> list[View]:
    """Return the view across each axis: the head or the front at the top, the right at left.

    Args:
        orientation: The directions in which the three axes run, as of
            `medcnn.data.image.ImageSpec`; None where the volume doesn't say how it lies.

    >>> [view.name for view in views("SPL")]
    ['axial', 'coronal', 'sagittal']
    """
    letters = orientation or "SPL"
    kinds = ["SIAPRL".index(letter) // 2 for letter in letters]
    planes = []
    for across in range(3):
        rest = (axis for axis in range(3) if axis != across)
        rows, columns = sorted(rest, key=lambda axis: kinds[axis])
        name, ends = PLANES[kinds[across]], ("SAR"[kinds[rows]], "SAR"[kinds[columns]])
        if orientation is None:
            planes.append(View(across, f"across axis {across + 1}", rows, columns))
            continue
        up, back = (letters[axis] in "SAR" for axis in (rows, columns))
        planes.append(View(across, name, rows, columns, up, back, ends))
    return planes


def main_view(orientation: str | None) -> View:
    """Return the axial view; that across the first axis for a volume of unknown orientation."""
    planes = views(orientation)
    return next((view for view in planes if view.name == PLANES[0]), planes[0])
