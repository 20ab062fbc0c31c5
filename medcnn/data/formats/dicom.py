"""DICOM files and series, as pictures and volumes.

Read with pydicom, not through MONAI's `PydicomReader`: that one sorts a series by InstanceNumber
(and drops slices without), takes differences of z alone as the distance of slices, makes up an
identity affine and a spacing of 1 mm where a header has none, stacks slices with gaps, and knows
neither MONOCHROME1, palettes, lookup tables, windows, mosaics nor the geometry of enhanced objects.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medcnn.data.formats import dicom_geometry as geometry
from medcnn.data.formats import dicom_header as header
from medcnn.data.formats.dicom_pixels import changed, decode, filled, join
from medcnn.data.formats.values import check_shape, pick
from medcnn.data.formats.volume import distances
from medcnn.data.image import Array, Image
from medcnn.errors import UserError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Codes of images (PS3.3 C.7.3.1.1.1)
MODALITIES = (
    *("AR", "BI", "BMD", "CR", "CT", "DG", "DX", "ES", "GM", "IO", "IVOCT", "IVUS", "KER", "LS"),
    *("MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPV", "OT", "PT", "PX", "RF", "RG"),
    *("RTIMAGE", "SM", "TG", "US", "XA", "XC"),
)
SAME = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "Modality")


def decode_file(path: Path, frame: int | str | None = None) -> Image:
    """Read a DICOM file; of a cine loop one `frame`, see `medcnn.data.formats.decode`.

    Returns:
        One frame: a picture (C, H, W). Several frames, or a Siemens mosaic: a volume
        (C, slices, rows, columns), in the order of its positions and with an affine where each
        frame says its place, else in the file's order without one (cine loops).

    Raises:
        UserError: Why it can't be read; without any text of the header.
    """
    dataset = header.read(path)
    pixels = decode(dataset)
    if geometry.is_mosaic(dataset):
        matrix = geometry.untile(dataset, pixels.values)[1]
        slices = changed(pixels, lambda values: geometry.untile(dataset, values)[0])
        return _image(dataset, slices, matrix)
    frames = pixels.values.shape[1]
    if frames == 1:
        return _picture(dataset, pixels)
    planes = []
    if "PerFrameFunctionalGroupsSequence" in dataset:  # else the header's position is not of each
        planes = [place for k in range(frames) if (place := geometry.plane(dataset, k))]
    if len(planes) == frames:
        order, matrix = geometry.stack(planes)
        return _image(dataset, changed(pixels, lambda values: values[:, order]), matrix)
    if frame is None:
        return _image(dataset, pixels)
    number = pick(frames, frame, "frames")
    return _picture(dataset, changed(pixels, lambda values: values[:, [number]]))


def decode_series(folder: Path, *, allow_missing_geometry: bool = False) -> Image:
    """Read the DICOM files of a folder as one volume.

    Hidden files, folders, DICOMDIR and files that aren't DICOM are left out. Slices are ordered by
    position along their normal; they may be astray by a tenth of their distance.

    Args:
        folder: With the files of one series.
        allow_missing_geometry: Without positions, order by InstanceNumber; no affine then.

    Returns:
        A volume (C, slices, rows, columns); one slice is a volume too, as thick as SliceThickness
        says. The window is that of the middle slice.

    Raises:
        UserError: Not one evenly spaced stack of slices, or a file can't be read; without any text
            of a header.
    """
    paths, headers = _headers(folder)
    if len(paths) == 1:
        image = decode_file(paths[0])
        return image if image.spatial_dims == 3 else _one_slice(headers[0], image)
    _check_series(headers)
    order, matrix = _order(headers, allow_missing_geometry)
    slices = [_decode_slice(paths[index], index, len(paths)) for index in order]
    return _image(headers[0], join(slices), matrix)


def _headers(folder: Path) -> tuple[list[Path], list["Dataset"]]:
    """Return the DICOM files of a folder, by name, and their headers."""
    paths, headers = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not header.is_dicom(path):
            continue
        dataset = header.read(path, pixels=False)
        if dataset.file_meta.get("MediaStorageSOPClassUID") != header.DIRECTORY:
            paths.append(path)
            headers.append(dataset)
    if not paths:
        raise UserError("holds no DICOM file")
    return paths, headers


def _check_series(headers: list["Dataset"]) -> None:
    """Raise UserError unless headers are those of one series of single slices of one size."""
    series = {header.text(dataset, "SeriesInstanceUID") for dataset in headers}
    if len(series) > 1:
        raise UserError(f"holds {len(series)} series: give each a folder of its own")
    shapes = [header.shape(dataset) for dataset in headers]
    if any(shape.frames > 1 for shape in shapes) or any(map(geometry.is_mosaic, headers)):
        raise UserError(f"holds {len(headers)} files with several slices each: give them singly")
    for key in SAME:
        if len({str(header.value(dataset, key)) for dataset in headers}) > 1:
            raise UserError(f"has slices that differ in {key}: it is not one volume")
    check_shape((len(shapes), *shapes[0][1:]))


def _order(headers: list["Dataset"], allow_missing: bool) -> tuple[list[int], Array | None]:
    """Return the order of slices, and their affine where they say their places."""
    planes = [place for dataset in headers if (place := geometry.plane(dataset))]
    if len(planes) == len(headers):
        return geometry.stack(planes)
    if not allow_missing:
        raise UserError(
            f"has {len(headers) - len(planes)} slices that don't say their position, orientation "
            "or spacing: allow_missing_geometry=true takes them in the order of InstanceNumber"
        )
    numbers = [header.number(dataset, "InstanceNumber") for dataset in headers]
    known = [one for one in numbers if one is not None]
    if len(set(known)) < len(headers):
        raise UserError("has slices without position or an InstanceNumber of their own: no order")
    return sorted(range(len(known)), key=lambda index: known[index]), None


def _decode_slice(path: Path, index: int, count: int) -> Image:
    try:
        return decode(header.read(path))
    except UserError as error:  # names of files may name patients, too
        raise UserError(f"can't be read: file {index + 1} of {count}, by name, {error}") from None


def _one_slice(dataset: "Dataset", image: Image) -> Image:
    """Return a picture as a volume of one slice."""
    place, thickness = geometry.plane(dataset), header.number(dataset, "SliceThickness", 0)
    matrix = None
    if place is not None and thickness and thickness > 0:
        matrix = geometry.affine(place, place.normal * thickness)
    volume = changed(image, lambda values: values[:, None])
    return replace(volume, spacing=distances(matrix), affine=matrix)


def _picture(dataset: "Dataset", pixels: Image) -> Image:
    """Return the only frame as a picture."""
    picture = changed(_image(dataset, pixels), lambda values: values[:, 0])
    return replace(picture, spacing=geometry.spacing(dataset))


def _image(dataset: "Dataset", pixels: Image, matrix: Array | None = None) -> Image:
    """Return decoded pixels as an image; of the header's text a code and a UID."""
    modality = header.text(dataset, "Modality")
    return replace(
        pixels,
        values=np.ascontiguousarray(filled(pixels, modality)),
        spacing=distances(matrix),
        affine=matrix,
        modality=modality if modality in MODALITIES else None,
        frame_of_reference=header.text(dataset, "FrameOfReferenceUID") or None,
    )
