"""DICOM volumes made here: series in folders, enhanced objects."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import header, item, write
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from medcnn.data.formats import dicom_header, values
from medcnn.data.formats.dicom import decode_file, decode_series
from medcnn.data.image import Image
from medcnn.errors import UserError

RNG = np.random.default_rng(1)
BODY = RNG.integers(0, 4096, (6, 5, 7), dtype=np.uint16)
TURN = np.linalg.qr(RNG.normal(size=(3, 3)))[0]  # an oblique orientation
ROW, COLUMN = TURN[:, 0], TURN[:, 1]
NORMAL = np.cross(ROW, COLUMN)
CORNER = np.array([-20.0, 7.0, 300.0])


def place(height: float, **changed: Any) -> dict[str, Any]:
    """Geometry of a slice at a height above the first, mm."""
    position = CORNER + height * NORMAL
    tags = {
        "ImagePositionPatient": [f"{one:.6f}" for one in position],
        "ImageOrientationPatient": [f"{one:.9f}" for one in (*ROW, *COLUMN)],
        "PixelSpacing": [0.5, 0.8],
    }
    return {**tags, **changed}


def series(folder: Path, heights: list[float], **changed: Any) -> Path:
    """Slices of BODY, whose names and numbers tell nothing of their order."""
    folder.mkdir(exist_ok=True)
    names = RNG.permutation(len(heights))
    for index, (name, height) in enumerate(zip(names, heights, strict=True)):
        tags = {**place(height), "InstanceNumber": int(names[index - 1]), **changed}
        tags["SOPInstanceUID"] = f"1.2.3.{index}"
        write(folder / f"{name}.dcm", BODY[index], **tags)
    return folder


def change(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(path)


def check_geometry(image: Image, first: int = 0, gap: float = 2.5) -> None:
    """Each voxel has to lie where its header puts it: here worked out in DICOM's own terms."""
    slices, rows, columns = np.indices(image.values.shape[1:]).reshape(3, -1)
    lps = (
        CORNER[:, None]
        + NORMAL[:, None] * (slices + first) * gap
        + COLUMN[:, None] * rows * 0.5
        + ROW[:, None] * columns * 0.8
    )
    assert image.affine is not None
    ras = image.affine @ np.vstack([slices, rows, columns, np.ones_like(rows)])
    np.testing.assert_allclose(ras[:3], lps * [[-1], [-1], [1]], atol=1e-4)
    np.testing.assert_allclose(image.spacing, (abs(gap), 0.5, 0.8), rtol=1e-5)


def test_order_is_that_of_positions(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5, 7.5, 10, 12.5])
    for name, content in (
        ("notes.txt", b"text"),
        (".hidden.dcm", b"x"),
        ("DICOMDIR", directory(tmp_path)),
    ):
        (folder / name).write_bytes(content)
    (folder / "more.dcm").mkdir()
    image = decode_series(folder)
    np.testing.assert_array_equal(image.values[0], BODY)
    assert image.values.dtype == np.uint16
    check_geometry(image)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(reader.Execute()), BODY)


def test_a_slice_of_padding_alone_is_background(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5], PixelPaddingValue=4095)
    for path in folder.iterdir():
        if pydicom.dcmread(path).pixel_array[0, 0] == BODY[1, 0, 0]:
            change(path, PixelData=np.full((5, 7), 4095, np.uint16).tobytes())
    image = decode_series(folder)
    assert image.padding is not None
    assert image.padding[1].all()
    assert (image.values[0, 1] == 0).all()  # black
    np.testing.assert_array_equal(image.values[0, ::2], BODY[:3:2])


def directory(folder: Path) -> bytes:
    dataset = Dataset()
    dataset.file_meta = header(BODY[0]).file_meta
    dataset.file_meta.MediaStorageSOPClassUID = dicom_header.DIRECTORY
    dataset.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return (folder / "DICOMDIR").read_bytes()


def test_one_slice_is_a_volume(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0], SliceThickness=2.5)
    image = decode_series(folder)
    np.testing.assert_array_equal(image.values, BODY[None, :1])
    check_geometry(image)
    thin = decode_series(series(tmp_path / "b", [0]))
    assert (thin.values.shape, thin.affine, thin.spacing) == ((1, 1, 5, 7), None, None)


