"""Tables of pictures on the disk, opened as the commands do."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
from PIL import Image as Picture

from medcnn.data.checks.dataset import DataSet
from medcnn.data.open_data import data_config, open_data
from medcnn.jobs.settings.commands import Data, OpenData, Tested

KEPT = ["train"] * 6 + ["val"] * 2 + ["test"] * 4


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8)


def save(path: Path, values: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)
    return path.name


def pictures(folder: Path, count: int = 12) -> list[np.ndarray]:
    """Writes 0.png, 1.png, … of noise; gives their pixels back."""
    values = [noise(k, 8, 8) for k in range(count)]
    for k, picture in enumerate(values):
        save(folder / f"{k}.png", picture)
    return values


def table(folder: Path, count: int = 12, **columns: Any) -> None:
    """Writes table.csv: two classes in turn, a patient an image."""
    rows = pd.DataFrame({"image": [f"{k}.png" for k in range(count)]})
    rows["label"] = np.resize(["a", "b"], count)
    rows["patient"] = [f"p{k}" for k in range(count)]
    rows.assign(**columns).to_csv(folder / "table.csv", index=False)


def config(root: Path, *overrides: str) -> Data:
    dataset = ("dataset=csv", f"dataset.path='{root / 'table.csv'}'", "dataset.size=8")
    places = (f"paths.data='{root / 'data'}'", f"paths.pseudonym_key='{root / 'key'}'")
    cfg: Data = jobs.compose("data", "on_error=stop", *dataset, *places, *overrides)
    return cfg


def of_test(root: Path, *overrides: str) -> OpenData:
    """The same as data that a checkpoint is only tested on."""
    given = {key: value for key, value in config(root, *overrides) if key in Tested.model_fields}
    return data_config({}, Tested(**given, split="test"))


def opened(root: Path, /, *overrides: str, **options: Any) -> DataSet:
    return open_data(config(root, *overrides), **options)


def leaking(folder: Path) -> None:
    """The first patient is in train and, with the last image, in test."""
    pictures(folder)
    table(folder, patient=[*(f"p{k}" for k in range(11)), "p0"], split=KEPT)
