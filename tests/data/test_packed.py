"""Images as rows of arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcnn.data.batches import unit_intensity
from medcnn.data.image import ImageSpec
from medcnn.data.inputs import prepared_input
from medcnn.data.packed import Packed, open_packed, packed_digest
from medcnn.errors import UserError

SPEC = ImageSpec(size=(8, 6), channels=1)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 255, shape).astype(dtype)


def saved(folder: Path, array: np.ndarray) -> Packed:
    np.save(folder / "a.npy", array)
    return open_packed(folder / "a.npy", folder, 2)


def test_rows_of_a_file_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    array = noise(9, 8, 6)
    packed = saved(tmp_path, array)
    assert len(packed) == 9
    assert packed.names(2, 4) == ["2", "3"]
    np.testing.assert_array_equal(packed.read(2, 7)[:, 0], array[2:7])


@pytest.mark.parametrize("channels_last", [True, False])
def test_colours_come_first(tmp_path: Path, channels_last: bool) -> None:
    array = noise(4, 8, 6, 3)
    packed = saved(tmp_path, array if channels_last else np.moveaxis(array, -1, 1).copy())
    np.testing.assert_array_equal(packed.read(0, 4), np.moveaxis(array, -1, 1))


@pytest.mark.parametrize("compressed", [True, False])
def test_the_arrays_of_medmnist_one_after_the_other(tmp_path: Path, compressed: bool) -> None:
    parts = {"train_images": noise(5, 8, 6), "val_images": noise(2, 8, 6)}
    labels = {"train_labels": noise(5, 1), "val_labels": noise(2, 1)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **parts, **labels)
    packed = open_packed(tmp_path / "a.npz", tmp_path / "scratch", 2)
    assert packed.names(3, 7) == ["train/3", "train/4", "val/0", "val/1"]
    np.testing.assert_array_equal(packed.read(0, 7)[:, 0], np.concatenate(list(parts.values())))
    unpacked = sorted((tmp_path / "scratch").iterdir())
    times = [file.stat().st_mtime_ns for file in unpacked]
    open_packed(tmp_path / "a.npz", tmp_path / "scratch", 2)
    assert [file.stat().st_mtime_ns for file in unpacked] == times  # not unpacked again


def test_an_npz_with_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", noise(3, 8, 6))
    assert open_packed(tmp_path / "a.npz", tmp_path, 2).names(0, 3) == ["0", "1", "2"]


def test_rows_of_the_networks_size_are_what_preparing_them_one_by_one_gives(
    tmp_path: Path,
) -> None:
    packed = saved(tmp_path, noise(3, 8, 6))
    whole = packed.whole(0, 3, SPEC, 1)
    assert whole is not None
    for k, image in enumerate(packed.images(0, 3)):
        one = prepared_input(image, SPEC, 1)
        assert one.pair == whole.pair
        assert torch.equal(one.stored[0], whole.stored[k])
    three = packed.whole(0, 2, ImageSpec(size=(8, 6), channels=3), 3)
    assert three is not None
    assert three.stored.shape == (2, 3, 8, 6)
    assert unit_intensity(three.stored, (0, 255)).max() <= 1


def test_other_rows_are_to_be_prepared(tmp_path: Path) -> None:
    packed = saved(tmp_path, noise(3, 8, 6))
    assert packed.whole(0, 3, ImageSpec(size=(4, 3)), 1) is None
    assert packed.whole(0, 3, ImageSpec(size=(8, 6), intensity="percentile"), 1) is None
    assert saved(tmp_path, noise(3, 8, 6, dtype=np.int16)).whole(0, 3, SPEC, 1) is None
    assert saved(tmp_path, noise(3, 8, 6, 3)).whole(0, 3, SPEC, 1) is None
    known = packed.whole(0, 1, ImageSpec(size=(8, 6), intensity="training_percentile"), 1)
    assert known is not None
    assert known.pair is None  # the checkpoint's own


def test_a_digest_tells_files_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=noise(3, 8, 6))
    np.savez(tmp_path / "c.npz", images=noise(4, 8, 6))
    one, same, other = (packed_digest(tmp_path / f"{name}.npz") for name in "abc")
    assert one == same != other
    saved(tmp_path, noise(3, 8, 6))
    assert packed_digest(tmp_path / "a.npy") not in (one, other)
    with pytest.raises(UserError, match=r"packed=true takes a \.npy or \.npz file"):
        packed_digest(tmp_path)


def test_files_that_hold_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_text("nothing of this kind")
    with pytest.raises(UserError, match=r"a\.npy is no array of images: the magic string"):
        open_packed(tmp_path / "a.npy", tmp_path, 2)
    refused = {
        "takes one with images as its rows": np.zeros(3),
        "declares a size of 0 × 8 × 6": noise(0, 8, 6),
        "holds complex numbers": np.zeros((2, 8, 6), complex),
        r"its rows are 8 × 6 × 5, no images of 2 dimensions": noise(2, 8, 6, 5),
        "its first axis varies fastest": np.asfortranarray(noise(2, 8, 6)),
    }
    for reason, array in refused.items():
        with pytest.raises(UserError, match=reason):
            saved(tmp_path, array)
    np.savez(tmp_path / "b.npz", x=noise(2, 8, 6), y=noise(2))
    with pytest.raises(UserError, match=r"b\.npz holds the arrays x, y: name one images"):
        open_packed(tmp_path / "b.npz", tmp_path, 2)
    np.savez(tmp_path / "c.npz", train_images=noise(2, 8, 6), val_images=noise(2, 8, 5))
    with pytest.raises(UserError, match="the rows of val_images differ from those before"):
        open_packed(tmp_path / "c.npz", tmp_path, 2)


def test_damage(tmp_path: Path) -> None:
    packed = saved(tmp_path, noise(9, 8, 6))
    with (tmp_path / "a.npy").open("rb+") as file:
        file.truncate(300)
    with pytest.raises(UserError, match=r"a\.npy is cut short"):
        packed.read(0, 9)
    np.savez(tmp_path / "b.npz", images=noise(200, 8, 6))
    content = bytearray((tmp_path / "b.npz").read_bytes())
    content[5000] ^= 255
    (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"b\.npz is damaged: Bad CRC-32"):
        open_packed(tmp_path / "b.npz", tmp_path / "scratch", 2)
    assert not list((tmp_path / "scratch").glob("*"))
