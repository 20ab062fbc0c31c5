import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
from PIL import Image

from medcnn.data.formats.picture import decode_picture
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)  # high and wide differ: a transpose shows
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (5, 7), dtype=np.uint16)


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_and_colour(suffix: str, tmp_path: Path) -> None:
    grey = decode_picture(save(tmp_path / f"g{suffix}", GREY))
    colour = decode_picture(save(tmp_path / f"c{suffix}", COLOUR))
    np.testing.assert_array_equal(grey.values, GREY[None])
    np.testing.assert_array_equal(colour.values, COLOUR.transpose(2, 0, 1))
    for image in (grey, colour):
        assert image.values.dtype == np.uint8
        assert (image.value_range, image.spacing, image.affine) == ((0, 255), None, None)


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(0, 80, 2), np.arange(60)).astype(np.uint8)
    read = decode_picture(save(tmp_path / "a.jpg", smooth))
    assert read.values.shape == (1, 40, 60)
    np.testing.assert_allclose(read.values[0].astype(int), smooth, atol=6)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(suffix: str, tmp_path: Path) -> None:
    read = decode_picture(save(tmp_path / f"a{suffix}", DEEP))
    assert read.values.dtype == np.uint16
    assert read.value_range == (0, 65535)
    np.testing.assert_array_equal(read.values, DEEP[None])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u2", "i2", "i4", "f4"])
def test_tiff_of_another_library(order: str, dtype: str, tmp_path: Path) -> None:
    values = (DEEP.astype(float) / 4 - (0 if dtype == "u2" else 5000)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order)
    read = decode_picture(tmp_path / "a.tif")
    assert read.values.dtype == {"i4": np.int16}.get(dtype, np.dtype(dtype))
    assert read.value_range == ((0, 65535) if dtype == "u2" else None)
    np.testing.assert_array_equal(read.values, values[None])


def test_tiff_of_large_integers_and_of_shares(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP.astype(np.int32) * 2)
    assert decode_picture(tmp_path / "a.tif").values.dtype == np.float32
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.float32) / 255)
    assert decode_picture(tmp_path / "b.tif").value_range == (0, 1)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tiff_in_colour(planar: str, dtype: str, tmp_path: Path) -> None:
    values = COLOUR.astype(dtype) * (1 if dtype == "u1" else 257)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    read = decode_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.values, values.transpose(2, 0, 1))
    assert read.value_range == (0, np.iinfo(dtype).max)


LARGE = DEEP.astype("u4") << 16


