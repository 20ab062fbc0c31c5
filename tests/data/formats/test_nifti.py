import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from medcnn.data.formats import decode
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-900, 900, (4, 5, 6), dtype=np.int16)
AFFINE = np.array([[-2, 0, 0, 9], [0, 0, 3, -7], [0, 1.5, 0, 4], [0, 0, 0, 1.0]])  # L S A


def save(path: Path, values: np.ndarray, affine: Any = AFFINE, **fields: Any) -> Path:
    """Writes with nibabel, and then other things into the header."""
    image = nib.Nifti1Image(values, affine)
    if affine is not None:
        image.set_sform(affine, 1)
    if "qform" in fields:
        image.set_qform(fields.pop("qform"), 1)
    image.to_filename(path)
    if fields:
        header = nib.load(path).header.copy()
        for field, value in {"vox_offset": 352, **fields}.items():
            header[field] = value
        path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_volume(suffix: str, kind: type, order: str, tmp_path: Path) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    image = kind(VALUES, AFFINE, header)
    image.set_sform(AFFINE, 1)
    image.to_filename(tmp_path / f"a{suffix}")
    read = decode(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read.values, VALUES[None])
    assert read.values.dtype == np.int16
    assert read.values.dtype.isnative
    assert read.value_range is None
    assert read.spacing == (2, 1.5, 3)
    assert read.affine is not None
    np.testing.assert_array_equal(read.affine, AFFINE)


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("u1", "u1"), ("i1", "i2"), ("u2", "u2"), ("i4", "i2"), ("f4", "f4"), ("f8", "f4")],
)
def test_types(dtype: str, stored: str, tmp_path: Path) -> None:
    values = RNG.integers(0, 100, (4, 5, 6)).astype(dtype)
    read = decode(save(tmp_path / "a.nii", values))
    assert read.values.dtype == np.dtype(stored)
    np.testing.assert_array_equal(read.values[0], values)


def test_slope_and_intercept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", VALUES, scl_slope=0.25, scl_inter=-3)
    read = decode(path)
    assert read.values.dtype == np.float32
    np.testing.assert_allclose(read.values[0], nib.load(path).get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(read.values[0], VALUES / 4 - 3, rtol=1e-6)
    for trivial in (1, 0, np.nan):
        path = save(tmp_path / "b.nii", VALUES, scl_slope=trivial, scl_inter=0)
        assert decode(path).values.dtype == np.int16


def test_form_is_that_of_the_standard(tmp_path: Path) -> None:
    quaternion = np.diag([2.0, 2, 2, 1])
    only_q = save(tmp_path / "a.nii", VALUES, None, qform=quaternion)
    np.testing.assert_array_equal(decode(only_q).affine, quaternion)  # type: ignore[arg-type]
    both = save(tmp_path / "b.nii", VALUES, qform=quaternion)
    np.testing.assert_array_equal(decode(both).affine, AFFINE)  # type: ignore[arg-type]
    other = save(tmp_path / "c.nii", VALUES, pixdim=np.ones(8), qform_code=0)  # MONAI: identity
    np.testing.assert_array_equal(decode(other).affine, AFFINE)  # type: ignore[arg-type]
    mirrored = save(tmp_path / "d.nii", VALUES, None, qform=quaternion)
    content = bytearray(mirrored.read_bytes())
    content[76:80] = np.float32(0).tobytes()  # pixdim[0], which the standard takes as 1
    mirrored.write_bytes(content)
    np.testing.assert_array_equal(decode(mirrored).affine, quaternion)  # type: ignore[arg-type]


def test_without_form(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, None)
    image.header.set_zooms((2, 3, 4))
    image.to_filename(tmp_path / "a.nii")
    read = decode(tmp_path / "a.nii")
    assert read.affine is None
    assert read.spacing == (4, 3, 2)
    np.testing.assert_array_equal(read.values[0], VALUES.T)  # the slowest axis first
    nothing = decode(save(tmp_path / "b.nii", VALUES, None, pixdim=np.zeros(8)))
    assert nothing.spacing is None


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4)), np.diag([1.0, 0, 1, 1]), np.full((4, 4), np.nan)]
)
def test_form_that_is_none(bad: np.ndarray, tmp_path: Path) -> None:
    rows = {f"srow_{axis}": bad[k] for k, axis in enumerate("xyz")}
    assert decode(save(tmp_path / "a.nii", VALUES, **rows)).affine is None


