"""Maps of volumes in the space of the patient: NIfTI files."""

import gzip
from pathlib import Path

import numpy as np

from medcnn.data.formats.volume import orient
from medcnn.data.image import Crop, Image, ImageSpec
from medcnn.data.prepared.geometry import own_grid, taken_slices
from medcnn.data.prepared.resample import to_own_grid
from medcnn.jobs.atomic_files import replacing
from medcnn.report.maps.scale import Array


def map_to_source(map_: Array, image: Image, spec: ImageSpec, crop: Crop | None = None) -> Array:
    """Return a map of the network's input on the grid of the image's file.

    Trilinear, with antialiasing where the file's voxels are the larger ones. Zero where the network
    saw nothing: beyond its input, around `crop`, and with `ImageSpec.slices` between the slices
    that were taken.

    Args:
        map_: (D, H, W) of the network's input; of slices (S, H, W), the map of each.
        image: A volume with an affine, as of `medcnn.data.formats.decode`.
        spec: Of its preparation for the network.
        crop: The part of the volume that the network saw; None for all of it.

    Returns:
        float32 of the shape of the file's volume, in its axis order: over it lies `image.affine`.
    """
    from nibabel.orientations import aff2axcodes

    values, points, affine = own_grid(image, spec, crop)
    assert affine is not None
    assert image.affine is not None
    shape = values.shape[1:]
    if spec.slices is None:
        back = to_own_grid(map_, points, shape, crop)
    else:
        taken = [to_own_grid(one, points[1:], shape[1:], crop) for one in map_]
        depth = orient(image.values[:1], image.affine, spec.orientation)[0].shape[1]
        back = np.zeros((depth, *shape[1:]), np.float32)
        back[list(taken_slices(depth, spec.slices, crop))] = taken
    letters = "".join(aff2axcodes(image.affine))
    return np.ascontiguousarray(orient(back[None], affine, letters)[0][0])


def write_nifti(map_: Array, out: Path, *, affine: Array) -> None:
    """Write a map as a NIfTI file, to be laid over its image in a viewer.

    Args:
        map_: (I, J, K), as of `map_to_source`.
        out: A name that ends in .nii.gz.
        affine: (4, 4) from its indices to mm in RAS+: that of the image.
    """
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(np.asarray(map_, np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned", strip_shears=True)
    with replacing(out) as path:
        path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
