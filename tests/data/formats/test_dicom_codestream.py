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
    JPEG2000,
    MPEG2MPML,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
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


def test_one_frame_of_a_film(tmp_path: Path) -> None:
    films = RNG.integers(10, 200, (4, 40, 50), dtype=np.uint8)
    films[:, 0, 0] = 0
    dataset = header(films[0], NumberOfFrames=4, PixelData=films.tobytes(), PixelPaddingValue=0)
    dataset.PixelSpacing = [0.5, 0.25]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    image = decode_file(tmp_path / "a.dcm", "centre")
    np.testing.assert_array_equal(image.values[0, 1:], films[1, 1:])
    assert (image.values.shape, image.spacing) == ((1, 40, 50), (0.5, 0.25))
    assert image.padding is not None
    assert image.padding.shape == (40, 50)
    with pytest.raises(UserError, match=r"holds 4 frames, and dataset\.frame=7 is none"):
        decode_file(tmp_path / "a.dcm", 7)


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


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def test_jpeg_2000_in_the_boxes_of_a_file(tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (40, 50), dtype=np.uint16)
    dataset = header(values)
    dataset.compress(JPEG2000Lossless)
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    colour = box(b"colr", b"\1\0\0" + struct.pack(">I", 17))
    size = box(b"ihdr", struct.pack(">IIHBBBB", 40, 50, 1, 15, 7, 0, 0))
    head = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    head += box(b"jp2h", size + colour) + box(b"uuid", bytes(1500))
    for start, why in ((head, None), (head[:12], "isn't of the kind"), (head[:12] * 2, "broken")):
        frames = [start + (b"\0\0\0\0" if why == "broken" else b"") + box(b"jp2c", stream)]
        if why == "isn't of the kind":
            frames = [start + stream]
        path = compressed(tmp_path / "a.dcm", header(values), JPEG2000Lossless, frames)
        if why is None:
            np.testing.assert_array_equal(decode_file(path).values[0], values)
        else:
            with pytest.raises(UserError, match=why):
                decode_file(path)


@pytest.mark.parametrize("bits", [8, 12])
def test_lossless_jpeg_whose_differences_wrap_around(bits: int, tmp_path: Path) -> None:
    values = RNG.integers(0, 2**bits, (9, 11)).astype(np.uint8 if bits == 8 else np.uint16)
    stream = lossless_jpeg(values, bits)
    for kind in {values.dtype.type, np.uint16}:  # 8 bits may also lie in 16
        dataset = header(values.astype(kind), BitsStored=bits, HighBit=bits - 1)
        path = compressed(tmp_path / "a.dcm", dataset, JPEGLosslessSV1, [stream])
        np.testing.assert_array_equal(decode_file(path).values[0], values)


def lossless_jpeg(values: np.ndarray, bits: int) -> bytes:
    """Process 14, selection value 1; every difference as one of 0 … 2^bits - 1."""
    whole = values.astype(int)
    before = np.hstack([np.vstack([[[2 ** (bits - 1)]], whole[:-1, :1]]), whole[:, :-1]])
    digits = ""
    for difference in ((whole - before) % 2**bits).ravel():
        length = int(difference).bit_length()
        digits += f"{length:05b}" + (f"{difference:b}" if length else "")
    digits += "1" * (-len(digits) % 8)
    coded = int(digits, 2).to_bytes(len(digits) // 8).replace(b"\xff", b"\xff\0")
    rows, columns = values.shape
    frame = struct.pack(">HHBHHBBBB", 0xFFC3, 11, bits, rows, columns, 1, 1, 0x11, 0)
    table = struct.pack(">HHB", 0xFFC4, 3 + 16 + 17, 0) + bytes([0, 0, 0, 0, 17, *[0] * 11])
    scan = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8" + frame + table + bytes(range(17)) + scan + coded + b"\xff\xd9"


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_bits_beside_the_stored_ones_are_left_out(kind: type, syntax: UID, tmp_path: Path) -> None:
    values = RNG.integers(0, 4096, (40, 50)).astype(kind) - kind(2048) * (kind is np.int16)
    twelve = values.view(np.uint16) & 0xFFF
    for high, stored in ((11, twelve | 0xA000), (15, twelve << 4 | 5)):
        dataset = header(stored.view(kind))
        dataset.compress(syntax)
        dataset.BitsStored, dataset.HighBit = 12, high
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        np.testing.assert_array_equal(decode_file(tmp_path / "a.dcm").values[0], values)


def test_lossy_values_beyond_the_stored_bits(tmp_path: Path) -> None:
    def read(over: int) -> np.ndarray:
        dataset = header(np.full((40, 50), 4095 + over, np.uint16))
        dataset.compress(JPEG2000Lossless)
        dataset.file_meta.TransferSyntaxUID = JPEG2000  # which may be lossy
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        return decode_file(tmp_path / "a.dcm").values

    assert (read(9) == 4095).all()
    with pytest.raises(UserError, match=r"unsupported: lossy .* 8191 where its header says 0 … 40"):
        read(4096)


def test_jpeg_of_twelve_bits_whose_scan_says_that_it_is_empty() -> None:
    path = pydicom.data.get_testdata_file("JPEG-lossy.dcm", download=False)
    values = decode_file(Path(str(path))).values[0].astype(int)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]
    assert np.abs(values - other).max() <= 1
    assert values.max() > 255


def test_padding_bytes(tmp_path: Path) -> None:
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
        (lambda: [b"\0" * 80], MPEG2MPML, "is unsupported: compressed"),
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