@pytest.mark.parametrize(("unit", "factor"), [("unknown", 1), ("mm", 1), ("micron", 0.001)])
def test_units(unit: str, factor: float, tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES, AFFINE)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "a.nii")
    read = decode(tmp_path / "a.nii")
    np.testing.assert_allclose(read.spacing or (), np.array([2, 1.5, 3]) * factor)
    assert read.affine is not None
    np.testing.assert_allclose(read.affine[:3], AFFINE[:3] * factor)


def test_more_axes(tmp_path: Path) -> None:
    assert decode(save(tmp_path / "a.nii", VALUES[..., None])).values.shape == (1, 4, 5, 6)
    assert decode(save(tmp_path / "b.nii", VALUES[..., None, None])).values.shape == (1, 4, 5, 6)
    with pytest.raises(UserError, match="is a series of 2 volumes"):
        decode(save(tmp_path / "c.nii", np.stack([VALUES] * 2, -1)))
    with pytest.raises(UserError, match="holds 3 values a voxel"):
        decode(save(tmp_path / "d.nii", np.stack([VALUES[..., None]] * 3, -1)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 5, 6), np.complex64), "holds complex numbers"),
        (np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "holds records"),
    ],
)
def test_other_values(values: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        decode(save(tmp_path / "a.nii", values))


@pytest.mark.parametrize("letters", ["RAS", "LPS", "SPL", "AIR"])
@pytest.mark.parametrize(("axis", "shown"), [("S", "PL"), ("A", "IL"), ("R", "IP")])
def test_one_slice_is_shown_as_radiologists_see_it(
    letters: str, axis: str, shown: str, tmp_path: Path
) -> None:
    """However it is stored: axial from below, coronal from the front, sagittal from the left."""
    whole = nib.Nifti1Image(VALUES, np.diag([2.0, 3, 4, 1]))  # R A S
    normal = "RAS".index(axis)
    cut = whole.slicer[tuple(slice(2, 3) if k == normal else slice(None) for k in range(3))]
    now = nib.io_orientation(cut.affine)
    stored = cut.as_reoriented(
        nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(letters))
    )
    stored.to_filename(tmp_path / "a.nii")
    read = decode(tmp_path / "a.nii")
    plane = VALUES.take(2, normal)
    rows, columns = [a for a in "RAS" if a != axis]  # of `plane`
    turned = plane if {shown[0]} & {rows, "LPI"["RAS".index(rows)]} else plane.T
    if turned is not plane:
        rows, columns = columns, rows
    turned = turned[::-1] if rows != shown[0] else turned
    turned = turned[:, ::-1] if columns != shown[1] else turned
    np.testing.assert_array_equal(read.values, turned[None])
    size = {"R": 2, "A": 3, "S": 4}
    assert read.spacing == (size[rows], size[columns])
    assert read.affine is None


