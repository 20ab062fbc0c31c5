"""A checkpoint as MLflow loads it."""

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medcnn.errors import UserError
from medcnn.inference.pyfunc import PyFunc, _load_pyfunc


@pytest.fixture(scope="module")
def model(phantom_run: Path) -> PyFunc:
    return _load_pyfunc(str(phantom_run / "checkpoints" / "best.ckpt"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, random = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    paths = [str(folder / f"{k}.png") for k in range(3)]
    for path in paths:
        Image.fromarray(random.integers(0, 255, (28, 28), np.uint8)).save(path)
    return paths


def test_files_get_what_predict_says(
    model: PyFunc, files: list[str], phantom_run: Path, tmp_path: Path
) -> None:
    found = model.predict(files)
    checkpoint = phantom_run / "checkpoints" / "best.ckpt"
    output = tmp_path / "a.csv"
    jobs.predict(f"checkpoint={checkpoint}", f"images={Path(files[0]).parent}", f"output={output}")
    told = pd.read_csv(output)
    assert found.columns.tolist() == told.columns.tolist()
    assert found["image"].tolist() == told["image"].tolist() == files
    assert found["decision"].tolist() == told["decision"].tolist()
    probs = [name for name in told if name.startswith("prob:")]
    np.testing.assert_allclose(found[probs], told[probs], atol=1e-6)
    pd.testing.assert_frame_equal(model.predict(pd.DataFrame({"image": files})), found)
    pd.testing.assert_frame_equal(model.predict(files[0]), found[:1])


def test_arrays_get_a_row_an_image(model: PyFunc, files: list[str]) -> None:
    images = np.concatenate([model.classifier.read(path).numpy() for path in files])
    found = model.predict(images)
    pd.testing.assert_frame_equal(found, model.predict(files).drop(columns="image"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (pd.DataFrame({"path": ["a.png"]}), "a table needs the column image"),
        (["no_such.png"], "no_such.png"),
        (np.zeros((1, 28, 28), np.float32), "images have the shape"),
    ],
)
def test_what_it_refuses(model: PyFunc, given: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        model.predict(given)
