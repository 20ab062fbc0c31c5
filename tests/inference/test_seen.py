"""What a checkpoint was trained on, when the data have changed since."""

import shutil
from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import medcnn
from medcnn.data.checks.dataset import DataSet
from medcnn.data.checks.problems import contents
from medcnn.data.samples import Samples
from medcnn.errors import UserError
from medcnn.inference.seen import _copies, _together, open_tested

SMALL = (*jobs.PLAIN, "trainer.max_epochs=1", "model=lenet", "cam.n=0", "near_duplicates=false")
SIZE = "dataset.size=28"


def write_table(path: Path, rows: int, **columns: object) -> None:
    """Rows of images img/<row>.png, two of each patient, of two classes."""
    table = pd.DataFrame({"image": [f"img/{k}.png" for k in range(rows)]})
    table["label"], table["patient"] = np.arange(rows) // 2 % 2, np.arange(rows) // 2
    table.assign(**columns).to_csv(path, index=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on 32 images of 16 patients; the table beside it may be changed by each test."""
    folder = tmp_path_factory.mktemp("seen")
    (folder / "img").mkdir()
    images = jobs.patterns(np.arange(40) // 2 % 2, (28, 28), seed=5)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "img" / f"{number}.png")
    write_table(folder / "table.csv", 32)
    options = ("dataset=csv", f"dataset.path='{folder}/table.csv'", SIZE)
    cache = f"cache.folder='{folder}/cache'"
    return jobs.train(folder / "run", *SMALL, *options, cache)


def evaluate(run: Path, folder: Path, *overrides: str) -> pd.DataFrame:
    best = f"checkpoint='{run}/checkpoints/best.ckpt'"
    jobs.evaluate(folder, best, f"cache.folder='{run.parent}/cache'", *overrides)
    return pd.read_csv(folder / "predictions.csv")


def splits_of(run: Path) -> pd.Series:
    return pd.read_csv(run / "samples.csv", index_col="image")["split"]


@pytest.mark.no_cover
def test_a_table_that_has_grown_keeps_its_split(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = splits_of(run)
    names = [f"img/{k}.png" for k in range(40)]
    patients = np.arange(40) // 2
    patients[39] = patients[names.index(trained.index[trained == "train"][0])]
    order = np.random.default_rng(0).permutation(40)
    write_table(run.parent / "table.csv", 40, patient=patients)
    table = pd.read_csv(run.parent / "table.csv").iloc[order]
    table.to_csv(run.parent / "table.csv", index=False)
    tested = evaluate(run, tmp_path / "test")
    assert set(tested["image"]) == set(trained.index[trained == "test"])
    told = "8 of 40 images are new since the training: 1 of patients that were trained on, and left"
    assert told in caplog.text
    assert told in (tmp_path / "test" / "report.html").read_text()
    fresh = evaluate(run, tmp_path / "new", "split=new")
    assert set(fresh["image"]) == set(names[32:39])
    with pytest.raises(UserError, match="the holdout split is empty"):
        evaluate(run, tmp_path / "x", "split=holdout")


def test_maps_are_of_the_split_that_the_training_tested_on(run: Path) -> None:
    trained, best = splits_of(run), run / "checkpoints" / "best.ckpt"
    write_table(run.parent / "table.csv", 40)
    cfg = jobs.compose("explain", f"checkpoint='{best}'", f"cache.folder='{run.parent}/cache'")
    data, _ = open_tested([medcnn.load(best)], [best], cfg)
    now = data.samples.table.set_index("image")["split"]
    assert now[trained.index].tolist() == trained.tolist()
    assert set(now.drop(trained.index)) == {"new"}


def test_slices_are_compared_with_the_same_slices() -> None:
    images = torch.randint(255, (6, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    table = pd.DataFrame({"image": list("aabbcc"), "slice": [0, 1] * 3, "label": 0})
    table["patient"], table["split"] = table["image"], ["train", "train", *["test"] * 4]
    data = DataSet(Samples("volumes", table, images, "multiclass", ("x", "y")))
    then = _together([table.astype(str).assign(content_hash=contents(data))])
    now = data.samples.table[["image", "patient", "slice"]].astype(str)
    assert _copies(data, now, then, "test", None) == []
    images[3], images[5] = images[1], images[5] + 1  # of b and c; the first is learnt by heart
    copied, changed = _copies(data, now, then, "test", None)
    assert copied.startswith("1 of 4 tested images are, pixel for pixel")
    assert changed.startswith("2 of 4 tested images have changed")


def test_what_was_trained_on_is_no_test(run: Path, tmp_path: Path) -> None:
    trained = splits_of(run)
    first = int(trained.index[trained == "train"][0].split("/")[1].removesuffix(".png"))
    split = ["train"] * 32
    split[first] = "test"
    write_table(run.parent / "table.csv", 32, split=split)
    with pytest.raises(UserError, match=rf"calls 1 images test .* \(the first is row {first}"):
        evaluate(run, tmp_path / "x")
    write_table(run.parent / "table.csv", 32, image=[f"other/{k}.png" for k in range(32)])
    shutil.copytree(run.parent / "img", run.parent / "other", dirs_exist_ok=True)
    with pytest.raises(UserError, match="none of the 32 images is one of the training"):
        evaluate(run, tmp_path / "x")


def test_a_copy_of_a_training_image_elsewhere_is_told(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learnt = splits_of(run).isin(["train", "val"]).to_numpy()
    shutil.copytree(run.parent / "img", tmp_path / "scans")
    names = [f"scans/{k}.png" for k in range(40)]
    write_table(tmp_path / "external.csv", 40, image=names)
    options = ("dataset=csv", f"dataset.path='{tmp_path}/external.csv'", SIZE)
    evaluate(run, tmp_path / "out", *options)
    told = f"{learnt.sum()} of 40 tested images are, pixel for pixel, images that were trained on"
    assert told in caplog.text


def test_a_checkpoint_without_its_run_says_so(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_table(run.parent / "table.csv", 32)
    alone = tmp_path / "alone.ckpt"
    shutil.copy(run / "checkpoints" / "best.ckpt", alone)
    cache = f"cache.folder='{run.parent}/cache'"
    jobs.evaluate(tmp_path / "out", f"checkpoint='{alone}'", cache)
    assert "note: There is no samples.csv in the run directory of alone" in caplog.text
