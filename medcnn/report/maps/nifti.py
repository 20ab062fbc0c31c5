"""Maps of volumes in the space of the patient: NIfTI files."""

import gzip
from pathlib import Path

import numpy as np

from medcnn.data.formats.volume import orient
from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.geometry import own_grid, slice_numbers
from medcnn.data.prepared.resample import to_own_grid
from medcnn.errors import UserError
from medcnn.jobs.atomic_files import replacing
from medcnn.report.maps.scale import Array


def map_to_source(map_: Array, image: Image, spec: ImageSpec) -> Array:
    """Return a map of the network's input on the grid of the image's file.

    Trilinear, with antialiasing where the file's voxels are the larger ones. Zero where the network
    saw nothing: beyond its input, and with `ImageSpec.slices` between the slices that were taken.

    Args:
        map_: (D, H, W); of slices (S, H, W), the map of each.
        image: As of `medcnn.data.formats.decode`.
        spec: Of its preparation for the network.

    Returns:
        float32 of the shape of the file's volume, in its axis order: over it lies `image.affine`.

    Raises:
        UserError: A picture, a volume that doesn't say how it lies, or a map of another shape.
    """
    from nibabel.orientations import aff2axcodes

    values, points, affine = own_grid(image, spec)
    if affine is None or image.affine is None:
        raise UserError("doesn't say how it lies in the patient, so no map can be laid over it")
    size = spec.size if spec.slices is None else (len(map_), *spec.size)
    if np.shape(map_) != size:
        raise UserError(f"map of shape {np.shape(map_)}: its network's input is {size}")
    shape = values.shape[1:]
    if spec.slices is None:
        back = to_own_grid(map_, points, shape)
    else:
        taken = [to_own_grid(one, points[1:], shape[1:]) for one in map_]
        depth = orient(image.values[:1], image.affine, spec.orientation)[0].shape[1]
        back = np.zeros((depth, *shape[1:]), np.float32)
        back[list(slice_numbers(depth, spec.slices))] = taken
    letters = "".join(aff2axcodes(image.affine))
    return np.ascontiguousarray(orient(back[None], affine, letters)[0][0])


def write_nifti(map_: Array, out: Path, *, affine: Array) -> None:
    """Write a map as a NIfTI file, to be laid over its image in a viewer.

    Args:
        map_: (I, J, K), on the grid of the network's input or of the image's file.
        out: A name that ends in .nii or .nii.gz.
        affine: (4, 4) from its indices to mm in RAS+:
            `medcnn.data.prepared.geometry.prepared_affine`, or of the file's grid
            (`map_to_source`) that of the image.

    Raises:
        UserError: A map that isn't a volume, or another ending.
    """
    from nibabel.nifti1 import Nifti1Image

    packed = out.name.endswith(".nii.gz")
    if np.ndim(map_) != 3 or not (packed or out.suffix == ".nii"):
        raise UserError(
            f"{out.name}: a volume is written as .nii or .nii.gz, got the shape {np.shape(map_)}"
        )
    image = Nifti1Image(np.asarray(map_, np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned", strip_shears=True)
    content = image.to_bytes()
    with replacing(out) as path:
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
