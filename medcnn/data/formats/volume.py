"""Volumes of NIfTI and NRRD files, in one order of axes."""

import numpy as np

from medcnn.data.formats.values import check_kind, to_stored
from medcnn.data.image import Array, Image

# Orientation of one slice: by the patient's axis (R, A or S) that it lies across.
SHOWN = ("RIP", "AIL", "SPL")


def arrange(values: Array, affine: Array | None, spacing: Array | None) -> Image:
    """Return the image of a file's values.

    One slice becomes a picture as radiologists see it: the patient's right at the left, the front
    at the top of an axial slice, the head at the top of others. A volume that doesn't say how it
    lies has its slowest axis first and its fastest last, as pages of rows of pixels.

    Args:
        values: (C, I, J) or (C, I, J, K), the first spatial axis varying fastest in the file.
        affine: (4, 4) to mm in RAS+; None, or not invertible, where the file doesn't say.
        spacing: mm along each spatial axis, used without an affine; None or nonsense where unknown.
    """
    from nibabel.orientations import io_orientation

    check_kind(values.dtype)
    if values.ndim == 3:
        values, affine = values[..., None], None
        spacing = None if spacing is None else np.append(spacing, 1.0)
    if affine is not None and not invertible(affine):
        affine = None
    if spacing is not None and not (np.isfinite(spacing) & (spacing > 0)).all():
        spacing = None
    values = to_stored(values)
    flat = [axis for axis in range(3) if values.shape[axis + 1] == 1]
    normal = flat[-1] if flat else 2
    if affine is None:
        order = [normal, *(axis for axis in (2, 1, 0) if axis != normal)]
        values = values.transpose(0, *(axis + 1 for axis in order))
        lengths = None if spacing is None else tuple(spacing[order].tolist())
    else:
        if flat:
            across = int(io_orientation(affine)[normal, 0])
            values, affine = orient(values, affine, SHOWN[across])
        lengths = distances(affine)
    if flat:
        return Image(values[:, 0], spacing=lengths and lengths[1:])
    return Image(values, spacing=lengths, affine=affine)


def invertible(affine: Array) -> bool:
    """Return whether three axes point into different directions."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def distances(affine: Array | None) -> tuple[float, ...] | None:
    """Return the distance of neighbouring voxels along each axis of an affine, mm."""
    return None if affine is None else tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist())


def orient(values: Array, affine: Array, orientation: str) -> tuple[Array, Array]:
    """Turn a volume by quarter turns and mirror it, so that its axes run as is wanted.

    Args:
        values: (C, I, J, K).
        affine: (4, 4) from indices to mm in RAS+.
        orientation: Three letters of R L A P S I: where each axis is to run, as nearly as it can.

    Returns:
        A view of `values`, and its affine.
    """
    from nibabel import orientations

    now = orientations.io_orientation(affine)
    turn = orientations.ornt_transform(now, orientations.axcodes2ornt(tuple(orientation)))
    moved = affine @ orientations.inv_ornt_aff(turn, values.shape[1:])
    turned = orientations.apply_orientation(np.moveaxis(values, 0, -1), turn)
    return np.moveaxis(turned, -1, 0), moved
