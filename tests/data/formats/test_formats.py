import contextlib
import gzip
import shutil
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medcnn.data.formats import decode
from medcnn.data.image_files import list_images
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 60), dtype=np.uint8)
VOLUME = RNG.integers(0, 256, (14, 15, 16), dtype=np.uint8)
PICTURES = (".png", ".jpg", ".bmp", ".tif")
ALL = (*PICTURES, ".npy", ".nii", ".nii.gz", ".nrrd", ".dcm")


def dicom(path: Path) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.PatientName = SecondaryCaptureImageStorage, "Nobody^Known"
    dataset.Rows, dataset.Columns = GREY.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation, dataset.PixelData = 0, GREY.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def image_file(path: Path) -> Path:
    """A file of the kind that its name says."""
    if path.name.endswith(PICTURES):
        Image.fromarray(GREY).save(path)
    elif path.suffix == ".npy":
        np.save(path, GREY)
    elif path.suffix == ".nrrd":
        nrrd.write(str(path), VOLUME)
    elif path.suffix == ".dcm":
        dicom(path)
    else:
        nib.Nifti1Image(VOLUME, np.eye(4)).to_filename(path)
    return path


@pytest.mark.parametrize("suffix", ALL)
def test_content_says_what_a_file_is(suffix: str, tmp_path: Path) -> None:
    path = image_file(tmp_path / f"a{suffix}")
    expected = decode(path).values
    assert expected.shape == ((1, *GREY.shape) if expected.ndim == 3 else (1, *expected.shape[1:]))
    for other in ("b", "b.png", "b.dcm", "b.nii.gz", "b.txt"):
        shutil.copy(path, tmp_path / other)
        np.testing.assert_array_equal(decode(tmp_path / other).values, expected)


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("content", [b"no image at all, but words" * 20, b"\x1f\x8b", b"x"])
def test_no_image(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"^(is not an image|is cut short|holds no pixel data|can't)"
    ):
        decode(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"^is an empty file"):
        decode(path)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(UserError, match=r"^is not a kind of image .*\.png"):
        decode(tmp_path / "a.txt")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"words"))
    with pytest.raises(UserError, match=r"^is compressed with gzip, and holds no NIfTI"):
        decode(tmp_path / "a.gz")
    with pytest.raises(UserError, match=r"^is missing"):
        decode(tmp_path / "b")
    with pytest.raises(UserError, match=r"^holds no DICOM file"):
        decode(tmp_path)
    with pytest.raises(UserError, match=r"^is special"):
        decode(Path("/dev/null"))


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("part", [0.5, 0.9, 0.2])
def test_cut_short(suffix: str, part: float, tmp_path: Path) -> None:
    path = image_file(tmp_path / f"a name, and more{suffix}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(UserError) as caught:
        decode(path)
    reason = str(caught.value)
    for told in ("\n", "a name", str(tmp_path), "Nobody"):
        assert told not in reason


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".nii.gz", ".nrrd"])
def test_random_damage_is_a_reason_or_an_image(suffix: str, tmp_path: Path) -> None:
    good = image_file(tmp_path / f"a{suffix}").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        content = bytearray(good)
        for place in rng.integers(0, min(len(good), 400), 3):
            content[place] = rng.integers(256)
        path = tmp_path / f"b{suffix}"
        path.write_bytes(content)
        with contextlib.suppress(UserError):  # anything else fails
            assert decode(path).values.ndim in (3, 4)


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image_file(tmp_path / "a.png")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"^can't be read \(Permission denied\)$"):
        decode(path)


def test_too_large_for_memory_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("medcnn.data.formats.values.np.empty", refuse)
    with pytest.raises(MemoryError):
        decode(image_file(tmp_path / "a.npy"))


def test_series(data_root: Path) -> None:
    folder = data_root / "dicom" / "series_t1w_3d"
    read = decode(folder)
    assert read.spatial_dims == 3
    assert read.affine is not None
    assert list_images(folder, volumes=True) == [folder]
    assert len(list_images(folder)) == read.values.shape[1]
