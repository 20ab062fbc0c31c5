import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_windowing
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medcnn.data.read import list_images, read_image, to_network
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)  # high and wide differ: a transpose shows
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def dicom(path: Path, pixels: np.ndarray, **tags: Any) -> Path:
    """Writes a DICOM file of 16 bits, 12 of them stored; tags change what it says."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_grey_and_colour_pictures(suffix: str, tmp_path: Path) -> None:
    grey = read_image(save(tmp_path / f"g{suffix}", GREY))
    colour = read_image(save(tmp_path / f"c{suffix}", COLOUR))
    assert grey.dtype == torch.float32
    np.testing.assert_allclose(grey.numpy(), GREY[None] / 255, rtol=1e-6)
    np.testing.assert_allclose(colour.numpy(), COLOUR.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 5
    read = read_image(save(tmp_path / "a.jpg", smooth))
    np.testing.assert_allclose(read.numpy()[0], smooth / 255, atol=0.03)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits(suffix: str, tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    read = read_image(save(tmp_path / f"a{suffix}", deep))
    np.testing.assert_allclose(read.numpy(), GREY[None] / 255, rtol=1e-6)


def test_thirty_two_bits(tmp_path: Path) -> None:
    deep = GREY.astype(np.int32) * 257
    read = read_image(save(tmp_path / "a.tif", deep))
    np.testing.assert_allclose(read.numpy(), GREY[None] / 255, rtol=1e-6)
    with pytest.raises(UserError, match=r"b\.tif: values of type int32"):
        read_image(save(tmp_path / "b.tif", deep * 2))


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_other_modes(mode: str, channels: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", COLOUR, mode)
    expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB")) / 255
    read = read_image(path)
    assert len(read) == channels
    np.testing.assert_allclose(read.squeeze(0).numpy().reshape(channels, 5, 7),
                               np.atleast_3d(expected).transpose(2, 0, 1), rtol=1e-6)  # fmt: skip


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.tif", COLOUR, "CMYK")).shape == (3, 5, 7)


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its left side: to be turned clockwise by a quarter
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    read = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(read.numpy()[0], np.rot90(GREY, -1) / 255, rtol=1e-6)


def test_several_pages(tmp_path: Path) -> None:
    page = Image.fromarray(GREY)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(UserError, match=r"a\.tif: holds 2 pictures"):
        read_image(tmp_path / "a.tif")


def test_float_picture_has_to_lie_in_range(tmp_path: Path) -> None:
    values = GREY.astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.tif", values))[0], values)
    with pytest.raises(UserError, match="outside 0 … 1"):
        read_image(save(tmp_path / "b.tif", values * 2))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[None] / 255),
        (GREY[None], GREY[None] / 255),
        (COLOUR, COLOUR.transpose(2, 0, 1) / 255),
        (COLOUR.transpose(2, 0, 1), COLOUR.transpose(2, 0, 1) / 255),
        (GREY.astype(np.uint16), GREY[None] / 65535),
        (GREY / 255, GREY[None] / 255),
        (GREY > 99, (GREY > 99)[None]),
    ],
)
def test_arrays(array: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_allclose(read_image(tmp_path / "a.npy").numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (GREY.astype(np.int16), "values of type int16"),
        (GREY.astype(np.float32), "outside 0 … 1"),
        (np.full((4, 4), np.nan), "outside 0 … 1"),
        (np.zeros((4, 5, 6)), r"shape \(4, 5, 6\)"),
        (np.zeros((0, 5)), "shape"),
        (np.zeros(5), "shape"),
        (np.array([{}]), "allow_pickle"),
    ],
)
def test_wrong_arrays(array: np.ndarray, reason: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=rf"a\.npy.*{reason}"):
        read_image(tmp_path / "a.npy")


def test_dicom_by_the_range_of_its_bits(tmp_path: Path) -> None:
    stored = GREY.astype(np.uint16) * 16
    read = read_image(dicom(tmp_path / "a.dcm", stored))
    np.testing.assert_allclose(read.numpy(), stored[None] / 4095, rtol=1e-5)
    inverted = dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read_image(inverted).numpy(), 1 - stored[None] / 4095, atol=1e-6)


def test_dicom_signed_and_rescaled(tmp_path: Path) -> None:
    stored = GREY.astype(np.int16) * 16 - 2048
    path = dicom(tmp_path / "a.dcm", stored, RescaleSlope=2, RescaleIntercept=-10)
    np.testing.assert_allclose(read_image(path)[0], (stored + 2048) / 4095, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
def test_dicom_window(function: str, tmp_path: Path) -> None:
    stored = GREY.astype(np.uint16) * 8
    path = dicom(
        tmp_path / "a.dcm",
        stored,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=[40, 300],
        WindowWidth=[400, 1500],
        VOILUTFunction=function,
    )
    shown = apply_windowing(stored - 1024.0, pydicom.dcmread(path))  # in -1024 … 3071
    np.testing.assert_allclose(read_image(path)[0], (shown + 1024) / 4095, atol=1e-6)


def test_dicom_without_suffix(tmp_path: Path) -> None:
    path = dicom(tmp_path / "IM0001", GREY.astype(np.uint16) * 16)
    assert read_image(path).shape == (1, 5, 7)


def test_dicom_palette(tmp_path: Path) -> None:
    palette = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    tags |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    for name, values in zip(("Red", "Green", "Blue"), palette, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = (values * 257).tobytes()
    square = GREY[:4, :6]  # an even number of bytes
    read = read_image(dicom(tmp_path / "a.dcm", square, **tags))
    np.testing.assert_allclose(read.numpy(), palette[:, square] / 255, rtol=1e-5)


def test_dicom_of_several_frames(tmp_path: Path) -> None:
    frames = np.zeros((2, 4, 4), np.uint16)
    path = dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2)
    with pytest.raises(UserError, match=r"a\.dcm: holds several frames"):
        read_image(path)


def test_dicom_that_is_nearly_one_grey(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", GREY.astype(np.uint16) // 8)
    with pytest.raises(UserError, match=r"a\.dcm: has no VOI window.* 12 bits"):
        read_image(path)


def test_dicom_without_pixels(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", GREY.astype(np.uint16))
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    with pytest.raises(UserError, match=r"a\.dcm can't be read as an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".npy", ".dcm"])
@pytest.mark.parametrize("content", [b"", b"no image at all, but words" * 20])
def test_file_that_is_no_image(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"a\{suffix} can't be read as an image: .") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".npy"])
def test_truncated_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    noise = RNG.integers(0, 256, (50, 50), dtype=np.uint8)
    if suffix == ".npy":
        np.save(path, noise)
    else:
        save(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"a\{suffix} can't be read as an image"):
        read_image(path)


def test_other_kind_of_file(tmp_path: Path) -> None:
    tmp_path.joinpath("a.txt").write_text("words")
    with pytest.raises(UserError, match=r"a\.txt is not a kind of image.*\.png"):
        read_image(tmp_path / "a.txt")
    with pytest.raises(UserError, match="is not a file"):
        read_image(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.npy", "[1]/d.png", "e.png/x"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    dicom(tmp_path / "sub" / "IM1", GREY.astype(np.uint16))
    return tmp_path


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_folder(tree: Path) -> None:
    found = names(list_images(tree), tree)
    assert found == sorted(found)
    assert set(found) == {"[1]/d.png", "a.JPG", "b.png", "sub/IM1", "sub/c.npy"}


def test_file_and_pattern(tree: Path) -> None:
    assert names(list_images(tree / "b.png"), tree) == ["b.png"]
    assert names(list_images(f"{tree}/*.png"), tree) == ["b.png"]
    assert names(list_images(f"{tree}/**/*.npy"), tree) == ["sub/c.npy"]


def test_existing_path_wins_over_pattern(tree: Path) -> None:
    assert names(list_images(f"{tree}/[1]"), tree) == ["[1]/d.png"]
    assert names(list_images(f"{tree}/[1]/d.png"), tree) == ["[1]/d.png"]


def test_nothing_found(tree: Path) -> None:
    with pytest.raises(UserError, match="neither a file, nor a folder, nor a pattern"):
        list_images(f"{tree}/*.bmp")
    with pytest.raises(UserError, match=r"holds no image \(\.png"):
        list_images(tree / "e.png")


def test_unreadable_file_is_left_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    assert "sub/IM1" not in names(list_images(tree), tree)


def test_to_network_channels() -> None:
    colour = torch.rand(3, 4, 5)
    grey = to_network(colour, 1, (4, 5))
    expected = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    assert torch.allclose(grey, expected[None])
    pillow = Image.fromarray(COLOUR).convert("L")
    ours = to_network(torch.from_numpy(COLOUR).movedim(2, 0).float(), 1, (5, 7))
    assert (ours[0] - torch.from_numpy(np.asarray(pillow).copy())).abs().max() <= 1
    assert torch.equal(to_network(grey, 3, (4, 5)), grey.expand(3, 4, 5))
    assert to_network(colour, 3, (4, 5)) is colour


def test_to_network_size_is_that_of_pillow() -> None:
    image = np.random.default_rng(1).random((40, 30), dtype=np.float32)
    expected = np.asarray(Image.fromarray(image).resize((8, 10), Image.Resampling.BILINEAR))
    resized = to_network(torch.from_numpy(image)[None], 1, (10, 8))
    np.testing.assert_allclose(resized[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(2, (4, 4)), (1, (4, 4, 4))])
def test_to_network_that_takes_no_pictures(channels: int, size: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="only grey or colour images of two dimensions"):
        to_network(torch.zeros(1, 4, 4), channels, size)


def test_real_radiograph(data_root: Path) -> None:
    path = data_root / "dicom" / "single" / "gdcm-CR-MONO1-10-chest.dcm"
    dataset = pydicom.dcmread(path)
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    shown = 1 - apply_windowing(dataset.pixel_array, dataset) / 1023
    np.testing.assert_allclose(read_image(path)[0], shown, atol=1e-6)


def test_real_folder_of_dicom(data_root: Path, tmp_path: Path) -> None:
    files = list_images(data_root / "dicom" / "single")
    assert len(files) > 10
    for path in files:
        try:
            image = read_image(path)
        except UserError:
            continue  # several frames, or a compression that needs another package
        assert image.ndim == 3
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.01
    cut = tmp_path / "cut.dcm"
    shutil.copy(data_root / "dicom" / "corrupt" / "derived_truncated_693_UNCR.dcm", cut)
    with pytest.raises(UserError, match=r"cut\.dcm can't be read as an image"):
        read_image(cut)
