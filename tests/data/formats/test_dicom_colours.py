"""Colours of single DICOM files, made here: RGB, YBR and palettes, without compression."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import COLOUR, RNG, header, write
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian

from medcnn.data.formats.dicom import decode_file
from medcnn.errors import UserError


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("frames", [1, 3])
def test_rgb(planar: int, frames: int, tmp_path: Path) -> None:
    films = np.stack([np.roll(COLOUR, shift, axis=1) for shift in range(frames)])
    stored = films.transpose(0, 3, 1, 2) if planar else films
    tags = {"PlanarConfiguration": planar, "NumberOfFrames": frames}
    tags["PixelData"] = np.ascontiguousarray(stored).tobytes()
    image = decode_file(write(tmp_path / "a.dcm", COLOUR, "RGB", **tags))
    expected = np.moveaxis(films, -1, 0)
    np.testing.assert_array_equal(image.values, expected[:, 0] if frames == 1 else expected)
    assert (image.value_range, image.window) == ((0, 255), None)
    assert image.values.flags.c_contiguous


def ybr(rgb: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2."""
    matrix = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
    return (rgb @ np.array(matrix).T + [0, 128, 128]).round().clip(0, 255).astype(np.uint8)


def test_ybr_full(tmp_path: Path) -> None:
    image = decode_file(write(tmp_path / "a.dcm", ybr(COLOUR), "YBR_FULL"))
    difference = np.abs(image.values.astype(int) - COLOUR.transpose(2, 0, 1))
    assert difference.max() <= 2


def test_ybr_full_422(tmp_path: Path) -> None:
    pairs = np.repeat(COLOUR[:, ::2], 2, axis=1)  # neighbours of one colour lose nothing
    full = ybr(pairs)
    packed = np.stack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]], -1)
    path = tmp_path / "a.dcm"
    write(path, COLOUR, "YBR_FULL_422", PixelData=packed.tobytes())
    difference = np.abs(decode_file(path).values.astype(int) - pairs.transpose(2, 0, 1))
    assert difference.max() <= 2
    write(path, COLOUR, "YBR_FULL_422", PixelData=packed.tobytes()[:-2])
    with pytest.raises(UserError, match="is cut off"):
        decode_file(path)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("as_words", [True, False])
def test_palette(bits: int, dtype: type, as_words: bool, tmp_path: Path) -> None:
    stored = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    tables = RNG.integers(0, 2**bits, (3, 200)).astype(np.uint16 if as_words else dtype)
    tags = {}
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [200, 20, bits]
        tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    image = decode_file(write(tmp_path / "a.dcm", stored, "PALETTE COLOR", **tags))
    np.testing.assert_array_equal(image.values, tables[:, np.clip(stored.astype(int) - 20, 0, 199)])
    assert image.values.dtype == dtype
    assert image.value_range == (0, 2**bits - 1)
    if bits == 16:
        image = decode_file(
            write(
                tmp_path / "b.dcm",
                stored,
                "PALETTE COLOR",
                syntax=ExplicitVRBigEndian,
                **{key: _swapped(value) for key, value in tags.items()},
            )
        )
        np.testing.assert_array_equal(image.values, tables[:, np.clip(stored, 20, 219) - 20])


def _swapped(value: object) -> object:
    return (
        np.frombuffer(value, "<u2").astype(">u2").tobytes() if isinstance(value, bytes) else value
    )


def test_palette_in_segments(tmp_path: Path) -> None:
    stored = np.arange(10, dtype=np.uint8).reshape(2, 5)
    segments = np.array([0, 2, 500, 900, 1, 8, 60000], np.uint16)  # two entries, then a ramp of 8
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [10, 0, 16]
        tags[f"Segmented{colour}PaletteColorLookupTableData"] = segments.tobytes()
    path = write(tmp_path / "a.dcm", stored, "PALETTE COLOR", **tags)
    image = decode_file(path)
    ramp = [500, 900, *np.linspace(900, 60000, 9)[1:]]
    np.testing.assert_allclose(image.values[1].ravel(), ramp, atol=1)
    np.testing.assert_array_equal(
        np.moveaxis(image.values, 0, -1), apply_color_lut(stored, pydicom.dcmread(path))
    )
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [300, 0, 8]
    with pytest.raises(UserError, match="a size that isn't supported"):
        decode_file(write(path, stored, "PALETTE COLOR", **tags))


def test_palette_of_signed_pixels(tmp_path: Path) -> None:
    stored = np.arange(-5, 5, dtype=np.int16).reshape(2, 5)
    table = np.arange(100, 110, dtype=np.uint16)
    dataset = header(stored, "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "SS", [10, -5, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(decode_file(tmp_path / "a.dcm").values[2].ravel(), table)


def test_grey_with_three_values_a_pixel(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 values a pixel, which doesn't fit"):
        decode_file(
            write(tmp_path / "a.dcm", COLOUR, "RGB", PhotometricInterpretation="MONOCHROME2")
        )