@pytest.mark.parametrize(
    "values",
    [
        LARGE,
        DEEP.astype(np.uint64) << 40,
        (GREY.astype(int) - 128).astype(np.int8),
        RNG.normal(size=(5, 7)),
        RNG.normal(size=(5, 7)).astype(np.float16),
        np.stack([DEEP, DEEP // 2, DEEP // 3, DEEP // 4], -1),  # with transparency
    ],
    ids=str,
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_that_pillow_misreads(
    values: np.ndarray, compression: str | None, tmp_path: Path
) -> None:
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"]} if values.ndim == 3 else {}
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, **options)
    read = decode_picture(tmp_path / "a.tif").values
    colours = np.atleast_3d(values).transpose(2, 0, 1)[: 3 if values.ndim == 3 else 1]
    np.testing.assert_array_equal(read, colours.astype(read.dtype))
    assert read.dtype == {"u": np.float32, "i": np.int16, "f": np.float32}[values.dtype.kind] or (
        values.ndim == 3 and read.dtype == np.uint16
    )


def test_tiff_that_nothing_here_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY, GREY], -1), planarconfig="contig")
    with pytest.raises(UserError, match="unsupported: 2 values a pixel"):
        decode_picture(tmp_path / "a.tif")
    tifffile.imwrite(
        tmp_path / "b.tif", np.zeros((2, 3, 5, 7), np.uint8), metadata={"axes": "TZYX"}
    )
    with pytest.raises(UserError, match="unsupported: a stack of 2 × 3 pictures"):
        decode_picture(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", LARGE)
    raw = (tmp_path / "c.tif").read_bytes()
    tag = b"\x03\x01\x03\0\x01\0\0\0"  # compression
    (tmp_path / "c.tif").write_bytes(raw.replace(tag + b"\1", tag + b"\5"))  # LZW

    def lacking(*args: object, **kwargs: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr("tifffile.TiffPageSeries.asarray", lacking)
    with pytest.raises(UserError, match="unsupported: a TIFF of 32 bits compressed by LZW"):
        decode_picture(tmp_path / "c.tif")


def test_stack_behind_one_directory(tmp_path: Path) -> None:
    volume = RNG.integers(0, 2**16, (5, 6, 7), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True)
    raw = bytearray((tmp_path / "a.tif").read_bytes())
    order = "big" if raw[:2] == b"MM" else "little"
    at = int.from_bytes(raw[4:8], order)
    count = int.from_bytes(raw[at : at + 2], order)
    raw[at + 2 + 12 * count : at + 6 + 12 * count] = bytes(4)  # where the next directory is
    (tmp_path / "a.tif").write_bytes(raw)
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.tif").values[0], volume)
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.tif", 3).values[0], volume[3])


def test_one_page_of_several(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    read = decode_picture(tmp_path / "a.tif", "centre").values
    np.testing.assert_array_equal(read, colours[1].transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "b.tif", colours[..., 0], photometric="minisblack")
    np.testing.assert_array_equal(
        decode_picture(tmp_path / "b.tif", 2).values[0], colours[2, ..., 0]
    )
    with pytest.raises(UserError, match=r"holds 3 pictures, and dataset\.frame=3 is none of 0 … 2"):
        decode_picture(tmp_path / "b.tif", 3)
    tifffile.imwrite(tmp_path / "c.tif", LARGE)  # a single page is that, as a mask's may be
    assert decode_picture(tmp_path / "c.tif", 3).values.shape == (1, *LARGE.shape)


def test_jpeg_of_twelve_bits(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", GREY)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(raw)
    with pytest.raises(UserError, match="unsupported: a JPEG of 12 bits"):
        decode_picture(path)


def test_tiff_with_white_first(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="miniswhite")
    read = decode_picture(tmp_path / "a.tif")
    low, high = read.value_range or (0, 1)
    shown = (read.values[0].astype(float) - low) / (high - low)
    np.testing.assert_allclose(shown, 1 - DEEP / 65535)
    tifffile.imwrite(tmp_path / "b.tif", GREY, photometric="miniswhite")
    read = decode_picture(tmp_path / "b.tif")
    assert read.value_range == (0, 255)
    np.testing.assert_array_equal(read.values[0], 255 - GREY)


def test_tiff_of_twelve_bits(tmp_path: Path) -> None:
    values = DEEP[:, :6] >> 4
    a, b = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()
    tags = [(256, 6), (257, 5), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 5)]
    tags += [(279, len(packed))]
    entries = b"".join(
        number.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for number, value in tags
    )
    content = b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little") + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(content + packed)
    read = decode_picture(tmp_path / "a.tif")
    assert read.value_range == (0, 4095)
    np.testing.assert_array_equal(read.values[0], values)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("PA", 3), ("RGBA", 3), ("CMYK", 3)]
)
def test_other_modes(mode: str, channels: int, tmp_path: Path) -> None:
    path = save(tmp_path / ("a.tif" if mode in ("CMYK", "PA") else "a.png"), COLOUR, mode)
    expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))
    read = decode_picture(path)
    np.testing.assert_array_equal(read.values, np.atleast_3d(expected).transpose(2, 0, 1))
    assert read.value_range == (0, 255)


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = decode_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(read.values, np.asarray(image.convert("RGB")).transpose(2, 0, 1))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_orientation(orientation: int, compression: str | None, tmp_path: Path) -> None:
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(tmp_path / "a.tif", GREY, extratags=[tag], compression=compression)
    upright = [
        GREY,
        GREY[:, ::-1],
        GREY[::-1, ::-1],
        GREY[::-1],
        GREY.T,
        np.rot90(GREY, -1),
        GREY.T[::-1, ::-1],
        np.rot90(GREY),
    ][orientation - 1]
    np.testing.assert_array_equal(decode_picture(tmp_path / "a.tif").values[0], upright)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_exif_orientation(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its left side: to be turned clockwise by a quarter
    smooth = np.kron(np.array([[10, 200, 90], [40, 250, 130]], np.uint8), np.ones((16, 16), "u1"))
    Image.fromarray(smooth).save(tmp_path / f"a{suffix}", exif=exif)
    read = decode_picture(tmp_path / f"a{suffix}").values[0].astype(int)
    np.testing.assert_allclose(read, np.rot90(smooth, -1), atol=8 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_are_a_volume(dtype: type, tmp_path: Path) -> None:
    volume = RNG.integers(0, 250, (3, 5, 7)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", volume, compression="zlib", photometric="minisblack")
    read = decode_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.values, volume[None])
    assert (read.values.dtype, read.affine, read.spatial_dims) == (dtype, None, 3)


def test_pages_that_are_none(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(
        tmp_path / "a.tif", save_all=True, append_images=[Image.fromarray(GREY[:4])]
    )
    with pytest.raises(UserError, match="different sizes"):
        decode_picture(tmp_path / "a.tif")
    colour = Image.fromarray(COLOUR)
    colour.save(tmp_path / "b.tif", save_all=True, append_images=[colour])
    with pytest.raises(UserError, match="several colour pictures"):
        decode_picture(tmp_path / "b.tif")
    film = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    film[0].save(tmp_path / "c.png", save_all=True, append_images=film[1:])
    with pytest.raises(UserError, match="film of 2"):
        decode_picture(tmp_path / "c.png")


def test_second_picture_of_a_camera_is_left_out(tmp_path: Path) -> None:
    first = Image.fromarray(np.full((16, 24), 100, np.uint8))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("L", (8, 8))])
    read = decode_picture(tmp_path / "a.jpg").values
    assert read.shape == (1, 16, 24)
    np.testing.assert_allclose(read.astype(int), 100, atol=2)


def test_too_many_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 5, 7), np.uint8))
    monkeypatch.setattr("medcnn.data.formats.values.MAX_VALUES", 100)
    with pytest.raises(UserError, match="6 × 5 × 7, more than the 100 values"):
        decode_picture(tmp_path / "a.tif")


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("edge", [10_000, 30_000])  # Pillow warns of one, refuses the other
def test_bomb(edge: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    most = PIL.Image.MAX_IMAGE_PIXELS
    for _ in range(2):
        with pytest.raises(UserError, match=f"more than the {most} pixels"):
            decode_picture(bomb(tmp_path / "a.png", edge, edge))
    assert capfd.readouterr().err == ""


def test_damaged_png(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RNG.integers(0, 256, (50, 50), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[-13] ^= 1  # in a checksum that Pillow doesn't look at
    path.write_bytes(content)
    Image.open(path).load()
    with pytest.raises(SyntaxError):
        decode_picture(path)


def test_real_radiographs(data_root: Path) -> None:
    paths = sorted((data_root / "nih_chestxray_1000").rglob("*.png"))[:20]
    for path in paths:
        read = decode_picture(path)
        assert read.values.shape == (3, 64, 64)
        np.testing.assert_array_equal(read.values[0], read.values[2])
        np.testing.assert_array_equal(read.values[0], np.asarray(Image.open(path).convert("L")))
    assert len(paths) == 20


def test_real_slices(data_root: Path) -> None:
    import SimpleITK

    root = data_root / "brain_tumor"
    names = pd.read_csv(root / "annotations.csv")["file"]
    for name in names[:: len(names) // 8]:
        path = next(root.rglob(Path(name).name))
        read = decode_picture(path).values
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
        assert read.shape == (1, 512, 512)
        np.testing.assert_allclose(read[0].astype(int), np.atleast_3d(other)[..., 0], atol=2)