def test_tilted_gantry(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    step = NORMAL * 2.5 + COLUMN * 0.7
    for index in range(4):
        position = [f"{one:.6f}" for one in CORNER + index * step]
        write(folder / f"{index}", BODY[index], **place(0, ImagePositionPatient=position))
    image = decode_series(folder)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:3, 0], step * [-1, -1, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("heights", "why"),
    [
        ([0, 2.5, 7.5, 10], r"slices 2.5 … 5 mm apart.*one may be missing"),
        ([0, 2.5, 5, 10], "one may be missing"),
        ([0, 2.5, 5, 5.9], "one may be missing"),
        ([0, 0, 2.5, 2.5], "several slices at one place"),
        ([0, 0.1, 2.5, 2.6], "several slices at one place"),
    ],
)
def test_uneven_stacks_are_refused(heights: list[float], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        decode_series(series(tmp_path / "a", heights))


def test_rounded_positions_are_even_enough(tmp_path: Path) -> None:
    image = decode_series(series(tmp_path / "a", [0, 2.45, 5.05, 7.5, 9.95, 12.5]))
    np.testing.assert_array_equal(image.values[0], BODY)
    np.testing.assert_allclose(image.spacing, (2.5, 0.5, 0.8), rtol=1e-5)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"SeriesInstanceUID": "1.2.5"}, "holds 2 series"),
        ({"Rows": 7, "Columns": 5}, "differ in Rows"),
        ({"Modality": "PT"}, "differ in Modality"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "differ in PhotometricInterpretation"),
        ({"PixelSpacing": [0.5, 0.9]}, "different pixel spacings"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "different orientations"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two directions at right angles"),
        ({"ImagePositionPatient": [1, 0]}, "broken position"),
        ({"ImagePositionPatient": None}, "1 slices that don't say .* allow_missing_geometry"),
        ({"PixelSpacing": [0, 0]}, "1 slices that don't say"),
        ({"NumberOfFrames": 2}, "4 files with several slices each"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]}, "4 files with several slices each"),
        ({"PixelData": bytes(68)}, r"file 2 of 4, by name, is cut off: 68 of 70"),
        ({"BitsStored": 12, "HighBit": 11}, "values mean different things"),
    ],
)
def test_slices_that_do_not_belong_together(tags: dict, why: str, tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5, 7.5], Modality="CR")
    change(folder / "1.dcm", **tags)
    with pytest.raises(UserError, match=why):
        decode_series(folder)


def test_without_positions(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for number in range(6):
        write(folder / f"{(number * 5) % 6}.dcm", BODY[number], InstanceNumber=number + 8)
    with pytest.raises(UserError, match="6 slices that don't say"):
        decode_series(folder)
    image = decode_series(folder, allow_missing_geometry=True)
    np.testing.assert_array_equal(image.values[0], BODY)
    assert (image.affine, image.spacing) == (None, None)
    change(folder / "0.dcm", InstanceNumber=9)
    with pytest.raises(UserError, match="InstanceNumber of their own"):
        decode_series(folder, allow_missing_geometry=True)


def test_slopes_of_their_own(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5], Modality="PT")
    for path in folder.iterdir():
        change(path, RescaleSlope=0.5 + int(path.stem), RescaleIntercept=0)
    image = decode_series(folder)
    ratio = image.values[0] / np.maximum(BODY[:3], 1)
    np.testing.assert_allclose(sorted(ratio.max(axis=(1, 2))), [0.5, 1.5, 2.5])
    assert (image.values.dtype, image.value_range) == (np.float32, None)


@pytest.mark.parametrize(("top", "kind"), [(30000, np.int16), (60000, np.float32)])
def test_types_are_joined(top: int, kind: type, tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5], Modality="CT", RescaleSlope=1, RescaleIntercept=-9)
    bodies = (np.full((5, 7), 2, np.uint16), np.full((5, 7), top, np.uint16))
    for path, body in zip(sorted(folder.iterdir()), bodies, strict=True):
        change(path, PixelData=body.tobytes())
    image = decode_series(folder)
    assert image.values.dtype == kind
    assert {*np.unique(image.values)} == {-7, top - 9}


def test_window_of_the_middle_slice(tmp_path: Path) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5], WindowCenter=7, WindowWidth=2)
    for path in folder.iterdir():
        dataset = dicom_header.read(path)
        if dicom_header.numbers(dataset, "ImagePositionPatient") == tuple(
            float(f"{one:.6f}") for one in CORNER + 2.5 * NORMAL
        ):
            change(path, WindowCenter=100, WindowWidth=50)
    assert decode_series(folder).window == (75, 124)


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = series(tmp_path / "a", [0, 2.5, 5])
    monkeypatch.setattr(values, "MAX_VALUES", 104)
    with pytest.raises(UserError, match="3 × 5 × 7 × 1, more than the 104 values"):
        decode_series(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no DICOM file"):
        decode_series(tmp_path / "empty")


def enhanced(path: Path, heights: list[float], per_frame: Any = None, **shared: Any) -> Path:
    """An enhanced object whose frames are slices of BODY."""
    groups = {
        "PixelMeasuresSequence": [item(PixelSpacing=[0.5, 0.8], SliceThickness=9)],
        "PlaneOrientationSequence": [
            item(ImageOrientationPatient=place(0)["ImageOrientationPatient"])
        ],
        **shared,
    }
    frames = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=place(one)["ImagePositionPatient"])],
            **(per_frame(index) if per_frame else {}),
        )
        for index, one in enumerate(heights)
    ]
    return write(
        path,
        BODY[0],
        NumberOfFrames=len(heights),
        PixelData=BODY[: len(heights)].tobytes(),
        SharedFunctionalGroupsSequence=[item(**groups)],
        PerFrameFunctionalGroupsSequence=frames,
    )


