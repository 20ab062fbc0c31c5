from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medcnn.data.checks import duplicates, nearest
from medcnn.data.checks.duplicates import content_hashes, near_duplicates
from medcnn.data.phantom.dataset import phantom


def textured(count: int, size: int, seed: int = 0, dims: int = 2) -> torch.Tensor:
    """Random images (count, 1, *spatial) uint8 with structures of every size."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 1, *(size,) * dims)
    for side in (4, 8, 16, size):
        noise = torch.rand(count, 1, *(side,) * dims, generator=generator)
        total += F.interpolate(noise, (size,) * dims, mode="bicubic" if dims == 2 else "trilinear")
    return (total * 60).clamp(0, 255).to(torch.uint8)


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "scaled": lambda x: resized(resized(x, 48), 64),
    "edges cut off": lambda x: resized(x[..., 3:-2, 2:-3], 64),
    "window": lambda x: (2 * x - 130).clamp(0, 255),
    "gamma": lambda x: 255 * (x / 255) ** 2,
    "contrast and noise": lambda x: x / 2 + 60 + 3 * torch.randn(x.shape),
}


def test_content_hashes_are_equal_for_equal_pixels_alone() -> None:
    images = textured(4, 8)
    images[2] = images[0]
    images[3] = images[0]
    images[3, 0, 5, 5] += 1
    hashes = content_hashes(images)
    assert hashes[2] == hashes[0]
    assert len({*hashes}) == 3
    assert all(digest is not None and len(digest) == 32 for digest in hashes)


def test_content_hashes_tell_shapes_and_types_apart() -> None:
    images = textured(1, 8)
    turned = images.reshape(1, 1, 4, 16)
    assert content_hashes(images) != content_hashes(turned)
    assert content_hashes(images) != content_hashes(images.view(torch.int8))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float32])
def test_images_of_one_grey_have_no_hash(dtype: torch.dtype) -> None:
    images = textured(3, 16).to(dtype)
    images[1] = 7
    assert [digest is None for digest in content_hashes(images)] == [False, True, False]


def test_one_colour_counts_as_one_grey() -> None:
    image = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert content_hashes(image) == [None]


@pytest.mark.parametrize("kind", CHANGES)
def test_copies_are_found(kind: str) -> None:
    torch.manual_seed(0)
    images = textured(12, 64)
    copies = CHANGES[kind](images[:6].float()).round().clamp(0, 255).to(torch.uint8)
    splits = ["train"] * 12 + ["test"] * 6
    pairs, agreements = near_duplicates(torch.cat([images, copies]), splits)
    assert pairs.tolist() == [[12 + k, k] for k in range(6)]
    assert (agreements > 0.8).all()


def test_look_alikes_are_no_copies() -> None:
    common = resized(textured(1, 12).float(), 64)
    alike = (0.8 * common + 0.2 * textured(40, 64, seed=1)).to(torch.uint8)
    assert np.corrcoef(alike.flatten(1).numpy()).min() > 0.9
    pairs, _ = near_duplicates(alike, ["train", "val"] * 20)
    assert pairs.shape == (0, 2)


def test_a_mirrored_copy_is_none() -> None:
    images = textured(4, 28)
    pairs, _ = near_duplicates(torch.cat([images, images.flip(-1)]), ["train"] * 4 + ["val"] * 4)
    assert len(pairs) == 0


def test_copies_of_volumes_are_found() -> None:
    volumes = textured(6, 32, dims=3)
    cut = F.interpolate(volumes[:3, :, 1:-1, 1:-1, 1:-1].float(), (32, 32, 32), mode="trilinear")
    copies = (cut * 0.7 + 20).to(torch.uint8)
    pairs, _ = near_duplicates(torch.cat([volumes, copies]), ["train"] * 6 + ["val"] * 3)
    assert pairs.tolist() == [[6, 0], [7, 1], [8, 2]]


def test_each_image_is_compared_with_those_of_earlier_splits() -> None:
    one, other, third = textured(3, 28)
    images = torch.stack([one, other, third, other, third, third, one])
    splits = ["test", "val", "test", "train", "train", "val", "test"]
    pairs, agreements = near_duplicates(images, splits)
    assert pairs.tolist() == [[1, 3], [5, 4], [2, 4]]
    np.testing.assert_allclose(agreements, 1, atol=1e-5)


def test_images_of_one_grey_are_no_copies() -> None:
    images = torch.full((4, 3, 16, 16), 7, dtype=torch.uint8)
    assert len(near_duplicates(images, ["train", "train", "val", "test"])[0]) == 0


@pytest.mark.parametrize(("size", "found"), [((1, 16), 0), ((7, 7), 0), ((8, 8), 2)])
def test_images_with_an_edge_below_eight_are_not_compared(
    size: tuple[int, int], found: int
) -> None:
    images = textured(2, 16)[..., : size[0], : size[1]]
    pairs, _ = near_duplicates(torch.cat([images, images]), ["train"] * 2 + ["test"] * 2)
    assert len(pairs) == found


def test_one_split_alone_has_no_pairs() -> None:
    pairs, agreements = near_duplicates(textured(2, 28), ["val", "val"])
    assert pairs.shape == (0, 2)
    assert agreements.shape == (0,)


def test_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = textured(11, 28)
    images[7] = images[2] // 2
    splits = ["train"] * 5 + ["val"] * 3 + ["test"] * 3
    whole = content_hashes(images), near_duplicates(images, splits)[0].tolist()
    monkeypatch.setattr(duplicates, "_VALUES", 3 * 28 * 28)
    monkeypatch.setattr(duplicates, "ROWS", 2)
    assert content_hashes(images) == whole[0]
    assert near_duplicates(images, splits)[0].tolist() == whole[1] == [[7, 2]]


def test_no_images_have_no_hashes() -> None:
    assert content_hashes(torch.empty(0, 1, 8, 8, dtype=torch.uint8)) == []


def test_the_default_phantom_has_no_copies() -> None:
    thirds = {"normal": 1, "nodule": 1, "effusion": 1}
    shares = {"train": 64, "val": 12, "test": 24}
    samples = phantom(class_shares=thirds, split_shares=shares)
    pairs, _ = near_duplicates(samples.images, samples.table["split"].tolist())
    assert len(pairs) == 0


def test_chest_films_of_different_patients_are_no_copies_but_jpeg_files_are(
    data_root: Path,
) -> None:
    import io

    from PIL import Image

    paths = sorted((data_root / "nih_chestxray_1000" / "images").glob("*_000.png"))[:100]
    films = [Image.open(path).convert("L") for path in paths]
    files = [io.BytesIO() for _ in films[:20]]
    for film, file in zip(films, files, strict=False):
        film.save(file, "JPEG", quality=75)
    arrays = [np.array(picture) for picture in [*films, *map(Image.open, files)]]
    images = torch.from_numpy(np.stack(arrays))[:, None]
    pairs, _ = near_duplicates(images, ["train", "val"] * 50 + ["test"] * 20)
    assert pairs.tolist() == [[100 + k, k] for k in range(20)]


def test_copies_are_found_by_lists_of_vectors_as_by_all_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = textured(150, 64)
    copies = CHANGES["edges cut off"](images[:20].float())
    images = torch.cat([images, copies.round().clamp(0, 255).to(images.dtype)])
    splits = ["train"] * 150 + ["test"] * 20
    exact = near_duplicates(images, splits)
    monkeypatch.setattr(nearest, "EXHAUSTIVE", 0)
    pairs, agreement = near_duplicates(images, splits)
    assert pairs.tolist() == exact[0].tolist() == [[150 + k, k] for k in range(20)]
    assert agreement == pytest.approx(exact[1])
