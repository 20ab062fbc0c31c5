"""Slides cut into tiles, from the table to the predictions and the picture of each tile's score."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from slides import pyramid, stained

from medcnn.evidence.of_tiles import TILES
from medcnn.inference.pyfunc import _load_pyfunc
from medcnn.training import from_config
from medcnn.training.freezing import FeatureCache

SPLITS = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
CUT = ("dataset.tiles=28", "dataset.size=28", "dataset.tissue=0.3")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 slides of 84 × 112 px with tissue; every second one has a dark spot in one tile."""
    folder = tmp_path_factory.mktemp("slides")
    rows = []
    for k, split in enumerate(SPLITS):
        picture = stained(84, 112, (0, 0, 56, 84))
        if k % 2:
            top, left = 28 * (k % 4 // 2), 28 * (k % 3)
            picture[top + 4 : top + 24, left + 4 : left + 24] = (90, 60, 130)
        pyramid(folder / f"{k}.tif", picture, (2,))
        rows.append([f"{k}.tif", ["no", "yes"][k % 2], f"p{k}", split])
    columns = ["image", "label", "patient", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def settings(table: Path, *more: str) -> tuple[str, ...]:
    return jobs.of_studies(table, *CUT, "cam.n=0", "batch_size=4", *more)


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.train(tmp_path_factory.mktemp("run") / "run", *settings(table))


def test_a_slide_is_a_study_of_its_tiles(run: Path) -> None:
    predictions = pd.read_csv(run / "predictions.csv")
    assert predictions["study"].tolist() == [f"{k}.tif" for k in range(16, 20)]
    assert predictions["images"].tolist() == [6] * 4
    samples = pd.read_csv(run / "samples.csv")
    first = samples[samples["study"] == "0.tif"]
    assert first["tile_row"].tolist() == [0, 0, 0, 28, 28, 28]
    assert first["tile_column"].tolist() == [0, 28, 56] * 2


def test_only_the_head_learns_on_features_that_are_computed_once(
    run: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FeatureCache] = []
    asked: list[int] = []

    class Counting(FeatureCache):
        def __init__(self, rows: int, budget: int, images: object, block: int) -> None:
            def counted(places: torch.Tensor) -> torch.Tensor:
                asked.extend(places.tolist())
                return images(places)  # type: ignore[operator]

            super().__init__(rows, budget, counted, block)
            made.append(self)

    monkeypatch.setattr(from_config, "FeatureCache", Counting)
    weights = run / "checkpoints" / "best.ckpt"
    frozen = ("transfer=head", "augment=none", f"model.weights='{weights}'")
    head = jobs.train(tmp_path / "run", *settings(table, *frozen))
    assert sorted(asked) == list(range(6 * 20))  # each tile once in two epochs and the test
    assert made[0].mean_is_enough
    before, after = (jobs.checkpoint(one)["state_dict"] for one in (run, head))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("net.head.") for name in changed)


def test_new_slides_are_predicted_and_drawn(run: Path, table: Path, tmp_path: Path) -> None:
    slide = table.parent / "17.tif"
    jobs.predict(jobs.best(run), f"images='{slide}'", f"output='{tmp_path / 'out.csv'}'")
    found, known = pd.read_csv(tmp_path / "out.csv"), pd.read_csv(run / "predictions.csv")
    np.testing.assert_allclose(
        found["prob:yes"], known["prob:yes"][known["study"] == "17.tif"], rtol=1e-5
    )
    as_served = _load_pyfunc(str(run / "checkpoints" / "best.ckpt")).predict([str(slide)])
    np.testing.assert_allclose(as_served["prob:yes"], found["prob:yes"], rtol=1e-5)
    jobs.explain(jobs.best(run), f"image='{slide}'", f"output='{tmp_path / 'maps'}'")
    tiles = pd.read_csv(tmp_path / "maps" / f"17-{TILES}.csv")
    assert tiles[["tile_row", "tile_column"]].to_numpy().tolist() == [
        [row, column] for row in (0, 28) for column in (0, 28, 56)
    ]
    assert tiles["prob:yes"].between(0, 1).all()
    with Image.open(tmp_path / "maps" / f"17-{TILES}.png") as picture:
        assert picture.width > 400
    whole = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert whole["method"].tolist() == [TILES]
    assert whole["explained"].tolist() == ["yes"]
    assert "predicted" not in whole  # no tile's answer is that on the slide
    assert whole["probability"].item() == pytest.approx(tiles["prob:yes"].mean(), abs=1e-6)


def test_what_is_taken_of_slides_is_drawn(table: Path, tmp_path: Path) -> None:
    from medcnn.check_data import look

    given = ("dataset=csv", f"dataset.path='{table}'", *CUT, f"output='{tmp_path / 'data'}'")
    look(jobs.compose("data", *given, f"cache.folder='{table.parent / 'cache'}'", "n=3"), [])
    with Image.open(tmp_path / "data" / "tiles.png") as picture:
        assert picture.width > 400
