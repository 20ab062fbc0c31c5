from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_tables
import pytest
import torch
from PIL import Image as Picture
from slides import noise, pyramid, stained

from medcnn.data.checks.dataset import DataSet
from medcnn.data.image import ImageSpec
from medcnn.data.prepared import tiled_file
from medcnn.data.prepared.spool import Spool
from medcnn.data.prepared.tiled_file import read_tiles
from medcnn.errors import UserError
from medcnn.evidence.own_grid import item_of_row

PICTURE = noise(64, 96)


def tiles_of(path: Path, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    spec = ImageSpec(**({"size": (16, 16), "tiles": (16, 16)} | options))
    spool, facts = read_tiles(path, spec)
    assert isinstance(spool, Spool)
    np.testing.assert_array_equal(np.concatenate([*spool.parts()]), spool.mapped())
    return spool.mapped(), facts


def table(root: Path, images: list[str], **columns: Any) -> None:
    open_tables.table(root, len(images), image=images, **columns)


def opened(root: Path, *overrides: str) -> DataSet:
    return open_tables.opened(root, "dataset.tiles=16", "dataset.size=16", *overrides)


def test_tiles_are_the_pixels_of_their_place(tmp_path: Path) -> None:
    tiles, facts = tiles_of(tmp_path / pyramid(tmp_path / "a.tif", PICTURE))
    expected = PICTURE.reshape(4, 16, 6, 16, 3).transpose(0, 2, 4, 1, 3).reshape(24, 3, 16, 16)
    np.testing.assert_array_equal(tiles, expected)
    assert (facts["shape"], facts["channels"], facts["dtype"]) == ([64, 96], 3, "uint8")
    assert (facts["spacing"], facts["extremes"]) == ([5e-4, 5e-4], [60, 199])
    assert facts["percentiles"] == np.percentile(expected, [0.5, 99.5]).tolist()
    assert facts["tile_row"] == np.repeat([0, 16, 32, 48], 6).tolist()
    assert facts["tile_column"] == np.tile([0, 16, 32, 48, 64, 80], 4).tolist()
    assert len(set(facts["digests"])) == 24


def test_tiles_of_a_level_and_between_two(tmp_path: Path) -> None:
    path = tmp_path / pyramid(tmp_path / "a.tif", PICTURE)
    half = PICTURE[::2, ::2].transpose(2, 0, 1)
    tiles, facts = tiles_of(path, tile_spacing=1.0, tile_overlap=0.5)
    assert facts["tile_row"] == np.repeat([0, 16, 32], 5).tolist()  # in pixels at full resolution
    for tile, row, column in zip(tiles, facts["tile_row"], facts["tile_column"], strict=True):
        top, left = row // 2, column // 2
        np.testing.assert_array_equal(tile, half[:, top : top + 16, left : left + 16])
    tiles, facts = tiles_of(path, tile_spacing=0.75, size=(8, 8))  # of 24 pixels, made 8
    assert (facts["tile_row"], facts["tile_grid"]) == (
        [0] * 4 + [24] * 4 + [39] * 4,
        [64, 96, 24, 24],
    )
    blocks = PICTURE[:24, :24].reshape(8, 3, 8, 3, 3).mean((1, 3))
    assert np.abs(tiles[0].transpose(1, 2, 0) - blocks).mean() < 15  # of noise of deviation 40


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_table_has_a_row_a_tile(name: str, tmp_path: Path) -> None:
    for k in range(6):
        Picture.fromarray(noise(32, 48, k)).save(tmp_path / f"{k}{name}")
    table(tmp_path, [f"{k}{name}" for k in range(6)])
    data = opened(tmp_path)
    rows = data.samples.table
    assert len(rows) == 6 * 6
    assert rows["study"].tolist() == np.repeat([f"{k}{name}" for k in range(6)], 6).tolist()
    assert rows["slice"].tolist() == [*range(6)] * 6
    last = rows.iloc[-1]
    assert (last["tile_row"], last["tile_column"]) == (16, 32)
    assert rows.groupby("study")["split"].nunique().max() == 1  # a patient's tiles stay together
    np.testing.assert_array_equal(
        data.samples.images[torch.tensor([35])][0], noise(32, 48, 5)[16:, 32:].transpose(2, 0, 1)
    )


def test_only_tiles_with_tissue_and_their_masks_and_boxes(tmp_path: Path) -> None:
    lesion = (20, 24, 30, 50)
    names = []
    for k in range(6):
        names.append(pyramid(tmp_path / f"{k}.tif", stained(64, 96, (16, 16, 48, 64))))
        mask = np.zeros((64, 96), np.uint8)
        mask[lesion[0] : lesion[2], lesion[1] : lesion[3]] = 1
        pyramid(tmp_path / f"m{k}.tif", mask, ())  # without levels
    box = dict(zip(("box_top", "box_left", "box_bottom", "box_right"), lesion, strict=True))
    tissue = np.zeros((64, 96))
    tissue[16:48, 16:64] = 1
    grid = [(row, column) for row in (0, 16, 32) for column in (0, 16, 32, 48, 64)]
    shares = [(r, c) for r, c in grid if tissue[r : r + 32, c : c + 32].mean() >= 0.3]
    expected = mask[::2, ::2][8:24, 8:24].astype(bool)  # of the tile that begins at 16, 16
    for columns in ({"mask": [f"m{k}.tif" for k in range(6)]}, box):
        table(tmp_path, names, **columns)
        data = opened(
            tmp_path, "dataset.tile_level=1", "dataset.tissue=0.3", "dataset.tile_overlap=0.5"
        )
        rows = data.samples.table
        first = rows[rows["study"] == "0.tif"]
        places = list(zip(first["tile_row"], first["tile_column"], strict=True))
        assert places == shares
        assert data.samples.masks is not None
        at = torch.tensor([places.index((16, 16))])
        np.testing.assert_array_equal(data.samples.masks[at][0], expected)


def test_pictures_of_maps_show_the_tile(tmp_path: Path) -> None:
    names = [pyramid(tmp_path / f"{k}.tif", noise(64, 96, k)) for k in range(6)]
    table(tmp_path, names, mask=names)
    samples = opened(tmp_path, "dataset.size=8").samples  # each tile is made half as large
    row = 24 + 7  # of the second picture the tile in row and column 1
    map_ = torch.arange(64.0).reshape(8, 8)
    item = item_of_row(samples, row, samples.images[torch.tensor([row])][0], map_, None)
    np.testing.assert_allclose(item["image"], noise(64, 96, 1)[16:32, 16:32] / 255, atol=1e-6)
    assert item["map"].shape == (16, 16)
    assert item["mask"].all()


def test_windows_of_a_volume(tmp_path: Path) -> None:
    import nibabel

    values = np.random.default_rng(0).integers(-500, 500, (6, 8, 10)).astype(np.int16)
    turn = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1.0]])  # of SPL axes
    nibabel.save(nibabel.Nifti1Image(values, turn), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image((values > 0).astype(np.uint8), turn), tmp_path / "m.nii")
    spec = ImageSpec(size=(3, 4, 5), tiles=(3, 4, 5), tile_overlap=0.5, spacing=(2, 1, 1))
    spool, facts = read_tiles(tmp_path / "a.nii", spec)
    assert isinstance(spool, Spool)
    grid = tiled_file.TileGrid((6, 8, 10), (3, 4, 5), tuple(zip(*corners(facts), strict=True)))
    masks, own = read_tiles(tmp_path / "m.nii", spec, "mask", grid)
    assert isinstance(masks, Spool)
    assert own["shape"] == [6, 8, 10]
    assert len(spool) == len(masks) == 3 * 3 * 4
    windows = zip(spool.mapped(), masks.mapped(), *corners(facts), strict=True)
    for window, mask, depth, row, column in windows:
        part = values[depth : depth + 3, row : row + 4, column : column + 5]
        np.testing.assert_array_equal(window[0], part)
        np.testing.assert_array_equal(mask, part > 0)
    tile = tiled_file.read_tile(tmp_path / "a.nii", spec, grid, 7)
    np.testing.assert_array_equal(tile.values, spool.mapped()[7])


