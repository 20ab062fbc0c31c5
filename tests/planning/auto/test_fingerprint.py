"""Facts of data sets, without those to test on."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medcnn.errors import UserError
from medcnn.planning.auto.fingerprint import fingerprint


def of(*options: str) -> Any:
    return fingerprint(jobs.compose("train", *options), [])


def table(folder: Path, rows: int = 30, **columns: Any) -> tuple[str, ...]:
    """A table of pictures of 60 × 40, two of each patient, whose last ten are the test."""
    paths = [f"{row}.png" for row in range(rows)]
    for row, path in enumerate(paths):
        Image.fromarray(np.full((60, 40), row + 1, np.uint8)).save(folder / path)
    content = {
        "image": paths,
        "patient": [row // 2 for row in range(rows)],
        "label": [row % 3 == 0 for row in range(rows)],
        "split": ["train"] * (rows - 14) + ["val"] * 4 + ["test"] * 10,
    }
    pd.DataFrame(content | columns).to_csv(folder / "table.csv", index=False)
    return "dataset=csv", f"dataset.path={folder / 'table.csv'}"


def test_an_array_of_medmnist(tmp_path: Path) -> None:
    jobs.write_medmnist(tmp_path, "breastmnist", [0, 1, 1], sizes=(30, 9, 12))
    f = of("dataset=breastmnist", f"dataset.root={tmp_path}")
    assert (f.images, f.official, f.rarest, f.kind) == (39, 12, 13, "breastmnist")
    assert (f.size, f.channels, f.task, f.outputs) == ((28, 28), 1, "binary", 2)


def test_a_table_of_files_and_boxes(tmp_path: Path) -> None:
    columns = {"box_left": 10, "box_top": 5, "box_right": 20, "box_bottom": 17}
    f = of(*table(tmp_path, **columns))
    assert (f.images, f.patients, f.official) == (20, 10, 10)
    assert f.rarest == 7
    assert (f.size, f.own, f.channels) == (None, (60, 40), 1)
    assert f.lesion == pytest.approx(12 / 40)
    assert f.intensities == (1, 20)  # no test image was read


def test_several_files_an_image_and_their_mask(tmp_path: Path) -> None:
    others = [f"other-{row}.png" for row in range(30)]
    for path in others:
        Image.fromarray(np.zeros((60, 40), np.uint8)).save(tmp_path / path)
    given = table(tmp_path, other=others, mask=[f"m{path}" for path in others])
    for path in others:
        Image.fromarray(np.zeros((60, 40), np.uint8)).save(tmp_path / f"m{path}")
    given = (*given, "dataset.columns.image=[image,other]", "dataset.mask_as=channel")
    assert of(*given).channels == 3
    assert of(*given, "dataset.missing_channel=zero", "dataset.channels=3").channels == 9


def test_labels_of_test_images_are_not_read(tmp_path: Path) -> None:
    first = of(*table(tmp_path))
    labels = [*(row % 3 == 0 for row in range(20)), *[True] * 10]
    again = of(*table(tmp_path, label=labels))
    assert first.rarest == again.rarest
    assert of(*table(tmp_path), "splits=patient").images == 30


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    options = table(tmp_path)
    for row in range(30):
        (tmp_path / f"{row}.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="of 20 files none can be read"):
        of(*options)
