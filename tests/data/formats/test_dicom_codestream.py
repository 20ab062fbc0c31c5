"""Compressed DICOM files, made here."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import RNG, SMOOTH, compressed, header, jpeg
from PIL import Image as Picture
from pydicom.uid import (
    MPEG2MPML,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from medcnn.data.formats.dicom import decode_file
from medcnn.errors import UserError


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint8])
def test_compressed(syntax: UID, kind: type, tmp_path: Path) -> None:
    films = RNG.integers(0, 200, (3, 40, 50)).astype(kind) - (kind is np.int16) * kind(100)
    dataset = header(films[0], NumberOfFrames=3, PixelData=films.tobytes())
    dataset.compress(syntax)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = decode_file(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.values[0], films)
    assert (image.affine, image.spacing) == (None, None)
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.dcm")))
    np.testing.assert_array_equal(image.values[0], itk)


def test_compressed_with_extended_offsets(tmp_path: Path) -> None:
    films = RNG.integers(0, 200, (3, 40, 50), dtype=np.uint8)
    dataset = header(films[0], NumberOfFrames=3, PixelData=films.tobytes())
    dataset.compress(RLELossless, encapsulate_ext=True)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(decode_file(tmp_path / "a.dcm").values[0], films)


def j2k() -> bytes:
    dataset = header(RNG.integers(0, 4096, (40, 50), dtype=np.uint16))
    dataset.compress(JPEG2000Lossless)
    return next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))


def test_jpeg_2000_in_a_box_and_padding_bytes(tmp_path: Path) -> None:
    boxed = b"\0\0\0\x0cjP  \r\n\x87\n" + j2k()
    dataset = header(np.zeros((40, 50), np.uint16))
    with pytest.raises(UserError, match="can't be decoded"):  # a box too few: damaged, size known
        decode_file(compressed(tmp_path / "a.dcm", dataset, JPEG2000Lossless, [boxed]))
    stream = jpeg(SMOOTH)
    filled = stream[:2] + b"\xff" + stream[2:] + bytes(4)  # a fill byte before a marker is allowed
    path = compressed(tmp_path / "b.dcm", header(SMOOTH), JPEGBaseline8Bit, [filled])
    reference = np.asarray(Picture.open(BytesIO(stream))).astype(int)
    assert np.abs(decode_file(path).values[0] - reference).max() <= 1


@pytest.mark.parametrize(
    ("frames", "syntax", "why"),
    [
        (lambda: [jpeg(SMOOTH)[:-40]], JPEGBaseline8Bit, "cut off: a compressed frame lacks"),
        (lambda: [b"\xff\xd8 nothing \xff\xd9"], JPEGBaseline8Bit, "isn't of the kind"),
        (lambda: [jpeg(SMOOTH[:8])], JPEGBaseline8Bit, "frame of 8 × 24 pixels with 1 values"),
        (lambda: [jpeg(np.stack([SMOOTH] * 3, -1))], JPEGBaseline8Bit, "with 3 values each"),
        (lambda: [jpeg(SMOOTH)] * 2, JPEGBaseline8Bit, "damaged|holds 2 compressed frames"),
        (lambda: [j2k()[:30] + b"\xff\xd9"], JPEG2000Lossless, "isn't of the kind"),
        (lambda: [j2k()], JPEG2000Lossless, "frame of 40 × 50 pixels"),
        (lambda: [b"\0" * 60], RLELossless, "a compressed frame lacks its head"),
        (lambda: [struct.pack("<16L", 2, *[64] * 15)], RLELossless, "2 segments"),
        (lambda: [struct.pack("<16L", 1, *[64] * 15) + b"\x01ab"], RLELossless, "of 2 values"),
        (
            lambda: [struct.pack("<16L", 1, *[64] * 15) + b"\x80" + b"\x81a" * 40],
            RLELossless,
            "of 5120 values where its header says 384",
        ),
        (lambda: [b"\0" * 80], MPEG2MPML, "compressed in a way that isn't supported"),
    ],
)
def test_damaged_compressed_data_are_refused(
    frames: object, syntax: UID, why: str, tmp_path: Path
) -> None:
    path = compressed(tmp_path / "a.dcm", header(SMOOTH), syntax, frames())  # type: ignore[operator]
    with pytest.raises(UserError, match=why):
        decode_file(path)


def test_too_few_compressed_frames(tmp_path: Path) -> None:
    dataset = header(SMOOTH, NumberOfFrames=3)
    path = compressed(tmp_path / "a.dcm", dataset, JPEGBaseline8Bit, [jpeg(SMOOTH)] * 2)
    with pytest.raises(UserError, match=r"damaged|holds 2 compressed frames where .* says 3"):
        decode_file(path)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_colours(photometric: str, tmp_path: Path) -> None:
    picture = np.stack([SMOOTH, SMOOTH[::-1], np.full_like(SMOOTH, 40)], -1)
    options = {"keep_rgb": True} if photometric == "RGB" else {"subsampling": 0}
    stream = jpeg(picture, **options)
    path = compressed(tmp_path / "a.dcm", header(picture, photometric), JPEGBaseline8Bit, [stream])
    reference = np.asarray(Picture.open(BytesIO(stream)).convert("RGB")).astype(int)
    difference = np.abs(decode_file(path).values.astype(int) - reference.transpose(2, 0, 1))
    assert difference.max() <= 3
