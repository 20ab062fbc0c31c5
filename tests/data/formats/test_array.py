import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from medcnn.data.formats import decode
from medcnn.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
VOLUME = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY[None]),
        (GREY[None], GREY[None]),
        (GREY[..., None], GREY[None]),
        (COLOUR, COLOUR.transpose(2, 0, 1)),
        (COLOUR.transpose(2, 0, 1), COLOUR.transpose(2, 0, 1)),
        (np.asfortranarray(GREY), GREY[None]),
        (np.zeros((3, 9, 3)), np.zeros((3, 9, 3))),  # channels are the first where both could be
        (VOLUME, VOLUME[None]),
        (VOLUME[:2], VOLUME[None, :2]),
        (VOLUME[None], VOLUME[None]),
        (VOLUME[..., None], VOLUME[None]),
        (np.stack([VOLUME] * 3), np.stack([VOLUME] * 3)),
        (np.stack([VOLUME] * 3, -1), np.stack([VOLUME] * 3)),
    ],
)
def test_shapes(array: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    read = decode(save(tmp_path / "a.npy", array))
    np.testing.assert_array_equal(read.values, expected)
    assert read.spacing is None
    assert read.affine is None


@pytest.mark.parametrize(
    ("array", "dtype", "value_range"),
    [
        (GREY, np.uint8, (0, 255)),
        (GREY.astype(">u2"), np.uint16, (0, 65535)),
        (GREY.astype(np.int8), np.int16, None),
        (GREY.astype(">i2"), np.int16, None),
        (GREY.astype(np.int64), np.int16, None),
        (GREY.astype(np.uint32) * 200, np.uint16, None),
        (GREY.astype(np.int64) * 70000, np.float32, None),
        (GREY / 255, np.float32, (0, 1)),
        (GREY.astype(np.float16), np.float32, None),
        (GREY - 300.0, np.float32, None),
    ],
)
def test_types(
    array: np.ndarray, dtype: type, value_range: tuple[int, int] | None, tmp_path: Path
) -> None:
    read = decode(save(tmp_path / "a.npy", array))
    assert read.values.dtype == dtype
    assert read.values.dtype.isnative
    assert read.value_range == value_range
    np.testing.assert_allclose(read.values[0], array, rtol=1e-6)


def test_truth_values_and_what_is_too_large(tmp_path: Path) -> None:
    read = decode(save(tmp_path / "a.npy", GREY > 99))
    np.testing.assert_array_equal(read.values[0], np.where(GREY > 99, 255, 0))
    assert (read.values.dtype, read.value_range) == (np.uint8, (0, 255))
    large = decode(save(tmp_path / "b.npy", np.full((4, 4), 1e300)))
    assert np.isinf(large.values).all()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions(version: tuple[int, int], tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, GREY, version)
    np.testing.assert_array_equal(decode(tmp_path / "a.npy").values[0], GREY)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 5)), "declares a size of 0 × 5"),
        (np.zeros(()), "declares a size of nothing"),
        (np.zeros(5), "has the shape 5, which"),
        (np.zeros((2, 4, 5, 6)), "has the shape 2 × 4 × 5 × 6, which"),
        (np.zeros((1, 1, 4, 5, 6)), "has the shape 1 × 1 × 4 × 5 × 6, which"),
        (np.zeros((4, 4), complex), "holds complex numbers"),
        (np.zeros((4, 4), [("r", "u1"), ("g", "u1")]), "holds records"),
        (np.array([[{}]]), "holds objects"),
        (np.array([["a"]]), "holds objects"),
    ],
)
def test_wrong_arrays(array: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{reason}"):
        decode(save(tmp_path / "a.npy", array))


def test_declared_size(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", GREY)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(5, 7)", b"(500000, 700000)"))
    with pytest.raises(UserError, match=r"is damaged|500000 × 700000, more than"):
        decode(path)
    path.write_bytes(content.replace(b"(5, 7), }         ", b"(90000, 90000), } "))
    with pytest.raises(UserError, match="90000 × 90000, more than the 536870912 values allowed"):
        decode(path)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="is cut short"):
        decode(path)


def test_one_slice_or_volume_of_several(tmp_path: Path) -> None:
    films = np.arange(4 * 5 * 6 * 7).reshape(4, 5, 6, 7)
    np.save(tmp_path / "a.npy", films)
    with pytest.raises(UserError, match="has the shape 4 × 5 × 6 × 7"):
        decode(tmp_path / "a.npy")
    np.testing.assert_array_equal(decode(tmp_path / "a.npy", frame=2).values[0], films[2])
    np.save(tmp_path / "b.npy", films[0])
    np.testing.assert_array_equal(decode(tmp_path / "b.npy", frame=4).values[0], films[0, 4])


def test_headers_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPython 3.11 now and then refuses one of two headers that are read at a time."""
    np.save(tmp_path / "a.npy", np.ones((4, 4), np.uint8))
    read, busy = npy.read_array_header_1_0, threading.Lock()

    def alone(file: Any) -> Any:
        assert busy.acquire(blocking=False)
        time.sleep(0.01)
        busy.release()
        return read(file)

    monkeypatch.setattr(npy, "read_array_header_1_0", alone)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(decode, [tmp_path / "a.npy"] * 8))) == 8
