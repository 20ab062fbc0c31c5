"""Grey values of single DICOM files, made here, in the encodings without loss or compression."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import GREY, RNG, header, item, lut, write
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from medcnn.data.formats.dicom import decode_file
from medcnn.errors import UserError


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_syntaxes_and_types(syntax: UID, kind: type, tmp_path: Path) -> None:
    values = (GREY.astype(np.int32) % 100).astype(kind) - (np.dtype(kind).kind == "i") * kind(50)
    image = decode_file(write(tmp_path / "a.dcm", values, syntax=syntax))
    np.testing.assert_array_equal(image.values, values[None])
    expected = {np.uint8: np.uint8, np.uint16: np.uint16, np.uint32: np.uint16}
    assert image.values.dtype == expected.get(kind, np.int16)
    signed = np.dtype(kind).kind == "i"
    assert image.value_range == (None if signed else (0, 2 ** (8 * np.dtype(kind).itemsize) - 1))
    assert (image.window, image.spacing, image.affine) == (None, None, None)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bits_beside_the_stored_ones_are_left_out(kind: type, tmp_path: Path) -> None:
    values = GREY.astype(kind) - (2048 if kind is np.int16 else 0)
    twelve = values.view(np.uint16) & 0xFFF
    low = decode_file(
        write(tmp_path / "a.dcm", (twelve | 0xA000).view(kind), BitsStored=12, HighBit=11)
    )
    high = decode_file(
        write(tmp_path / "b.dcm", ((twelve << 4) | 5).view(kind), BitsStored=12, HighBit=15)
    )
    np.testing.assert_array_equal(low.values[0], values)
    np.testing.assert_array_equal(high.values[0], values)
    assert low.value_range == (None if kind is np.int16 else (0, 4095))


def test_one_bit_a_pixel(tmp_path: Path) -> None:
    bits = RNG.integers(0, 2, (5, 7), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes() + b"\0"
    tags = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": packed}
    image = decode_file(write(tmp_path / "a.dcm", bits, **tags))
    np.testing.assert_array_equal(image.values[0], bits)
    assert image.value_range == (0, 1)


@pytest.mark.parametrize(
    ("modality", "kind", "slope", "intercept", "expected", "value_range"),
    [
        ("CT", np.uint16, 1, -1024, np.int16, None),
        ("CR", np.uint16, 1, -1024, np.int16, (-1024, 64511)),
        ("CR", np.uint16, -1, 4095, np.int16, (4095 - 65535, 4095)),
        ("CR", np.uint16, 16, 0, np.uint16, (0, 16 * 65535)),
        ("CR", np.uint16, 32, 0, np.float32, None),
        ("PT", np.int16, 0.25, 0, np.float32, None),
        ("OT", np.int16, 1, 5, np.int16, None),
        ("MR", np.uint16, 1, 0, np.uint16, None),
        ("MR", np.uint8, 1, 0, np.uint8, (0, 255)),
    ],
)
def test_rescale(
    modality: str,
    kind: type,
    slope: float,
    intercept: float,
    expected: type,
    value_range: tuple[float, float] | None,
    tmp_path: Path,
) -> None:
    stored = (GREY % 256 if kind is np.uint8 else GREY).astype(kind)
    stored[0, 0] = 255 if kind is np.uint8 else 4095
    path = write(
        tmp_path / "a.dcm",
        stored,
        Modality=modality,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
    )
    image = decode_file(path)
    reference = apply_modality_lut(stored, pydicom.dcmread(path))
    np.testing.assert_array_equal(image.values[0], reference)
    assert image.values.dtype == expected
    assert image.value_range == value_range
    assert image.modality == modality


def test_slope_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="RescaleSlope of 0"):
        decode_file(write(tmp_path / "a.dcm", GREY, RescaleSlope=0, RescaleIntercept=1))


@pytest.mark.parametrize("as_bytes", [True, False])
def test_modality_lut(as_bytes: bool, tmp_path: Path) -> None:
    table = RNG.integers(0, 1024, 3000, dtype=np.uint16)
    data = table.tobytes() if as_bytes else table.tolist()
    path = write(tmp_path / "a.dcm", GREY, ModalityLUTSequence=[lut(3000, 500, 10, data)])
    image = decode_file(path)
    expected = table[np.clip(GREY.astype(int) - 500, 0, 2999)]
    np.testing.assert_array_equal(image.values[0], expected)
    assert image.value_range == (table.min(), table.max())


@pytest.mark.parametrize(
    ("tags", "window"),
    [
        ({"WindowCenter": 40, "WindowWidth": 400}, (-160, 239)),
        ({"WindowCenter": [40, 9], "WindowWidth": [400, 9]}, (-160, 239)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (-160, 240)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, (-160, 240)),
        ({"WindowCenter": 40, "WindowWidth": 1}, None),
        ({"WindowCenter": 0, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"}, None),
        ({"WindowCenter": 40}, None),
        ({"WindowCenter": "", "WindowWidth": ""}, None),
    ],
)
def test_window(tags: dict, window: tuple[float, float] | None, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", GREY, **tags)
    image = decode_file(path)
    assert image.window == window
    if window and len(tags) == 2:  # its ends are where pydicom's window begins and ends to rise
        shown = apply_voi_lut(np.arange(-300.0, 400), pydicom.dcmread(path))
        rising = np.flatnonzero((shown > shown.min()) & (shown < shown.max()))
        assert (rising[0] - 301, rising[-1] - 299) == window


@pytest.mark.parametrize("first", [100, -200])
def test_voi_lut_without_window(first: int, tmp_path: Path) -> None:
    stored = GREY.astype(np.int16) - 2048
    table = RNG.integers(0, 4096, 1000, dtype=np.uint16)
    item = lut(1000, first, 12, table.tolist())
    path = write(tmp_path / "a.dcm", stored, VOILUTSequence=[item])
    image = decode_file(path)
    np.testing.assert_array_equal(image.values[0], apply_voi_lut(stored, pydicom.dcmread(path)))
    assert (image.value_range, image.window) == ((0, 4095), None)
    windowed = write(
        tmp_path / "b.dcm", stored, VOILUTSequence=[item], WindowCenter=1, WindowWidth=9
    )
    np.testing.assert_array_equal(decode_file(windowed).values[0], stored)


def test_voi_lut_of_fractional_values(tmp_path: Path) -> None:
    table = np.arange(10, 18, dtype=np.uint16)
    stored = np.arange(8, dtype=np.uint16).reshape(2, 4)
    tags = {"RescaleSlope": 0.5, "RescaleIntercept": 0.1}
    image = decode_file(
        write(tmp_path / "a.dcm", stored, VOILUTSequence=[lut(8, 0, 8, table.tolist())], **tags)
    )
    expected = table[np.rint(stored * 0.5 + 0.1).astype(int)]
    np.testing.assert_array_equal(image.values[0], expected)


@pytest.mark.parametrize(
    ("kind", "modality", "tags"),
    [
        (np.uint16, "CR", {}),
        (np.uint16, "CR", {"WindowCenter": 2000, "WindowWidth": 1000}),
        (np.int16, "CR", {}),
        (np.int16, "CR", {"WindowCenter": 20, "WindowWidth": 1000}),
        (np.uint16, "CR", {"RescaleSlope": 0.5, "RescaleIntercept": 1}),
        (np.int16, "CT", {"WindowCenter": 20, "WindowWidth": 1000}),
    ],
)
def test_monochrome1_is_bright_where_stored_values_are_low(
    kind: type, modality: str, tags: dict, tmp_path: Path
) -> None:
    stored = GREY.astype(kind) - (2048 if kind is np.int16 else 0)
    one = decode_file(write(tmp_path / "1.dcm", stored, "MONOCHROME1", Modality=modality, **tags))
    two = decode_file(write(tmp_path / "2.dcm", stored, "MONOCHROME2", Modality=modality, **tags))
    if modality == "CT":
        np.testing.assert_array_equal(one.values, two.values)  # Hounsfield units stay
        assert one.window == (519, -480)
    ends = one.window or one.value_range or (one.values.min(), one.values.max())
    reference = two.window or two.value_range or (two.values.min(), two.values.max())
    np.testing.assert_allclose(
        (one.values - float(ends[0])) / (ends[1] - float(ends[0])),
        1 - (two.values - float(reference[0])) / (reference[1] - float(reference[0])),
        atol=1e-6,
    )
    assert (one.value_range is None) == (two.value_range is None)


def test_monochrome1_hounsfield_units_without_window_stay(tmp_path: Path) -> None:
    stored = GREY.astype(np.int16)
    image = decode_file(write(tmp_path / "a.dcm", stored, "MONOCHROME1", Modality="CT"))
    np.testing.assert_array_equal(image.values[0], stored)
    assert (image.value_range, image.window) == (None, None)


def test_floating_point(tmp_path: Path) -> None:
    for key, kind in (("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)):
        values = RNG.normal(size=(5, 7)).astype(kind)
        dataset = header(np.zeros((5, 7), np.uint32), "MONOCHROME1")
        for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del dataset[gone]
        dataset.BitsAllocated = 8 * values.itemsize
        setattr(dataset, key, values.tobytes())
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        image = decode_file(tmp_path / "a.dcm")
        assert image.values.dtype == np.float32
        np.testing.assert_array_equal(image.values[0], -values.astype(np.float32))


@pytest.mark.parametrize("key", ["ModalityLUTSequence", "VOILUTSequence"])
def test_broken_lookup_table(key: str, tmp_path: Path) -> None:
    for broken in (lut(300, 0, 16, [1, 2, 3]), lut(3, 0, 20, [1, 2, 3])):
        with pytest.raises(UserError, match="lookup table"):
            decode_file(write(tmp_path / "a.dcm", GREY, **{key: [broken]}))


@pytest.mark.parametrize("key", ["ModalityLUTSequence", "VOILUTSequence"])
def test_empty_lookup_table_is_none(key: str, tmp_path: Path) -> None:
    described = item()
    described.add_new("LUTDescriptor", "US", [])
    described.add_new("LUTData", "OW", b"")
    for empty in (item(), described):
        image = decode_file(write(tmp_path / "a.dcm", GREY, **{key: [empty]}))
        np.testing.assert_array_equal(image.values[0], GREY)
        assert image.value_range == (0, 65535)


def test_range_of_a_table_is_that_of_its_outputs(tmp_path: Path) -> None:
    table = lut(4096, 0, 16, (np.arange(4096) // 4).tolist())  # 16 bits declared, 10 used
    tags = {"ModalityLUTSequence": [table], "Modality": "CR"}
    image = decode_file(write(tmp_path / "a.dcm", GREY, "MONOCHROME1", **tags))
    np.testing.assert_array_equal(image.values[0], GREY // 4)
    assert image.value_range == (1023, 0)
    image = decode_file(write(tmp_path / "b.dcm", GREY, VOILUTSequence=[table]))
    assert image.value_range == (0, 1023)


@pytest.mark.parametrize("center", ["NaN", "2048,5"])
def test_unreadable_window_is_left_out_with_a_note(center: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", GREY, WindowCenter="2048", WindowWidth=9)
    path.write_bytes(path.read_bytes().replace(b"2048", center.ljust(4)[:4].encode(), 1))
    if len(center) > 4:
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"DS\4\x002048", b"DS\6\x002048,5", 1))
    image = decode_file(path)
    np.testing.assert_array_equal(image.values[0], GREY)
    assert (image.window, len(image.notes)) == (None, 1)
    assert "broken WindowCenter in its header: its window is left out" in image.notes[0]


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize(("modality", "background"), [("MR", 10), ("CT", -1000), ("CR", None)])
def test_padding_is_background(
    photometric: str, modality: str, background: int | None, tmp_path: Path
) -> None:
    stored = RNG.integers(10, 1000, (5, 7)).astype(np.uint16 if modality == "CR" else np.int16)
    stored[0, 0] = 10
    stored[1:3, 2:4] = [[4000, 4005], [4010, 4003]]
    tags = {"PixelPaddingValue": 4010, "PixelPaddingRangeLimit": 4000, "Modality": modality}
    image = decode_file(write(tmp_path / "a.dcm", stored, photometric, **tags))
    plain = decode_file(write(tmp_path / "b.dcm", stored, photometric, Modality=modality))
    assert image.padding is not None
    np.testing.assert_array_equal(image.padding, stored >= 4000)
    np.testing.assert_array_equal(image.values[:, ~image.padding], plain.values[:, ~image.padding])
    if photometric == "MONOCHROME1" and modality == "MR":  # negated
        background = int(-stored[~image.padding].max())
    if modality == "CR":  # black
        background = 65535 if photometric == "MONOCHROME1" else 0
    assert (image.values[:, image.padding] == background).all()


def test_padding_of_signed_pixels_written_without_sign(tmp_path: Path) -> None:
    stored = np.array([[-2000, -5], [7, 9]], np.int16)
    dataset = header(stored)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(decode_file(tmp_path / "a.dcm").values[0], [[-5, -5], [7, 9]])


def test_padding_of_unsigned_pixels_written_with_sign(tmp_path: Path) -> None:
    stored = np.array([[63536, 5], [7, 9]], np.uint16)
    dataset = header(stored)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    padding = decode_file(tmp_path / "a.dcm").padding
    assert padding is not None
    assert padding.tolist() == [[True, False], [False, False]]
