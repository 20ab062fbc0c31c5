import bz2
import gzip
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK

from medcnn.data.formats import data_file, decode
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-900, 900, (4, 5, 6), dtype=np.int16)
GEOMETRY = {
    "space": "left-posterior-superior",
    "space directions": np.array([[0, 2.0, 0], [0, 0, 1.5], [-3.0, 0, 0]]),
    "space origin": np.array([5.0, -6, 7]),
}


def save(path: Path, values: np.ndarray, header: dict[str, Any] | None = None, **how: Any) -> Path:
    nrrd.write(str(path), values, GEOMETRY if header is None else header, **how)
    return path


def by_hand(path: Path, *fields: str, data: bytes = b"") -> Path:
    path.write_bytes("\n".join(["NRRD0004", *fields, "", ""]).encode() + data)
    return path


RAW = ("type: short", "dimension: 3", "sizes: 4 5 6", "encoding: raw", "endian: little")
BYTES = VALUES.tobytes("F")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_volume_is_what_simpleitk_reads(encoding: str, suffix: str, tmp_path: Path) -> None:
    how = {"compression_level": 5} if encoding in ("gzip", "bzip2") else {}
    path = save(tmp_path / f"a{suffix}", VALUES, GEOMETRY | {"encoding": encoding}, **how)
    read = decode(path)
    np.testing.assert_array_equal(read.values, VALUES[None])
    assert read.values.dtype == np.int16
    assert read.spacing == (2, 1.5, 3)
    assert read.affine is not None
    if encoding != "bzip2":
        other = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(other).T, VALUES)
        world = other.TransformIndexToPhysicalPoint([1, 2, 3])
        np.testing.assert_allclose(
            (read.affine @ [1, 2, 3, 1])[:3], np.multiply(world, (-1, -1, 1))
        )


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("u1", "u1"),
        ("i1", "i2"),
        (">u2", "u2"),
        ("i4", "i2"),
        ("i8", "i2"),
        ("f4", "f4"),
        (">f8", "f4"),
    ],
)
def test_types(dtype: str, stored: str, tmp_path: Path) -> None:
    values = RNG.integers(0, 100, (4, 5, 6)).astype(dtype)
    read = decode(save(tmp_path / "a.nrrd", values))
    assert read.values.dtype == np.dtype(stored)
    assert read.value_range is None
    np.testing.assert_array_equal(read.values[0], values)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_spaces(space: str, signs: tuple[int, int, int], tmp_path: Path) -> None:
    read = decode(save(tmp_path / "a.nrrd", VALUES, GEOMETRY | {"space": space}))
    expected = np.eye(4)
    expected[:3, :3] = (GEOMETRY["space directions"] * signs).T  # type: ignore[operator]
    expected[:3, 3] = GEOMETRY["space origin"] * np.array(signs)
    assert read.affine is not None
    np.testing.assert_array_equal(read.affine, expected)


@pytest.mark.parametrize("lacks", ["space", "space origin", "space directions"])
def test_geometry_that_lacks_something(lacks: str, tmp_path: Path) -> None:
    header = {key: value for key, value in GEOMETRY.items() if key != lacks}
    if lacks == "space":
        header["space dimension"] = 3
    read = decode(save(tmp_path / "a.nrrd", VALUES, header))
    assert read.affine is None
    assert read.spacing == (None if lacks == "space directions" else (3, 1.5, 2))
    np.testing.assert_array_equal(read.values[0], VALUES.T)


def test_space_that_is_no_patients(tmp_path: Path) -> None:
    header = GEOMETRY | {"space": "scanner-xyz"}
    assert decode(save(tmp_path / "a.nrrd", VALUES, header)).affine is None


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("cm", 10), ("parsec", None)])
def test_units(unit: str, factor: float | None, tmp_path: Path) -> None:
    read = decode(save(tmp_path / "a.nrrd", VALUES, GEOMETRY | {"space units": [unit] * 3}))
    if factor is None:
        assert (read.affine, read.spacing) == (None, None)
    else:
        np.testing.assert_allclose(read.spacing or (), np.array([2, 1.5, 3]) * factor)


def test_spacings(tmp_path: Path) -> None:
    read = decode(by_hand(tmp_path / "a.nrrd", *RAW, "spacings: 2 3 4", data=BYTES))
    assert read.spacing == (4, 3, 2)
    flat = ("type: short", "dimension: 2", "sizes: 20 6", "encoding: raw", "endian: little")
    read = decode(by_hand(tmp_path / "b.nrrd", *flat, "spacings: 2 NaN", data=BYTES))
    assert read.spacing is None
    np.testing.assert_array_equal(read.values[0], VALUES.reshape(20, 6, order="F").T)


def test_colour_and_other_axes(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (3, 4, 5, 6), dtype=np.uint8)
    nowhere = np.full((1, 3), np.nan)
    directions = np.concatenate([nowhere, GEOMETRY["space directions"]])
    kinds = ["RGB-color", "domain", "domain", "domain"]
    header = GEOMETRY | {"space directions": directions, "kinds": kinds}
    read = decode(save(tmp_path / "a.nrrd", colour, header))
    np.testing.assert_array_equal(read.values, colour)
    assert read.spacing == (2, 1.5, 3)
    header["kinds"] = ["list", *kinds[1:]]
    with pytest.raises(UserError, match="holds 3 values a voxel"):
        decode(save(tmp_path / "b.nrrd", colour, header))
    one = decode(save(tmp_path / "c.nrrd", colour[:1], header))
    np.testing.assert_array_equal(one.values, colour[:1])
    flat = decode(save(tmp_path / "d.nrrd", colour[..., 0], {"kinds": kinds[:3]}))
    np.testing.assert_array_equal(flat.values, colour[..., 0].transpose(0, 2, 1))
    with pytest.raises(UserError, match="has 4 axes in space and time"):
        decode(save(tmp_path / "e.nrrd", colour, {}))


