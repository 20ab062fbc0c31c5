"""From a table of several files an image to a trained network, its test, maps and new files."""

from pathlib import Path

import jobs
import numpy as np
import pandas as pd
import pytest
import torch
from open_tables import KEPT, save

import medcnn
from medcnn.errors import UserError

TABLE = ("dataset=csv", "dataset.size=28", "dataset.columns.image=[t1,t2]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of pictures, of which two lack one, and a mask of each."""
    top = tmp_path_factory.mktemp("several")
    labels = np.arange(12) % 2
    firsts, seconds = (jobs.patterns(2 * labels, (28, 28), seed=seed) for seed in (1, 2))
    mask = np.zeros((28, 28), np.uint8)
    mask[4:12, 3:20] = 1
    rows = []
    for k, pair in enumerate(zip(firsts, seconds, strict=True)):
        first, second = (save(top / f"t{n}_{k}.png", values) for n, values in enumerate(pair))
        marked = save(top / f"m{k}.png", np.roll(mask, k, 0))
        rows.append([first if k != 3 else "", second if k != 11 else "", marked, labels[k], k])
    table = pd.DataFrame(rows, columns=["t1", "t2", "mask", "label", "patient"])
    table.assign(split=KEPT).to_csv(top / "table.csv", index=False)
    return top


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    how = ("dataset.missing_channel=zero", "dataset.mask_as=channel", "augment.drop_channel=0.3")
    places = (f"dataset.path='{folder / 'table.csv'}'", f"paths.data='{folder / 'data'}'")
    options = (*jobs.PLAIN, "model=lenet", "trainer.max_epochs=1", "batch_size=6", "cam.n=2")
    options = (*options, "dataset.intensity=training_percentile")
    return jobs.train(folder / "run", *TABLE, *how, *places, *options)


def test_what_is_trained_is_what_is_read(run: Path, folder: Path) -> None:
    card = jobs.checkpoint(run)["medcnn"]
    assert card["in_channels"] == 5
    assert card["mean"][2:] == [0, 0, 0]
    assert np.shape(card["intensity_range"]) == (5, 2)
    classifier = medcnn.load(run / "checkpoints" / "best.ckpt")
    said = pd.read_csv(run / "predictions.csv").set_index("image")
    images = [
        classifier.read([folder / f"t0_{k}.png", other], folder / f"m{k}.png")
        for k, other in ((10, folder / "t1_10.png"), (11, None))
    ]
    probs = classifier.classify(torch.cat(images))[:, 1]
    expected = said.loc[["t0_10.png", "t0_11.png"], "prob:1"]
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    assert len(list((run / "cams").rglob("*.png"))) > 0


def test_a_test_on_a_new_table_and_on_files_alone(run: Path, folder: Path, tmp_path: Path) -> None:
    checkpoint = jobs.best(run)
    table = pd.read_csv(folder / "table.csv").rename(columns={"t1": "a", "t2": "b"})
    table.drop(columns="split").to_csv(folder / "new.csv", index=False)
    data = ("dataset=csv", f"dataset.path='{folder / 'new.csv'}'", f"paths.data='{tmp_path}'")
    figures = jobs.evaluate(tmp_path / "new", checkpoint, *data, "dataset.columns.image=[a,b]")
    assert figures
    new = pd.read_csv(tmp_path / "new" / "predictions.csv").set_index("image")
    old = pd.read_csv(run / "predictions.csv").set_index("image")
    np.testing.assert_allclose(new.loc[old.index, "prob:1"], old["prob:1"], atol=1e-5)
    other = ("dataset.columns.image=mask", "dataset.columns.mask=null")
    with pytest.raises(UserError, match="names 1 of the 2 columns of files that the checkpoint"):
        jobs.evaluate(tmp_path / "no", checkpoint, *data, *other)
    with pytest.raises(UserError, match=r"takes 2 files as one \(t1, t2\): list them in a table"):
        jobs.predict(
            checkpoint, f"images='{folder / 't0_1.png'}'", f"output='{tmp_path / 'p.csv'}'"
        )


def test_a_look_at_the_data_shows_files_beside_each_other(folder: Path, tmp_path: Path) -> None:
    from PIL import Image as Picture

    from medcnn.check_data import look

    how = ("dataset.missing_channel=zero", "dataset.crop=mask", "dataset.mask_as=channel", "n=2")
    places = (f"dataset.path='{folder / 'table.csv'}'", f"paths.data='{tmp_path / 'data'}'")
    look(jobs.compose("data", *TABLE, *how, *places, f"output='{tmp_path / 'out'}'"), [])
    with Picture.open(tmp_path / "out" / "samples.png") as sheet:
        wide = sheet.size[0] / sheet.size[1]
    assert wide > 6  # eight pictures of three tiles each
    assert (tmp_path / "out" / "crops.png").exists()
    facts = (tmp_path / "out" / "data.json").read_text()
    assert "t1: missing" in facts
    assert "t2: values that become 0 and 1" in facts
