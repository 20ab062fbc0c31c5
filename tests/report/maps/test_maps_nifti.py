from dataclasses import replace
from pathlib import Path

import jobs
import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from medcnn.data.formats import decode
from medcnn.data.image import Image, ImageSpec
from medcnn.data.prepared.geometry import prepare
from medcnn.report.maps.nifti import map_to_source, write_nifti

SHAPE = (41, 37, 21)
FLIPPED = np.array([[-2, 0, 0, 40], [0, 0, 3, -30], [0, 1.5, 0, 4], [0, 0, 0, 1.0]])  # L S A
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def affine_of(kind: str) -> np.ndarray:
    affine = FLIPPED.copy()
    if kind == "oblique":
        affine[:3, :3] = TURN * (0.9, 1.2, 2.1)
    elif kind == "sheared":
        affine[:3, 1] += (0.4, 0.3, 0.0)
    return affine


def ball(affine: np.ndarray, centre: np.ndarray, radius: float = 7) -> np.ndarray:
    """1 within so many mm of a place in the patient."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(places - centre, axis=-1) < radius).astype(np.float32)


def centre_of(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The centre of mass in the patient, mm."""
    index = np.argwhere(np.ones(values.shape))
    mean = (index * values.reshape(-1, 1)).sum(0) / values.sum()
    return (affine @ [*mean, 1])[:3]


def itk_centre(path: Path) -> np.ndarray:
    """The same by SimpleITK, from the file alone; it speaks LPS."""
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image).T
    mean = (np.argwhere(np.ones(values.shape)) * values.reshape(-1, 1)).sum(0) / values.sum()
    point = image.TransformContinuousIndexToPhysicalPoint([float(m) for m in mean])
    return np.array(point) * (-1, -1, 1)


SPECS = [
    ImageSpec(size=(24, 30, 28)),
    ImageSpec(size=(50, 52, 54), orientation="RAS"),
    ImageSpec(size=(48, 50, 49), spacing=(2.5, 1.9, 2.2)),
    ImageSpec(size=(40, 50, 30), spacing=(2.0, 1.5, 3.0), orientation="AIR"),
]


@pytest.mark.parametrize(
    ("spec", "kind"),
    zip(SPECS, ("flipped", "oblique", "sheared", "oblique"), strict=True),
)
def test_a_ball_comes_back_to_where_it_was(spec: ImageSpec, kind: str, tmp_path: Path) -> None:
    """Through a file, as the network sees it, and back to a file."""
    affine = affine_of(kind)
    centre = (affine @ [23, 17, 9, 1])[:3]
    source, out = tmp_path / "image.nii.gz", tmp_path / "map.nii.gz"
    nib.save(nib.Nifti1Image(ball(affine, centre), affine), source)
    image = decode(source)
    back = map_to_source(prepare(image, spec)[0, 0], image, spec)
    assert image.affine is not None
    write_nifti(back, out, affine=image.affine)
    first, second = nib.load(source), nib.load(out)
    assert second.shape == first.shape
    np.testing.assert_array_equal(second.affine, first.affine)
    values = second.get_fdata()
    step = np.linalg.norm(affine[:3, :3], axis=0).min()
    assert np.linalg.norm(centre_of(values, second.affine) - centre) < step / 2
    if kind != "sheared":  # a direction matrix has no shear
        assert np.linalg.norm(itk_centre(out) - centre) < step / 2
    assert values[23, 17, 9] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("orientation", ["RAS", "SPL"])
def test_resampled_as_simpleitk_does(orientation: str) -> None:
    """Of a map coarser than the file; at the border SimpleITK gives zero half a voxel sooner."""
    affine, spec = affine_of("oblique"), ImageSpec(size=(12, 11, 10), orientation=orientation)
    image = Image(np.zeros((1, *SHAPE), np.float32), affine=affine)
    moved = jobs.prepared_affine(image, spec)
    assert moved is not None
    map_ = np.random.default_rng(3).random(spec.size, np.float32)
    grids = jobs.itk_image(map_, moved), jobs.itk_image(image.values[0], affine)
    other = SimpleITK.Resample(*grids, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0)
    inside = (slice(3, -3),) * 3
    expected = SimpleITK.GetArrayFromImage(other).T[inside]
    np.testing.assert_allclose(map_to_source(map_, image, spec)[inside], expected, atol=1e-4)