def test_one_slice(tmp_path: Path) -> None:
    """The third axis runs to the right of the patient, so it is seen from the left."""
    read = decode(save(tmp_path / "a.nrrd", VALUES[:, :, :1]))
    np.testing.assert_array_equal(read.values[0], VALUES[:, ::-1, 0].T)
    assert read.spacing == (1.5, 2)


def test_skips(tmp_path: Path) -> None:
    body = b"one\ntwo\n1234" + BYTES
    path = by_hand(tmp_path / "a.nrrd", *RAW, "line skip: 2", "byte skip: 4", data=body)
    np.testing.assert_array_equal(decode(path).values[0], VALUES.T)
    path = by_hand(tmp_path / "b.nrrd", *RAW, "byte skip: -1", data=body)
    np.testing.assert_array_equal(decode(path).values[0], VALUES.T)
    with pytest.raises(UserError, match="skips -7 bytes"):
        decode(by_hand(path, *RAW, "byte skip: -7", data=body))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_beyond_what_is_declared(pack: Any, tmp_path: Path) -> None:
    name = "gzip" if pack is gzip.compress else "bzip2"
    fields = [field.replace("raw", name) for field in RAW]
    path = by_hand(tmp_path / "a.nrrd", *fields, data=pack(BYTES + bytes(2**21)))
    with pytest.raises(UserError, match="inflates to far more"):
        decode(path)
    for content in (pack(BYTES)[:-5], pack(BYTES[:-2])):
        with pytest.raises(UserError, match="is cut short"):
            decode(by_hand(path, *fields, data=content))
    with pytest.raises(UserError, match="is damaged"):
        decode(by_hand(path, *fields, data=b"neither of them"))


@pytest.mark.parametrize(
    ("field", "other", "reason"),
    [
        (4, "endian: none", "order of bytes"),
        (3, "encoding: hex", "encoded in an unknown way"),
        (2, "sizes: 4 5", "declares 3 axes and 2 sizes"),
        (2, "sizes: 4 5 7", "is cut short"),
        (2, "sizes: 4 5 0", "declares a size of 4 × 5 × 0"),
        (2, "sizes: 40000 50000 6", "more than the 536870912 values"),
        (1, "# nothing", "lacks the field dimension"),
        (1, "dimension: many", "is damaged"),
        (0, "type: block", "only numbers can be read"),
        (0, "no colon", "is damaged"),
    ],
)
def test_hostile_header(field: int, other: str, reason: str, tmp_path: Path) -> None:
    fields = [other if number == field else text for number, text in enumerate(RAW)]
    with pytest.raises(UserError, match=reason):
        decode(by_hand(tmp_path / "a.nrrd", *fields, data=BYTES))


def test_axes_that_are_not_described(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="doesn't describe each axis"):
        decode(by_hand(tmp_path / "a.nrrd", *RAW, "kinds: domain domain", data=BYTES))


def test_text_with_too_few_numbers(tmp_path: Path) -> None:
    fields = [field.replace("raw", "text") for field in RAW]
    with pytest.raises(UserError, match="declares 120 values and holds 3"):
        decode(by_hand(tmp_path / "a.nrrd", *fields, data=b"1 2 3\n"))


def test_values_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "a.raw").write_bytes(BYTES)
    (tmp_path / "sub" / "link.raw").symlink_to(tmp_path / "a.raw")
    header = tmp_path / "sub" / "a.nhdr"
    beside = by_hand(header, *RAW, "data file: a.raw")
    assert data_file(beside) == tmp_path / "sub" / "a.raw"
    np.testing.assert_array_equal(decode(beside).values[0], VALUES.T)
    for name in ("../a.raw", str(tmp_path / "a.raw"), "link.raw"):
        with pytest.raises(UserError, match="in another folder") as caught:
            decode(by_hand(header, *RAW, f"data file: {name}"))
        assert str(tmp_path) not in str(caught.value)
        assert data_file(header) is None
    for name in ("b.raw", "LIST", "%03d.raw 1 6 1"):
        with pytest.raises(UserError, match="is missing, or in several"):
            decode(by_hand(header, *RAW, f"data file: {name}"))
    with pytest.raises(UserError, match=r"a name in \.nhdr is needed"):
        decode(by_hand(tmp_path / "a.nrrd", *RAW, "data file: a.raw"))
    assert data_file(by_hand(tmp_path / "c.nhdr", *RAW, data=BYTES)) is None
    assert data_file(tmp_path / "a.nrrd") is None


def test_one_volume_of_several(tmp_path: Path) -> None:
    films = RNG.integers(0, 99, (3, 4, 5, 6)).astype(np.int16)
    nrrd.write(str(tmp_path / "a.nrrd"), films, {"kinds": ["list", "domain", "domain", "domain"]})
    with pytest.raises(UserError, match=r"holds 3 values a voxel: .* dataset\.frame=0"):
        decode(tmp_path / "a.nrrd")
    volume = decode(tmp_path / "a.nrrd", frame=1).values[0]
    np.testing.assert_array_equal(volume, films[1].transpose())