def test_two_axes(tmp_path: Path) -> None:
    read = decode(save(tmp_path / "a.nii", VALUES[..., 0], None, pixdim=[1, 2, 3, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(read.values[0], VALUES[..., 0].T)
    assert read.spacing is None
    one = decode(save(tmp_path / "b.nii", VALUES[..., :1], None))
    np.testing.assert_array_equal(one.values[0], VALUES[..., 0].T)
    assert one.spacing == (1, 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_cut_short(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{suffix}", VALUES)
    content = path.read_bytes()
    for part in (content[: len(content) // 2], content[:-1], content[:70], content[:15]):
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"^is (cut short|damaged|not an image|compressed)"):
            decode(path)


def test_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", VALUES)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: CRC check failed"):
        decode(path)
    content[100] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        decode(path)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("vox_offset", 1e9, r"its values can't begin at byte 1e\+09"),
        ("vox_offset", 8, "its values can't begin at byte 8"),
        ("datatype", 77, "damaged, or of a kind that isn't supported: 77"),
        ("dim", [3, 4, -5, 6, 1, 1, 1, 1], "declares a size of 4 × -5 × 6"),
        ("dim", [0, 4, 5, 6, 1, 1, 1, 1], "declares a size of 0"),
        ("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1], "30000 × 30000 × 30000, more than"),
        ("dim", [3, 400, 500, 600, 1, 1, 1, 1], "is cut short"),
        ("scl_inter", np.inf, r"\(scl_inter\) inf"),
    ],
)
def test_hostile_header(field: str, value: Any, reason: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", VALUES, **{"scl_slope": 1, field: value})
    with pytest.raises(UserError, match=reason):
        decode(path)


def test_gzip_that_holds_far_more(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", VALUES)
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(2**21)))
    with pytest.raises(UserError, match="inflates to far more"):
        decode(packed)
    packed.write_bytes(gzip.compress(path.read_bytes() + bytes(100)))  # padding is usual
    np.testing.assert_array_equal(decode(packed).values[0], VALUES)


def test_real_files_are_what_simpleitk_reads(data_root: Path) -> None:
    compared = 0
    for path in sorted((data_root / "nifti").glob("*.nii*")):
        if path.name.startswith("epi"):
            with pytest.raises(UserError, match="is a series of"):
                decode(path)
            continue
        read = decode(path)
        assert read.affine is not None
        if path.name.startswith("dipy"):  # sheared, which SimpleITK refuses
            np.testing.assert_array_equal(read.affine, nib.load(path).affine)
            continue
        other = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(read.values[0], SimpleITK.GetArrayFromImage(other).T)
        np.testing.assert_allclose(read.spacing or (), other.GetSpacing(), rtol=1e-5)
        index = [3, 5, 7]
        world = (read.affine @ [*index, 1])[:3]
        lps = other.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(world, np.multiply(lps, (-1, -1, 1)), atol=1e-3)
        compared += 1
    assert compared == 5
    with pytest.raises(UserError, match="is cut short"):
        decode(data_root / "nifti" / "corrupt" / "derived_truncated.nii.gz")


def test_qform_where_the_sform_says_nothing(tmp_path: Path) -> None:
    fields = {name: [0, 0, 0, 0] for name in ("srow_x", "srow_y", "srow_z")}
    read = decode(save(tmp_path / "a.nii", VALUES, qform=AFFINE, **fields))
    assert read.affine is not None
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-5)


def test_quaternion_longer_than_one_by_rounding(tmp_path: Path) -> None:
    turn = np.diag([-2, 1.5, -3.0, 1])  # half a turn about the second axis: w is 0
    fields = {"sform_code": 0, "quatern_c": np.float32(1 + 2.5e-7)}
    read = decode(save(tmp_path / "a.nii", VALUES, qform=turn, **fields))
    assert read.affine is not None
    np.testing.assert_allclose(read.affine, turn, atol=1e-5)
    path = save(tmp_path / "b.nii", VALUES, qform=turn, **{**fields, "quatern_c": 1.1})
    with pytest.raises(UserError, match="broken qform"):
        decode(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_one_volume_of_several(suffix: str, tmp_path: Path) -> None:
    films = np.stack([VALUES, VALUES + 1, VALUES + 2], -1)
    path = save(tmp_path / f"a{suffix}", films)
    with pytest.raises(UserError, match=r"a series of 3 volumes: dataset\.frame="):
        decode(path)
    for frame, number in ((0, 0), (2, 2), ("centre", 1)):
        np.testing.assert_array_equal(decode(path, frame=frame).values[0], films[..., number])
    with pytest.raises(UserError, match="frame=3 is none of 0 … 2"):
        decode(path, frame=3)


def test_size_is_looked_at_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii", VALUES.astype(float), dim=[3, 800, 800, 800, 1, 1, 1, 1])
    with pytest.raises(UserError, match=r"declares 4.1 GB of values \(800 × 800 × 800 of 8 bytes"):
        decode(path)
    monkeypatch.setattr("medcnn.data.formats.values.available_memory", lambda: 100)
    monkeypatch.setattr("medcnn.data.formats.values.SMALL", 100)
    with pytest.raises(MemoryError):
        decode(save(tmp_path / "b.nii", VALUES))
