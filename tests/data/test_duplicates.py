from pathlib import Path

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn

from medcnn.data import duplicates
from medcnn.data.duplicates import (
    NO_HASH,
    content_hashes,
    count_bits,
    near_pairs,
    perceptual_hashes,
)


def smooth(count: int, size: int, seed: int = 0) -> torch.Tensor:
    """Random pictures (count, 1, size, size) uint8 of a few low frequencies."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 7, 7, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    return (fine.clamp(0, 1) * 255).to(torch.uint8)


def reference(images: torch.Tensor) -> np.ndarray:
    """The hashes (N,) uint64 of another library."""
    pictures = [Image.fromarray(image[0].numpy()) for image in images]
    return np.array([int(str(imagehash.phash(p)), 16) for p in pictures], np.uint64)


def real(data_root: Path, pattern: str, step: int) -> list[Image.Image]:
    paths = sorted(data_root.glob(pattern))[::step]
    assert len(paths) > 15
    return [Image.open(path).convert("L") for path in paths]


def test_content_hashes_are_equal_for_equal_pixels_alone() -> None:
    images = smooth(4, 8)
    images[2] = images[0]
    images[3] = images[0]
    images[3, 0, 5, 5] += 1
    hashes = content_hashes(images)
    assert hashes[2] == hashes[0]
    assert len({*hashes}) == 3
    assert all(digest is not None and len(digest) == 32 for digest in hashes)


def test_content_hashes_tell_shapes_and_types_apart() -> None:
    images = smooth(1, 8)
    turned = images.reshape(1, 1, 4, 16)
    assert content_hashes(images) != content_hashes(turned)
    assert content_hashes(images) != content_hashes(images.view(torch.int8))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float32])
def test_images_of_one_grey_have_no_hash(dtype: torch.dtype) -> None:
    images = smooth(3, 16).to(dtype)
    images[1] = 7
    assert [digest is None for digest in content_hashes(images)] == [False, True, False]
    assert (perceptual_hashes(images) == NO_HASH).tolist() == [False, True, False]


def test_one_colour_counts_as_one_grey() -> None:
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert content_hashes(image) == [None]
    assert perceptual_hashes(image).tolist() == [NO_HASH]


def test_perceptual_hash_is_that_of_imagehash_at_32_pixels() -> None:
    images = smooth(40, 32)
    np.testing.assert_array_equal(perceptual_hashes(images), reference(images))


@pytest.mark.parametrize("size", [28, 64, 128])
def test_perceptual_hash_is_near_that_of_imagehash_after_resizing(size: int) -> None:
    images = smooth(40, size)  # only the kernels of the interpolation differ
    assert count_bits(perceptual_hashes(images) ^ reference(images)).max() <= 4


@pytest.mark.parametrize(
    ("pattern", "step"), [("nih_chestxray_1000/images/*", 50), ("brain_tumor/images/*/*", 100)]
)
def test_perceptual_hash_agrees_with_imagehash_on_real_images(
    data_root: Path, pattern: str, step: int
) -> None:
    for picture in real(data_root, pattern, step):
        at_32 = torch.from_numpy(np.array(picture.resize((32, 32), Image.Resampling.LANCZOS)))
        image = torch.from_numpy(np.array(picture))
        expected = int(str(imagehash.phash(picture)), 16)
        assert int(perceptual_hashes(at_32[None, None])[0]) == expected
        assert (int(perceptual_hashes(image[None, None])[0]) ^ expected).bit_count() <= 4


def test_hash_of_a_colour_image_is_that_of_its_mean() -> None:
    colour = torch.cat([smooth(5, 32, seed) for seed in range(3)], 1)
    grey = colour.double().mean(1, keepdim=True)
    np.testing.assert_array_equal(perceptual_hashes(colour), perceptual_hashes(grey))


def test_hash_of_a_volume_is_that_of_its_low_frequencies() -> None:
    volumes = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 1, 16, 16, 16)))
    expected = []
    for volume in volumes[:, 0].numpy():
        low = dctn(volume, type=2)[:4, :4, :4].ravel()
        bits = "".join(str(int(above)) for above in low > np.median(low))
        expected.append(int(bits, 2))
    assert perceptual_hashes(volumes).tolist() == expected


def test_a_reduced_volume_has_nearly_the_same_hash() -> None:
    volumes = torch.rand(4, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(volumes, (32, 32, 32), mode="trilinear")
    small = torch.nn.functional.avg_pool3d(fine, 2)
    assert count_bits(perceptual_hashes(fine) ^ perceptual_hashes(small)).max() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 0.8 * x + 20,
        lambda x: x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
        lambda x: torch.nn.functional.interpolate(x, (48, 48), mode="bilinear", antialias=True),
    ],
    ids=["contrast", "noise", "size"],
)
def test_copies_lie_within_the_default_distance(change: object) -> None:
    images = smooth(30, 64).float()
    apart = count_bits(perceptual_hashes(images) ^ perceptual_hashes(change(images)))  # type: ignore[operator]
    assert (apart <= 2).mean() >= 0.9


def test_distances_are_even() -> None:
    hashes = perceptual_hashes(smooth(50, 64))
    assert (count_bits(hashes) == 32).all()
    assert set(count_bits(hashes[1:] ^ hashes[0]) % 2) == {0}


def test_chunks_give_the_same_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    images = smooth(11, 28)
    whole = perceptual_hashes(images), content_hashes(images)
    monkeypatch.setattr(duplicates, "_VALUES", 3 * 28 * 28)
    np.testing.assert_array_equal(perceptual_hashes(images), whole[0])
    assert content_hashes(images) == whole[1]


def test_no_images_have_no_hashes() -> None:
    none = torch.empty(0, 1, 8, 8, dtype=torch.uint8)
    assert content_hashes(none) == []
    assert perceptual_hashes(none).shape == (0,)


def test_both_ways_of_counting_bits() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    values[:2] = 0, 2**64 - 1
    expected = [int(value).bit_count() for value in values]
    assert count_bits(values).tolist() == expected
    assert duplicates._count_bits_by_table(values).tolist() == expected


def test_without_bitwise_count_the_table_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "bitwise_count", raising=False)  # numpy 1
    assert count_bits(np.array([7, 0], np.uint64)).tolist() == [3, 0]


@pytest.mark.parametrize("distance", [0, 1, 3, 8, 64])
def test_near_pairs_are_those_of_a_comparison_of_all_with_all(distance: int) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(1, 2**64, 12, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (300, 3), dtype=np.uint64)
    hashes = rng.choice(base, 300) ^ (flips.sum(1) * (rng.random(300) < 0.7)).astype(np.uint64)
    hashes[rng.random(300) < 0.05] = NO_HASH
    splits = rng.choice(["train", "val", "test"], 300, p=[0.6, 0.2, 0.2]).tolist()
    pairs, distances = near_pairs(hashes, splits, distance)
    expected = {}
    for row in range(300):
        for earlier in {"train": [], "val": ["train"], "test": ["train", "val"]}[splits[row]]:
            apart = [
                (int(hashes[row]) ^ int(hashes[other])).bit_count()
                for other in range(300)
                if splits[other] == earlier and hashes[other] != NO_HASH
            ]
            if hashes[row] != NO_HASH and min(apart) <= distance:
                expected[row, earlier] = min(apart)
    found = {(a, splits[b]): d for (a, b), d in zip(pairs.tolist(), distances, strict=True)}
    assert found == expected
    assert len(pairs) == len(found)  # one pair for a row and an earlier split
    for (a, b), apart in zip(pairs.tolist(), distances, strict=True):
        assert (int(hashes[a]) ^ int(hashes[b])).bit_count() == apart


def test_of_equally_near_images_the_first_is_named() -> None:
    hashes = np.array([9, 5, 5, 5, 5], np.uint64)
    pairs, distances = near_pairs(hashes, ["train", "train", "train", "test", "test"], 0)
    assert pairs.tolist() == [[3, 1], [4, 1]]
    assert distances.tolist() == [0, 0]


def test_many_equal_hashes_take_no_more_memory_than_rows() -> None:
    hashes = np.full(100_000, 12345, np.uint64)
    splits = ["train", "test"] * 50_000
    pairs, _ = near_pairs(hashes, splits, 4)
    assert pairs.shape == (50_000, 2)
    assert set(pairs[:, 1]) == {0}


def test_one_split_alone_has_no_pairs() -> None:
    pairs, distances = near_pairs(np.array([5, 5], np.uint64), ["val", "val"], 64)
    assert pairs.shape == (0, 2)
    assert distances.shape == (0,)