def corners(facts: dict[str, Any]) -> list[list[int]]:
    return [facts[name] for name in ("tile_slice", "tile_row", "tile_column")]


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda path: pyramid(path, noise(12, 20), ()), {}, "is 12×20 pixels there, less than"),
        (lambda path: pyramid(path, stained(64, 64)), {"tissue": 0.1}, "shows no tissue"),
        (lambda path: pyramid(path, PICTURE), {"tile_spacing": 0.1}, "has no level at 0.1 µm"),
        (lambda path: Picture.fromarray(PICTURE).save(path), {"tile_spacing": 1.0}, "doesn't say"),
        (lambda path: path.write_bytes(b""), {}, "is an empty file"),
        (lambda path: path.write_bytes(b"II*\0damage"), {}, "damaged"),
    ],
)
def test_refusals(
    make: Callable[[Path], object], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.tif")
    with pytest.raises(UserError, match=words):
        tiles_of(tmp_path / "a.tif", **options)


def test_problems_are_of_one_row_each(tmp_path: Path) -> None:
    sizes = [(64, 96)] * 4 + [(12, 20), (64, 96)]
    names = [pyramid(tmp_path / f"{k}.tif", noise(*size, k)) for k, size in enumerate(sizes)]
    table(tmp_path, names, mask=[""] * 5 + [names[4]])
    data = opened(tmp_path, "on_error=skip")
    found = {problem.image: problem.reason for problem in data.problems}
    assert found["4.tif"].startswith("is 12×20 pixels there")
    assert found["5.tif"] == "its mask is 12×20, but its image is 64×96"
    assert data.samples.table["study"].unique().tolist() == names[:4]