def test_enhanced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = enhanced(tmp_path / "a" / "b.dcm", [5, 0, 7.5, 2.5])
    image = decode_file(path)
    np.testing.assert_array_equal(image.values[0], BODY[[1, 3, 0, 2]])
    check_geometry(image)
    np.testing.assert_array_equal(decode_series(tmp_path / "a").values, image.values)
    with pytest.raises(UserError, match="several slices at one place"):
        decode_file(enhanced(path, [0, 0, 2.5, 2.5]))
    with pytest.raises(UserError, match="one may be missing"):
        decode_file(enhanced(path, [0, 2.5, 7.5]))


def test_enhanced_of_one_frame(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    picture = decode_file(enhanced(tmp_path / "a" / "b.dcm", [0]))
    assert (picture.values.shape, picture.spacing) == ((1, 5, 7), (0.5, 0.8))
    check_geometry(decode_series(tmp_path / "a"), gap=9)
    enhanced(tmp_path / "a" / "c.dcm", [9])
    check_geometry(decode_series(tmp_path / "a"), gap=9)


def test_enhanced_without_places(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "a.dcm", [0, 2.5], PlaneOrientationSequence=[])
    image = decode_file(path)
    np.testing.assert_array_equal(image.values[0], BODY[:2])
    assert (image.affine, image.spacing) == (None, None)


def test_enhanced_values(tmp_path: Path) -> None:
    def own(index: int) -> dict[str, Any]:
        line = item(RescaleSlope=index + 1, RescaleIntercept=-index)
        voi = item(WindowCenter=10 * index, WindowWidth=2)
        return {"PixelValueTransformationSequence": [line], "FrameVOILUTSequence": [voi]}

    image = decode_file(enhanced(tmp_path / "a.dcm", [0, 2.5, 5], own))
    expected = [body * (index + 1.0) - index for index, body in enumerate(BODY[:3])]
    np.testing.assert_array_equal(image.values[0], expected)
    assert image.window == (9, 10)  # of the middle frame
    assert image.value_range is None


def test_rle_in_a_series(tmp_path: Path) -> None:
    for index in range(3):
        dataset = header(BODY[index], **place(2.5 * index))
        dataset.compress(RLELossless)
        dataset.save_as(tmp_path / f"{9 - index}", enforce_file_format=True)
    image = decode_series(tmp_path)
    np.testing.assert_array_equal(image.values[0], BODY[:3])
    check_geometry(image)


def test_deflated_series(tmp_path: Path) -> None:
    for index in range(3):
        tags = place(2.5 * index)
        write(tmp_path / f"{9 - index}", BODY[index], syntax=DeflatedExplicitVRLittleEndian, **tags)
    image = decode_series(tmp_path)
    np.testing.assert_array_equal(image.values[0], BODY[:3])
    check_geometry(image)


def csa(**tags: tuple[str, list[str]]) -> bytes:
    """A header as Siemens writes it (the form SV10), of names, types and values."""
    packed = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, (kind, items) in tags.items():
        packed += struct.pack(
            "<64si4s3i", name.encode(), len(items), kind.encode(), 6, len(items), 77
        )
        for one in items:
            raw = one.encode() + b"\0"
            packed += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw
            packed += bytes(-len(raw) % 4)
    return packed


@pytest.mark.parametrize("side", [1, -1])
def test_siemens_mosaic(side: int, tmp_path: Path) -> None:
    tiles = np.zeros((9, 5, 7), np.uint16)
    tiles[:6] = BODY
    mosaic = tiles.reshape(3, 3, 5, 7).swapaxes(1, 2).reshape(15, 21)
    tags = place(0, ImageType=["ORIGINAL", "MOSAIC"], SpacingBetweenSlices=2.5)
    whole = CORNER - ROW * 0.8 * 7 - COLUMN * 0.5 * 5  # of a slice of 15 × 21 about one centre
    tags["ImagePositionPatient"] = [f"{one:.6f}" for one in whole]
    dataset = header(mosaic, **tags)
    private = dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    normal = [f"{side * one:.9f}" for one in NORMAL]
    count = {"NumberOfImagesInMosaic": ("US", ["6"])}
    private.add_new(0x10, "OB", csa(**count, SliceNormalVector=("FD", normal)))
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = decode_file(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.values[0], BODY)
    check_geometry(image, gap=2.5 * side)
    private.add_new(0x10, "OB", csa(**count))  # not in which direction
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = decode_file(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.values[0], BODY)
    assert (image.affine, image.spacing) == (None, None)
    private.add_new(0x10, "OB", csa(NumberOfImagesInMosaic=("US", ["17"])))  # 5 × 5 don't fit
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match="is a mosaic"):
        decode_file(tmp_path / "a.dcm")