def test_zero_beyond_what_the_network_saw() -> None:
    """Of 41 × 37 × 21 mm the middle 10 mm each way."""
    image = Image(np.zeros((1, *SHAPE), np.float32), affine=np.eye(4))
    spec = ImageSpec(size=(10, 10, 10), spacing=(1.0, 1.0, 1.0), orientation="RAS")
    back = map_to_source(np.ones((10, 10, 10), np.float32), image, spec)
    assert back.dtype == np.float32
    assert set(np.unique(back)) == {0.0, 1.0}
    assert back.sum() == 1000
    assert np.argwhere(back).min(0).tolist() == [15, 13, 5]


def test_slices_lie_where_they_were_taken() -> None:
    affine = affine_of("flipped")  # its second axis runs to the head
    image = Image(np.zeros((1, *SHAPE), np.float32), affine=affine)
    for slices, number, taken in (("centre", 1, [18]), ("every:10", 4, [3, 13, 23, 33])):
        spec = ImageSpec(size=(20, 20), slices=slices)
        assert len(prepare(image, spec)) == number
        map_ = np.arange(1, number + 1, dtype=np.float32)[:, None, None].repeat(20, 1).repeat(20, 2)
        back = map_to_source(map_, image, spec)
        assert np.flatnonzero(back.any((0, 2))).tolist() == taken
        np.testing.assert_allclose(back[5, taken, 5], np.arange(1, number + 1), rtol=1e-6)


def test_real_volumes(data_root: Path, tmp_path: Path) -> None:
    """A tumour's mask as the network sees it, written back over the mask of the file."""
    path = data_root / "nifti" / "pyradiomics_brain1_label.nii.gz"
    image = decode(path)
    spec = ImageSpec(size=(20, 128, 112), spacing=(6.0, 1.5, 1.5))
    label = replace(image, values=image.values.astype(np.float32))
    assert image.affine is not None
    back = map_to_source(prepare(label, spec)[0, 0], image, spec)
    write_nifti(back, tmp_path / "m.nii.gz", affine=image.affine)
    first, second = nib.load(path), nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(first.affine, second.affine)
    truth = first.get_fdata() > 0
    found = second.get_fdata() > 0.5
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.85
    gap = centre_of(truth, first.affine) - centre_of(second.get_fdata(), first.affine)
    assert (np.abs(gap) < 0.5 * np.array(first.header.get_zooms())).all()


def test_a_dicom_series(data_root: Path, tmp_path: Path) -> None:
    """SimpleITK reads the series itself; our file has to say the same places."""
    folder = data_root / "dicom" / "series_t1w_3d"
    image, spec = decode(folder), ImageSpec(size=(16, 48, 48))
    assert image.affine is not None
    back = map_to_source(prepare(image, spec)[0, 0].astype(np.float32), image, spec)
    write_nifti(back, tmp_path / "m.nii.gz", affine=image.affine)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    source = reader.Execute()
    values = SimpleITK.GetArrayFromImage(source).T.astype(float)
    mean = (np.argwhere(np.ones(values.shape)) * values.reshape(-1, 1)).sum(0) / values.sum()
    point = source.TransformContinuousIndexToPhysicalPoint([float(m) for m in mean])
    gap = itk_centre(tmp_path / "m.nii.gz") - np.array(point) * (-1, -1, 1)
    assert (np.abs(gap) < 0.5 * np.array(source.GetSpacing())).all()


def test_files(tmp_path: Path) -> None:
    map_ = np.random.default_rng(0).random((3, 4, 5))
    out = tmp_path / "maps" / "a.nii.gz"
    write_nifti(map_, out, affine=FLIPPED)
    written = nib.load(out)
    assert written.get_data_dtype() == np.float32
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(written.get_fdata(), map_.astype(np.float32))
    np.testing.assert_allclose(written.get_qform(), FLIPPED, atol=1e-5)
    assert [path.name for path in out.parent.iterdir()] == ["a.nii.gz"]
